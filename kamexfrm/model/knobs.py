"""The knobs of ipsec(4): per family a default policy and four default levels, and further ones.

Names are the sysctl's: ``net.inet.ipsec.NAME``, ``net.inet6.ipsec6.NAME`` and ``net.key.NAME``.
KAME's other sysctls, and why Linux has none of them, are in ``unsupported_knobs``.
"""

from __future__ import annotations

import errno
import os

from kamexfrm.errors import KamexfrmError
from kamexfrm.model.policy import TUNNEL_MODES, IpsecProtocol, IpsecRequest, Level
from kamexfrm.model.unsupported_knobs import FIXED, UNSUPPORTED
from kamexfrm.net import AF_INET, AF_INET6
from kamexfrm.records import NamedTuple

TYPE_CHECKING = False  # typing takes long to load
if TYPE_CHECKING:
    from typing import Any


class KnobError(KamexfrmError):
    """A knob that does not exist (ENOENT) or a value that it does not take (EINVAL)."""


class FamilyKnobs(NamedTuple):
    """One family's knobs; KAME starts them all at 1 (key.c key_init)."""

    def_policy: int = 1
    esp_trans_deflev: int = 1
    esp_net_deflev: int = 1
    ah_trans_deflev: int = 1
    ah_net_deflev: int = 1


class Knobs(NamedTuple):
    """All knobs of a network namespace.

    The further ones, from ``dfbit`` on, start at what Linux does with SAs added by PF_KEY: KAME
    starts dfbit and both ecn at 0, preferred_oldsa at 1. ``ecn6`` is IPv6's, ``larval_lifetime`` is
    in seconds, ``sha256_icv`` in bits.
    """

    inet: FamilyKnobs = FamilyKnobs()
    inet6: FamilyKnobs = FamilyKnobs()
    dfbit: int = 2
    ecn: int = 1
    ecn6: int = 1
    larval_lifetime: int = 30
    spi_minval: int = 0x100
    spi_maxval: int = 0x0FFFFFFF
    sha256_icv: int = 96
    preferred_oldsa: int = 0

    def of(self, family: int) -> FamilyKnobs:
        """Return the knobs of an address family."""
        return self.inet if family == AF_INET else self.inet6

    def value(self, knob: Knob) -> int:
        """Return one knob's value."""
        value: int = getattr(self.of(knob.family) if knob.is_policy_knob else self, knob.field)
        return value

    def replace(self, knob: Knob, value: int) -> Knobs:
        """Return the knobs with one changed; raises what Knob.check() does."""
        knob.check(value)
        fields: dict[str, Any] = {knob.field: value}
        if not knob.is_policy_knob:
            return self._replace(**fields)
        changed = self.of(knob.family)._replace(**fields)
        return (
            self._replace(inet=changed) if knob.family == AF_INET else self._replace(inet6=changed)
        )


class Knob(NamedTuple):
    """One sysctl: its full dotted name, and the words for its values from ``low`` to ``high``.

    Without words the values are numbers, each ``step``-th one. ``family`` is 0 for both.
    ``impossible`` are KAME's values that Linux cannot do, with the reason. ``kame`` is KAME's start
    value, ``linux`` what Linux's own PF_KEY does, None where that does not exist.
    """

    name: str
    family: int
    field: str
    low: int
    high: int
    value_names: tuple[str, ...]
    description: str
    kame: int = 1
    linux: int | None = None
    impossible: tuple[tuple[int, str], ...] = ()
    step: int = 1

    @property
    def is_policy_knob(self) -> bool:
        """Whether it is one of the ten of ``POLICY_KNOBS``, five for each family."""
        return self.field in FamilyKnobs._fields

    @property
    def rewrites_policies(self) -> bool:
        """Whether policies that are there are rewritten when it changes."""
        return self.is_policy_knob or self.field == "preferred_oldsa"

    @property
    def numbers(self) -> tuple[int, ...]:
        """The values of a knob that takes few."""
        impossible = dict(self.impossible)
        return tuple(n for n in range(self.low, self.high + 1, self.step) if n not in impossible)

    @property
    def words(self) -> str:
        """The values with their names, for messages: ``1 (use) or 2 (require)``."""
        if self.value_names:
            names = self.value_names
            return " or ".join(f"{n} ({names[n - self.low]})" for n in self.numbers)
        if self.step > 1:
            return " or ".join(str(n) for n in self.numbers)
        return f"a number from {self.low} to {self.high}"

    def check(self, value: int, written: str = "") -> None:
        """Raise KnobError for what is no value (EINVAL) or one that Linux lacks (EOPNOTSUPP).

        ``written`` is the value as written, for the text.
        """
        reasons = dict(self.impossible)
        if value in reasons:
            raise self.error(written or str(value), reasons[value], errno.EOPNOTSUPP)
        if not self.low <= value <= self.high or (value - self.low) % self.step:
            raise self.error(written or str(value))

    def error(self, written: str, reason: str = "", number: int = errno.EINVAL) -> KnobError:
        """Return the error for a value as written."""
        why = reason or f"it takes {self.words}"
        return KnobError(f"{self.name}={written}: {os.strerror(number)}: {why}", errno=number)


_LEVEL_OF = {
    "esp_trans_deflev": "ESP in transport mode",
    "esp_net_deflev": "ESP in tunnel mode",
    "ah_trans_deflev": "AH in transport mode",
    "ah_net_deflev": "AH in tunnel mode",
}


def _policy_knobs() -> tuple[Knob, ...]:
    table = []
    for family, prefix, ip in (
        (AF_INET, "net.inet.ipsec.", "IPv4"),
        (AF_INET6, "net.inet6.ipsec6.", "IPv6"),
    ):
        table.append(
            Knob(
                f"{prefix}def_policy",
                family,
                "def_policy",
                0,
                1,
                ("discard", "none"),
                f"What happens to {ip} packets that match no policy",
            )
        )
        table += (
            Knob(
                f"{prefix}{field}",
                family,
                field,
                1,
                2,
                ("use", "require"),
                f"What level default means for {what}, {ip}",
                linux=2,
            )
            for field, what in _LEVEL_OF.items()
        )
    return tuple(table)


_NEVER_SETS = "Linux copies the DF bit of the packet inside or clears it, it cannot set it"
_NEVER_COPIES_CE = (
    "Linux does what RFC 6040 says with the ECN bits or clears them, it cannot leave them unread"
)


def _ecn(name: str, family: int, field: str, ip: str) -> Knob:
    return Knob(
        name,
        family,
        field,
        -1,
        1,
        ("ignore", "forbidden", "allowed"),
        f"What tunnel SAs made from now on do with ECN in outer {ip} headers",
        kame=0,
        linux=1,
        impossible=((-1, _NEVER_COPIES_CE),),
    )


#: The greatest number of seconds that the kernel takes (an int).
_SECONDS_MAX = 0x7FFFFFFF

#: The lowest SPI that is not reserved (RFC 4303 section 2.1), and the greatest.
_SPI_FIRST, _SPI_LAST = 0x100, 0xFFFFFFFF

#: ICV of hmac-sha256: 96 bits as setkey on Linux always made, 128 as RFC 4868 says.
SHA256_ICV_BITS = (96, 128)

#: The ten of ipsec(4): what policies mean.
POLICY_KNOBS: tuple[Knob, ...] = _policy_knobs()

#: The others, of which only ``net.key.sha256_icv`` is not KAME's.
FURTHER_KNOBS: tuple[Knob, ...] = (
    Knob(
        "net.inet.ipsec.dfbit",
        AF_INET,
        "dfbit",
        0,
        2,
        ("clear", "set", "copy"),
        "What tunnel SAs made from now on do with DF in outer IPv4 headers",
        kame=0,
        linux=2,
        impossible=((1, _NEVER_SETS),),
    ),
    _ecn("net.inet.ipsec.ecn", AF_INET, "ecn", "IPv4"),
    _ecn("net.inet6.ipsec6.ecn", AF_INET6, "ecn6", "IPv6"),
    Knob(
        "net.key.larval_lifetime",
        0,
        "larval_lifetime",
        1,
        _SECONDS_MAX,
        (),
        "Seconds until an SA that never got its keys is deleted",
        kame=30,
    ),
    Knob(
        "net.key.spi_minval",
        0,
        "spi_minval",
        _SPI_FIRST,
        _SPI_LAST,
        (),
        "One end of the range that SPIs are chosen from",
        kame=0x100,
    ),
    Knob(
        "net.key.spi_maxval",
        0,
        "spi_maxval",
        _SPI_FIRST,
        _SPI_LAST,
        (),
        "The other end of the range that SPIs are chosen from",
        kame=0x0FFFFFFF,
    ),
    Knob(
        "net.key.sha256_icv",
        0,
        "sha256_icv",
        *SHA256_ICV_BITS,
        (),
        "Bits of the ICV that hmac-sha256 means in SAs made from now on",
        kame=96,
        linux=96,
        step=SHA256_ICV_BITS[1] - SHA256_ICV_BITS[0],
    ),
    Knob(
        "net.key.preferred_oldsa",
        0,
        "preferred_oldsa",
        0,
        1,
        ("newest", "oldest"),
        "Which of several SAs packets are sent with, where a policy names both ends",
        kame=1,
        linux=0,
    ),
)

KNOBS: tuple[Knob, ...] = POLICY_KNOBS + FURTHER_KNOBS

#: Other spellings: NetBSD's of what FreeBSD and KAME's final release call spi_minval, spi_maxval,
#: and NetBSD's and KAME's of what FreeBSD calls preferred_oldsa.
ALIASES = {
    "net.key.spi_min_value": "net.key.spi_minval",
    "net.key.spi_max_value": "net.key.spi_maxval",
    "net.key.prefered_oldsa": "net.key.preferred_oldsa",
}
_BY_NAME = {knob.name: knob for knob in KNOBS}


def knob(name: str) -> Knob:
    """Return a knob by its name or an alias, with dots or slashes.

    Raises KnobError: ENOENT for an unknown one, EOPNOTSUPP for one that Linux lacks.

    >>> knob("net/inet/ipsec/esp_trans_deflev").words
    '1 (use) or 2 (require)'
    """
    dotted = name.replace("/", ".")
    found = _BY_NAME.get(ALIASES.get(dotted, dotted))
    if found is None:
        why = UNSUPPORTED.get(dotted)
        if dotted in FIXED:
            why = f"it is always {FIXED[dotted]} on Linux"
        if why is not None:
            raise KnobError(f"{dotted}: unsupported ({why})", errno=errno.EOPNOTSUPP)
        raise KnobError(f"{name}: unknown variable", errno=errno.ENOENT)
    return found


_DEFLEV = {
    (IpsecProtocol.ESP, False): "esp_trans_deflev",
    (IpsecProtocol.ESP, True): "esp_net_deflev",
    (IpsecProtocol.AH, False): "ah_trans_deflev",
    (IpsecProtocol.AH, True): "ah_net_deflev",
}


def deflev_field(request: IpsecRequest) -> str:
    """Return the field of FamilyKnobs that gives a request its level; empty where none does."""
    if request.level is not Level.DEFAULT:
        return ""
    return _DEFLEV.get((request.protocol, request.mode in TUNNEL_MODES), "")


def effective_level(request: IpsecRequest, family: int, knobs: Knobs) -> Level:
    """Return USE or REQUIRE: what a request's level means for a policy of this family.

    KAME ipsec.c ipsec_get_reqlevel(), with the meaning that ipsec(4) documents: IPComp's default is
    USE, unique is REQUIRE (the SA lookup matches the reqid).

    >>> request = IpsecRequest(IpsecProtocol.ESP, Mode.TRANSPORT, Level.DEFAULT)
    >>> effective_level(request, AF_INET, Knobs())
    <Level.USE: 1>
    """
    # Differs from KAME: the AH knobs work; there a missing break made them dead.
    if request.level is Level.DEFAULT:
        field = deflev_field(request)
        return Level(getattr(knobs.of(family), field)) if field else Level.USE
    return Level.USE if request.level is Level.USE else Level.REQUIRE
