"""Output of a run: a transcript as it happens, JSON and JUnit files at the end."""

import io
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TextIO
from xml.etree import ElementTree

from kamexfrm.command_line import printable
from kamexfrm.rig.scenario.plan import Case
from kamexfrm.rig.scenario.result import CaseResult, Failure, StepResult

_BOLD, _RED, _GREEN, _FAINT = "1", "31", "32", "2"

#: Characters that XML 1.0 does not allow.
_NOT_XML = dict.fromkeys((*range(9), 11, 12, *range(14, 32), 0xFFFE, 0xFFFF), "?")


class Transcript:
    """A listener that prints one line a step as it is taken, with its time in seconds.

    ``quiet`` shows failed cases only. Colour is for terminals.
    """

    def __init__(self, out: TextIO, *, colour: bool, quiet: bool = False) -> None:
        self._out = out
        self._colour = colour
        self._quiet = quiet
        self._held: list[str] = []

    def paint(self, text: str, code: str) -> str:
        """Return a text in a colour, or as it is; what a terminal takes for a command is shown."""
        text = printable(text)
        return f"\033[{code}m{text}\033[0m" if self._colour else text

    def _print(self, text: str) -> None:
        if self._quiet:
            self._held.append(text)
            return
        print(text, file=self._out, flush=True)

    def begin(self, case: Case) -> None:
        """Print the name of the case."""
        self._held.clear()
        title = f"  {printable(case.title)}" if case.title else ""
        self._print(self.paint(identity(case), _BOLD) + title)

    def step(self, result: StepResult) -> None:
        """Print a step."""
        number = f"{result.number:2} " if result.number else "   "
        line = f"{number}{printable(result.label)}"
        if result.seen:
            line = f"{line:<44} {self.paint(result.seen, _FAINT)}"
        self._print(f"  {result.seconds:7.3f}  {line}")
        if result.failure:
            self._quiet, quiet = False, self._quiet
            for held in self._held:
                self._print(held)
            self._held.clear()
            self._failure(result, result.failure)
            self._quiet = quiet

    def _failure(self, result: StepResult, failure: Failure) -> None:
        where = f"step {result.number}, " if result.number else ""
        first, *more = failure.message.splitlines()
        self._print(self.paint(f"  FAILED {where}line {result.line}: {first}", _RED))
        for line in more:
            self._print(f"    {printable(line)}")
        for cause in failure.causes:
            self._print(f"    because {printable(cause)}")
        for title, text in failure.facts:
            self._print(f"    {self.paint(title, _BOLD)}")
            for line in text.splitlines():
                self._print(f"      {printable(line.expandtabs(4))}")

    def end(self, result: CaseResult) -> None:
        """Print how the case ended."""
        if result.passed:
            self._print(f"  {self.paint('passed', _GREEN)} in {result.seconds:.2f} s")

    def summary(self, results: Sequence[CaseResult], seconds: float) -> None:
        """Print how all cases ended, and which failed."""
        failed = [result for result in results if not result.passed]
        for result in failed:
            message = result.failure.message.partition("\n")[0] if result.failure else ""
            print(self.paint(f"failed: {identity(result.case)}: {message}", _RED), file=self._out)
        words = f"{len(results) - len(failed)} passed"
        words = f"{len(failed)} failed, {words}" if failed else words
        print(self.paint(f"{words} in {seconds:.1f} s", _RED if failed else _GREEN), file=self._out)
        self._out.flush()


def identity(case: Case) -> str:
    """Return a case's name: its file, and in brackets the choice of the matrix."""
    return f"{case.file}[{case.name}]" if case.name else case.file


def failure_text(result: CaseResult) -> str:
    """Return a failed case as a transcript without colour."""
    out = io.StringIO()
    transcript = Transcript(out, colour=False)
    transcript.begin(result.case)
    for step in result.steps:
        transcript.step(step)
    return out.getvalue()


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
                    case, "failure", message=_xml(result.failure.message)
                )
                failure.text = _xml(failure_text(result))
    ElementTree.ElementTree(top).write(path, encoding="utf-8", xml_declaration=True)


def _xml(text: str) -> str:
    return text.encode("utf-8", "replace").decode().translate(_NOT_XML)
