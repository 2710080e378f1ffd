"""The keeper: a small process that answers the filter's calls once the supervisor has died.

Without a listener each trapped call fails with ENOSYS, on any descriptor of the program. The
keeper is the supervisor's parent and holds the listener too. It sleeps, and reads nothing, until
the supervisor ends.
"""

import contextlib
import errno
import os
import select
import signal
import socket
import time
from collections import deque

from kamexfrm.exec import system
from kamexfrm.exec.caller import Caller
from kamexfrm.exec.filter import needs_supervisor
from kamexfrm.exec.seccomp import Gone, Listener, Notification

#: Seconds that a program waits which reads the end of a PF_KEY socket again. AF_KEY has no end:
#: iked and racoon read on, and log thousands of lines a second.
PAUSE = 1.0

#: Sockets to remember of each kind: a bound for the memory.
_MAX_INODES = 4096


def keep(listener: Listener, supervisor: int) -> None:
    """Wait for a child's end. If it was killed or failed, answer calls until none can come."""
    _, status = os.waitpid(supervisor, 0)
    if status == 0:
        return
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    _report(supervisor)
    substitute = _Substitute(listener)
    if unanswered := listener.last():
        substitute.answer(unanswered)
    substitute.run()


class _Substitute:
    """Refuses what only the supervisor can do, and lets the kernel carry out the rest."""

    def __init__(self, listener: Listener) -> None:
        self._listener = listener
        self._machine = system.machine()
        # By inode: PF_KEY sockets whose end was read, and others. An inode may be used again, but
        # by no PF_KEY socket: there are no new ones.
        self._ended: set[int] = set()
        self._others: set[int] = set()
        self._held: deque[tuple[float, Notification]] = deque()

    def run(self) -> None:
        """Answer calls until none can come."""
        waiting = select.poll()
        waiting.register(self._listener, select.POLLIN)
        while True:
            for _, events in waiting.poll(self._release()):
                if not events & select.POLLIN:
                    return
                with contextlib.suppress(Gone):
                    self.answer(self._listener.receive())

    def _release(self) -> float | None:
        """Let calls through that were held long enough; return in how many ms to call again."""
        while self._held:
            remaining = self._held[0][0] - time.monotonic()
            if remaining > 0:
                return remaining * 1000
            self._let_through(self._held.popleft()[1])
        return None

    def answer(self, call: Notification) -> None:
        """Answer a call, or hold it for a while."""
        if needs_supervisor(self._machine, call.number, call.integer(1)):
            with contextlib.suppress(Gone):
                self._listener.refuse(call, errno.ENOSYS)
            return
        again = False
        with contextlib.suppress(OSError):  # what we may not see is let through
            again = self._reads_end_again(call)
        if again:
            self._held.append((time.monotonic() + PAUSE, call))
        else:
            self._let_through(call)

    def _let_through(self, call: Notification) -> None:
        with contextlib.suppress(Gone):
            self._listener.let_through(call)

    def _reads_end_again(self, call: Notification) -> bool:
        """Return whether a call reads the end of a socket, and another one did before."""
        if call.number not in (self._machine.recvfrom, self._machine.recvmsg):
            return False
        caller, number = Caller(call.tid), call.integer(0)
        inode = caller.socket_inode(number)
        if inode in self._ended:
            return True
        if inode and inode not in self._others:
            with socket.socket(fileno=caller.duplicate(number)) as sock:
                if (sock.family, sock.type) != (socket.AF_UNIX, socket.SOCK_SEQPACKET):
                    _add(self._others, inode)
                elif not sock.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT):
                    _add(self._ended, inode)
        return False


def _add(inodes: set[int], inode: int) -> None:
    if len(inodes) >= _MAX_INODES:
        inodes.clear()
    inodes.add(inode)


def _report(supervisor: int) -> None:
    """Tell syslog, from another process: a log that takes nothing would stop the programs."""
    with contextlib.suppress(OSError):
        if os.fork():
            return
        try:
            import syslog

            syslog.openlog("kamexfrm-exec", syslog.LOG_PID, syslog.LOG_DAEMON)
            text = f"the supervisor (process {supervisor}) died: PF_KEY works after a restart only"
            syslog.syslog(syslog.LOG_ERR, text)
        finally:
            os._exit(0)
