"""A packet that leaves: KAME's rules with Linux's policies, SAs and errors."""

import errno
from collections.abc import Sequence

from kamexfrm.model.association import SadEntry, SaId, SecurityAssociation
from kamexfrm.model.decide_output import decide_output
from kamexfrm.model.decide_sad import outbound_sa
from kamexfrm.model.decide_spd import Spd, govern, matches
from kamexfrm.model.decision import (
    EntryPolicy,
    Governing,
    Layer,
    OwnPolicy,
    Rule,
    SaIndex,
    Verdict,
)
from kamexfrm.model.knobs import Knobs
from kamexfrm.model.linux.fate import Fate
from kamexfrm.model.linux.situation import Situation
from kamexfrm.model.packet import Path
from kamexfrm.model.policy import Direction, IpsecProtocol, Mode, SecurityPolicy
from kamexfrm.net import AF_INET6, IPPROTO_TCP, IPPROTO_UDP

#: Bytes: what links carry, and what each link of IPv6 carries at least (RFC 8200 section 5).
_ETHERNET_MTU, _LEAST_MTU = 1500, 1280

#: A policy of so many requests applies to no packet (XFRM_MAX_DEPTH); one of more is refused.
DEPTH = 6


def leaving(situation: Situation, kernel: frozenset[str]) -> Fate:
    """Return the fate of a packet that is sent or forwarded."""
    packet, spd = situation.packet, situation.spd
    if situation.loops and "ipv4-loopback" in kernel:
        return Fate(wire=())
    if packet.path is Path.FORWARDED:
        if "forwarded-ports" in kernel:
            spd = with_ports_matched(situation, spd, Direction.OUT)
        if "forwarded-transport" in kernel:
            nothing = packet.upper in (IPPROTO_TCP, IPPROTO_UDP)
            ports = (None, None) if nothing else (packet.source_port, packet.destination_port)
            packet = packet._replace(path=Path.OUT, source_port=ports[0], destination_port=ports[1])
    ordered, knobs, socket = Spd.of(spd), situation.knobs, situation.socket
    governing = govern(packet, Direction.OUT, ordered, knobs, socket)
    find = _Finder(packet.family, knobs, governing, kernel)
    decision = decide_output(packet, ordered, situation.sad, knobs, socket, find)
    if is_too_deep(decision.governing) and "six-requests" in kernel:
        return Fate(errno=errno.ENOBUFS, drop="?")
    drop = "out_polvio" if "out_polvio" in decision.counters else ""
    drop = "out_nosa" if "out_nosa" in decision.counters else drop
    number = decision.errno
    if decision.rule is Rule.DISCARD and "discard-eperm" in kernel:
        number = errno.EPERM
    if (
        decision.rule is Rule.SA_MISSING
        and isinstance(decision.governing, OwnPolicy)
        and "socket-eagain" in kernel
    ):
        number, drop = errno.EAGAIN, ""
    acquired = frozenset(int(index.protocol) for index in decision.acquires)
    wire = None if decision.verdict is Verdict.DROPPED else decision.bundle
    if wire and "small-mtu" in kernel and _is_cramped(situation, wire):
        return Fate(errno=errno.EINVAL, acquired=acquired)
    return Fate(wire, errno=number, acquired=acquired, drop=drop)


def _is_cramped(situation: Situation, bundle: Sequence[Layer]) -> bool:
    """Whether a bundle's headers leave too little of Ethernet's MTU for IPv6 without TCP."""
    packet = situation.packet
    if packet.path is not Path.OUT or packet.family != AF_INET6 or packet.upper == IPPROTO_TCP:
        return False
    if bundle[0].mode is not Mode.TUNNEL:  # the MTU asked for is then the device's
        return False
    by_name = {entry.association.id: entry.association for entry in situation.sad}
    mtu = _ETHERNET_MTU
    for layer in reversed(bundle):
        sa = by_name.get(SaId(layer.destination, layer.protocol, layer.spi))
        mtu = _mtu_within(layer, sa, mtu)
    return mtu < _LEAST_MTU


def _mtu_within(layer: Layer, sa: SecurityAssociation | None, mtu: int) -> int:
    """Return what a layer leaves of an MTU; source: Linux xfrm_state.c __xfrm_state_mtu()."""
    if layer.mode is Mode.TUNNEL:
        mtu -= 40 if layer.source.family == AF_INET6 else 20
    icv = _bytes(sa.authentication.icv_bits if sa and sa.authentication else 0)
    match layer.protocol:
        case IpsecProtocol.ESP:
            cipher = sa.encryption.algorithm if sa and sa.encryption else None
            iv = _bytes(cipher.iv_bits if cipher else 0)
            within = 0 if layer.mode is Mode.TUNNEL else 40
            return (mtu - 8 - iv - icv - within) // max(4, iv) * max(4, iv) + within - 2
        case IpsecProtocol.AH:
            return mtu - (12 + icv + 7) // 8 * 8
        case _:
            return mtu


def _bytes(bits: int) -> int:
    return bits // 8


class _Finder:
    """Finds the SAs of a policy's requests, which are asked for in order, the innermost first."""

    def __init__(
        self, family: int, knobs: Knobs, governing: Governing, kernel: frozenset[str]
    ) -> None:
        self._family = family
        self._kernel = kernel
        self._prefers_old = knobs.preferred_oldsa == 1
        #: Whether the policy names the ends of the next SA: then its template can name the oldest.
        self._ends_named = isinstance(governing, EntryPolicy) and (
            governing.policy.selector.is_of_two_hosts
        )
        self._is_entry = isinstance(governing, EntryPolicy)

    def __call__(self, sad: Sequence[SadEntry], sought: SaIndex) -> SadEntry | None:
        other = sought.mode is Mode.TRANSPORT and sought.source.family != self._family
        if other and "family-change" in self._kernel:
            return None
        if "one-reqid" in self._kernel:
            sad = [entry for entry in sad if entry.association.reqid == sought.reqid]
        if "newest-sa" not in self._kernel:
            return outbound_sa(sad, sought, self._prefers_old)
        usable = [entry for entry in sad if outbound_sa([entry], sought)]
        if not usable:
            return None
        self._ends_named |= self._is_entry and sought.mode is Mode.TUNNEL
        return usable[0 if self._prefers_old and self._ends_named else -1]


def with_ports_matched(
    situation: Situation, entries: Sequence[SecurityPolicy], direction: Direction
) -> tuple[SecurityPolicy, ...]:
    """Return the entries that match a forwarded packet's ports, without their own."""
    seen = situation.packet._replace(path=Path.IN)
    return tuple(
        entry._replace(selector=entry.selector._replace(source_port=None, destination_port=None))
        for entry in entries
        if entry.direction is direction and matches(entry.selector, seen)
    )


def is_too_deep(governing: object) -> bool:
    """Whether an entry has as many requests as the kernel accepts and cannot apply."""
    return isinstance(governing, EntryPolicy) and len(governing.policy.requests) >= DEPTH
