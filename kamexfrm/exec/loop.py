"""The supervisor's event loop: one wait for all descriptors, a handler for each."""

import os
import select
from collections.abc import Callable

from kamexfrm.exec.log import Journal

#: Hears the events of poll(2) on its descriptor.
Handler = Callable[[int], None]

#: How often to look before sleeping, some 50 us in all: a program sends one request after another,
#: and to wake a processor that sleeps takes as long as to serve one (118 us against 78, a DUMP and
#: its reply). Where there is but one processor, the program has it.
_GLANCES = 100

#: Does what can wait, and returns the seconds until there is more of it.
Sweep = Callable[[], float | None]

#: Turns that may be taken without a sweep, and seconds after which a failed one is tried again.
_SWEPT, _AGAIN = 64, 1.0

READABLE = select.EPOLLIN | select.EPOLLRDHUP
WRITABLE = select.EPOLLOUT
HUNG_UP = select.EPOLLHUP | select.EPOLLRDHUP | select.EPOLLERR


class Loop:
    """Waits and calls. A handler that fails is written of and called again next time."""

    def __init__(self, journal: Journal) -> None:
        self._epoll = select.epoll()
        self._handlers: dict[int, Handler] = {}
        self._journal = journal
        self._turns = 0
        self._glances = _GLANCES if len(os.sched_getaffinity(0)) > 1 else 0

    def watch(self, descriptor: int, handler: Handler) -> None:
        """Call the handler whenever the descriptor is readable or hung up."""
        self._epoll.register(descriptor, READABLE)
        self._handlers[descriptor] = handler

    def want(self, descriptor: int, events: int) -> None:
        """Change the events to wait for."""
        self._epoll.modify(descriptor, events)

    def forget(self, descriptor: int) -> None:
        """Watch a descriptor no more; before it is closed, which is what ends it for epoll(7)."""
        self._handlers.pop(descriptor, None)

    def _ready(self, sweep: Sweep) -> list[tuple[int, int]]:
        for _ in range(self._glances):
            ready = self._epoll.poll(0)
            if ready:
                return ready
        return self._epoll.poll(self._swept(sweep))

    def _swept(self, sweep: Sweep) -> float | None:
        try:
            return sweep()
        except Exception:  # as in turn()
            self._journal.failure("what was left for later could not be done")
            return _AGAIN

    def turn(self, sweep: Sweep) -> None:
        """Call the handlers of all that happened, or wait for it.

        ``sweep`` is what is to be done before waiting, and at least once in so many turns; it
        returns how many seconds to wait at most, None for no end.
        """
        self._turns += 1
        if self._turns % _SWEPT == 0:
            self._swept(sweep)
        for descriptor, events in self._ready(sweep):
            handler = self._handlers.get(descriptor)
            if handler is None:  # forgotten by a handler of this very turn
                continue
            try:
                handler(events)
            except Exception:  # whatever one client's bytes set off, the others go on
                self._journal.failure("a program's PF_KEY could not be served")
