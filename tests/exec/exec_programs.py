"""Programs under ``kamexfrm exec``: how tests start them, and which supervisors that takes."""

import os
import sys
import textwrap
from pathlib import Path

#: In the environment of all that this test run starts: others may run beside it.
MINE = f"KAMEXFRM_TEST_RUN={os.getpid()}".encode()
os.environ["KAMEXFRM_TEST_RUN"] = str(os.getpid())

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


def supervisors(name: str = "kamexfrm-exec") -> set[int]:
    """Return the ids of the supervisors that run now and were started by this test run."""
    found = set()
    for path in Path("/proc").glob("[0-9]*/comm"):
        try:
            is_one = path.read_text().strip() == name
            if is_one and MINE in path.with_name("environ").read_bytes().split(b"\0"):
                found.add(int(path.parent.name))
        except OSError:
            pass
    return found


def keepers() -> set[int]:
    """Return the ids of the keepers: each is the parent of a supervisor, or was."""
    return supervisors("kamexfrm-keeper")
