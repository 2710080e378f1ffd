"""The reconciler: follows the kernel's events, so that all changes have KAME's consequences.

Its only state is the marker as last read. A command of ours reconciles after its own changes; the
reconciler does so after those of other programs, and when SAs expire.
"""

import contextlib
import errno
import os
import time
from collections.abc import Callable

from kamexfrm.engine.engine import Engine
from kamexfrm.errors import KernelError, UnsupportedError
from kamexfrm.hub.backoff import Backoff
from kamexfrm.kamexfrmd.consequences import Consequence, consequence, written_marker
from kamexfrm.kernel.interface import Kernel
from kamexfrm.translate.xfrm.marker import Marker, MarkerFlag, read_marker
from kamexfrm.xfrm import XFRMNLGRP_EXPIRE, XFRMNLGRP_POLICY, XFRMNLGRP_SA, Policy

GROUPS = (XFRMNLGRP_SA, XFRMNLGRP_POLICY, XFRMNLGRP_EXPIRE)

#: Seconds after which a writer that left something unfinished is taken for dead.
_PATIENCE = 2.0


class Reconciler:
    """Reconciles the namespace of a kernel; ``log`` gets a sentence for what it had to repair."""

    def __init__(self, kernel: Kernel, log: Callable[[str], None]) -> None:
        self._engine = Engine(kernel)
        self._events = kernel.subscribe(GROUPS)
        self._log = log
        self._marker: Marker | None = None
        self._due = Consequence.NOTHING
        self._backoff = Backoff()
        self._last_event = 0.0

    def reconcile(self) -> None:
        """Resync, and rewrite what has to change; raises KernelError."""
        before = self._marker
        self._marker, restored = self._engine.reconcile(before)
        if restored:
            self._log("somebody flushed the policies: knobs and def_policy are put back")

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
        began = time.monotonic()
        try:
            if wanted is Consequence.RESYNC:
                self.reconcile()
            else:
                self._engine.invalidate_routes()
        except KernelError as error:
            self._log(f"could not look after the policies: {error}")
        self._backoff.start(began)
        self._last_event = time.monotonic()

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
                if event.pid == mine:
                    continue
                marker = written_marker(event)
                if marker is not None:
                    self._update_marker(marker)
                elif wanted is not Consequence.RESYNC:
                    wanted = max(wanted, consequence(event, self._flags))

    def _update_marker(self, policy: Policy) -> None:
        with contextlib.suppress(UnsupportedError):
            self._marker = read_marker(policy)

    def close(self) -> None:
        """Stop listening."""
        self._events.close()


def notify_systemd(state: str) -> None:
    """Notify a service manager that wants it (sd_notify(3)), e.g. ``READY=1``."""
    path = os.environ.get("NOTIFY_SOCKET")
    if not path:
        return
    import socket

    address = "\0" + path[1:] if path.startswith("@") else path
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as notify:
        notify.sendto(state.encode(), address)
