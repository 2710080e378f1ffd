"""Standard output and standard error of a command, whatever it was started with.

Floor 0. Either may be closed, on a full disk, or a pipe whose reader has left: none of them is
worth a traceback, and none may change what a command says about its work.
"""

import os
import sys
from collections.abc import Callable
from contextlib import suppress

#: What a shell reports of a command that SIGPIPE or SIGINT ended.
READER_LEFT, INTERRUPTED = 141, 130


def guarded(name: str, run: Callable[[], int], failed: int = 1) -> int:
    """Run a command that writes to its standard streams; return its exit status.

    That is ``failed`` where the output cannot be written, and this is said under the name.
    """
    _open_closed()
    try:
        status = run()
        sys.stdout.flush()
    except BrokenPipeError:
        _drop_output()
        return READER_LEFT
    except OSError as error:  # a full disk, say
        _drop_output()
        say(f"{name}: {error.strerror or error}\n")
        return failed
    except KeyboardInterrupt:
        return INTERRUPTED
    return status


def say(text: str) -> None:
    """Write to standard error, in vain if need be."""
    with suppress(OSError):
        sys.stderr.write(text)
        sys.stderr.flush()


def _open_closed() -> None:
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, "w"))  # noqa: SIM115 (open to the end)
    reconfigure = getattr(sys.stdout, "reconfigure", None)
    if reconfigure:  # a character that the locale does not have is no trouble
        reconfigure(errors="backslashreplace")


def _drop_output() -> None:
    """Leave nothing that would be flushed at the end, in vain."""
    with suppress(OSError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
