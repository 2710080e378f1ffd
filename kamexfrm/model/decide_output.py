"""What KAME does with a packet that leaves: sent in clear, sent protected, or dropped silently.

KAME ip_output.c and ip6_output.c (the action), key.c key_checkrequest() (each request), ipsec.c
ipsec4_output(), ipsec6_output_trans() and ipsec6_output_tunnel() (the bundle).
"""

import errno
from collections.abc import Callable, Sequence
from functools import partial
from typing import assert_never

from kamexfrm.model.association import SadEntry
from kamexfrm.model.decide_sad import outbound_sa
from kamexfrm.model.decide_spd import Spd, action_of, deflev, govern
from kamexfrm.model.decision import (
    EntryPolicy,
    Governing,
    NoPolicy,
    Outcome,
    OutputDecision,
    RequestResult,
    Rule,
    SaIndex,
    Verdict,
)
from kamexfrm.model.knobs import Knobs, effective_level
from kamexfrm.model.packet import Packet, Path, SocketPolicies
from kamexfrm.model.policy import Direction, IpsecProtocol, IpsecRequest, Level, Mode, PolicyType
from kamexfrm.model.wording import level_text, says_text, short_text, sought_text
from kamexfrm.net import AF_INET6

#: Finds the SA of a request in the SAD, or None.
SaFinder = Callable[[Sequence[SadEntry], SaIndex], SadEntry | None]

_HISTOGRAM = {
    IpsecProtocol.ESP: "out_esphist",
    IpsecProtocol.AH: "out_ahhist",
    IpsecProtocol.IPCOMP: "out_comphist",
}


def decide_output(
    packet: Packet,
    spd: Spd,
    sad: Sequence[SadEntry],
    knobs: Knobs,
    socket: SocketPolicies | None = None,
    find: SaFinder | None = None,
) -> OutputDecision:
    """Decide about a packet that leaves; for a forwarded one no socket is to be given.

    ``find`` is how SAs are found where that is not KAME's way.
    """
    governing = govern(packet, Direction.OUT, spd, knobs, socket)
    if isinstance(governing, NoPolicy):
        return OutputDecision(
            Verdict.DROPPED,
            Rule.BYPASS_WITHOUT_PRIVILEGE,
            governing,
            f"dropped: {short_text(governing)}",
            errno=governing.errno,
            counters=("out_inval",),
        )
    kind, requests = action_of(governing)
    match kind:
        case PolicyType.DISCARD:
            # Differs on Linux: the sender gets EPERM.
            return OutputDecision(
                Verdict.DROPPED,
                Rule.DISCARD,
                governing,
                f"dropped without a word: {says_text(governing, kind)}",
                counters=("out_polvio",),
            )
        case PolicyType.NONE | PolicyType.BYPASS:
            reason = f"sent in clear: {says_text(governing, kind)}"
            return OutputDecision(Verdict.CLEAR, Rule.NO_PROTECTION_ASKED, governing, reason)
        case PolicyType.IPSEC:
            if not requests:
                return _without_requests(governing)
            if find is None:
                find = partial(outbound_sa, prefers_old=knobs.preferred_oldsa == 1)
            results = _results(packet, requests, sad, knobs, find)
            return _conclusion(packet, governing, results)
        case PolicyType.ENTRUST:
            raise AssertionError("entrust governs nothing")
        case _:
            assert_never(kind)


def _without_requests(governing: Governing) -> OutputDecision:
    """Drop the packet; an entry asks key management for more (final KAME's key_spdacquire()).

    A socket's policy has no selector for such a request: the sender gets an error.
    """
    entry = isinstance(governing, EntryPolicy)
    return OutputDecision(
        Verdict.DROPPED,
        Rule.NO_REQUESTS,
        governing,
        f"dropped: {short_text(governing)} says ipsec and lists no request",
        errno=0 if entry else errno.EOPNOTSUPP,
        spd_acquire=entry,
    )


def _results(
    packet: Packet,
    requests: tuple[IpsecRequest, ...],
    sad: Sequence[SadEntry],
    knobs: Knobs,
    find: SaFinder,
) -> tuple[RequestResult, ...]:
    """Judge the requests in order, the innermost first; a tunnel's addresses apply to the next."""
    source, destination = packet.source, packet.destination
    # IPv6 forwarding begins with the first tunnel (ip6_forward.c).
    waits_for_tunnel = packet.path is Path.FORWARDED and packet.family == AF_INET6
    stopped = False
    results = []
    for request in requests:
        is_tunnel = request.mode is Mode.TUNNEL
        waits_for_tunnel = waits_for_tunnel and not is_tunnel
        level = effective_level(request, packet.family, knobs)
        knob = deflev(request, packet.family)
        if stopped or waits_for_tunnel:
            outcome = Outcome.NOT_REACHED if stopped else Outcome.PASSED_OVER
            results.append(RequestResult(request, level, outcome, knob))
            continue
        # Differs on Linux: a transport request's own endpoints are ignored.
        sought = SaIndex(
            request.protocol,
            Mode.TUNNEL if is_tunnel else Mode.TRANSPORT,
            request.reqid,
            request.source or source,
            request.destination or destination,
        )
        entry = find(sad, sought)
        if entry is not None:
            outcome = Outcome.APPLIED
        else:
            outcome = Outcome.SKIPPED if level is Level.USE else Outcome.MISSING
        results.append(RequestResult(request, level, outcome, knob, sought, entry))
        if outcome is Outcome.APPLIED and is_tunnel:
            # Differs from KAME: the outer family may be the other one; there the packet is dropped.
            source, destination = sought.source, sought.destination
        stopped = outcome is Outcome.MISSING
    return tuple(results)


def _conclusion(
    packet: Packet, governing: Governing, results: tuple[RequestResult, ...]
) -> OutputDecision:
    counters: tuple[str, ...] = ()
    applied = [result for result in results if result.outcome is Outcome.APPLIED]
    for result in applied:
        counters += ("out_success", _HISTOGRAM[result.request.protocol])
    missing = next((result for result in results if result.outcome is Outcome.MISSING), None)
    if missing is not None and missing.sought is not None:
        reason = (
            f"dropped without a word: {short_text(governing)} asks for {level_text(missing)},"
            f" and there is no {sought_text(missing.sought)}"
        )
        return OutputDecision(
            Verdict.DROPPED,
            Rule.SA_MISSING,
            governing,
            reason,
            results,
            admin_prohibited=_is_prohibited(packet, results),
            counters=(*counters, "out_nosa"),
        )
    if applied:
        wishes = ", ".join(map(level_text, applied))
        there = "an SA is" if len(applied) == 1 else "SAs are"
        reason = f"sent protected: {short_text(governing)} asks for {wishes}, and {there} there"
        return OutputDecision(
            Verdict.PROTECTED, Rule.APPLIED, governing, reason, results, counters=counters
        )
    return _in_clear(governing, results)


def _in_clear(governing: Governing, results: tuple[RequestResult, ...]) -> OutputDecision:
    name = short_text(governing)
    skipped = [result for result in results if result.outcome is Outcome.SKIPPED]
    if skipped:
        rule = Rule.NOTHING_APPLIED
        wishes = ", ".join(map(level_text, skipped))
        verb = "which is" if len(skipped) == 1 else "which are"
        reason = f"{name} asks for {wishes}, {verb} skipped for want of an SA"
    else:
        rule = Rule.TRANSPORT_NOT_FORWARDED
        reason = f"{name} asks for transport mode only, and IPv6 forwarding looks at tunnels"
    return OutputDecision(Verdict.CLEAR, rule, governing, f"sent in clear: {reason}", results)


def _is_prohibited(packet: Packet, results: tuple[RequestResult, ...]) -> bool:
    """Whether final KAME sends itself an ICMPv6 error: for a transport request before any tunnel.

    Forwarding skips those requests, so that it never does.
    """
    # Differs on Linux: no such message.
    if packet.family != AF_INET6:
        return False
    for result in results:
        if result.request.mode is Mode.TUNNEL:
            return False
        if result.outcome is Outcome.MISSING:
            return True
    return False
