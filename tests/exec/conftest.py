"""Running programs under ``kamexfrm exec``: what its tests share."""

import os
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path

import pytest

from kamexfrm.rig import until

#: The command, and what its programs, in Python, all begin with.
EXEC = [sys.executable, "-m", "kamexfrm.exec"]
PRELUDE = f"""\
import contextlib, ctypes, errno, os, signal, socket, struct, sys, time
sys.path.insert(0, {str(Path(__file__).parent)!r})
from pfkey_client import *
"""


def program(text: str) -> list[str]:
    """Return the command line of a program in Python."""
    return [sys.executable, "-c", PRELUDE + textwrap.dedent(text)]


def supervised(text: str, *options: str) -> list[str]:
    """Return the command line that runs a program in Python under ``kamexfrm exec``."""
    return [*EXEC, *options, "--", *program(text)]


#: In the environment of what these tests start: others may test on the same machine.
_MARK = f"KAMEXFRM_EXEC_TESTS={os.getpid()}"
os.environ.update([_MARK.split("=")])


def supervisors() -> set[int]:
    """Return the ids of the supervisors that these tests started and that run now."""
    found = set()
    for path in Path("/proc").glob("[0-9]*/comm"):
        try:
            if path.read_text().strip() == "kamexfrm-exec":
                marks = (path.parent / "environ").read_bytes().split(b"\0")
                if _MARK.encode() in marks:
                    found.add(int(path.parent.name))
        except OSError:
            pass
    return found


@pytest.fixture
def no_supervisor_stays() -> "Callable[[], None]":
    """Give a check that all supervisors that were started since have ended."""
    before = supervisors()

    def check() -> None:
        until(lambda: not supervisors() - before, 10, "the supervisor has ended")

    return check
