"""An explanation as a short tree for people: the verdict first, then why, then what Linux does."""

from collections.abc import Callable, Iterator
from typing import Any

from kamexfrm.model.decision import Decision, ForwardDecision, Verdict
from kamexfrm.model.explain import explain_text
from kamexfrm.model.linux.differences import DIFFERENCES
from kamexfrm.model.wording import packet_text, protection_text
from kamexfrm.operator.explain.explaining import Explanation, Half
from kamexfrm.operator.explain.report import PATHS, members, statement

#: Colours a verdict's word for the terminal.
Paint = Callable[[str, Verdict], str]

#: Entries that nearly match and are shown.
_MOST = 5

_REASONS = {difference.title: difference.reason for difference in DIFFERENCES}


def lines(explanation: Explanation, paint: Paint = lambda word, verdict: word) -> Iterator[str]:
    """Yield the lines of the tree, without line ends."""
    packet, decision, halves, linux = explanation
    verdict = decision.verdict
    yield f"{PATHS[packet.path]} {packet_text(packet)}: {paint(verdict.name.lower(), verdict)}"
    yield f"  because {decision.reason.partition(': ')[2]}"
    for protection in packet.protections:
        yield f"  arrived in {protection_text(protection)}"
    yield from _steps(decision)
    for half in halves:
        yield from _passed_over(half)
    kernel = members(explanation)["kernel"]
    word = paint(kernel["verdict"], linux.fate.verdict(packet.path))
    if not kernel["differences"]:
        yield f"  Linux does the same: {word}"
        return
    yield f"  Linux: {word}{_ending(kernel)}"
    for title in kernel["differences"]:
        yield f"    {title}: {_REASONS[title]}"


def _ending(kernel: dict[str, Any]) -> str:
    notes = [f"the sender gets {kernel['errno']}"] if kernel["errno"] else []
    if kernel["counters"]:
        notes.append(f"counted in {' or '.join(kernel['counters'])}")
    return f" ({', '.join(notes)})" if notes else ""


def _steps(decision: Decision) -> Iterator[str]:
    """Yield the steps of a decision without its reason, which is above them."""
    reasons = {decision.reason}
    if isinstance(decision, ForwardDecision):
        reasons = {f"arriving: {decision.reason}", f"leaving: {decision.reason}"}
    for line in explain_text(decision):
        if line not in reasons and line != "the sender is told: success":
            yield f"  {line}"


def _passed_over(half: Half) -> Iterator[str]:
    for near in half.near[:_MOST]:
        entry = near.entry
        name = f"entry {entry.position} of {half.direction.name.lower()}"
        name += f" (id {entry.id})" if entry.id else ""
        yield f"  passed over: {name} wants {near.differs} {near.wants}"
        yield f"    {statement(entry.policy)}"
    more = half.near_count - _MOST
    if more > 0:
        yield f"  passed over: {more} more that nearly match"
