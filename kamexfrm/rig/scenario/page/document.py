"""The page of a run: the summary, an index of its cases, and each of them, failed ones first."""

import time
from pathlib import Path
from xml.etree.ElementTree import Element

import kamexfrm
from kamexfrm.rig.scenario.page.case import badge, section
from kamexfrm.rig.scenario.page.markup import element, written
from kamexfrm.rig.scenario.report.closing import closing_line
from kamexfrm.rig.scenario.report.transcript import identity
from kamexfrm.rig.scenario.result import CaseResult, RunResult

_STYLE = Path(__file__).with_name("page.css")

_LEGEND = (
    "Packets: a solid arrow is protected, a dashed one is in clear. A dot marks what programs "
    "received, a cross a counter of packets that were dropped."
)

#: The page of a run with so many steps shows the packets of all of them.
_FEW = 16

#: A browser loads nothing and runs nothing, whatever a scenario has in its texts.
_POLICY = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"


def page(run: RunResult) -> str:
    """Return the page of a run as HTML."""
    ordered = sorted(run.results, key=lambda result: result.passed)
    unfolded = sum(len(result.steps) for result in ordered) <= _FEW
    title = _headline(run)
    body = element(
        "body",
        element(
            "header",
            element("p", "kamexfrm rig run", class_="program"),
            element("h1", title),
            _bar(run),
            element("p", _circumstances(run), class_="meta"),
            class_="top",
        ),
        element(
            "main",
            _index(ordered) if len(ordered) > 1 else None,
            element("p", _LEGEND, class_="meta legend"),
            [section(result, number, unfolded) for number, result in enumerate(ordered, 1)],
        ),
    )
    return "<!DOCTYPE html>\n" + written(element("html", _head(title), body, lang="en")) + "\n"


def _head(title: str) -> Element:
    return element(
        "head",
        element("meta", charset="utf-8"),
        element("meta", **{"http-equiv": "Content-Security-Policy", "content": _POLICY}),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("meta", name="color-scheme", content="light dark"),
        element("meta", name="generator", content=f"kamexfrm {kamexfrm.__version__}"),
        element("title", f"{title} - kamexfrm rig"),
        element("style", _STYLE.read_text(encoding="utf-8")),
    )


def _headline(run: RunResult) -> str:
    failed = len(run.failed)
    passed = len(run.results) - failed
    return ", ".join([f"{failed} failed"] * bool(failed) + [f"{passed} passed"] * bool(passed))


def _bar(run: RunResult) -> Element:
    """Return a bar, divided as the cases are; the headline says the same."""
    failed = len(run.failed)
    parts = [("failed", failed), ("passed", len(run.results) - failed)]
    return element(
        "div",
        [element("span", class_=name, style=f"flex-grow:{n}") for name, n in parts if n],
        class_="bar",
        aria_hidden="true",
    )


def _circumstances(run: RunResult) -> str:
    when = time.strftime("%Y-%m-%d %H:%M:%S %z", time.localtime(run.began))
    return f"{when}, {run.seconds:.1f} s, Linux {run.kernel}, kamexfrm {kamexfrm.__version__}"


def _index(results: list[CaseResult]) -> Element:
    head = [element("th", word, scope="col") for word in ("Result", "Case", "Steps", "Time")]
    rows = [_index_row(number, result) for number, result in enumerate(results, 1)]
    return element(
        "nav",
        element("h2", "Cases", id="cases"),
        element("table", element("thead", element("tr", head)), element("tbody", rows)),
        aria_labelledby="cases",
        class_="index",
    )


def _index_row(number: int, result: CaseResult) -> Element:
    why = closing_line(result) or result.case.title
    return element(
        "tr",
        element("td", badge(result.passed)),
        element(
            "th",
            element("a", identity(result.case), href=f"#case-{number}"),
            element("span", why, class_="why") if why else None,
            scope="row",
        ),
        element("td", str(sum(step.number > 0 for step in result.steps)), class_="number"),
        element("td", f"{result.seconds:.2f} s", class_="number"),
    )
