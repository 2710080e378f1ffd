"""Explains a packet: KAME's decision, what was passed over, and what Linux does."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import count
from typing import NamedTuple

from kamexfrm.engine.engine import Engine
from kamexfrm.errors import KamexfrmError
from kamexfrm.model.association import SadEntry, SecurityAssociation
from kamexfrm.model.decide_sad import sad_entry
from kamexfrm.model.decider import decide
from kamexfrm.model.decision import Decision, EntryPolicy, ForwardDecision, Governing
from kamexfrm.model.knobs import Knobs
from kamexfrm.model.linux.deciding import Judgement, judge
from kamexfrm.model.linux.differences import LINUX
from kamexfrm.model.linux.situation import Situation
from kamexfrm.model.packet import Packet, Path, SocketAction, SocketPolicies, SocketRule
from kamexfrm.model.policy import Direction, PolicyType, Scope
from kamexfrm.net import AF_INET
from kamexfrm.operator.explain.arrival import Header, protections
from kamexfrm.operator.explain.candidates import (
    NO_SCOPE,
    Candidate,
    Candidates,
    Near,
    relevant_sas,
)
from kamexfrm.operator.file_state import FileState

#: Entries that nearly match and are shown.
MOST_NEAR = 20

#: SPIs from here on are given to SAs that are assumed to exist.
_FIRST_SPI = 0x100


class Databases(NamedTuple):
    """What a packet meets: entries and SAs can be read once."""

    entries: Callable[[], Iterable[Candidate]]
    sad: Callable[[], Iterable[SadEntry]]
    knobs: Knobs
    is_live: bool = False


class Half(NamedTuple):
    """What governs a packet in one direction, and the entries before it that nearly match.

    ``near_count`` is the number of all that do.
    """

    direction: Direction
    governing: Governing | None
    near: tuple[Near, ...]
    near_count: int


class Explanation(NamedTuple):
    """A packet with its protections, the decision, its halves (arrival first), and Linux's fate."""

    packet: Packet
    decision: Decision
    halves: tuple[Half, ...]
    linux: Judgement


def of_files(state: FileState, knobs: Knobs) -> Databases:
    """Return what files make."""
    return Databases(lambda: _file_entries(state), lambda: state.sad, knobs)


def of_kernel(engine: Engine, knobs: Knobs | None = None) -> Databases:
    """Return what is in a namespace; reading raises KernelError."""
    return Databases(
        lambda: _kernel_entries(engine),
        engine.iter_sad,
        engine.knobs() if knobs is None else knobs,
        is_live=True,
    )


def _file_entries(state: FileState) -> Iterator[Candidate]:
    """Yield the entries of files, and a twin of direction fwd for each inbound one without."""
    policies = state.policies
    written = {(p.selector, p.label) for p in policies if p.direction is Direction.FWD}
    for at, policy in enumerate(policies):
        key = policy.priority << 32 | at
        yield Candidate(key, policy, 0)
        if policy.direction is Direction.IN and (policy.selector, policy.label) not in written:
            yield Candidate(key, policy._replace(direction=Direction.FWD), 0)


def _kernel_entries(engine: Engine) -> Iterator[Candidate]:
    """Yield the entries that an ordinary packet may meet; an XFRM interface's are for its own."""
    for entry in engine.iter_spd():
        if not (entry.socket or entry.interface) and entry.policy.type in _TYPES:
            yield Candidate(entry.kernel_priority << 32 | entry.order, entry.policy, entry.id)


_TYPES = (PolicyType.DISCARD, PolicyType.NONE, PolicyType.IPSEC)


def explain(
    packet: Packet,
    headers: Sequence[Header],
    databases: Databases,
    socket: SocketPolicies | None = None,
    *,
    loops: bool = False,
    scope: Scope = NO_SCOPE,
    kernel: frozenset[str] = LINUX,
) -> Explanation:
    """Explain a packet; raises KamexfrmError.

    ``scope`` is its device, mark and XFRM interface, ``kernel`` the differences of a kernel.
    """
    candidates = Candidates(packet, scope)
    for candidate in databases.entries():
        candidates.add(candidate)
    sad: Iterable[SadEntry] = databases.sad()
    if headers:
        sad = list(sad)
        first = next(iter(candidates.spd().inbound), None)
        arrived = protections(headers, packet, sad, first.policy if first else None)
        packet = packet._replace(protections=arrived)
    policies = candidates.policies()
    relevant = relevant_sas(sad, packet, policies, socket, packet.protections, scope)
    tunnels = candidates.tunnels(packet.protections, relevant)
    spd, knobs = candidates.spd(tunnels), databases.knobs
    decision = decide(packet, spd, relevant, knobs, socket)
    known, assumed = _assumed(packet, relevant)
    linux = judge(
        Situation(
            known,
            candidates.policies(tunnels),
            (*relevant, *assumed),
            knobs,
            socket,
            candidates.forward(tunnels) if packet.path is Path.FORWARDED else None,
            loops and packet.family == AF_INET,
        ),
        kernel,
    )
    return Explanation(packet, decision, tuple(_halves(decision, packet, candidates)), linux)


def _assumed(packet: Packet, sad: Sequence[SadEntry]) -> tuple[Packet, list[SadEntry]]:
    """Give each protection without an SPI one, and return the SAs that fit them."""
    taken = {entry.association.spi for entry in sad}
    free = (spi for spi in count(_FIRST_SPI) if spi not in taken)
    arrived, assumed = [], []
    for protection in packet.protections:
        if protection.spi is None:
            protection = protection._replace(spi=next(free))  # noqa: PLW2901
            protocol, mode, source, destination, spi = protection[:5]
            assumed.append(
                sad_entry(SecurityAssociation(source, destination, protocol, spi or 0, mode))
            )
        arrived.append(protection)
    return packet._replace(protections=tuple(arrived)), assumed


def _halves(decision: Decision, packet: Packet, candidates: Candidates) -> Iterator[Half]:
    if isinstance(decision, ForwardDecision):
        yield _half(Direction.IN, decision.arrival.governing, candidates)
        if decision.departure is not None:
            yield _half(Direction.OUT, decision.departure.governing, candidates)
        return
    direction = Direction.OUT if packet.path is Path.OUT else Direction.IN
    yield _half(direction, decision.governing, candidates)


def _half(direction: Direction, governing: Governing | None, candidates: Candidates) -> Half:
    last = candidates.count(direction) + 1
    before = governing.position if isinstance(governing, EntryPolicy) else last
    near, count = candidates.near(direction, before, MOST_NEAR)
    return Half(direction, governing, tuple(near), count)


def socket_policies(texts: Iterable[str], *, privileged: bool = True) -> SocketPolicies | None:
    """Return the policies of a socket, None without a text; raises KamexfrmError.

    A text is in the language of ipsec_set_policy(3); a socket begins with entrust.
    """
    from kamexfrm.model.language import parse_policy
    from kamexfrm.model.policy_text import PolicyError

    rules = {Direction.OUT: SocketRule(), Direction.IN: SocketRule()}
    given = False
    for text in texts:
        given = True
        try:
            policy = parse_policy(text)
            action = SocketAction(policy.type) if policy.type is not None else None
        except (PolicyError, ValueError) as error:
            reason = f"{error.text}: " if isinstance(error, PolicyError) else ""
            raise KamexfrmError(f"--socket '{text}': {reason}{_socket_cure(text)}") from None
        if action is None or policy.direction not in rules:
            raise KamexfrmError(f"--socket '{text}': {_socket_cure(text)}")
        rules[policy.direction] = SocketRule(action, policy.requests)
    if not given:
        return None
    return SocketPolicies(rules[Direction.OUT], rules[Direction.IN], privileged)


def _socket_cure(text: str) -> str:
    way = "in" if text.strip().startswith("in") else "out"
    return (
        "a socket's policy is in or out, with entrust, bypass or ipsec, such as"
        f" '{way} ipsec esp/transport//require'"
    )
