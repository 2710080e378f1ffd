"""Output of a run: a transcript as it happens, JSON and JUnit files at the end."""

import io
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TextIO
from xml.etree import ElementTree

from kamexfrm.command_line import printable
from kamexfrm.rig.scenario.plan import Case
from kamexfrm.rig.scenario.report.closing import closing, closing_line
from kamexfrm.rig.scenario.report.folding import crop, fold
from kamexfrm.rig.scenario.result import CaseResult, Failure, RunResult, StepResult

_BOLD, _RED, _GREEN, _FAINT = "1", "31", "32", "2"

#: Characters that XML 1.0 does not allow.
_NOT_XML = dict.fromkeys((*range(9), 11, 12, *range(14, 32), 0xFFFE, 0xFFFF), "?")


class Transcript:
    """A listener that prints one line a step as it is taken, with its time in seconds.

    ``quiet`` shows failed cases only, ``facts`` the state of the hosts before each failure. Lines
    are folded to ``width`` characters, 0 for not. Colour is for terminals.
    """

    def __init__(
        self,
        out: TextIO,
        *,
        colour: bool,
        quiet: bool = False,
        facts: bool = False,
        width: int = 0,
    ) -> None:
        self.colour = colour
        self.width = width
        self._out = out
        self._quiet = quiet
        self._facts = facts
        self._held: list[str] = []

    def paint(self, text: str, code: str) -> str:
        """Return a text in a colour, or as it is."""
        return f"\033[{code}m{text}\033[0m" if self.colour else text

    def _print(self, text: str, code: str = "", more: int = 2) -> None:
        """Print a text, folded and then painted; what a terminal takes for a command is shown."""
        for line in fold(printable(text), self.width, more):
            self._put(self.paint(line, code) if code else line)

    def _put(self, line: str) -> None:
        if self._quiet:
            self._held.append(line)
            return
        print(line, file=self._out, flush=True)

    def begin(self, case: Case) -> None:
        """Print the name of the case."""
        self._held.clear()
        name, *rest = fold(_title(case), self.width)
        shown = printable(identity(case))
        painted = name.startswith(shown)
        self._put(self.paint(shown, _BOLD) + name[len(shown) :] if painted else name)
        for line in rest:
            self._put(line)

    def step(self, result: StepResult) -> None:
        """Print a step."""
        number = f"{result.number:2} " if result.number else "   "
        line = f"  {result.seconds:7.3f}  {number}{printable(result.label)}"
        seen = printable(result.seen)
        if seen and self.width and len(f"{line:<55} {seen}") > self.width:
            self._print(line, more=14)
            self._print(" " * 14 + seen, _FAINT, more=2)
        else:
            for text in fold(line, self.width, 14) if not seen else [f"{line:<55}"]:
                self._put(f"{text} {self.paint(seen, _FAINT)}" if seen else text)
        if result.failure:
            self._quiet, quiet = False, self._quiet
            for held in self._held:
                self._put(held)
            self._held.clear()
            self._failure(result, result.failure)
            self._quiet = quiet

    def _failure(self, result: StepResult, failure: Failure) -> None:
        """Print the facts, then what failed and why: a screen shows the end."""
        for title, text in failure.facts if self._facts else ():
            self._print(f"    {title}", _BOLD)
            for line in text.splitlines():
                self._print(f"      {line.expandtabs(4)}")
        where = f"step {result.number}, " if result.number else ""
        first, *more = failure.message.splitlines()
        self._print(f"  FAILED {where}line {result.line}: {first}", _RED)
        for line in crop([f"    {line}" for line in more], self.width):
            self._print(line)
        for cause in failure.causes:
            self._print(f"    because {cause}")
        if failure.advice:
            self._print(f"    next: {failure.advice}")

    def end(self, result: CaseResult) -> None:
        """Print how the case ended."""
        if result.passed:
            self._put(f"  {self.paint('passed', _GREEN)} in {result.seconds:.2f} s")

    def summary(self, results: Sequence[CaseResult], seconds: float, rest: str = "") -> None:
        """Print how all cases ended, which failed and why, and where the ``rest`` is."""
        self._quiet = False
        failed = [result for result in results if not result.passed]
        for result in failed:
            self._print(f"failed: {identity(result.case)}: {closing_line(result)}", _RED)
        if rest and any(result.failure and result.failure.facts for result in failed):
            self._print(rest)
        words = f"{len(results) - len(failed)} passed"
        words = f"{len(failed)} failed, {words}" if failed else words
        self._print(f"{words} in {seconds:.1f} s", _RED if failed else _GREEN)
        self._out.flush()


def _title(case: Case) -> str:
    return printable(f"{identity(case)}  {case.title}" if case.title else identity(case))


def identity(case: Case) -> str:
    """Return a case's name: its file, and in brackets the choice of the matrix."""
    return f"{case.file}[{case.name}]" if case.name else case.file


def failure_text(result: CaseResult) -> str:
    """Return a case as a transcript without colour, with the state of the hosts if it failed."""
    out = io.StringIO()
    retell(Transcript(out, colour=False, facts=True), result)
    return out.getvalue()


def run_text(run: RunResult) -> str:
    """Return a run as a transcript without colour, with the state of the hosts at each failure."""
    out = io.StringIO()
    transcript = Transcript(out, colour=False, facts=True)
    for result in run.results:
        retell(transcript, result)
    transcript.summary(run.results, run.seconds)
    return out.getvalue()


def retell(transcript: Transcript, result: CaseResult) -> None:
    """Tell a transcript of a case that has been run."""
    transcript.begin(result.case)
    for step in result.steps:
        transcript.step(step)
    transcript.end(result)


def as_json(results: Iterable[CaseResult]) -> dict[str, object]:
    """Return what ``json.dumps`` makes a report of."""
    rows = [
        {
            "file": result.case.file,
            "case": result.case.name,
            "title": result.case.title,
            "passed": result.passed,
            "seconds": round(result.seconds, 6),
            "steps": [_step_as_json(step) for step in result.steps],
        }
        for result in results
    ]
    passed = sum(bool(row["passed"]) for row in rows)
    return {"passed": passed, "failed": len(rows) - passed, "cases": rows}


def _step_as_json(step: StepResult) -> dict[str, object]:
    row: dict[str, object] = {
        "number": step.number,
        "line": step.line,
        "step": step.label,
        "seen": step.seen,
        "seconds": round(step.seconds, 6),
    }
    if step.failure:
        row["failure"] = {
            "message": step.failure.message,
            "causes": list(step.failure.causes),
            "advice": step.failure.advice,
            "facts": [{"title": title, "text": text} for title, text in step.failure.facts],
        }
    return row


def write_junit(path: Path, results: Sequence[CaseResult]) -> None:
    """Write a JUnit file: a test suite for each scenario file, a test case for each case."""
    top = ElementTree.Element("testsuites")
    for file in dict.fromkeys(result.case.file for result in results):
        mine = [result for result in results if result.case.file == file]
        suite = ElementTree.SubElement(
            top,
            "testsuite",
            name=file,
            tests=str(len(mine)),
            failures=str(sum(not result.passed for result in mine)),
            errors="0",
            skipped="0",
            time=f"{sum(result.seconds for result in mine):.3f}",
        )
        for result in mine:
            case = ElementTree.SubElement(
                suite,
                "testcase",
                classname=Path(file).name.removesuffix(".rig.toml"),
                name=result.case.name or "scenario",
                file=file,
                time=f"{result.seconds:.3f}",
            )
            if result.failure:
                failure = ElementTree.SubElement(
                    case, "failure", message=_xml(closing(result.failure))
                )
                failure.text = _xml(failure_text(result))
    ElementTree.ElementTree(top).write(path, encoding="utf-8", xml_declaration=True)


def _xml(text: str) -> str:
    return text.encode("utf-8", "replace").decode().translate(_NOT_XML)
