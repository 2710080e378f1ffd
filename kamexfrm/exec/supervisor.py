"""The supervisor: runs as long as any thread is under the filter or holds a socket of ours."""

import gc
import os
import select
from collections.abc import Sequence

from kamexfrm.engine import writer as _writer  # noqa: F401  # not with the first request
from kamexfrm.exec.calls import Calls
from kamexfrm.exec.log import Log
from kamexfrm.exec.loop import Loop
from kamexfrm.exec.netns import NetnsTable
from kamexfrm.exec.seccomp import Listener
from kamexfrm.exec.sockets import Sockets
from kamexfrm.model.policy import SocketPolicy


class Supervisor:
    """Serves the calls that come by a listener, and the sockets that it gave away."""

    def __init__(self, listener: Listener, log: Log, policies: Sequence[SocketPolicy]) -> None:
        self._listener = listener
        self._log = log
        self._loop = Loop(log)
        self._netns_table = NetnsTable(self._loop, log.warning)
        self._sockets = Sockets()
        self._calls = Calls(listener, self._sockets, self._netns_table, log, policies)
        self._listens = True

    def log_while_runs(self, pid: int) -> None:
        """Log no more once a process has ended: it is its standard error that we write to.

        The reader of that waits for its end, and before Linux 6.11 the listener shows the end of a
        process only after the parent has waited for it.
        """
        pidfd = os.pidfd_open(pid)

        def ended(_: int) -> None:
            self._loop.forget(pidfd)
            os.close(pidfd)
            self._log.close()

        self._loop.watch(pidfd, ended)

    def run(self) -> None:
        """Return when no thread is left under the filter and no socket of ours is open.

        A socket may outlive all that were under the filter: it can be sent to any process.
        """
        self._loop.watch(self._listener.fileno(), self._called)
        gc.freeze()  # what is loaded stays
        while self._listens or self._sockets:
            self._loop.turn(self._netns_table.run_deferred)
        self._netns_table.close()

    def _called(self, events: int) -> None:
        if events & select.EPOLLIN:
            self._calls.handle()
        elif events & (select.EPOLLHUP | select.EPOLLERR):
            self._loop.forget(self._listener.fileno())
            self._listener.close()
            self._listens = False
