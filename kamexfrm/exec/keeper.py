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

from kamexfrm.exec import system
from kamexfrm.exec.filter import needs_supervisor
from kamexfrm.exec.seccomp import Gone, Listener, Notification


def keep(listener: Listener, supervisor: int) -> None:
    """Wait for a child's end. If it was killed or failed, answer calls until none can come."""
    _, status = os.waitpid(supervisor, 0)
    if status == 0:
        return
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    _report(supervisor)
    if unanswered := listener.last():
        _answer(listener, unanswered)
    waiting = select.poll()
    waiting.register(listener, select.POLLIN)
    while True:
        for _, events in waiting.poll():
            if not events & select.POLLIN:
                return
            with contextlib.suppress(Gone):
                _answer(listener, listener.receive())


def _answer(listener: Listener, notification: Notification) -> None:
    """Refuse what only the supervisor can do; let the kernel carry out the rest."""
    with contextlib.suppress(Gone):
        if needs_supervisor(system.machine(), notification.number, notification.integer(1)):
            listener.refuse(notification, errno.ENOSYS)
        else:
            listener.let_through(notification)


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
