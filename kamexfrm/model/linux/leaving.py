"""A packet that leaves: KAME's rules with Linux's policies, SAs and errors."""

import errno
from collections.abc import Sequence

from kamexfrm.model.association import SadEntry
from kamexfrm.model.decide_output import SaFinder, decide_output
from kamexfrm.model.decide_sad import outbound_sa
from kamexfrm.model.decide_spd import Spd, matches
from kamexfrm.model.decision import EntryPolicy, OwnPolicy, Rule, SaIndex, Verdict
from kamexfrm.model.linux.fate import Fate
from kamexfrm.model.linux.situation import Situation
from kamexfrm.model.packet import Path
from kamexfrm.model.policy import Direction, Mode, SecurityPolicy
from kamexfrm.net import IPPROTO_TCP, IPPROTO_UDP

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
    find = _finder(kernel, packet.family)
    decision = decide_output(
        packet, Spd.of(spd), situation.sad, situation.knobs, situation.socket, find
    )
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
    return Fate(wire, errno=number, acquired=acquired, drop=drop)


def _finder(kernel: frozenset[str], family: int) -> SaFinder:
    def find(sad: Sequence[SadEntry], sought: SaIndex) -> SadEntry | None:
        other = sought.mode is Mode.TRANSPORT and sought.source.family != family
        if other and "family-change" in kernel:
            return None
        if "one-reqid" in kernel:
            sad = [entry for entry in sad if entry.association.reqid == sought.reqid]
        if "newest-sa" not in kernel:
            return outbound_sa(sad, sought)
        found = (one for one in reversed(sad) if outbound_sa([one], sought))
        return next(found, None)

    return find


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
