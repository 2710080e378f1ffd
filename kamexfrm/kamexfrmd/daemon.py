"""kamexfrmd's event loop: the reconciler, and PF_KEY at a path for programs that connect."""

import select
from collections.abc import Callable
from typing import TYPE_CHECKING

from kamexfrm.errors import KamexfrmError
from kamexfrm.hub.event_loop import EventLoop
from kamexfrm.hub.hub import Hub
from kamexfrm.hub.served import ServedSocket, ServedSockets
from kamexfrm.kamexfrmd.listener import Listener
from kamexfrm.kamexfrmd.reconciler import Reconciler

if TYPE_CHECKING:
    from kamexfrm.kamexfrmd.encap import Encap

#: Seconds in which events gather while no client waits for an answer: to wake up for each of many
#: costs more than to read them.
_GATHERING = 0.002


class Service:
    """PF_KEY at a path: a hub, a listener, and the sockets of those that were let in.

    ``log`` gets a sentence for what went wrong with one of them.
    """

    def __init__(
        self, hub: Hub, listener: Listener, loop: EventLoop, log: Callable[[str], None]
    ) -> None:
        self._listener = listener
        self._log = log
        self._served = ServedSockets(hub, loop)
        loop.watch(listener.fileno(), self._accept)

    def _accept(self, _: int) -> None:
        peer = self._listener.accept()
        if peer is None:
            return
        try:
            self._served.add(peer, ServedSocket)
        except KamexfrmError as error:
            peer.close()
            self._log(f"could not serve PF_KEY: {error}")

    def run_deferred(self) -> float | None:
        """Let the hub do what was put off; return in how many seconds to call again, or None."""
        return self._served.run_deferred()

    def close(self) -> None:
        """Close all sockets and remove the path."""
        self._listener.close()
        self._served.close()


def run(
    loop: EventLoop,
    reconciler: Reconciler,
    service: Service | None,
    stop: int,
    encap: "Encap | None" = None,
) -> None:
    """Follow the kernel, and serve, until the descriptor ``stop`` is readable."""
    stopped: list[int] = []
    loop.watch(stop, stopped.append)
    loop.watch(reconciler.fileno(), lambda _: reconciler.process_events())
    pause: float | None = None
    while True:
        keepalive = encap.run_deferred() if encap is not None else None
        wanted = (pause, reconciler.pause(), keepalive)
        pauses = [seconds for seconds in wanted if seconds is not None]
        loop.dispatch(loop.wait(min(pauses, default=None)))
        if stopped:
            return
        reconciler.run_deferred()
        if service is not None:
            pause = service.run_deferred()
        elif select.select([stop], [], [], _GATHERING)[0]:
            return
