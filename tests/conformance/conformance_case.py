"""A case: databases, knobs, a socket and a packet; as data, and as text to be replayed."""

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass

from kamexfrm.algorithms import Kind, by_name
from kamexfrm.model.association import Key, SecurityAssociation
from kamexfrm.model.decide_sad import sad_entry
from kamexfrm.model.decide_spd import Spd
from kamexfrm.model.decider import decide
from kamexfrm.model.decision import Decision
from kamexfrm.model.explain import explain_text
from kamexfrm.model.knobs import KNOBS, Knobs
from kamexfrm.model.linux.situation import Situation, forward_entries
from kamexfrm.model.packet import Packet, SocketAction, SocketPolicies
from kamexfrm.model.policy import (
    ULPROTO_ANY,
    Direction,
    IpsecProtocol,
    Mode,
    SecurityPolicy,
)
from kamexfrm.model.policy_text import PolicyText, format_policy, format_request
from kamexfrm.net import IPPROTO_ICMPV6, Address, protocol_name
from tests.conformance.conformance_wire import KEY

_SHA1 = by_name(Kind.AUTHENTICATION, "hmac-sha1")
_NULL = by_name(Kind.ENCRYPTION, "null")
_DEFLATE = by_name(Kind.COMPRESSION, "deflate")


@dataclass(frozen=True)
class Past:
    """What the host has been through before; nothing of it may be seen afterwards.

    Of ``spd`` some are replaced by entries of the case, the others deleted; ``sad`` is deleted,
    ``knobs`` are written over. ``others`` is whether another process writes the case's SAs, to be
    noticed by the next command.
    """

    spd: tuple[SecurityPolicy, ...] = ()
    sad: tuple[SecurityAssociation, ...] = ()
    knobs: Knobs = Knobs()  # noqa: RUF009 - an immutable tuple
    others: bool = False


@dataclass(frozen=True)
class Case:
    """A situation in the host under test.

    ``inside`` is whether the packet arrives from the network behind the host (to be forwarded),
    ``listens`` whether a program waits for ACQUIRE, ``sad_first`` whether SAs are written before
    policies. The SAD is in the order of writing, the SPD too.
    """

    packet: Packet
    spd: tuple[SecurityPolicy, ...] = ()
    sad: tuple[SecurityAssociation, ...] = ()
    knobs: Knobs = Knobs()  # noqa: RUF009 - an immutable tuple
    socket: SocketPolicies | None = None
    inside: bool = False
    listens: bool = True
    sad_first: bool = False
    name: str = ""
    past: Past = Past()

    def replace(self, **changes: object) -> "Case":
        """Return the case with some fields changed."""
        return dataclasses.replace(self, **changes)  # type: ignore[arg-type]  # any of them

    def situation(self) -> Situation:
        """Return what the package decides about."""
        sad = tuple(sad_entry(sa, created=at) for at, sa in enumerate(self.sad))
        entries = tuple(e for e in self.spd if e.direction is not Direction.FWD)
        forward = forward_entries(self.spd)
        return Situation(self.packet, entries, sad, self.knobs, self.socket, forward)

    def decide(self) -> Decision:
        """Return what KAME does."""
        sad = [sad_entry(sa, created=at) for at, sa in enumerate(self.sad)]
        return decide(self.packet, Spd.of(self.spd), sad, self.knobs, self.socket)


def keyed(
    source: Address,
    destination: Address,
    protocol: IpsecProtocol,
    spi: int,
    mode: Mode,
    reqid: int = 0,
) -> SecurityAssociation:
    """Return an SA with the keys that these tests use."""
    esp, ah = protocol is IpsecProtocol.ESP, protocol is IpsecProtocol.AH
    return SecurityAssociation(
        source,
        destination,
        protocol,
        spi,
        mode,
        reqid,
        encryption=Key(_NULL, b"") if esp else None,
        authentication=Key(_SHA1, KEY, 96) if esp or ah else None,
        compression=None if esp or ah else Key(_DEFLATE, b""),
    )


def policy_line(policy: SecurityPolicy) -> str:
    """Return the spdadd statement of an entry."""
    s = policy.selector

    def end(address: Address, prefix: int, port: int | None) -> str:
        return f"{address}/{prefix}" + ("" if port is None else f"[{port}]")

    icmp = s.upper in (1, IPPROTO_ICMPV6)
    sport, dport = (None, None) if icmp else (s.source_port, s.destination_port)
    upper = "any" if s.upper == ULPROTO_ANY else protocol_name(s.upper)
    if s.upper == IPPROTO_ICMPV6:
        upper = "icmp6"
    if icmp and s.source_port is not None:
        upper += f" {s.source_port},{s.destination_port or 0}"
    text = format_policy(
        PolicyText(policy.direction, policy.priority, policy.type, policy.requests)
    )
    ends = (
        end(s.source, s.source_prefix, sport),
        end(s.destination, s.destination_prefix, dport),
    )
    return f"spdadd {' '.join(ends)} {upper} -P {text};"


def sa_line(sa: SecurityAssociation) -> str:
    """Return the add statement of an SA."""
    options = f"-m {sa.mode.name.lower()}" + (f" -u {sa.reqid}" if sa.reqid else "")
    keys = {
        IpsecProtocol.ESP: f"-E null -A hmac-sha1 0x{KEY.hex()}",
        IpsecProtocol.AH: f"-A hmac-sha1 0x{KEY.hex()}",
    }.get(sa.protocol, "-C deflate")
    protocol = sa.protocol.name.lower()
    return f"add {sa.source} {sa.destination} {protocol} {sa.spi:#x} {options} {keys};"


def socket_texts(socket: SocketPolicies | None) -> Iterator[str]:
    """Yield what ``kamexfrm.set_policy`` is given."""
    if socket is None:
        return
    for direction in (Direction.IN, Direction.OUT):
        rule = socket.rule(direction)
        word = direction.name.lower()
        if rule.action is SocketAction.BYPASS:
            yield f"{word} bypass"
        elif rule.action is SocketAction.IPSEC:
            yield f"{word} ipsec {' '.join(format_request(r) for r in rule.requests)}"


def packet_text(packet: Packet) -> str:
    """Return a packet in one line."""
    ports = f"{packet.source_port},{packet.destination_port}"
    text = f"{packet.path.name.lower()}: {packet.source} > {packet.destination}"
    text += f" {protocol_name(packet.upper)} {ports}"
    for seal in packet.protections:
        mode = seal.mode.name.lower()
        text += f", in {seal.protocol.name.lower()}/{mode}/{seal.source}-{seal.destination}"
        text += f" spi {seal.spi or 0:#x}"
    return text


def knob_lines(knobs: Knobs) -> Iterator[str]:
    """Yield the commands for knobs that are not where they start."""
    start = Knobs()
    for knob in KNOBS:
        if knobs.value(knob) != start.value(knob):
            yield f"kame-sysctl {knob.name}={knobs.value(knob)}"


def case_text(case: Case) -> str:
    """Return a case as a setkey script, knobs, a packet and KAME's reasons."""
    sas, policies = map(sa_line, case.sad), map(policy_line, case.spd)
    past = case.past
    lines = [f"# before: {line}" for line in knob_lines(past.knobs)]
    lines += (f"# before: {line}" for line in map(policy_line, past.spd))
    lines += (f"# before: {line}" for line in map(sa_line, past.sad))
    lines += ["# SAs by another process"] if past.others else []
    lines += [*sas, *policies] if case.sad_first else [*policies, *sas]
    lines += (f"# {line}" for line in knob_lines(case.knobs))
    lines += (f"# set_policy: {text}" for text in socket_texts(case.socket))
    lines.append(f"# packet {packet_text(case.packet)}")
    if case.packet.path.name == "FORWARDED":
        lines.append(f"# it comes from the network {'inside' if case.inside else 'outside'}")
    lines.append(f"# a program listens for ACQUIRE: {case.listens}")
    lines += (f"# KAME: {line}" for line in explain_text(case.decide()))
    return "\n".join(lines)
