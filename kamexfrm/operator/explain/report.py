"""An explanation as a document: plain data, members as kamexfrm-json(7) has them."""

import errno
from typing import Any, assert_never

from kamexfrm.model.decision import (
    Decision,
    DefaultPolicy,
    EntryPolicy,
    ForwardDecision,
    Governing,
    InputDecision,
    NoPolicy,
    OutputDecision,
    OwnPolicy,
    RequestResult,
    SaIndex,
)
from kamexfrm.model.linux.deciding import Judgement
from kamexfrm.model.linux.differences import DIFFERENCES
from kamexfrm.model.packet import Packet, Path, Protection
from kamexfrm.model.policy import ICMP_UPPERS, SecurityPolicy
from kamexfrm.model.policy_text import format_request
from kamexfrm.model.statement_text import InexpressibleError, policy_statement
from kamexfrm.model.wording import governing_text, policy_text, upper_text
from kamexfrm.operator.explain.candidates import Near
from kamexfrm.operator.explain.explaining import Explanation, Half

PATHS = {Path.OUT: "out", Path.IN: "in", Path.FORWARDED: "fwd"}

#: The kernel's counters of drops, by what KAME's struct ipsecstat calls them.
COUNTERS = {
    "out_polvio": ("XfrmOutPolBlock",),
    "out_nosa": ("XfrmOutNoStates",),
    "in_polvio": ("XfrmInPolBlock", "XfrmInTmplMismatch", "XfrmInNoPols"),
    "in_nosa": ("XfrmInNoStates",),
}

_TITLES = {difference.name: difference.title for difference in DIFFERENCES}


def members(explanation: Explanation) -> dict[str, Any]:
    """Return the members of the document but for those about a live system."""
    packet, decision, halves, linux = explanation
    last = _decisive(decision)
    return {
        "path": PATHS[packet.path],
        "packet": _packet(packet),
        "via": [_protection(each) for each in packet.protections],
        "verdict": decision.verdict.name.lower(),
        "rule": decision.rule.name,
        "reason": decision.reason,
        **_half(halves[-1], last),
        "bundle": _bundle(decision),
        "acquires": _acquires(decision),
        "errno": _errno(decision.errno) if isinstance(decision, OutputDecision) else None,
        "kernel": _kernel(packet.path, linux),
        "arrival": _arrival(decision, halves),
    }


def _decisive(decision: Decision) -> InputDecision | OutputDecision:
    if isinstance(decision, ForwardDecision):
        return decision.arrival if decision.departure is None else decision.departure
    return decision


def _arrival(decision: Decision, halves: tuple[Half, ...]) -> dict[str, Any] | None:
    """Return the first half of a forwarded packet's way, where a second half follows."""
    if not isinstance(decision, ForwardDecision) or decision.departure is None:
        return None
    arrival = decision.arrival
    return {
        "verdict": arrival.verdict.name.lower(),
        "rule": arrival.rule.name,
        "reason": arrival.reason,
        **_half(halves[0], arrival),
    }


def _half(half: Half, decision: InputDecision | OutputDecision) -> dict[str, Any]:
    return {
        "governing": _governing(half.governing),
        "passed_over": [_near(near) for near in half.near],
        "passed_over_count": half.near_count,
        "requests": [_request(result) for result in decision.results],
    }


def statement(policy: SecurityPolicy) -> str:
    """Return a policy as setkey's statement, or in words where there is none."""
    try:
        return policy_statement(policy)
    except InexpressibleError:
        return policy_text(policy)


def _governing(governing: Governing | None) -> dict[str, Any]:
    kind, id, position = "none", None, None
    text = ""
    match governing:
        case EntryPolicy():
            kind, id, position = "entry", governing.id or None, governing.position
            text = statement(governing.policy)
        case OwnPolicy():
            kind, text = "socket", governing_text(governing).partition(": ")[2]
        case DefaultPolicy(knob, value):
            kind, text = "default", f"{knob.name}={value}"
        case NoPolicy():
            text = governing_text(governing)
        case None:
            text = "the packet is rejected before a policy applies"
        case _:
            assert_never(governing)
    return {"kind": kind, "id": id, "position": position, "text": text}


def _near(near: Near) -> dict[str, Any]:
    entry = near.entry
    return {
        "id": entry.id or None,
        "position": entry.position,
        "text": statement(entry.policy),
        "differs": near.differs,
        "wants": near.wants,
    }


def _request(result: RequestResult) -> dict[str, Any]:
    return {
        "text": format_request(result.request),
        "level": result.level.name.lower(),
        "knob": result.knob.name if result.knob else None,
        "outcome": result.outcome.name.lower(),
        "spi": result.entry.association.spi if result.entry else None,
    }


def _packet(packet: Packet) -> dict[str, Any]:
    typed = packet.upper in ICMP_UPPERS
    first, second = packet.source_port, packet.destination_port
    return {
        "source": str(packet.source),
        "destination": str(packet.destination),
        "protocol": upper_text(packet.upper),
        "source_port": None if typed else first,
        "destination_port": None if typed else second,
        "type": first if typed else None,
        "code": second if typed else None,
    }


def _protection(protection: Protection) -> dict[str, Any]:
    return {
        "protocol": protection.protocol.name.lower(),
        "mode": protection.mode.name.lower(),
        "source": str(protection.source),
        "destination": str(protection.destination),
        "spi": protection.spi,
    }


def _bundle(decision: Decision) -> list[dict[str, Any]]:
    last = _decisive(decision)
    if not isinstance(last, OutputDecision):
        return []
    return [
        {
            "protocol": layer.protocol.name.lower(),
            "mode": layer.mode.name.lower(),
            "source": str(layer.source),
            "destination": str(layer.destination),
            "spi": layer.spi,
        }
        for layer in reversed(last.bundle)
    ]


def _acquires(decision: Decision) -> list[dict[str, Any]]:
    last = _decisive(decision)
    return [_sought(each) for each in last.acquires] if isinstance(last, OutputDecision) else []


def _sought(sought: SaIndex) -> dict[str, Any]:
    return {
        "protocol": sought.protocol.name.lower(),
        "mode": sought.mode.name.lower(),
        "source": str(sought.source),
        "destination": str(sought.destination),
        "reqid": sought.reqid or None,
    }


def _errno(number: int) -> str | None:
    return errno.errorcode.get(number, str(number)) if number else None


def _kernel(path: Path, linux: Judgement) -> dict[str, Any]:
    fate = linux.fate
    return {
        "verdict": fate.verdict(path).name.lower(),
        "differences": [_TITLES[name] for name in linux.names],
        "errno": _errno(fate.errno),
        "counters": list(COUNTERS.get(fate.drop, ())),
    }
