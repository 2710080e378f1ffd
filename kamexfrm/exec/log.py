"""The supervisor's log: a file or standard error where wanted; its own failures go to syslog.

Standard error may be the journal, which has times of its own, and reads the level of a line.
"""

import contextlib
import os
import select
import time

from kamexfrm.log_level import LogLevel, for_journal, is_journal

#: Failures of ours that are logged: a program that knows how to cause one could fill a disk.
_MAX_FAILURES = 100

#: Bytes that poll(2) promises room for in a pipe that it calls writable (PIPE_BUF).
_MAX_LINE = 4096


class Log:
    """Lines with a time, written to a descriptor that stays open, or -1 for none.

    They are those of a level and of what is graver.
    """

    def __init__(self, descriptor: int, level: LogLevel = LogLevel.INFO) -> None:
        self._descriptor = descriptor
        self._level = level
        self._to_journal = descriptor >= 0 and is_journal(descriptor)
        self._failures = 0
        self._room = select.poll()
        if descriptor >= 0:
            self._room.register(descriptor, select.POLLOUT)

    def takes(self, level: LogLevel) -> bool:
        """Whether write() writes lines of a level."""
        return self._descriptor >= 0 and level <= self._level

    def close(self) -> None:
        """Write no more; failures go to syslog from now on."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def write(self, text: str, level: LogLevel = LogLevel.INFO) -> None:
        """Write a line, if it is wanted."""
        if self.takes(level):
            if self._to_journal:
                line = for_journal(level, f"kamexfrm exec: {text}")
            else:
                line = f"{time.strftime('%H:%M:%S')} kamexfrm exec: {text}\n"
            with contextlib.suppress(OSError):
                if self._room.poll(0):  # a pipe that is not read must not block the programs
                    os.write(self._descriptor, line.encode("utf-8", "backslashreplace")[:_MAX_LINE])

    def warning(self, text: str) -> None:
        """Write a line about what went wrong."""
        self.write(text, LogLevel.WARNING)

    def failure(self, doing: str) -> None:
        """Log the exception that is being handled: a fault of ours, which must not be lost."""
        import traceback  # slow to load, and hardly ever needed

        self._failures += 1
        if self._failures > _MAX_FAILURES:
            return
        *_, last = traceback.format_exc().strip().splitlines()
        if self._descriptor >= 0:
            self.write(f"{doing}\n{traceback.format_exc().rstrip()}", LogLevel.ERROR)
            return
        import syslog

        syslog.openlog("kamexfrm-exec", syslog.LOG_PID, syslog.LOG_DAEMON)
        syslog.syslog(syslog.LOG_ERR, f"{doing}: {last}")
