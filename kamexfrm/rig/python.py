"""How a child of this interpreter is started: no code of the working directory runs in it.

``python -m`` and ``python -c`` import from the working directory first, whatever is there. ``-P``
leaves that out. ``-I`` would also ignore PYTHONPATH and the user's own packages, by which this
process itself may have found kamexfrm.
"""

import os
import shutil
import sys
from pathlib import Path

#: The commands that kamexfrm installs.
COMMANDS = frozenset({"setkey", "kame-sysctl", "kamexfrm", "kamexfrmd"})


def module(name: str, *, unbuffered: bool = False) -> list[str]:
    """Return the beginning of a command line that runs a module of kamexfrm."""
    return [sys.executable, "-P", *(["-u"] if unbuffered else []), "-m", name]


def installed(command: str) -> str:
    """Return a command's path: beside our interpreter, in PATH, or in the system's folders.

    A package of a distribution has setkey in /usr/sbin, which no ordinary user has in PATH.
    """
    beside = Path(sys.executable).parent / command
    path = f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/bin"
    return str(beside) if beside.exists() else shutil.which(command, path=path) or command


def pytest_command() -> list[str]:
    """Return the beginning of a command line that runs pytest as this session of it runs.

    It imports from the working directory where this session does: as ``python -m pytest`` and a
    ``conftest.py`` there make it.
    """
    trusted = os.getcwd() in sys.path or "" in sys.path
    return [sys.executable, *([] if trusted else ["-P"]), "-m", "pytest"]
