"""One processor for a guest: all that it does goes back and forth between two processes.

A User-Mode-Linux guest is a kernel in one process that steps another, the guest's program, from
system call to system call; never do both run. On processors of their own each waits for the
other's to be woken, and on a busy machine to be let on: a guest takes up to four times as long.
"""

import contextlib
import os
import secrets
import time
from collections.abc import Iterator
from pathlib import Path

#: Seconds of looking which processor is busy; the kernel counts in hundredths.
_LOOK = 0.1


@contextlib.contextmanager
def on_one_processor() -> Iterator[None]:
    """Have programs that this thread starts in the ``with`` stay on the least busy processor.

    The thread itself has all its processors again at the end. Where it may not choose (a seccomp
    filter of a container) nothing changes.
    """
    before = os.sched_getaffinity(0)
    try:
        os.sched_setaffinity(0, {_least_busy(before)} if len(before) > 1 else before)
    except OSError:
        yield
        return
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def _least_busy(processors: set[int]) -> int:
    """Return the processor that rested most just now; one of several by chance.

    Where the machine does not tell (a container may hide it) that is any of them.
    """
    begin = _rested()
    time.sleep(_LOOK)
    end = _rested()
    rest = {number: end.get(number, 0) - begin.get(number, 0) for number in processors}
    most = max(rest.values())
    return secrets.choice([number for number in processors if rest[number] >= most - 1])


def _rested() -> dict[int, int]:
    """Return for how long each processor had nothing to do, in hundredths of a second.

    Source: proc_stat(5).
    """
    try:
        rows = [line.split() for line in Path("/proc/stat").read_text().splitlines()]
    except OSError:
        return {}
    return {int(row[0][3:]): int(row[4]) + int(row[5]) for row in rows if row[0][3:].isdigit()}
