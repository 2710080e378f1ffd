"""The supervisor's event loop: it polls before it sleeps, and survives what a handler raises."""

import os
from collections.abc import Callable

from kamexfrm.exec.log import Log
from kamexfrm.hub.event_loop import EventLoop, Handler

#: Busy polls before sleeping, some 50 us in all: a program sends one request after another, and to
#: wake a processor that sleeps takes as long as to serve one (118 us against 78, a DUMP and its
#: reply). Where there is but one processor, the program has it.
_BUSY_POLLS = 100

#: Does deferred work, and returns the seconds until there is more of it.
RunDeferred = Callable[[], float | None]

#: Turns between two runs of deferred work, and seconds after which a failed run is tried again.
_TURNS, _RETRY_AFTER = 64, 1.0


class Loop(EventLoop):
    """Waits and calls. A handler that fails is logged and called again next time."""

    def __init__(self, log: Log) -> None:
        super().__init__()
        self._log = log
        self._turns = 0
        self._busy_polls = _BUSY_POLLS if len(os.sched_getaffinity(0)) > 1 else 0

    def turn(self, run_deferred: RunDeferred) -> None:
        """Call the handlers of all that happened, or wait for it.

        ``run_deferred`` is called before waiting, and at least once in so many turns; it returns
        how many seconds to wait at most, None for no end.
        """
        self._turns += 1
        if self._turns % _TURNS == 0:
            self._deferred(run_deferred)
        self.dispatch(self._ready(run_deferred))

    def _ready(self, run_deferred: RunDeferred) -> list[tuple[int, int]]:
        for _ in range(self._busy_polls):
            ready = self._epoll.poll(0)
            if ready:
                return ready
        return self._epoll.poll(self._deferred(run_deferred))

    def _deferred(self, run_deferred: RunDeferred) -> float | None:
        try:
            return run_deferred()
        except Exception:  # as in call()
            self._log.failure("what was left for later could not be done")
            return _RETRY_AFTER

    def call(self, handler: Handler, events: int) -> None:
        """Call one handler; whatever one client's bytes cause, the others are served."""
        try:
            handler(events)
        except Exception:  # a fault of ours, logged
            self._log.failure("a program's PF_KEY could not be served")
