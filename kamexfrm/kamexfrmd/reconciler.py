"""The reconciler: follows the kernel's events, so that all changes have KAME's consequences.

Its only state is the marker as last read. A command of ours reconciles after its own changes; the
reconciler does so after those of other programs, and when SAs expire.
"""

import contextlib
import errno
import time
from collections.abc import Callable

from kamexfrm.engine.engine import Engine
from kamexfrm.errors import KamexfrmError, KernelError, UnsupportedError, WireError
from kamexfrm.hub.backoff import Backoff
from kamexfrm.kamexfrmd.consequences import Consequence, consequence, written_marker
from kamexfrm.kernel.interface import Event, Kernel
from kamexfrm.translate.xfrm.marker import Marker, MarkerFlag, read_marker
from kamexfrm.xfrm import XFRMNLGRP_EXPIRE, XFRMNLGRP_POLICY, XFRMNLGRP_SA, Policy

GROUPS = (XFRMNLGRP_SA, XFRMNLGRP_POLICY, XFRMNLGRP_EXPIRE)

#: Seconds after which a writer that left something unfinished is taken for dead, and after which
#: what the kernel refused is tried again.
_PATIENCE = 2.0

#: What is done about events, in words.
_WORK = {
    Consequence.RESYNC: "looking at all SAs and policies",
    Consequence.INVALIDATE_ROUTES: "letting connections look for their policies again",
}


class Reconciler:
    """Reconciles the namespace of a kernel.

    ``log`` gets a sentence for what it had to repair, ``debug`` one each time that it looks.
    """

    def __init__(
        self,
        kernel: Kernel,
        log: Callable[[str], None],
        debug: Callable[[str], None] = lambda _: None,
    ) -> None:
        self._engine = Engine(kernel)
        self._debug = debug
        self._events = kernel.subscribe(GROUPS)
        self._log = log
        self._marker: Marker | None = None
        self._due = Consequence.NOTHING
        self._backoff = Backoff()
        self._last_event = 0.0
        #: Events that could not be decoded since the start, and those that are not logged yet.
        self._unreadable = self._unlogged = 0
        self._last_error = ""
        #: Why the last resync failed, empty where it did not.
        self._failure = ""

    def reconcile(self) -> None:
        """Resync, and rewrite what has to change; raises KernelError."""
        before = self._marker
        self._marker, restored, mended = self._engine.reconcile(before)
        if restored:
            self._log("somebody flushed the policies: knobs and def_policy are put back")
        if mended:
            self._log("another program changed def_policy's catch-alls: they are put back")

    def fileno(self) -> int:
        """Return a descriptor that is readable while kernel events wait."""
        return self._events.fileno()

    def pause(self) -> float | None:
        """Return the seconds until run_deferred() has work to do, None if there is none."""
        if self._due is not Consequence.NOTHING:
            return self._backoff.remaining()
        if self._flags & MarkerFlag.UNFINISHED:
            return max(0.0, self._last_event + _PATIENCE - time.monotonic())
        return None

    def process_events(self) -> None:
        """Read the events that wait, and remember what they ask for."""
        self._due = max(self._due, self._read_events())
        self._last_event = time.monotonic()

    def run_deferred(self) -> None:
        """Do what events ask for, if the pause since the last time is over."""
        if self.pause() != 0:
            return
        wanted, self._due = self._due or Consequence.RESYNC, Consequence.NOTHING
        self._log_unreadable()
        began = time.monotonic()
        self._debug(_WORK[wanted])
        try:
            if wanted is Consequence.RESYNC:
                self.reconcile()
            else:
                self._engine.invalidate_routes()
            self._failure = ""
        except KamexfrmError as error:  # of the kernel, or a marker that cannot be read
            self._fail(error, wanted)
        self._backoff.start(began, _PATIENCE if self._failure else 0.0)
        self._last_event = time.monotonic()

    def _fail(self, error: KamexfrmError, wanted: Consequence) -> None:
        """Log an error, once as long as it stays the same; what the kernel refused is tried again.

        A marker that cannot be read stays so until it is written again, which is an event.
        """
        if isinstance(error, KernelError):
            self._due = wanted
        if str(error) != self._failure:
            self._failure = str(error)
            self._log(f"could not look after the policies: {error}")

    @property
    def _flags(self) -> MarkerFlag:
        return self._marker.flags if self._marker else MarkerFlag(0)

    def _read_events(self) -> Consequence:
        """Read all events that wait; return what they ask for."""
        wanted = Consequence.NOTHING
        mine = self._engine.port
        while True:
            try:
                events = self._events.receive()
            except KernelError as error:
                if error.errno != errno.ENOBUFS:
                    raise
                self._log("events were lost: looking at everything")
                wanted = Consequence.RESYNC
                continue
            if not events:
                return wanted
            for event in events:
                if event.pid != mine:
                    wanted = self._apply(event, wanted)

    def _apply(self, event: Event, wanted: Consequence) -> Consequence:
        """Take an event in; return what all events up to this one ask for."""
        try:
            marker = written_marker(event)
            if marker is not None:
                self._update_marker(marker)
            elif wanted is not Consequence.RESYNC:
                return max(wanted, consequence(event, self._flags))
        except WireError as error:
            self._unreadable += 1
            self._unlogged += 1
            self._last_error = f"type {event.type:#x}: {error}"
            return Consequence.RESYNC
        return wanted

    def _log_unreadable(self) -> None:
        count, self._unlogged = self._unlogged, 0
        if count:
            events = "an event" if count == 1 else f"{count} events"
            self._log(
                f"{events} could not be read ({self._last_error}),"
                f" {self._unreadable} since the start: looking at everything"
            )

    def _update_marker(self, policy: Policy) -> None:
        with contextlib.suppress(UnsupportedError):
            self._marker = read_marker(policy)

    def close(self) -> None:
        """Stop listening."""
        self._events.close()
