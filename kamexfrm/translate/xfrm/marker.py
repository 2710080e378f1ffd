"""The marker: one inert policy per network namespace that holds the knobs and our counters.

It is a ``fwd`` policy with an interface id of ours, so no packet meets it. Its four words:

========  ====================================================================
word 0    magic (24), version (8), written priority of the last entry (32)
word 1    last insertion order (48), flags (16)
word 2    last generated reqid (32), zero (14), knobs: inet6 (9), inet (9)
word 3    kernel priority of the last entry (32), checksum of the SAs (32)
========  ====================================================================

A family's nine knob bits: def_policy (1), then the deflevs esp_trans, esp_net, ah_trans and ah_net
(2 each). Of the further knobs larval_lifetime is the kernel's own; where one of the others is not
at its start value, the marker has one template, which nothing acts on either:

===========  =================================================================
source       octets 0 to 4: dfbit, ecn of IPv4, ecn of IPv6, sha256_icv,
             preferred_oldsa; zero
destination  zero
spi, reqid   spi_minval, spi_maxval
===========  =================================================================
"""

import errno
from enum import IntFlag

from kamexfrm.errors import UnsupportedError
from kamexfrm.model.knobs import FURTHER_KNOBS, FamilyKnobs, KnobError, Knobs
from kamexfrm.net import AF_INET, AF_INET6, IPPROTO_ESP, Address
from kamexfrm.records import NamedTuple
from kamexfrm.translate.xfrm.tag import MAGIC, MARKER_IF_ID, VERSION, Words
from kamexfrm.xfrm import (
    XFRM_MODE_TUNNEL,
    XFRM_POLICY_BLOCK,
    XFRM_POLICY_FWD,
    LifetimeConfig,
    Policy,
    PolicyId,
    Selector,
    Template,
)


class MarkerFlag(IntFlag):
    """Flags in word 1: where one is clear, a command need not search for what it names."""

    HAS_TUNNEL_USE = 0x0001  # some outbound entry asks for a tunnel at level use
    HAS_MODE_ANY = 0x0002  # some SA was declared with mode any
    UNFINISHED = 0x0004  # entries or SAs are not reconciled yet with a knob or another change
    HAS_REQID_SA = 0x0008  # some SA has a reqid
    HAS_ANY_REQID = 0x0010  # some outbound request takes an SA of any reqid
    OWN_DEFAULT = 0x0020  # the namespace's own default was set to block by def_policy
    HAS_INTERFACE = 0x0040  # SAs of some reqid belong to an XFRM interface
    HAS_OLDEST_SA = 0x0080  # some outbound request is to use the oldest of its SAs


NO_FLAGS = MarkerFlag(0)
_KNOWN_FLAGS = 0x00FF
_SA_REQIDS = MarkerFlag.HAS_REQID_SA | MarkerFlag.HAS_ANY_REQID
_ANY_SAS = MarkerFlag.HAS_MODE_ANY | MarkerFlag.HAS_TUNNEL_USE | MarkerFlag.HAS_OLDEST_SA

_NEWER = (
    "this namespace's variables were written by a later version of kamexfrm,"
    " which alone can read and change them"
)
_UNREADABLE = (
    "this namespace's variables cannot be read: what holds them was not written by kamexfrm;"
    f" `ip xfrm policy delete src 0.0.0.0/0 dst 0.0.0.0/0 dir fwd if_id {MARKER_IF_ID:#x}`"
    " removes it"
)

#: The lowest reqid that is generated for `unique` without a number (KAME IPSEC_MANUAL_REQID_MAX+1).
FIRST_GENERATED_REQID = 0x4000


def depends_on_sas(flags: MarkerFlag) -> bool:
    """Whether something is to be reconciled when SAs change: modes, tunnels, reqids or SPIs."""
    return bool(flags & _ANY_SAS) or _SA_REQIDS in flags


class Marker(NamedTuple):
    """The state of a namespace. ``last_*`` describe the entry that is matched last.

    ``last_priority`` is as written, ``last_kernel_priority`` as installed; 0 and 0 where there was
    no entry yet. ``sa_digest`` is the checksum of the SAs that the entries were last adapted to.
    """

    knobs: Knobs = Knobs()
    order: int = 0
    last_priority: int = 0
    last_kernel_priority: int = 0
    reqid: int = FIRST_GENERATED_REQID - 1
    flags: MarkerFlag = NO_FLAGS
    sa_digest: int = 0


def changed_marker(base: Marker, mine: Marker, there: Marker) -> Marker:
    """Return a marker with what changed from ``base`` to ``mine``, carried over to ``there``.

    Counters that went up stay the highest. Flags are set and cleared one by one.
    """
    if there == base:
        return mine
    appended = mine.last_kernel_priority > there.last_kernel_priority
    last = mine if appended or mine.order < base.order else there
    return Marker(
        there.knobs if mine.knobs == base.knobs else mine.knobs,
        mine.order if mine.order < base.order else max(mine.order, there.order),
        last.last_priority,
        last.last_kernel_priority,
        mine.reqid if mine.reqid < base.reqid else max(mine.reqid, there.reqid),
        (there.flags | (mine.flags & ~base.flags)) & ~(base.flags & ~mine.flags),
        there.sa_digest if mine.sa_digest == base.sa_digest else mine.sa_digest,
    )


def _pack_family(knobs: FamilyKnobs) -> int:
    bits = knobs.def_policy
    for level in knobs[1:]:
        bits = bits << 2 | level
    return bits


def _unpack_family(bits: int) -> FamilyKnobs | None:
    levels = [bits >> shift & 3 for shift in (6, 4, 2, 0)]
    if not all(level in (1, 2) for level in levels):
        return None
    return FamilyKnobs(bits >> 8 & 1, *levels)


def marker_words(marker: Marker) -> Words:
    """Return the marker's four words."""
    knobs = _pack_family(marker.knobs.inet6) << 9 | _pack_family(marker.knobs.inet)
    return (
        (MAGIC << 8 | VERSION) << 32 | marker.last_priority,
        marker.order << 16 | int(marker.flags),
        marker.reqid << 32 | knobs,
        marker.last_kernel_priority << 32 | marker.sa_digest,
    )


def read_marker_words(words: Words) -> Marker | None:
    """Read four words; None where they are not a marker of this version."""
    first, second, third, fourth = words
    inet, inet6 = _unpack_family(third & 0x1FF), _unpack_family(third >> 9 & 0x1FF)
    if (
        first >> 32 != MAGIC << 8 | VERSION
        or second & 0xFFFF & ~_KNOWN_FLAGS
        or third & 0xFFFC0000
        or inet is None
        or inet6 is None
    ):
        return None
    return Marker(
        Knobs(inet, inet6),
        second >> 16,
        first & 0xFFFFFFFF,
        fourth >> 32,
        third >> 32,
        MarkerFlag(second & 0xFFFF),
        fourth & 0xFFFFFFFF,
    )


def _further_template(knobs: Knobs) -> Template:
    # A tunnel template alone may be of another family than its policy's selector.
    octets = (knobs.dfbit, knobs.ecn, knobs.ecn6, knobs.sha256_icv, knobs.preferred_oldsa)
    return Template(
        Address.unspecified(AF_INET6),
        Address(AF_INET6, bytes(octets).ljust(16, b"\0")),
        IPPROTO_ESP,
        XFRM_MODE_TUNNEL,
        reqid=knobs.spi_maxval,
        spi=knobs.spi_minval,
        family=AF_INET6,
    )


_NO_TEMPLATE = _further_template(Knobs())


def _read_further(knobs: Knobs, templates: tuple[Template, ...]) -> Knobs | None:
    """Return knobs with the further ones of the templates; None where those are invalid."""
    if not templates:
        return knobs
    template = templates[0]
    dfbit, ecn, ecn6, sha256_icv, oldsa = template.source.packed.ljust(5, b"\0")[:5]
    found = knobs._replace(
        dfbit=dfbit,
        ecn=ecn,
        ecn6=ecn6,
        sha256_icv=sha256_icv,
        preferred_oldsa=oldsa,
        spi_minval=template.spi,
        spi_maxval=template.reqid,
    )
    try:
        for each in FURTHER_KNOBS:
            each.check(found.value(each))
    except KnobError:
        return None
    return found if templates == (_further_template(found),) else None


_ANYWHERE = Address.unspecified(AF_INET)

#: Any selector would do: a marker is recognized by its interface id.
_SELECTOR = Selector(_ANYWHERE, _ANYWHERE, family=AF_INET)

#: What GETPOLICY and DELPOLICY need to find it.
MARKER_ID = PolicyId(_SELECTOR, index=0, direction=XFRM_POLICY_FWD, if_id=MARKER_IF_ID)


def marker_policy(marker: Marker) -> Policy:
    """Return the policy that holds a marker."""
    further = _further_template(marker.knobs)
    return Policy(
        _SELECTOR,
        XFRM_POLICY_FWD,
        action=XFRM_POLICY_BLOCK,
        priority=0xFFFFFFFF,
        lifetime=LifetimeConfig(*marker_words(marker)),
        templates=() if further == _NO_TEMPLATE else (further,),
        if_id=MARKER_IF_ID,
    )


def read_marker(policy: Policy) -> Marker:
    """Return the contents of a marker policy.

    Raises UnsupportedError (EPROTO) where it cannot be understood: such a marker is left alone.
    """
    words = policy.lifetime[:4]
    marker = read_marker_words(words)
    knobs = marker and _read_further(marker.knobs, policy.templates)
    if marker is not None and knobs is not None:
        return marker._replace(knobs=knobs)
    newer = words[0] >> 40 == MAGIC and words[0] >> 32 & 0xFF > VERSION
    raise UnsupportedError(_NEWER if newer else _UNREADABLE, errno=errno.EPROTO)
