"""Random situations for decisions, made so that packets, entries and SAs often fit together."""

from hypothesis import strategies as st

from kamexfrm.model.association import SadEntry, SaState, SecurityAssociation
from kamexfrm.model.decide_sad import sad_entry
from kamexfrm.model.decide_spd import Spd
from kamexfrm.model.decider import decide
from kamexfrm.model.decision import Decision
from kamexfrm.model.knobs import FamilyKnobs, Knobs
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
from kamexfrm.net import IPPROTO_TCP, IPPROTO_UDP
from tests.model.decide_cases import ELSEWHERE, ENDS, FAMILIES, GATES

MODES = st.sampled_from([Mode.TRANSPORT, Mode.TUNNEL])
PROTOCOLS = st.sampled_from([IpsecProtocol.ESP, IpsecProtocol.ESP, *IpsecProtocol])
REQIDS = st.sampled_from([0, 7])
PORTS = st.sampled_from([None, None, None, 53])
STATES = st.sampled_from([SaState.MATURE, SaState.MATURE, *SaState])

#: Few addresses, so that things fit together often: a host and a gateway on each side.
SOURCES = {f: st.sampled_from([ENDS[f][0], ENDS[f][0], GATES[f][0]]) for f in FAMILIES}
DESTINATIONS = {f: st.sampled_from([ENDS[f][1], ENDS[f][1], GATES[f][1]]) for f in FAMILIES}
GATEWAYS = {
    f: st.sampled_from([GATES[f], GATES[f], GATES[f], (ELSEWHERE[f], GATES[f][1])])
    for f in FAMILIES
}


@st.composite
def request_of(draw: st.DrawFn, family: int, levels: tuple[Level, ...]) -> IpsecRequest:
    """Draw a request; tunnels have endpoints."""
    mode, level = draw(MODES), draw(st.sampled_from(levels))
    reqid = draw(REQIDS) if level is Level.UNIQUE else 0
    ends = draw(GATEWAYS[family]) if mode is Mode.TUNNEL else ()
    return IpsecRequest(draw(PROTOCOLS), mode, level, reqid, *ends)


@st.composite
def entry_of(
    draw: st.DrawFn, family: int, levels: tuple[Level, ...], types: tuple[PolicyType, ...]
) -> SecurityPolicy:
    """Draw an entry whose prefixes, protocol and ports often match."""
    source, destination = draw(SOURCES[family]), draw(DESTINATIONS[family])
    bits = st.sampled_from([0, 8, source.bits])
    selector = Selector(
        source,
        draw(bits),
        destination,
        draw(bits),
        draw(st.sampled_from([ULPROTO_ANY, ULPROTO_ANY, IPPROTO_TCP, IPPROTO_UDP])),
        draw(PORTS),
        draw(PORTS),
    )
    kind = draw(st.sampled_from(types))
    wanted = st.lists(request_of(family, levels), min_size=1, max_size=3).map(tuple)
    return SecurityPolicy(
        selector,
        draw(st.sampled_from([Direction.IN, Direction.OUT])),
        kind,
        draw(wanted) if kind is PolicyType.IPSEC else (),
        draw(st.sampled_from([PRIORITY_HIGH, PRIORITY_DEFAULT, PRIORITY_LOW])),
    )


@st.composite
def sa_of(draw: st.DrawFn, family: int) -> SadEntry:
    """Draw an SA of any state, from side to side."""
    association = SecurityAssociation(
        draw(SOURCES[family]),
        draw(DESTINATIONS[family]),
        draw(PROTOCOLS),
        draw(st.integers(256, 260)),
        draw(st.sampled_from([Mode.ANY, Mode.ANY, *Mode])),
        draw(REQIDS),
    )
    return sad_entry(association, draw(STATES), draw(st.integers(0, 3)))


@st.composite
def protection_of(draw: st.DrawFn, family: int) -> Protection:
    """Draw what was taken off: a tunnel between gateways, or transport from side to side."""
    mode = draw(MODES)
    sides = st.tuples(SOURCES[family], DESTINATIONS[family])
    source, destination = draw(GATEWAYS[family] if mode is Mode.TUNNEL else sides)
    spi = draw(st.sampled_from([None, None, None, 256]))
    return Protection(draw(PROTOCOLS), mode, source, destination, spi, 0, draw(st.booleans()))


@st.composite
def packet_of(draw: st.DrawFn, family: int, path: Path | None = None) -> Packet:
    """Draw a packet; one that arrives may have been protected."""
    chosen = path or draw(st.sampled_from(Path))
    protections = draw(st.lists(protection_of(family), max_size=2))
    return Packet(
        chosen,
        draw(SOURCES[family]),
        draw(DESTINATIONS[family]),
        draw(st.sampled_from([IPPROTO_TCP, IPPROTO_UDP])),
        draw(PORTS),
        draw(PORTS),
        () if chosen is Path.OUT else tuple(protections),
        draw(st.booleans()),
    )


FAMILY_KNOBS = st.builds(FamilyKnobs, st.sampled_from([0, 1, 1]), *[st.integers(1, 2)] * 4)
KNOBS = st.tuples(FAMILY_KNOBS, FAMILY_KNOBS).map(lambda pair: Knobs(*pair))


@st.composite
def sockets(draw: st.DrawFn, family: int) -> SocketPolicies | None:
    """Draw a socket, or none."""
    wanted = st.lists(request_of(family, tuple(Level)), max_size=2).map(tuple)

    def rule() -> SocketRule:
        action = draw(st.sampled_from(SocketAction))
        return SocketRule(action, draw(wanted) if action is SocketAction.IPSEC else ())

    return draw(
        st.none() | st.builds(SocketPolicies, st.just(rule()), st.just(rule()), st.booleans())
    )


class Case:
    """A whole situation, for ``decide``."""

    def __init__(
        self,
        packet: Packet,
        spd: list[SecurityPolicy],
        sad: list[SadEntry],
        knobs: Knobs,
        socket: SocketPolicies | None,
    ) -> None:
        self.packet, self.spd, self.sad, self.knobs = packet, spd, sad, knobs
        self.socket = socket

    def __repr__(self) -> str:
        return f"Case{(self.packet, self.spd, self.sad, self.knobs, self.socket)}"

    def decide(
        self, spd: list[SecurityPolicy] | None = None, knobs: Knobs | None = None
    ) -> Decision:
        """Decide, perhaps with another SPD or other knobs."""
        chosen = Spd.of(self.spd if spd is None else spd)
        return decide(self.packet, chosen, self.sad, knobs or self.knobs, self.socket)


@st.composite
def fitting(draw: st.DrawFn, packet: Packet, spd: list[SecurityPolicy]) -> list[SadEntry]:
    """Draw SAs that some requests look for, by the packet's addresses or the tunnel's."""
    sad = []
    for at, request in enumerate(request for entry in spd for request in entry.requests):
        if draw(st.booleans()):
            association = SecurityAssociation(
                request.source or packet.source,
                request.destination or packet.destination,
                request.protocol,
                300 + at,
                draw(st.sampled_from([Mode.ANY, request.mode])),
                request.reqid,
            )
            sad.append(sad_entry(association, draw(STATES), draw(st.integers(0, 3))))
    return sad


@st.composite
def cases(
    draw: st.DrawFn,
    *,
    path: Path | None = None,
    levels: tuple[Level, ...] = tuple(Level),
    types: tuple[PolicyType, ...] = (PolicyType.DISCARD, PolicyType.NONE, *[PolicyType.IPSEC] * 4),
    socket: bool = True,
) -> Case:
    """Draw a situation in one family."""
    family = draw(st.sampled_from(FAMILIES))
    packet = draw(packet_of(family, path))
    spd = draw(
        st.lists(entry_of(family, levels, types), min_size=draw(st.integers(0, 3)), max_size=4)
    )
    sad = draw(st.lists(sa_of(family), max_size=3)) + draw(fitting(packet, spd))
    return Case(packet, spd, sad, draw(KNOBS), draw(sockets(family)) if socket else None)
