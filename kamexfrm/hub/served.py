"""Served sockets: the PF_KEY sockets of programs, in an event loop, with a list of what is due.

A request of one client can queue messages for any other. Each socket that has something queued
puts itself on the list of its hub's sockets, and flush() writes to those on the list and no others.
"""

import contextlib
import resource
import socket
from collections.abc import Callable
from typing import TypeVar

from kamexfrm.hub.event_loop import HUNG_UP, READABLE, WRITABLE, EventLoop
from kamexfrm.hub.hub import Hub
from kamexfrm.hub.unix_socket import UnixSocketClient


class ServedSocket(UnixSocketClient):
    """Our end of a program's PF_KEY socket, in an event loop; it joins ``due`` when written to."""

    def __init__(
        self, hub: Hub, sock: socket.SocketType, loop: EventLoop, due: "list[ServedSocket]"
    ) -> None:
        super().__init__(hub, sock)
        self._loop = loop
        self._due = due
        self._watches_room = False

    def _queued(self) -> None:
        if not self.dirty:
            self._due.append(self)
        super()._queued()

    def write(self) -> None:
        """Send what waits as far as there is room, and let the loop watch for more room."""
        super().write()
        if self.writable != self._watches_room:
            self._watches_room = self.writable
            self._loop.modify(self.fileno(), READABLE | (WRITABLE if self.writable else 0))


S = TypeVar("S", bound=ServedSocket)


def _ignore() -> None:
    pass


class ServedSockets:
    """All sockets that one hub serves; the hub is theirs to close."""

    def __init__(self, hub: Hub, loop: EventLoop) -> None:
        self._hub = hub
        self._loop = loop
        self._due: list[ServedSocket] = []
        self._sockets: dict[ServedSocket, Callable[[], object]] = {}
        loop.watch(hub.fileno(), self._process_events)

    def __len__(self) -> int:
        return len(self._sockets)

    def add(
        self, sock: socket.SocketType, kind: type[S], closed: Callable[[], object] = _ignore
    ) -> S:
        """Serve a socket, which is ours from now on; ``closed`` is called once it is closed.

        Raises KernelError, and the socket stays the caller's.
        """
        served = kind(self._hub, sock, self._loop, self._due)
        self._sockets[served] = closed

        def ready(events: int) -> None:
            if events & WRITABLE:
                served.write()
            if events & ~WRITABLE:
                served.read(hung_up=bool(events & HUNG_UP))
                self.finish(served)

        self._loop.watch(served.fileno(), ready)
        return served

    def finish(self, served: ServedSocket) -> None:
        """Send what a socket's requests have queued for others; close it if its program left."""
        self.flush()
        if served.gone:
            self._close(served)

    def flush(self) -> None:
        """Send what the hub has queued for the sockets."""
        due = self._due
        while due:
            served = due.pop()
            if served.dirty:
                served.write()

    def _process_events(self, _: int) -> None:
        try:
            self._hub.process_events()
        finally:
            self.flush()

    def run_deferred(self) -> float | None:
        """Let the hub do what was put off; see Hub.run_deferred()."""
        pause = self._hub.run_deferred()
        self.flush()
        return pause

    def _close(self, served: ServedSocket) -> None:
        closed = self._sockets.pop(served)
        self._loop.forget(served.fileno())
        served.close()
        closed()

    def close(self) -> None:
        """Close all sockets, then the hub."""
        for served in tuple(self._sockets):
            self._close(served)
        self._loop.forget(self._hub.fileno())
        self._hub.close()


def use_all_descriptors() -> None:
    """Raise the limit of open files to what is allowed: each served socket takes one."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
