"""An event loop: one epoll(7) for all descriptors, a handler for each."""

import select
from collections.abc import Callable

#: Gets the events of a descriptor, as epoll(7) has them.
Handler = Callable[[int], None]

READABLE = select.EPOLLIN | select.EPOLLRDHUP
WRITABLE = select.EPOLLOUT
HUNG_UP = select.EPOLLHUP | select.EPOLLRDHUP | select.EPOLLERR


class EventLoop:
    """Waits for descriptors and calls their handlers, as often as its owner says."""

    def __init__(self) -> None:
        self._epoll = select.epoll()
        self._handlers: dict[int, Handler] = {}

    def watch(self, descriptor: int, handler: Handler) -> None:
        """Call the handler whenever the descriptor is readable or hung up."""
        self._epoll.register(descriptor, READABLE)
        self._handlers[descriptor] = handler

    def modify(self, descriptor: int, events: int) -> None:
        """Change the events to wait for."""
        self._epoll.modify(descriptor, events)

    def forget(self, descriptor: int) -> None:
        """Call no more for a descriptor that is about to be closed; closing ends it for epoll."""
        self._handlers.pop(descriptor, None)

    def wait(self, timeout: float | None) -> list[tuple[int, int]]:
        """Return descriptors and their events, none after so many seconds; None waits for ever."""
        return self._epoll.poll(timeout)

    def dispatch(self, ready: list[tuple[int, int]]) -> None:
        """Call the handlers of what wait() returned."""
        for descriptor, events in ready:
            handler = self._handlers.get(descriptor)
            if handler is not None:  # else forgotten by a handler of this very turn
                self.call(handler, events)

    def call(self, handler: Handler, events: int) -> None:
        """Call one handler."""
        handler(events)
