"""What KAME does with a packet that arrives: the SA, the tunnel, then three marks and the policy.

KAME esp_input.c, ah_input.c and ipcomp_input.c (the marks), ipsec.c ipsec4_tunnel_validate() with
key.c key_gettunnel() (the tunnel), ipsec.c ipsec_in_reject() (the policy).
"""

from collections.abc import Sequence
from typing import NamedTuple, assert_never

from kamexfrm.model.association import SadEntry
from kamexfrm.model.decide_sad import is_received, received_sa
from kamexfrm.model.decide_spd import Spd, action_of, deflev, govern
from kamexfrm.model.decision import (
    Governing,
    InputDecision,
    Marks,
    NoPolicy,
    Outcome,
    RequestResult,
    Rule,
    Verdict,
)
from kamexfrm.model.knobs import Knobs, effective_level
from kamexfrm.model.packet import Packet, Protection, SocketPolicies
from kamexfrm.model.policy import (
    Direction,
    IpsecProtocol,
    IpsecRequest,
    Level,
    Mode,
    PolicyType,
    SecurityPolicy,
)
from kamexfrm.model.wording import (
    lack_text,
    level_text,
    protection_text,
    says_text,
    short_text,
)
from kamexfrm.net import Address


class _Rejection(NamedTuple):
    """The rejection of a packet before any policy applies."""

    rule: Rule
    reason: str
    counters: tuple[str, ...] = ()


def decide_input(
    packet: Packet,
    spd: Spd,
    sad: Sequence[SadEntry],
    knobs: Knobs,
    socket: SocketPolicies | None = None,
) -> InputDecision:
    """Decide about a packet that arrives, for this host or to be forwarded."""
    rejection = _rejection(packet, spd, sad)
    if rejection is not None:
        rule, reason, counters = rejection
        return InputDecision(Verdict.REJECTED, rule, None, reason, counters=counters)
    marks = marks_of(packet.protections)
    governing = govern(packet, Direction.IN, spd, knobs, socket)
    if isinstance(governing, NoPolicy):
        reason = f"accepted: {short_text(governing)}, which input does not mind"
        rule = Rule.BYPASS_WITHOUT_PRIVILEGE
        return InputDecision(Verdict.ACCEPTED, rule, governing, reason, marks=marks)
    kind, requests = action_of(governing)
    match kind:
        case PolicyType.DISCARD:
            return InputDecision(
                Verdict.REJECTED,
                Rule.DISCARD,
                governing,
                f"rejected: {says_text(governing, kind)}",
                marks=marks,
                counters=("in_polvio",),
            )
        case PolicyType.NONE | PolicyType.BYPASS:
            reason = f"accepted, protected or not: {says_text(governing, kind)}"
            rule = Rule.NO_PROTECTION_ASKED
            return InputDecision(Verdict.ACCEPTED, rule, governing, reason, marks=marks)
        case PolicyType.IPSEC:
            results = tuple(_judge(request, packet.family, knobs, marks) for request in requests)
            return _conclusion(governing, results, marks)
        case PolicyType.ENTRUST:
            raise AssertionError("entrust governs nothing")
        case _:
            assert_never(kind)


def marks_of(protections: tuple[Protection, ...]) -> Marks:
    """Return the marks that the protections leave: a tunnel's end clears the authentication."""
    marks = Marks()
    for protection in protections:
        match protection.protocol:
            case IpsecProtocol.ESP:
                checked = marks.datagram_authenticated or protection.authenticated
                marks = marks._replace(decrypted=True, datagram_authenticated=checked)
            case IpsecProtocol.AH:
                marks = marks._replace(header_authenticated=True, datagram_authenticated=True)
            case IpsecProtocol.IPCOMP:
                marks = marks._replace(decrypted=True)
            case _:
                assert_never(protection.protocol)
        if protection.mode is Mode.TUNNEL:
            marks = Marks(decrypted=marks.decrypted)
    return marks


def _judge(request: IpsecRequest, family: int, knobs: Knobs, marks: Marks) -> RequestResult:
    """Compare one request with the marks; SPI, mode, address, reqid and order do not count."""
    # Differs from KAME: IPv6 has its own knobs, as ipsec(4) says; final KAME used IPv4's.
    # Differs on Linux: mode, order and a tunnel's source are compared.
    level = effective_level(request, family, knobs)
    if level is Level.USE:
        outcome = Outcome.NOT_ASKED
    else:
        match request.protocol:
            case IpsecProtocol.ESP:
                outcome = Outcome.MET if marks.decrypted else Outcome.UNMET
            case IpsecProtocol.AH:
                outcome = Outcome.MET if marks.header_authenticated else Outcome.UNMET
            case IpsecProtocol.IPCOMP:
                outcome = Outcome.NOT_ASKED
            case _:
                assert_never(request.protocol)
    return RequestResult(request, level, outcome, deflev(request, family))


def _conclusion(
    governing: Governing, results: tuple[RequestResult, ...], marks: Marks
) -> InputDecision:
    unmet = next((result for result in results if result.outcome is Outcome.UNMET), None)
    if unmet is not None:
        reason = (
            f"rejected: {short_text(governing)} asks for {level_text(unmet)},"
            f" and {lack_text(unmet.request)}"
        )
        return InputDecision(
            Verdict.REJECTED,
            Rule.DEMANDS_UNMET,
            governing,
            reason,
            results,
            marks,
            ("in_polvio",),
        )
    if any(result.outcome is Outcome.MET for result in results):
        reason = f"accepted: the packet has what {short_text(governing)} requires"
    else:
        reason = f"accepted: {short_text(governing)} requires nothing on input"
    return InputDecision(Verdict.ACCEPTED, Rule.DEMANDS_MET, governing, reason, results, marks)


def _rejection(packet: Packet, spd: Spd, sad: Sequence[SadEntry]) -> _Rejection | None:
    """Remove the protections, outermost first; return the rejection, if there is one."""
    for at, protection in enumerate(packet.protections):
        text = protection_text(protection)
        if not is_received(sad, protection):
            reason = f"rejected: no usable SA for {text}"
            return _Rejection(Rule.NO_SUCH_SA, reason, ("in_nosa",))
        if protection.mode is not Mode.TUNNEL:
            continue
        entry = None if protection.spi is None else received_sa(sad, protection)
        if entry is not None and entry.association.mode is Mode.TRANSPORT:
            reason = f"rejected: {text} came under an SA of transport mode, so it is plain IP in IP"
            return _Rejection(Rule.SA_NOT_TUNNEL, reason)
        if not _has_tunnel(spd, protection, _inside(packet, at)):
            reason = (
                f"rejected: no inbound entry asks for a tunnel {protection.source}-"
                f"{protection.destination} for what is inside, so {text} is plain IP in IP"
            )
            return _Rejection(Rule.NO_TUNNEL_ENTRY, reason)
    return None


def _inside(packet: Packet, at: int) -> tuple[Address, Address]:
    """Return the addresses of the packet that a tunnel held."""
    inner = packet.protections[at + 1] if at + 1 < len(packet.protections) else packet
    return inner.source, inner.destination


def _has_tunnel(spd: Spd, outer: Protection, inside: tuple[Address, Address]) -> bool:
    """Whether any inbound entry has such a tunnel, the first match or another."""
    # Differs on Linux: the first match alone counts, and a tunnel's destination is not compared.
    ends = (outer.source, outer.destination)
    return any(_is_tunnel_of(entry.policy, ends, inside) for entry in spd.inbound)


def _is_tunnel_of(
    policy: SecurityPolicy, ends: tuple[Address, Address], inside: tuple[Address, Address]
) -> bool:
    """Compare a policy's tunnels: the first holds what the selector says, the next the one before.

    KAME key.c key_gettunnel(), by addresses alone.
    """
    before: IpsecRequest | None = None
    for request in policy.requests:
        if request.mode is not Mode.TUNNEL:
            continue
        if before is None:
            fits = policy.selector.covers(*inside)
        else:
            fits = (before.source, before.destination) == inside
        before = request
        if fits and (request.source, request.destination) == ends:
            return True
    return False
