"""A case as a section of the page: why it failed, its hosts, its steps, its state at the end."""

from collections.abc import Iterator
from xml.etree.ElementTree import Element

from kamexfrm.rig.scenario.page import ladder, topology
from kamexfrm.rig.scenario.page.markup import element
from kamexfrm.rig.scenario.plan import Say
from kamexfrm.rig.scenario.report import graph
from kamexfrm.rig.scenario.report.transcript import identity
from kamexfrm.rig.scenario.result import CaseResult, Failure, Observation, Rise, StepResult


def section(result: CaseResult, number: int, unfolded: bool) -> Element:
    """Return the section of a case; ``unfolded`` shows the packets of steps that passed as well."""
    case = result.case
    name = f"case-{number}"
    return element(
        "section",
        element(
            "header",
            element("h2", badge(result.passed), " ", identity(case), id=f"{name}-name"),
            element("p", case.title, class_="title") if case.title else None,
            element("p", _counted(result), class_="meta"),
        ),
        _failure(result),
        element("h3", "Hosts and links"),
        element("div", topology.drawings(case, number), class_="figure"),
        _notes(result),
        element("h3", "Steps"),
        element(
            "ol",
            [_step(result, step, f"{name}-{step.number}", unfolded) for step in result.steps],
            class_="steps",
        ),
        _state(result),
        class_="case" if result.passed else "case failed",
        id=name,
        aria_labelledby=f"{name}-name",
    )


def badge(passed: bool) -> Element:
    """Return the word passed or failed, in its colour."""
    word = "passed" if passed else "failed"
    return element("span", word, class_=f"badge {word}")


def _counted(result: CaseResult) -> str:
    taken = sum(step.number > 0 for step in result.steps)
    planned = len(result.case.steps)
    steps = f"{planned} step{'s' * (planned != 1)}"
    if taken < planned:
        steps = f"{taken} of {steps}"
    return f"{steps} in {result.seconds:.2f} s"


def _failure(result: CaseResult) -> Element | None:
    failure = result.failure
    if failure is None:
        return None
    step = result.steps[-1]
    what = f"step {step.number}" if step.number else "hosts"
    message, _, more = failure.message.partition("\n")
    return element(
        "div",
        element("h3", "Why it failed"),
        element("p", message, class_="message"),
        element("pre", more) if more else None,
        element("ul", [element("li", cause) for cause in failure.causes], class_="causes")
        if failure.causes
        else None,
        element("p", "Next: ", failure.advice, class_="advice") if failure.advice else None,
        element("p", f"{what}, line {step.line}: {step.label}", class_="meta"),
        class_="cause",
    )


def _notes(result: CaseResult) -> Element | None:
    notes = [*graph.link_notes(result.case), *graph.notes(result.case)]
    if not notes:
        return None
    rows = [element("div", element("dt", name), element("dd", text)) for name, text in notes]
    return element("dl", rows, class_="notes")


def _step(result: CaseResult, step: StepResult, name: str, unfolded: bool) -> Element:
    line = [
        element("span", str(step.number) if step.number else "", class_="number"),
        element("span", step.label, class_="label"),
        element("span", f"{step.seconds * 1000:.0f} ms", class_="time"),
        element("span", step.seen, class_="seen") if step.seen else None,
    ]
    if step.failure:
        reason = step.failure.message.partition("\n")[0]
        line.append(element("span", badge(False), " ", reason, class_="seen"))
    inner = list(_inner(result, step, name))
    if not inner:
        said = step.number and isinstance(result.case.steps[step.number - 1].action, Say)
        return element("li", element("div", line, class_="line"), class_="say" if said else "")
    opened = {"open": ""} if step.failure or unfolded else {}
    return element(
        "li", element("details", element("summary", line, class_="line"), inner, **opened)
    )


def _inner(result: CaseResult, step: StepResult, name: str) -> Iterator[Element]:
    """Yield the packets of a step, and what moved."""
    observed = step.observed
    if observed is None:
        return
    crossings = ladder.drawn(observed, step.failure is not None)
    moved = _moved(observed)
    if not crossings and moved is None:
        return
    picture = ladder.ladder(observed, crossings, list(result.case.hosts), name)
    left = len(crossings) - ladder.MOST
    quiet = len(observed.crossings) - len(crossings)
    words = [f"{left} more packets are not drawn."] if left > 0 else []
    if quiet:
        words.append(f"Not drawn: {quiet} of ARP, neighbour discovery or group membership.")
    yield element(
        "div",
        element(
            "div",
            element(
                "div", picture, class_="scroll", tabindex=0, role="group", aria_label="Packets"
            ),
            [element("p", text, class_="meta") for text in words],
            class_="packets",
        ),
        moved,
        class_="inner",
    )


def _moved(observed: Observation) -> Element | None:
    """Return the table of what rose in a step; None where nothing did."""
    rows = [
        *_rows("heard", observed.heard),
        *_rows("SA", observed.sas),
        *_rows("counter", observed.counters),
    ]
    if not rows:
        return None
    head = [element("th", word, scope="col") for word in ("Host", "What moved", "By")]
    return element(
        "table",
        element("caption", "What moved"),
        element("thead", element("tr", head)),
        element("tbody", rows),
        class_="moved",
    )


def _rows(kind: str, rises: tuple[Rise, ...]) -> Iterator[Element]:
    for one in rises:
        yield element(
            "tr",
            element("th", one.host, scope="row"),
            element("td", element("span", kind, class_="kind"), " ", one.what),
            element("td", f"+{one.by}", class_="by"),
            class_=kind.lower(),
        )


def _state(result: CaseResult) -> Iterator[Element]:
    """Yield what was in the hosts when a case failed."""
    failure = result.failure
    if failure is None or not failure.facts:
        return
    yield element("h3", "State at the failure")
    yield from _facts(failure)


def _facts(failure: Failure) -> Iterator[Element]:
    for title, text in failure.facts:
        yield element(
            "details",
            element("summary", title),
            element("pre", text, tabindex=0),
            class_="fact",
        )
