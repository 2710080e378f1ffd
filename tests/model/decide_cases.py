"""Packets, policies and SAs between two hosts and their gateways, for tests of decisions."""

from kamexfrm.model.association import SadEntry, SaState, SecurityAssociation
from kamexfrm.model.decide_sad import sad_entry
from kamexfrm.model.decide_spd import Spd
from kamexfrm.model.decider import decide
from kamexfrm.model.decision import ForwardDecision, InputDecision, OutputDecision
from kamexfrm.model.knobs import FamilyKnobs, Knobs
from kamexfrm.model.language import parse_policy
from kamexfrm.model.packet import Packet, Path, Protection, SocketPolicies
from kamexfrm.model.policy import (
    ULPROTO_ANY,
    Direction,
    IpsecProtocol,
    IpsecRequest,
    Mode,
    PolicyType,
    SecurityPolicy,
    Selector,
)
from kamexfrm.net import AF_INET, AF_INET6, IPPROTO_UDP, Address

ESP, AH, IPCOMP = IpsecProtocol.ESP, IpsecProtocol.AH, IpsecProtocol.IPCOMP
TRANSPORT, TUNNEL = Mode.TRANSPORT, Mode.TUNNEL
FAMILIES = (AF_INET, AF_INET6)

#: Source and destination of the packet, and the gateways of the tunnel between them.
ENDS = {
    AF_INET: (Address.parse("10.1.0.1"), Address.parse("10.2.0.1")),
    AF_INET6: (Address.parse("fd01::1"), Address.parse("fd02::1")),
}
GATES = {
    AF_INET: (Address.parse("192.0.2.1"), Address.parse("192.0.2.2")),
    AF_INET6: (Address.parse("2001:db8::1"), Address.parse("2001:db8::2")),
}
ELSEWHERE = {
    AF_INET: Address.parse("198.51.100.9"),
    AF_INET6: Address.parse("2001:db8:ffff::9"),
}


def requests(text: str, family: int = AF_INET) -> tuple[IpsecRequest, ...]:
    """Read requests; ``A-B`` are the gateways."""
    near, far = GATES[family]
    return parse_policy(f"out ipsec {text.replace('A-B', f'{near}-{far}')}").requests


def selector(family: int, upper: int = ULPROTO_ANY, port: int | None = None) -> Selector:
    """Select what goes from the one host to the other."""
    source, destination = ENDS[family]
    return Selector(source, source.bits, destination, destination.bits, upper, None, port)


def policy(
    family: int, direction: Direction, text: str | tuple[IpsecRequest, ...]
) -> SecurityPolicy:
    """Return an entry from host to host: an action, or requests."""
    if isinstance(text, str) and text in ("discard", "none", "ipsec"):
        return SecurityPolicy(selector(family), direction, PolicyType[text.upper()])
    wanted = requests(text, family) if isinstance(text, str) else text
    return SecurityPolicy(selector(family), direction, PolicyType.IPSEC, wanted)


def inward(family: int, text: str | tuple[IpsecRequest, ...]) -> SecurityPolicy:
    """Return an inbound entry."""
    return policy(family, Direction.IN, text)


def outward(family: int, text: str | tuple[IpsecRequest, ...]) -> SecurityPolicy:
    """Return an outbound entry."""
    return policy(family, Direction.OUT, text)


def sa(
    request: IpsecRequest,
    family: int = AF_INET,
    state: SaState = SaState.MATURE,
    *,
    mode: Mode | None = None,
    spi: int = 0x1000,
    reqid: int | None = None,
    created: int = 0,
) -> SadEntry:
    """Return the SA that a request between the hosts, or of the tunnel, looks for."""
    source, destination = ENDS[family]
    association = SecurityAssociation(
        request.source or source,
        request.destination or destination,
        request.protocol,
        spi,
        request.mode if mode is None else mode,
        request.reqid if reqid is None else reqid,
    )
    return sad_entry(association, state, created)


def packet(path: Path, family: int = AF_INET, *protections: Protection, port: int = 7000) -> Packet:
    """Return a UDP packet from host to host."""
    source, destination = ENDS[family]
    return Packet(path, source, destination, IPPROTO_UDP, 1024, port, protections)


def seal(
    protocol: IpsecProtocol, mode: Mode, family: int = AF_INET, *, authenticated: bool = True
) -> Protection:
    """Return a protection from host to host, or from gate to gate, under an SA taken as given."""
    source, destination = (GATES if mode is TUNNEL else ENDS)[family]
    return Protection(protocol, mode, source, destination, authenticated=authenticated)


def only(family: int, field: str, value: int) -> Knobs:
    """Return knobs where one says ``value`` and all its fellows the opposite."""
    other = 3 - value
    plain = FamilyKnobs(1, other, other, other, other)
    chosen = plain._replace(**{field: value})
    return Knobs(chosen, plain) if family == AF_INET else Knobs(plain, chosen)


def out(
    spd: list[SecurityPolicy],
    sad: tuple[SadEntry, ...] = (),
    knobs: Knobs = Knobs(),  # noqa: B008 - an immutable tuple
    *,
    family: int = AF_INET,
    socket: SocketPolicies | None = None,
    sent: Packet | None = None,
) -> OutputDecision:
    """Decide about the UDP packet, or another, that this host sends."""
    decision = decide(sent or packet(Path.OUT, family), Spd.of(spd), sad, knobs, socket)
    assert isinstance(decision, OutputDecision)
    return decision


def arrive(
    spd: list[SecurityPolicy],
    *protections: Protection,
    sad: tuple[SadEntry, ...] = (),
    knobs: Knobs = Knobs(),  # noqa: B008 - an immutable tuple
    family: int = AF_INET,
    socket: SocketPolicies | None = None,
) -> InputDecision:
    """Decide about the UDP packet that arrives for this host under some protections."""
    decision = decide(packet(Path.IN, family, *protections), Spd.of(spd), sad, knobs, socket)
    assert isinstance(decision, InputDecision)
    return decision


def forward(
    spd: list[SecurityPolicy],
    *protections: Protection,
    sad: tuple[SadEntry, ...] = (),
    family: int = AF_INET,
) -> ForwardDecision:
    """Decide about the UDP packet in transit."""
    decision = decide(packet(Path.FORWARDED, family, *protections), Spd.of(spd), sad)
    assert isinstance(decision, ForwardDecision)
    return decision
