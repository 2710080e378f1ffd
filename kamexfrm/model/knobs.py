"""The knobs of ipsec(4): per family a default policy and four default levels.

Names are the sysctl's: ``net.inet.ipsec.NAME`` and ``net.inet6.ipsec6.NAME``.
"""

import errno
from typing import NamedTuple

from kamexfrm.errors import KamexfrmError
from kamexfrm.model.policy import IpsecProtocol, IpsecRequest, Level, Mode
from kamexfrm.net import AF_INET, AF_INET6


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
    """All knobs of a network namespace."""

    inet: FamilyKnobs = FamilyKnobs()
    inet6: FamilyKnobs = FamilyKnobs()

    def of(self, family: int) -> FamilyKnobs:
        """Return the knobs of an address family."""
        return self.inet if family == AF_INET else self.inet6

    def value(self, knob: "Knob") -> int:
        """Return one knob's value."""
        value: int = getattr(self.of(knob.family), knob.field)
        return value

    def replace(self, knob: "Knob", value: int) -> "Knobs":
        """Return the knobs with one changed; raises KnobError (EINVAL) outside its range."""
        if not knob.low <= value <= knob.high:
            raise KnobError(f"{knob.name}: {value} is not one of {knob.words}", errno=errno.EINVAL)
        changed = self.of(knob.family)._replace(**{knob.field: value})
        return (
            self._replace(inet=changed) if knob.family == AF_INET else self._replace(inet6=changed)
        )


class Knob(NamedTuple):
    """One variable: its full dotted name, and the words for its values from ``low`` to ``high``."""

    name: str
    family: int
    field: str
    low: int
    value_names: tuple[str, ...]
    description: str

    @property
    def high(self) -> int:
        """The greatest value."""
        return self.low + len(self.value_names) - 1

    @property
    def words(self) -> str:
        """The values with their names, for messages: ``1 (use) or 2 (require)``."""
        return " or ".join(f"{self.low + i} ({word})" for i, word in enumerate(self.value_names))


_LEVEL_OF = {
    "esp_trans_deflev": "ESP in transport mode",
    "esp_net_deflev": "ESP in tunnel mode",
    "ah_trans_deflev": "AH in transport mode",
    "ah_net_deflev": "AH in tunnel mode",
}


def _knobs() -> tuple[Knob, ...]:
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
                ("use", "require"),
                f"What level default means for {what}, {ip}",
            )
            for field, what in _LEVEL_OF.items()
        )
    return tuple(table)


KNOBS: tuple[Knob, ...] = _knobs()
_BY_NAME = {knob.name: knob for knob in KNOBS}


def knob(name: str) -> Knob:
    """Return a knob by its name, with dots or slashes; raises KnobError (ENOENT)."""
    found = _BY_NAME.get(name.replace("/", "."))
    if found is None:
        raise KnobError(f"{name}: unknown variable", errno=errno.ENOENT)
    return found


_DEFLEV = {
    (IpsecProtocol.ESP, False): "esp_trans_deflev",
    (IpsecProtocol.ESP, True): "esp_net_deflev",
    (IpsecProtocol.AH, False): "ah_trans_deflev",
    (IpsecProtocol.AH, True): "ah_net_deflev",
}


def effective_level(request: IpsecRequest, family: int, knobs: Knobs) -> Level:
    """Return USE or REQUIRE: what a request's level means for a policy of this family.

    KAME ipsec.c ipsec_get_reqlevel(), with the meaning that ipsec(4) documents: IPComp's default is
    USE, unique is REQUIRE (the match of the reqid is the SA lookup's affair).
    """
    # Differs from KAME: the AH knobs work; there a missing break made them dead.
    if request.level is Level.DEFAULT:
        field = _DEFLEV.get((request.protocol, request.mode is Mode.TUNNEL))
        return Level(getattr(knobs.of(family), field)) if field else Level.USE
    return Level.USE if request.level is Level.USE else Level.REQUIRE
