"""``kamexfrm rig run -n``: parts of the cases in processes of their own, told in order.

Each process runs the same command for one part (``--part``): in a guest of its own, or in
namespaces where the running kernel can do it. It leaves a record of its run in a file; a part is
told as soon as it and those before it have ended.
"""

import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, TypeVar

import click

from kamexfrm.cli import rig_reports as reports
from kamexfrm.cli.rig_cases import FAILED, PASSED

if TYPE_CHECKING:
    from kamexfrm.rig.scenario.plan import Case
    from kamexfrm.rig.scenario.report.transcript import Transcript
    from kamexfrm.rig.scenario.result import CaseResult, RunResult

_Item = TypeVar("_Item")

#: What the processes are given to end when this one was killed.
_TIDY = 'for process in $words; do kill "$process"; done'


def part_of(items: Sequence[_Item], part: str) -> list[_Item]:
    """Return the items of ``NUMBER/OF``, such as 1/2: as many in a row as in any other part."""
    number, _, of = part.partition("/")
    begin, end = (len(items) * at // int(of) for at in (int(number) - 1, int(number)))
    return list(items[begin:end])


class _Part(NamedTuple):
    """A part while it runs: its cases, the process, and the files that it writes."""

    cases: "list[Case]"
    process: "subprocess.Popen[bytes]"
    record: Path
    errors: Path


def run(
    cases: "Sequence[Case]",
    number: int,
    words: Sequence[str],
    transcript: "Transcript",
    given: str | None,
    begun: Callable[[], None] | None = None,
    *,
    exitfirst: bool,
) -> "RunResult":
    """Run cases in so many processes at once and tell them to ``transcript``, in order.

    ``words`` are the options and files of the command; ``begun`` is called before the first case is
    told. Leaves with a process's message and status
    when that could not run its part.
    """
    from kamexfrm.rig.reaper import WatchedFolder
    from kamexfrm.rig.scenario.report.transcript import retell
    from kamexfrm.rig.scenario.result import RunResult

    began, begin = time.time(), time.monotonic()
    results: list[CaseResult] = []
    kernel = os.uname().release
    with WatchedFolder("kamexfrm-rig.") as watched:
        if given is not None:
            (watched.path / "given").write_text(given, encoding="utf-8")
            words = ["--given", str(watched.path / "given"), *words]
        with _started(cases, min(number, len(cases)), words, watched.path) as parts:
            for part in parts:
                done = _finished(part)
                kernel = done.kernel
                if begun is not None:
                    begun()
                for result in done.results:
                    retell(transcript, result)
                results += done.results
                if exitfirst and done.failed:
                    break
    return RunResult(tuple(results), kernel, began, time.monotonic() - begin)


@contextlib.contextmanager
def _started(
    cases: "Sequence[Case]", number: int, words: Sequence[str], folder: Path
) -> Iterator[list[_Part]]:
    """Start all parts; what still runs at the end, or when this process is killed, is ended."""
    from kamexfrm.rig import python
    from kamexfrm.rig.reaper import Reaper

    command = [*python.module("kamexfrm.cli"), "rig", "run"]
    reaper = Reaper(_TIDY)
    parts: list[_Part] = []
    try:
        for at in range(1, number + 1):
            part, record, errors = f"{at}/{number}", folder / f"{at}.json", folder / f"{at}.errors"
            with errors.open("wb") as file:
                process = subprocess.Popen(
                    [*command, "--part", part, "--record", str(record), *words],
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,
                    stderr=file,
                )
            reaper.add(str(process.pid))
            parts.append(_Part(part_of(cases, part), process, record, errors))
        yield parts
    finally:
        for each in parts:
            each.process.terminate()
        for each in parts:
            each.process.wait()
        reaper.dismiss()


def _finished(part: _Part) -> "RunResult":
    """Wait for a part and return its run; leave with its message if it could not run."""
    status = part.process.wait()
    if status in (PASSED, FAILED) and part.record.exists():
        return reports.read(part.record, part.cases)
    click.echo(part.errors.read_text(errors="replace"), err=True, nl=False)
    sys.exit(status if status > 0 else FAILED)
