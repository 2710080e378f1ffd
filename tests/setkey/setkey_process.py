"""Runs setkey as its users do: a process of its own, in the test's network namespace."""

import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

SETKEY = [sys.executable, "-m", "kamexfrm.setkey"]


class Done(NamedTuple):
    status: int
    out: str
    err: str


def setkey(*arguments: str, text: str | bytes = "", before: tuple[str, ...] = ()) -> Done:
    """Run setkey with options and a standard input; ``before`` is what it is run under."""
    given = text.encode() if isinstance(text, str) else text
    done = subprocess.run(
        [*before, *SETKEY, *arguments], input=given, capture_output=True, timeout=60, check=False
    )
    return Done(done.returncode, done.stdout.decode(), done.stderr.decode())


def script(folder: Path, text: str, name: str = "test.conf") -> str:
    """Write a script and return its path."""
    path = folder / name
    path.write_text(text)
    return str(path)


def xfrm(*words: str) -> str:
    """Run ``ip xfrm`` and return what it prints."""
    return subprocess.run(["ip", "xfrm", *words], capture_output=True, text=True, check=True).stdout
