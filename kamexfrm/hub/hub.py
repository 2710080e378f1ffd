"""The hub: one network namespace's PF_KEY. Requests come in, replies and broadcasts go out.

The kernel is the bus between processes: ``feed`` turns its events into broadcasts, so that changes
by any process reach all clients. What has no event is seen within one hub only: GETSPI, copies for
promiscuous clients, a flush of an empty database.
"""

import time
from collections.abc import Callable

from kamexfrm.engine.engine import Engine
from kamexfrm.errors import KamexfrmError
from kamexfrm.hub.bus import Bus
from kamexfrm.hub.client_queue import Client
from kamexfrm.hub.core import Core
from kamexfrm.hub.feed import Feed
from kamexfrm.hub.handlers import serve
from kamexfrm.hub.header import check_header
from kamexfrm.hub.paced_engine import PacedEngine
from kamexfrm.kernel.interface import Kernel
from kamexfrm.pfkey import decode, decode_base
from kamexfrm.translate.pfkey.parts import error_reply


def _ignore() -> None:
    pass


def _ignore_text(_: str) -> None:
    pass


class Hub:
    """PF_KEY on a kernel; the caller of attach() answers for the client's rights.

    ``clock`` returns seconds since the epoch; ``log`` gets a sentence when events cannot be read.
    Whatever runs the hub calls process_events() when its descriptor is readable, and run_deferred()
    when that asks for it.
    """

    def __init__(
        self,
        kernel: Kernel,
        clock: Callable[[], float] = time.time,
        log: Callable[[str], None] = _ignore_text,
    ) -> None:
        self.engine = Engine(kernel, clock=clock)
        self.bus = Bus()
        self.feed = Feed(kernel, self.bus, clock, log)
        self._writer = PacedEngine(self.engine, self.feed)
        self._core = Core(kernel, self.engine, self.bus, self.feed, self._writer)

    def fileno(self) -> int:
        """Return a descriptor that is readable while kernel events wait."""
        return self.feed.fileno()

    def process_events(self) -> None:
        """Broadcast the kernel events that wait; never raises for what an event holds."""
        self.feed.process()

    @property
    def has_deferred(self) -> bool:
        """Whether run_deferred() has work to do, now or later."""
        return self.engine.pending_reconcile

    def run_deferred(self) -> float | None:
        """Do what was put off, if it is time.

        Return in how many seconds to call again, None where nothing is left. Never raises.
        """
        return self._writer.run_deferred()

    def attach(self, notify: Callable[[], None] = _ignore) -> Client:
        """Make a client; ``notify`` is called whenever a message was queued for it.

        Raises KernelError where the kernel cannot be read.
        """
        self.feed.start()
        client = Client(
            self.bus.memory,
            serve=self._serve,
            notify=notify,
            caught_up=self.feed.resume,
            closed=self._detach,
        )
        self.bus.add(client)
        return client

    def _detach(self, client: Client) -> None:
        self.bus.remove(client)
        self.feed.update_acquire_group()

    def _serve(self, client: Client, data: bytes) -> None:
        """Carry out a client's request; see Client.send()."""
        check_header(data)
        self.bus.to_promiscuous(data)
        request = None
        try:
            request = decode(data)
            serve(self._core, client, request)
        except KamexfrmError as error:
            request = request or decode_base(data[: len(data) // 8 * 8])
            self._core.reply(client, request, error_reply(request, error.errno))
        finally:
            self.feed.process_if_lost()

    def close(self) -> None:
        """Do all that was put off, and stop listening.

        The kernel object is its maker's to close.
        """
        self._writer.finish()
        self.feed.close()
