"""kamexfrmd's event loop: the resident's part, and PF_KEY's for whoever connects."""

import select
import selectors
from collections.abc import Callable

from kamexfrm.errors import KamexfrmError
from kamexfrm.hub.hub import Hub
from kamexfrm.hub.unix_socket import ServedSocket
from kamexfrm.kamexfrmd.listener import Listener
from kamexfrm.kamexfrmd.reconciler import Resident

#: Seconds in which events gather while nobody waits for an answer: to wake up for each of many
#: costs more than to read them.
_GATHERING = 0.002

_READ, _WRITE = selectors.EVENT_READ, selectors.EVENT_WRITE


class Service:
    """PF_KEY at a path: a hub, a listener, and those who were let in.

    ``log`` gets a sentence for what went wrong with one of them.
    """

    def __init__(self, hub: Hub, listener: Listener, log: Callable[[str], None]) -> None:
        self._hub = hub
        self._listener = listener
        self._log = log
        self._served: dict[ServedSocket, int] = {}
        self._selector: selectors.BaseSelector | None = None

    def join(self, selector: selectors.BaseSelector) -> None:
        """Have an event loop watch; the data of each key is what to call with its events."""
        self._selector = selector
        selector.register(self._hub, _READ, lambda _: self._hub.process_events())
        selector.register(self._listener, _READ, lambda _: self._admit())

    def _admit(self) -> None:
        assert self._selector is not None  # noqa: S101
        peer = self._listener.accept()
        if peer is None:
            return
        try:
            served = ServedSocket(self._hub, peer)
        except KamexfrmError as error:
            peer.close()
            self._log(f"could not serve PF_KEY: {error}")
            return
        self._served[served] = _READ
        self._selector.register(served, _READ, lambda events: _turn(served, events))

    def settle(self) -> float | None:
        """Send what was queued for anybody, and let go of those who have left.

        Return in how many seconds to come back, None where nothing can be waited for.
        """
        assert self._selector is not None  # noqa: S101
        pause = self._hub.run_deferred()
        for served, watched in tuple(self._served.items()):
            if served.dirty:
                served.write()
            if served.gone:
                self._selector.unregister(served)
                served.close()
                del self._served[served]
                continue
            wanted = _READ | _WRITE if served.writable else _READ
            if wanted != watched:
                self._served[served] = wanted
                self._selector.modify(served, wanted, self._selector.get_key(served).data)
        return pause

    def close(self) -> None:
        """Let go of everybody and take the path away."""
        for served in self._served:
            served.close()
        self._served.clear()
        self._listener.close()
        self._hub.close()


def _turn(served: ServedSocket, events: int) -> None:
    if events & _READ:
        served.read()
    else:
        served.write()


def run(resident: Resident, service: Service | None, stop: int) -> None:
    """Follow the kernel, and serve, until the descriptor ``stop`` is readable."""
    with selectors.DefaultSelector() as selector:
        selector.register(stop, _READ)
        selector.register(resident, _READ, lambda _: resident.hear())
        if service is not None:
            service.join(selector)
        pause: float | None = None
        while True:
            pauses = [seconds for seconds in (pause, resident.pause()) if seconds is not None]
            for key, events in selector.select(min(pauses, default=None)):
                if key.fd == stop:
                    return
                key.data(events)
            resident.work()
            if service is not None:
                pause = service.settle()
            elif select.select([stop], [], [], _GATHERING)[0]:
                return
