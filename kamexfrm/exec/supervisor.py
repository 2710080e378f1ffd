"""The supervisor: beside the program as long as anybody can call it or holds a socket of ours."""

import contextlib
import gc
import os
import resource
import select
from collections.abc import Sequence

from kamexfrm.engine import writer as _writer  # noqa: F401  # not with the first request
from kamexfrm.exec.calls import Calls
from kamexfrm.exec.log import Journal
from kamexfrm.exec.loop import Loop
from kamexfrm.exec.netns import Spaces
from kamexfrm.exec.policies import Asked
from kamexfrm.exec.seccomp import Listener
from kamexfrm.exec.sockets import Sockets


class Supervisor:
    """Serves the calls that come by a listener, and the sockets that it gave away."""

    def __init__(self, listener: Listener, journal: Journal, policies: Sequence[Asked]) -> None:
        self._listener = listener
        self._journal = journal
        self._loop = Loop(journal)
        self._spaces = Spaces(self._loop)
        self._sockets = Sockets(self._loop)
        self._calls = Calls(listener, self._sockets, self._spaces, journal, policies)
        self._listens = True

    def speak_while_runs(self, pid: int) -> None:
        """Write no more once a process has ended: it is its standard error that we write to.

        Whoever reads that waits for its end, and before Linux 6.11 the listener tells of the end
        of a process only after somebody has waited for that.
        """
        pidfd = os.pidfd_open(pid)

        def ended(_: int) -> None:
            self._loop.forget(pidfd)
            os.close(pidfd)
            self._journal.close()

        self._loop.watch(pidfd, ended)

    def run(self) -> None:
        """Return when no thread is left under the filter and no socket of ours is open.

        A socket may outlive all who were under the filter: it can be sent to anybody.
        """
        self._loop.watch(self._listener.fileno(), self._called)
        gc.freeze()  # what is loaded stays
        while self._listens or self._sockets:
            self._loop.turn(self._spaces.sweep)
        self._spaces.close()

    def _called(self, events: int) -> None:
        if events & select.EPOLLIN:
            self._calls.handle()
        elif events & (select.EPOLLHUP | select.EPOLLERR):
            self._loop.forget(self._listener.fileno())
            self._listener.close()
            self._listens = False


def use_all_descriptors() -> None:
    """Raise the limit of open files to what is allowed: each of our sockets takes one."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
