"""How a child of this interpreter is started: no code of the working directory runs in it.

``python -m`` and ``python -c`` import from the working directory first, whatever is there. ``-P``
leaves that out. ``-I`` would also ignore PYTHONPATH and the user's own packages, by which this
process itself may have found kamexfrm.
"""

import os
import sys


def module(name: str, *, unbuffered: bool = False) -> list[str]:
    """Return the beginning of a command line that runs a module of kamexfrm."""
    return [sys.executable, "-P", *(["-u"] if unbuffered else []), "-m", name]


def pytest_command() -> list[str]:
    """Return the beginning of a command line that runs pytest as this session of it runs.

    It imports from the working directory where this session does: as ``python -m pytest`` and a
    ``conftest.py`` there make it.
    """
    trusted = os.getcwd() in sys.path or "" in sys.path
    return [sys.executable, *([] if trusted else ["-P"]), "-m", "pytest"]
