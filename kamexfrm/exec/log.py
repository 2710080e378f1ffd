"""What the supervisor says: to a file or the terminal where asked, its own failures to syslog."""

import contextlib
import os
import select
import time

#: What is written of our own failures: a program that knows one could fill a disk with it.
_MOST_FAILURES = 100

#: Bytes that poll(2) promises room for in a pipe that it calls writable (PIPE_BUF).
_LONGEST = 4096


class Journal:
    """Lines with a time, written to a descriptor that stays open, or -1 for none."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._failures = 0
        self._room = select.poll()
        if descriptor >= 0:
            self._room.register(descriptor, select.POLLOUT)

    @property
    def listens(self) -> bool:
        """Whether anybody reads what note() writes."""
        return self._descriptor >= 0

    def close(self) -> None:
        """Write no more; what is ours to tell goes to syslog from now on."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def note(self, text: str) -> None:
        """Write a line, if it is wanted."""
        if self._descriptor >= 0:
            stamp = time.strftime("%H:%M:%S")
            line = f"{stamp} kamexfrm exec: {text}\n"
            with contextlib.suppress(OSError):
                if self._room.poll(0):  # a pipe that nobody reads must not hold up the programs
                    os.write(self._descriptor, line.encode("utf-8", "backslashreplace")[:_LONGEST])

    def failure(self, doing: str) -> None:
        """Tell of the exception that is being handled: a fault of ours, which must be heard of."""
        import traceback  # slow to load, and hardly ever needed

        self._failures += 1
        if self._failures > _MOST_FAILURES:
            return
        *_, last = traceback.format_exc().strip().splitlines()
        if self._descriptor >= 0:
            self.note(f"{doing}\n{traceback.format_exc().rstrip()}")
            return
        import syslog

        syslog.openlog("kamexfrm-exec", syslog.LOG_PID, syslog.LOG_DAEMON)
        syslog.syslog(syslog.LOG_ERR, f"{doing}: {last}")
