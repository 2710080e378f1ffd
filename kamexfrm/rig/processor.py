"""One processor for a guest, which is two processes that run by turns.

A User-Mode-Linux guest is a kernel in one process that traces another, the guest's program, from
system call to system call; never do both run. On two processors each switch waits for a wake-up
of the other processor, and on a busy machine for its turn: a guest takes up to four times as long.
"""

import contextlib
import os
import secrets
import time
from collections.abc import Iterator
from pathlib import Path

#: Seconds for measuring which processor is busy; the kernel counts in hundredths.
_MEASURING = 0.1


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
    """Return the processor that was idle most just now; one of several by chance.

    Without /proc/stat (a container may hide it) that is any of them.
    """
    begin = _idle_times()
    time.sleep(_MEASURING)
    end = _idle_times()
    idle = {number: end.get(number, 0) - begin.get(number, 0) for number in processors}
    most = max(idle.values())
    return secrets.choice([number for number in processors if idle[number] >= most - 1])


def _idle_times() -> dict[int, int]:
    """Return how long each processor was idle or waited for I/O, in hundredths of a second.

    Source: proc_stat(5).
    """
    try:
        rows = [line.split() for line in Path("/proc/stat").read_text().splitlines()]
    except OSError:
        return {}
    return {int(row[0][3:]): int(row[4]) + int(row[5]) for row in rows if row[0][3:].isdigit()}
