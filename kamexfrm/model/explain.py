"""A decision in words: each step of it on a line, the verdict and its reason last."""

from typing import assert_never

from kamexfrm.model.decision import (
    Decision,
    ForwardDecision,
    InputDecision,
    Layer,
    Outcome,
    OutputDecision,
    RequestResult,
)
from kamexfrm.model.wording import errno_text, governing_text, level_text, sought_text


def decision_text(decision: Decision) -> str:
    """Return what explain_text() does as one text."""
    return "\n".join(explain_text(decision))


def explain_text(decision: Decision) -> list[str]:
    """Return the chain of reasons as lines of plain text, without line ends."""
    match decision:
        case OutputDecision():
            return _output(decision)
        case InputDecision():
            return _input(decision)
        case ForwardDecision(arrival, departure):
            lines = [f"arriving: {line}" for line in _input(arrival)]
            if departure is None:
                return lines
            # No process of this host sent it, so no line gives an errno of the sender.
            return lines + [f"leaving: {line}" for line in _leaving(departure)]
        case _:
            assert_never(decision)


def _output(decision: OutputDecision) -> list[str]:
    lines = _leaving(decision)
    return [*lines, f"the sender is told: {errno_text(decision.errno)}"]


def _leaving(decision: OutputDecision) -> list[str]:
    lines = [f"policy: {governing_text(decision.governing)}", *_requests(decision.results)]
    if decision.bundle:
        lines.append(f"on the wire: {_wire(decision.bundle)}")
    lines += (f"ACQUIRE is due: {sought_text(sought)}" for sought in decision.acquires)
    if decision.spd_acquire:
        lines.append("SPDACQUIRE is due: the entry has no request")
    if decision.admin_prohibited:
        lines.append("this host gets an ICMPv6 destination unreachable (prohibited)")
    return [*lines, decision.reason]


def _input(decision: InputDecision) -> list[str]:
    if decision.governing is None:
        return [decision.reason]
    lines = [f"policy: {governing_text(decision.governing)}"]
    words = [name.replace("_", " ") for name, is_set in decision.marks._asdict().items() if is_set]
    lines.append(f"the packet arrived: {', '.join(words) or 'in clear'}")
    return [*lines, *_requests(decision.results), decision.reason]


def _requests(results: tuple[RequestResult, ...]) -> list[str]:
    return [f"request {at}: {_request(result)}" for at, result in enumerate(results, 1)]


def _request(result: RequestResult) -> str:
    text = f"{level_text(result)}: {result.outcome.value}"
    match result.outcome:
        case Outcome.APPLIED if result.entry is not None:
            return f"{text}, SA with spi {result.entry.association.spi:#x}"
        case Outcome.SKIPPED | Outcome.MISSING if result.sought is not None:
            return f"{text}, no {sought_text(result.sought)}"
        case _:
            return text


def _wire(bundle: tuple[Layer, ...]) -> str:
    """Return the headers from the outside in; a tunnel begins with its own IP header."""
    words = []
    for layer in reversed(bundle):
        name = f"{layer.protocol.name}(spi {layer.spi:#x})"
        words.append(f"{name} {layer.mode.name.lower()} {layer.source}-{layer.destination}")
    return ", in it ".join(words)
