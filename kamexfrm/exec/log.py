"""The supervisor's log: a file or standard error where wanted; its own failures go to syslog."""

import contextlib
import os
import select
import time

#: Failures of ours that are logged: a program that knows how to cause one could fill a disk.
_MAX_FAILURES = 100

#: Bytes that poll(2) promises room for in a pipe that it calls writable (PIPE_BUF).
_MAX_LINE = 4096


class Log:
    """Lines with a time, written to a descriptor that stays open, or -1 for none."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._failures = 0
        self._room = select.poll()
        if descriptor >= 0:
            self._room.register(descriptor, select.POLLOUT)

    @property
    def is_open(self) -> bool:
        """Whether write() writes."""
        return self._descriptor >= 0

    def close(self) -> None:
        """Write no more; failures go to syslog from now on."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def write(self, text: str) -> None:
        """Write a line, if it is wanted."""
        if self._descriptor >= 0:
            stamp = time.strftime("%H:%M:%S")
            line = f"{stamp} kamexfrm exec: {text}\n"
            with contextlib.suppress(OSError):
                if self._room.poll(0):  # a pipe that is not read must not block the programs
                    os.write(self._descriptor, line.encode("utf-8", "backslashreplace")[:_MAX_LINE])

    def failure(self, doing: str) -> None:
        """Log the exception that is being handled: a fault of ours, which must not be lost."""
        import traceback  # slow to load, and hardly ever needed

        self._failures += 1
        if self._failures > _MAX_FAILURES:
            return
        *_, last = traceback.format_exc().strip().splitlines()
        if self._descriptor >= 0:
            self.write(f"{doing}\n{traceback.format_exc().rstrip()}")
            return
        import syslog

        syslog.openlog("kamexfrm-exec", syslog.LOG_PID, syslog.LOG_DAEMON)
        syslog.syslog(syslog.LOG_ERR, f"{doing}: {last}")
