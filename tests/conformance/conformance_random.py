"""Random cases, made so that packets, policies, requests and SAs fit together often."""

from random import Random

from kamexfrm.engine.requests import MAX_ACTING
from kamexfrm.model.association import SecurityAssociation
from kamexfrm.model.decide_spd import matches
from kamexfrm.model.knobs import FamilyKnobs, Knobs, effective_level
from kamexfrm.model.packet import (
    Packet,
    Path,
    Protection,
    SocketAction,
    SocketPolicies,
    SocketRule,
)
from kamexfrm.model.policy import (
    PRIORITY_DEFAULT,
    PRIORITY_HIGH,
    PRIORITY_LOW,
    ULPROTO_ANY,
    Direction,
    IpsecProtocol,
    IpsecRequest,
    Level,
    Mode,
    PolicyType,
    SecurityPolicy,
    Selector,
)
from kamexfrm.net import (
    AF_INET,
    AF_INET6,
    IPPROTO_ICMP,
    IPPROTO_ICMPV6,
    IPPROTO_TCP,
    IPPROTO_UDP,
    Address,
)
from tests.conformance.conformance_case import Case, Past, keyed

ESP, AH, IPCOMP = IpsecProtocol.ESP, IpsecProtocol.AH, IpsecProtocol.IPCOMP
_Ends = tuple[Address, Address]


def _pool(texts: tuple[str, str]) -> dict[int, Address]:
    return {AF_INET: Address.parse(texts[0]), AF_INET6: Address.parse(texts[1])}


HERE, HERE2 = _pool(("10.0.0.1", "fd00::1")), _pool(("10.0.0.11", "fd00::11"))
PEER, PEER2 = _pool(("10.0.0.2", "fd00::2")), _pool(("10.0.0.12", "fd00::12"))
WITHIN, BEHIND = _pool(("10.1.0.1", "fd01::1")), _pool(("10.1.0.2", "fd01::2"))
FAR = _pool(("10.2.0.2", "fd02::2"))
_PREFIXES = {AF_INET: (32, 32, 24, 16, 0), AF_INET6: (128, 128, 64, 16, 0)}
_OTHER = {AF_INET: AF_INET6, AF_INET6: AF_INET}


class _Maker:
    """One case's dice and what has been made so far."""

    def __init__(self, seed: str, family: int, path: Path) -> None:
        self.dice = Random(seed)
        #: For what was added later: the cases stay the same but for that.
        self.further_dice = Random(f"{seed} further")
        self.family = family
        self.path = path
        self.inside = path is Path.FORWARDED and self.chance(0.5)
        self.spi = 0x1000
        self.compresses = True  # what is short goes out without IPComp (RFC 3173 section 2.2)
        self.sad: list[SecurityAssociation] = []

    def chance(self, probability: float) -> bool:
        return self.dice.random() < probability

    def ends(self) -> _Ends:
        f = self.family
        match self.path:
            case Path.OUT:
                return self.dice.choice([(HERE[f], PEER[f])] * 3 + [(WITHIN[f], FAR[f])] * 2)
            case Path.IN:
                return self.dice.choice([(PEER[f], HERE[f])] * 3 + [(FAR[f], WITHIN[f])] * 2)
            case _:
                return (BEHIND[f], FAR[f]) if self.inside else (FAR[f], BEHIND[f])

    def packet(self) -> Packet:
        uppers = [IPPROTO_UDP] * 13 + [0] * 4 + ([] if self.path is Path.IN else [IPPROTO_TCP] * 3)
        upper = self.dice.choice(uppers)
        ports = (self.dice.choice([7000, 7001]), self.dice.choice([7000, 7001]))
        if not upper:
            upper = IPPROTO_ICMP if self.family == AF_INET else IPPROTO_ICMPV6
            asks, answers = (8, 0) if self.family == AF_INET else (128, 129)
            ports = (answers if self.path is Path.IN else asks, 0)
        self.compresses = upper != IPPROTO_TCP
        return Packet(self.path, *self.ends(), upper, *ports)

    def tunnel_ends(self, direction: Direction) -> _Ends:
        """Return a tunnel's ends, outside addresses as a rule; sometimes of the other family."""
        f = _OTHER[self.family] if self.chance(0.08) else self.family
        near, far = self.dice.choice(
            [(HERE[f], PEER[f])] * 6 + [(HERE2[f], PEER[f]), (HERE[f], PEER2[f])]
        )
        return (near, far) if direction is Direction.OUT else (far, near)

    def request(self, direction: Direction) -> IpsecRequest:
        protocol = self.dice.choice([ESP, ESP, ESP, AH, AH, IPCOMP if self.compresses else ESP])
        level = self.dice.choice(
            [Level.DEFAULT] * 4 + [Level.USE] * 4 + [Level.REQUIRE] * 6 + [Level.UNIQUE] * 2
        )
        reqid = self.dice.choice([7, 7, 8]) if level is Level.UNIQUE else 0
        if self.chance(0.45):
            return IpsecRequest(protocol, Mode.TUNNEL, level, reqid, *self.tunnel_ends(direction))
        ends = self.tunnel_ends(direction) if self.chance(0.06) else ()
        if ends and ends[0].family != self.family:
            ends = ()
        return IpsecRequest(protocol, Mode.TRANSPORT, level, reqid, *ends)

    def requests(self, direction: Direction) -> tuple[IpsecRequest, ...]:
        count = self.dice.choice([1, 1, 1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 4, MAX_ACTING])
        requests = [self.request(direction) for _ in range(count)]
        for at, request in enumerate(requests):  # what is compressed cannot be compressed again
            if any(r.protocol is IPCOMP for r in requests[:at]) and request.protocol is IPCOMP:
                requests[at] = request._replace(protocol=AH)
        if all(r.source is None or r.source.family == self.family for r in requests):
            return tuple(requests)
        return tuple(  # behind a tunnel of the other family those endpoints would make no sense
            r._replace(source=None, destination=None) if r.mode is Mode.TRANSPORT else r
            for r in requests
        )

    def selector(self, packet: Packet) -> Selector:
        source, destination = packet.source, packet.destination
        if self.chance(0.12):
            source = self.dice.choice([HERE, FAR, PEER2])[self.family]
        bits = _PREFIXES[self.family]
        upper = self.dice.choice([ULPROTO_ANY] * 4 + [packet.upper] * 3 + [IPPROTO_UDP])
        ports: tuple[int | None, int | None] = (None, None)
        if upper in (IPPROTO_UDP, IPPROTO_TCP):
            ports = (
                self.dice.choice([None, None, None, 7000]),
                self.dice.choice([None, None, 7000, 7001]),
            )
        elif upper != ULPROTO_ANY and self.chance(0.5):
            ports = (packet.source_port, 0)
        return Selector(
            source, self.dice.choice(bits), destination, self.dice.choice(bits), upper, *ports
        )

    def entry(self, packet: Packet) -> SecurityPolicy:
        weights = {
            Path.OUT: [Direction.OUT] * 8 + [Direction.IN],
            Path.IN: [Direction.IN] * 8 + [Direction.OUT],
        }
        direction = self.dice.choice(weights.get(self.path, [Direction.OUT, Direction.IN]))
        kind = self.dice.choice(
            [PolicyType.IPSEC] * 7 + [PolicyType.NONE] * 2 + [PolicyType.DISCARD]
        )
        return SecurityPolicy(
            self.selector(packet),
            direction,
            kind,
            self.requests(direction) if kind is PolicyType.IPSEC else (),
            self.dice.choice([PRIORITY_DEFAULT] * 5 + [PRIORITY_HIGH + 3, PRIORITY_LOW]),
        )

    def spd(self, packet: Packet) -> tuple[SecurityPolicy, ...]:
        count = self.dice.choice([0, 1, 1, 2, 2, 3, 4, 6])
        kept: dict[tuple[Selector, Direction], SecurityPolicy] = {}
        for entry in [self.entry(packet) for _ in range(count)]:
            kept.setdefault((entry.selector, entry.direction), entry)
        return tuple(kept.values())

    # SAs

    def sa(self, ends: _Ends, protocol: IpsecProtocol, mode: Mode, reqid: int) -> int:
        """Add an SA and return its SPI."""
        self.spi += 1
        self.sad.append(keyed(*ends, protocol, self.spi, mode, reqid))
        return self.spi

    def serve(self, requests: tuple[IpsecRequest, ...], packet: Packet) -> None:
        """Add SAs for outbound requests: most fit, some do not quite."""
        ends = (packet.source, packet.destination)
        for request in requests:
            if request.mode is Mode.TUNNEL and request.source and request.destination:
                ends = (request.source, request.destination)
            for _ in range(self.dice.choice([0, 1, 1, 1, 2])):
                mode = self.dice.choice([request.mode] * 7 + [Mode.ANY] * 2 + [Mode.TRANSPORT])
                reqid = request.reqid if self.chance(0.75) else self.dice.choice([0, 7, 9])
                where = ends if self.chance(0.95) else (ends[0], PEER2[ends[0].family])
                self.sa(where, request.protocol, mode, reqid)

    def seals(self, packet: Packet, spd: tuple[SecurityPolicy, ...]) -> tuple[Protection, ...]:
        """Return how a packet arrives protected, outermost first, and add the SAs for it."""
        if self.inside or self.chance(0.25):
            return ()
        wanted = self._wanted(packet, spd)
        ends = (packet.source, packet.destination)
        seals: list[Protection] = []
        for protocol, mode, tunnel_ends in wanted:
            if mode is Mode.TUNNEL:
                ends = tunnel_ends
            elif packet.path is Path.FORWARDED and not seals:
                continue  # no host here can remove that
            fits = [mode] * 16 + [Mode.ANY] * 3 + [Mode.TUNNEL]
            owner = ends if self.chance(0.94) else (PEER2[ends[0].family], ends[1])
            reqid = self.dice.choice([0, 0, 0, 7])
            spi = self.sa(owner, protocol, self.dice.choice(fits), reqid)
            if self.chance(0.03):
                self.sad.pop()
            seals.append(Protection(protocol, mode, *ends, spi))
        return tuple(reversed(seals))

    def _wanted(
        self, packet: Packet, spd: tuple[SecurityPolicy, ...]
    ) -> list[tuple[IpsecProtocol, Mode, _Ends]]:
        """Return layers, innermost first: mostly what some inbound entry asks for."""
        seen = packet._replace(path=Path.IN)
        fitting = [
            entry
            for entry in spd
            if entry.direction is Direction.IN and entry.requests and matches(entry.selector, seen)
        ]
        if not fitting or self.chance(0.25):
            requests = self.requests(Direction.IN)
        else:
            requests = fitting[0].requests
        wanted = [
            (r.protocol, r.mode, (r.source, r.destination))
            if r.mode is Mode.TUNNEL and r.source and r.destination
            else (r.protocol, r.mode, self.tunnel_ends(Direction.IN))
            for r in requests
        ]
        match self.dice.choice([0] * 8 + [1, 2, 3, 4]):
            case 1:
                wanted.pop(self.dice.randrange(len(wanted)))
            case 2:
                wanted.reverse()
            case 3:
                wanted.append((ESP, Mode.TUNNEL, self.tunnel_ends(Direction.IN)))
            case 4:
                protocol, mode, ends = wanted[0]
                other = Mode.TRANSPORT if mode is Mode.TUNNEL else Mode.TUNNEL
                wanted[0] = (protocol, other, ends)
        return wanted

    # What was before

    def past(self, packet: Packet, spd: tuple[SecurityPolicy, ...]) -> Past:
        """Return entries and SAs that are gone when the packet comes, and knobs written over."""
        if not self.chance(0.5) or any(sa.mode is Mode.ANY for sa in self.sad):
            return Past()  # one of mode any would be made again, and be the newest then
        kept = {
            (entry.selector, entry.direction): entry
            for entry in [self.entry(packet) for _ in range(self.dice.choice([0, 1, 2, 3]))]
        }
        for entry in spd:
            if self.chance(0.3):
                other = self.entry(packet)._replace(direction=entry.direction)
                requests = self.requests(entry.direction) if other.requests else ()
                other = other._replace(selector=entry.selector, requests=requests)
                kept[entry.selector, entry.direction] = other
        there, self.sad = self.sad, []
        for entry in kept.values():
            if entry.direction is Direction.OUT:
                self.serve(entry.requests, packet)
        for entry in spd:
            if entry.direction is Direction.OUT and self.chance(0.3):
                self.serve(entry.requests, packet)
        gone, self.sad = self.sad, there
        knobs = self.knobs() if self.chance(0.5) else Knobs()
        return Past(tuple(kept.values()), tuple(gone), knobs, self.chance(0.4))

    # Knobs and sockets

    def knobs(self) -> Knobs:
        def family() -> FamilyKnobs:
            levels = [self.dice.choice([1, 2]) for _ in range(4)]
            return FamilyKnobs(0 if self.chance(0.15) else 1, *levels)

        both = Knobs(family(), family())
        return both._replace(preferred_oldsa=self.further_dice.choice((0, 1)))

    def socket(self, packet: Packet, knobs: Knobs) -> SocketPolicies | None:
        if self.path is Path.FORWARDED or not self.chance(0.15):
            return None

        def rule(direction: Direction) -> SocketRule:
            action = self.dice.choice([*SocketAction, SocketAction.IPSEC])
            if action is not SocketAction.IPSEC:
                return SocketRule(action)
            requests = tuple(
                r
                for r in self.requests(direction)
                if direction is Direction.IN
                or r.mode is not Mode.TUNNEL
                or effective_level(r, self.family, knobs) is Level.REQUIRE
            )
            if direction is Direction.OUT:
                self.serve(requests, packet)
            return SocketRule(action, requests) if requests else SocketRule()

        return SocketPolicies(rule(Direction.OUT), rule(Direction.IN), privileged=True)


def random_case(seed: str, family: int, path: Path) -> Case:
    """Return the case of a seed: always the same."""
    make = _Maker(seed, family, path)
    packet, knobs = make.packet(), make.knobs()
    spd = make.spd(packet)
    for entry in spd:
        if entry.direction is Direction.OUT:
            make.serve(entry.requests, packet)
    socket = make.socket(packet, knobs)
    if path is not Path.OUT:
        packet = packet._replace(protections=make.seals(packet, spd))
    make.dice.shuffle(make.sad)
    past = make.past(packet, spd)
    return Case(
        packet,
        spd,
        tuple(make.sad),
        knobs,
        socket,
        make.inside,
        make.chance(0.7),
        make.chance(0.5),
        seed,
        past,
    )
