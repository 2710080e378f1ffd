"""What matters to one packet of databases of any size: the first matches and what nearly matches.

Entries come in any order, each with a key that sorts as the order of matching does.
"""

from collections.abc import Iterable
from heapq import nsmallest
from typing import NamedTuple

from kamexfrm.model.association import SadEntry, SecurityAssociation
from kamexfrm.model.decide_spd import Spd, matches
from kamexfrm.model.decision import EntryPolicy
from kamexfrm.model.packet import Packet, Path, Protection, SocketPolicies
from kamexfrm.model.policy import (
    ICMP_UPPERS,
    ULPROTO_ANY,
    Direction,
    IpsecProtocol,
    IpsecRequest,
    Mode,
    Scope,
    SecurityPolicy,
    Selector,
)
from kamexfrm.model.scope_text import device_name, format_mark
from kamexfrm.model.wording import upper_text

#: That of an ordinary packet.
NO_SCOPE = Scope()

_SIDES = ("source", "destination")


class Candidate(NamedTuple):
    """An entry with its key and id; 0 for an id that is not known."""

    key: int
    policy: SecurityPolicy
    id: int


class Near(NamedTuple):
    """An entry that nearly matches: what differs first, and what it wants instead."""

    entry: EntryPolicy
    differs: str
    wants: str


class Candidates:
    """Collects entries of all directions for one packet."""

    def __init__(self, packet: Packet, scope: Scope = NO_SCOPE) -> None:
        self._packet = packet
        self._scope = scope
        self._seen = packet._replace(path=Path.IN)  # as Linux compares: with ports, always
        self._keys: dict[Direction, list[int]] = {each: [] for each in Direction}
        self._matching: dict[Direction, list[Candidate]] = {each: [] for each in Direction}
        self._tunnels: dict[tuple[object, ...], Candidate] = {}
        self._near: dict[Direction, list[tuple[Candidate, str, str]]] = {e: [] for e in Direction}

    def add(self, candidate: Candidate) -> None:
        """Take an entry into account."""
        _, policy, _ = candidate
        direction = policy.direction
        self._keys[direction].append(candidate.key)
        selector = policy.selector
        as_kame, as_linux = matches(selector, self._packet), matches(selector, self._seen)
        # KAME has nothing that narrows a selector so: it counts for both.
        narrowed = scope_difference(selector.scope, self._scope) if selector.scope else None
        if (as_kame or as_linux) and narrowed is None:
            self._match(candidate, as_kame, as_linux)
        if not as_kame or narrowed is not None:
            difference = narrowed if as_kame else _difference(selector, self._packet)
            if difference is not None:
                self._near[direction].append((candidate, *difference))
        if any(request.mode is Mode.TUNNEL for request in policy.requests):
            covers = selector.covers(self._packet.source, self._packet.destination)
            self._tunnels.setdefault((direction, policy.requests, covers), candidate)

    def _match(self, candidate: Candidate, as_kame: bool, as_linux: bool) -> None:
        """Keep the first match for each of both ways to compare ports."""
        kept = self._matching[candidate.policy.direction]
        better = [
            one
            for one in kept
            if one.key < candidate.key
            and (matches(one.policy.selector, self._packet) or not as_kame)
            and (matches(one.policy.selector, self._seen) or not as_linux)
        ]
        if not better:
            kept.append(candidate)

    def spd(self, tunnels: Iterable[Candidate] = ()) -> Spd:
        """Return KAME's two lists with positions, and entries that matter for their tunnels."""
        extra = list(tunnels)
        return Spd(
            self._placed(Direction.IN, extra),
            self._placed(Direction.OUT, extra),
        )

    def policies(self, tunnels: Iterable[Candidate] = ()) -> tuple[SecurityPolicy, ...]:
        """Return the same in the order of matching, for Linux's rules: of one priority."""
        spd = self.spd(tunnels)
        return tuple(e.policy._replace(priority=0) for e in (*spd.inbound, *spd.outbound))

    def forward(self, tunnels: Iterable[Candidate] = ()) -> tuple[SecurityPolicy, ...]:
        """Return the same of direction fwd."""
        entries = self._placed(Direction.FWD, list(tunnels))
        return tuple(entry.policy._replace(priority=0) for entry in entries)

    def _placed(self, direction: Direction, extra: list[Candidate]) -> tuple[EntryPolicy, ...]:
        wanted = {*self._matching[direction]}
        wanted |= {one for one in extra if one.policy.direction is direction}
        return tuple(self._place(direction, one) for one in sorted(wanted, key=_key))

    def _place(self, direction: Direction, candidate: Candidate) -> EntryPolicy:
        key, policy, id = candidate
        position = 1 + sum(1 for other in self._keys[direction] if other < key)
        return EntryPolicy(position, policy, id)

    def tunnels(
        self, protections: Iterable[Protection], sad: Iterable[SadEntry]
    ) -> list[Candidate]:
        """Return entries whose tunnels the protections or SAs of mode any may belong to."""
        ends = {(p.source, p.destination) for p in protections if p.mode is Mode.TUNNEL}
        ends |= {(sa.source, sa.destination) for sa, *_ in sad if sa.mode is Mode.ANY}
        return [
            candidate
            for candidate in self._tunnels.values()
            if any((r.source, r.destination) in ends for r in candidate.policy.requests)
        ]

    def near(self, direction: Direction, before: int, most: int) -> tuple[list[Near], int]:
        """Return entries before a position that nearly match, in order, and the number of all.

        Those of the packet's addresses go before others; of equals the first ones are returned.
        """
        keys = sorted(self._keys[direction])
        limit = keys[before - 1] if before <= len(keys) else None
        found = [one for one in self._near[direction] if limit is None or one[0].key < limit]
        nearest = nsmallest(most, found, lambda one: (one[1] in _SIDES, one[0].key))
        nearest.sort(key=lambda one: one[0].key)
        shown = [
            Near(self._place(direction, candidate), differs, wants)
            for candidate, differs, wants in nearest
        ]
        return shown, len(found)

    def count(self, direction: Direction) -> int:
        """Return how many entries a direction has."""
        return len(self._keys[direction])


def scope_difference(wanted: Scope, scope: Scope) -> tuple[str, str] | None:
    """Return what of a packet's device, mark and XFRM interface differs first, and what is wanted.

    A packet of no known device is of any.
    """
    if wanted.interface and scope.interface not in (0, wanted.interface):
        return "device", device_name(wanted.interface)
    mark = scope.mark.value if scope.mark else 0
    if wanted.mark and mark & wanted.mark.mask != wanted.mark.value:
        return "mark", format_mark(wanted.mark)
    if wanted.if_id != scope.if_id:
        return "if_id", str(wanted.if_id)
    return None


def _key(candidate: Candidate) -> int:
    return candidate.key


def _difference(selector: Selector, packet: Packet) -> tuple[str, str] | None:
    """Return what differs first and what is wanted, where little differs.

    That is one address, or among the same addresses the protocol, a port, a type or a code.
    """
    if selector.family != packet.family:
        return None
    source = packet.source.is_within(selector.source, selector.source_prefix)
    destination = packet.destination.is_within(selector.destination, selector.destination_prefix)
    above = _difference_above(selector, packet)
    if source and destination:
        return above
    if above is not None or not (source or destination):
        return None
    if source:
        return _SIDES[1], f"{selector.destination}/{selector.destination_prefix}"
    return _SIDES[0], f"{selector.source}/{selector.source_prefix}"


def _difference_above(selector: Selector, packet: Packet) -> tuple[str, str] | None:
    """Return what differs first above IP."""
    if selector.upper not in (ULPROTO_ANY, packet.upper):
        return "protocol", upper_text(selector.upper)
    typed = packet.upper in ICMP_UPPERS
    words = ("type", "code") if typed else ("source port", "destination port")
    if selector.source_port not in (None, packet.source_port):
        return words[0], str(selector.source_port)
    if selector.destination_port not in (None, packet.destination_port):
        return words[1], str(selector.destination_port)
    # KAME looks at no ports of packets in transit, so that an entry with ports matches none.
    if selector.source_port is not None or selector.destination_port is not None:
        port = selector.source_port
        return words[port is None], str(selector.destination_port if port is None else port)
    return None


def relevant_sas(
    sad: Iterable[SadEntry],
    packet: Packet,
    policies: Iterable[SecurityPolicy],
    socket: SocketPolicies | None,
    protections: Iterable[Protection],
    scope: Scope = NO_SCOPE,
) -> tuple[SadEntry, ...]:
    """Return the SAs that a packet may meet, in the order of creation."""
    wishes = _Wishes(packet, policies, socket, protections)
    found = [e for e in sad if wishes.has(e) and _in_scope(e.association, scope)]
    found.sort(key=lambda entry: entry.created)
    return tuple(found)


def _in_scope(sa: SecurityAssociation, scope: Scope) -> bool:
    linux = sa.linux
    if linux is None:
        return scope.if_id == 0
    return scope_difference(Scope(linux.interface, linux.mark, linux.if_id), scope) is None


class _Wishes:
    """What SAs are looked for: ends of tunnels and of transport requests, SPIs, selectors."""

    def __init__(
        self,
        packet: Packet,
        policies: Iterable[SecurityPolicy],
        socket: SocketPolicies | None,
        protections: Iterable[Protection],
    ) -> None:
        out = [policy for policy in policies if policy.direction is Direction.OUT]
        requests: list[IpsecRequest] = [r for policy in out for r in policy.requests]
        requests += socket.outbound.requests if socket else ()
        self._everywhere = bool(socket and socket.outbound.requests)
        self._ends = {(packet.source, packet.destination)}
        self._ends |= {(r.source, r.destination) for r in requests if r.source and r.destination}
        self._protocols = {request.protocol for request in requests}
        self._selectors = [policy.selector for policy in out if policy.requests]
        self._received = {(p.protocol, p.spi, p.destination) for p in protections}
        self._outer = {(p.source, p.destination) for p in protections}

    def has(self, entry: SadEntry) -> bool:
        sa = entry.association
        ends = (sa.source, sa.destination)
        if (sa.protocol, sa.spi, sa.destination) in self._received:
            return True
        if sa.protocol is IpsecProtocol.IPCOMP and ends in self._outer:
            return True
        if sa.protocol not in self._protocols:
            return False
        return (
            ends in self._ends
            or self._everywhere
            or any(selector.covers(*ends) for selector in self._selectors)
        )
