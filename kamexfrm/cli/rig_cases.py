"""What the commands of ``kamexfrm rig`` share: reading cases, exit statuses and leaving early."""

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

#: What -k does, for help.
SELECTION = "Only cases whose FILE[CASE] fits: words with and, or, not and parentheses."

#: The file name that means the standard input.
STANDARD_INPUT = Path("-")


def read_cases(files: tuple[Path, ...], pattern: str, given: str | None = None) -> "list[Case]":
    """Read all files, so that a mistake in the last is known before the first runs.

    ``given`` is the text of the standard input, which the file ``-`` means.
    """
    from kamexfrm.rig.scenario.reading import document
    from kamexfrm.rig.scenario.reading.files import read_files
    from kamexfrm.rig.scenario.reading.selection import selection
    from kamexfrm.rig.scenario.report import transcript as report

    try:
        chosen = selection(pattern)
        cases = read_files(files, given)
    except document.ScenarioError as error:
        usage(str(error))
    found = [case for case in cases if chosen(report.identity(case))]
    if not found:
        usage(f"-k {pattern}: none of {len(cases)} cases; kamexfrm rig list FILE prints them")
    return found


def standard_input(files: tuple[Path, ...]) -> str | None:
    """Return the text of the standard input if one of the files is ``-``, else None."""
    if STANDARD_INPUT not in files:
        return None
    try:
        return sys.stdin.buffer.read().decode()
    except UnicodeDecodeError as error:
        usage(f"standard input: not UTF-8 at byte {error.start}")


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
