"""What the commands of ``kamexfrm rig`` share: reading cases, exit statuses and leaving early."""

import fnmatch
import os
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn, TextIO

import click

from kamexfrm.command_line import printable

if TYPE_CHECKING:
    from kamexfrm.rig.scenario.plan import Case

#: Exit statuses.
PASSED, FAILED, USAGE, SKIPPED = 0, 1, 2, 4

FILE = click.Path(path_type=Path)


def read_cases(files: tuple[Path, ...], pattern: str) -> "list[Case]":
    """Read all files, so that a mistake in the last is known before the first runs."""
    from kamexfrm.rig.scenario.reading import document
    from kamexfrm.rig.scenario.report import transcript as report

    cases: list[Case] = []
    try:
        for file in files:
            cases += document.read_file(file)
    except document.ScenarioError as error:
        usage(str(error))
    glob = pattern if any(c in pattern for c in "*?") else f"*{pattern}*"
    chosen = [
        case
        for case in cases
        if pattern in report.identity(case) or fnmatch.fnmatch(report.identity(case), glob)
    ]
    if not chosen:
        usage(f"-k {pattern}: none of {len(cases)} cases")
    return chosen


def width_of(out: TextIO) -> int:
    """Return how many characters fit a line of a terminal, or COLUMNS; 0 for no limit."""
    if out.isatty() or os.environ.get("COLUMNS", "").isdigit():
        return max(shutil.get_terminal_size().columns, 20)
    return 0


def show(text: str, more: int) -> None:
    """Print a line, on a terminal folded to its width with the rest indented by ``more``."""
    from kamexfrm.rig.scenario.report.folding import fold

    for line in fold(text, width_of(sys.stdout), more):
        click.echo(line)


def usage(text: str) -> NoReturn:
    """Leave with the message for input or options that are wrong."""
    click.echo(f"kamexfrm rig: {printable(text)}", err=True)
    sys.exit(USAGE)


def skip(reason: str) -> NoReturn:
    """Leave with the reason why nothing can be run."""
    click.echo(f"kamexfrm rig: skipped: {reason}", err=True)
    sys.exit(SKIPPED)


def fail(error: Exception) -> NoReturn:
    """Leave with an error."""
    click.echo(f"kamexfrm rig: {printable(str(error))}", err=True)
    sys.exit(FAILED)
