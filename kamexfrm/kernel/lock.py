"""A lock per network namespace that needs no file: flock(2) on the namespace's own inode.

The kernel releases it when its holder ends, however that happens. Any local user can take it, so
waiting has a deadline. After that a caller that adds or deletes works without it, and then checks
that its numbers are still unique and its knobs still in force; one that writes a knob gives up.
"""

import fcntl
import os
import time

from kamexfrm.command_line import printable
from kamexfrm.kernel.namespace import HERE

#: How long a writer waits for another one, in seconds.
DEADLINE = 2.0
_PAUSE = 0.005


class NamespaceLock:
    """Excludes other writers of the calling thread's network namespace.

    ``deadline`` is in seconds; ``namespace`` is an open descriptor of another one to lock instead.
    ``holder`` is empty when the lock was taken, otherwise it names the process that kept it past
    the deadline, or says why it cannot be taken. ``is_taken`` is whether another process has it.
    """

    def __init__(self, deadline: float = DEADLINE, *, namespace: int | None = None) -> None:
        self.holder = ""
        self.is_taken = False
        # Opened for each hold: a flock belongs to what was opened, not to the inode.
        self._path = HERE if namespace is None else f"/proc/thread-self/fd/{namespace}"
        self._deadline = deadline
        self._descriptor = -1

    def __enter__(self) -> "NamespaceLock":
        self.holder, self.is_taken = "", False
        try:
            self._descriptor = os.open(self._path, os.O_RDONLY | os.O_CLOEXEC)
        except OSError as error:
            self.holder = f"nobody: {error.strerror} at {self._path}"
            return self
        until = time.monotonic() + self._deadline
        while True:
            try:
                fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if time.monotonic() >= until:
                    self.is_taken = True
                    self.holder = _holder(self._descriptor)
                    return self
                time.sleep(_PAUSE)
            else:
                return self

    def __exit__(self, *_: object) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1


def _holder(descriptor: int) -> str:
    """Name the process that holds a flock on this inode, from /proc/locks."""
    status = os.fstat(descriptor)
    inode = f"{os.major(status.st_dev):02x}:{os.minor(status.st_dev):02x}:{status.st_ino}"
    try:
        with open("/proc/locks", encoding="ascii") as locks:
            rows = [line.split() for line in locks]
    except OSError:
        return "another process"
    for row in rows:
        if "FLOCK" in row and inode in row and "->" not in row:
            return process_name(row[row.index(inode) - 1])
    return "another process"


def process_name(pid: str | int) -> str:
    """Return a process's id with its name, if that can be read, as ``process 123 (setkey)``."""
    try:
        with open(f"/proc/{pid}/comm", encoding="utf-8", errors="replace") as comm:
            return f"process {pid} ({printable(comm.read().rstrip(), kept='')})"
    except OSError:
        return f"process {pid}"
