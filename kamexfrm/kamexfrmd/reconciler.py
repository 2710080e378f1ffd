"""The resident: follows the kernel's events, so that others' changes have KAME's consequences.

It has no state of its own but what it last read of the marker. A command of ours does all this
for its own changes; the resident does it for those of everybody else, and for SAs that expire.
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
from kamexfrm.translate.xfrm.marker import UNFINISHED, Marker, read_marker
from kamexfrm.xfrm import XFRMNLGRP_EXPIRE, XFRMNLGRP_POLICY, XFRMNLGRP_SA, Policy

GROUPS = (XFRMNLGRP_SA, XFRMNLGRP_POLICY, XFRMNLGRP_EXPIRE)

#: Seconds after which a writer that has left something unfinished is taken for dead.
_PATIENCE = 2.0


class Resident:
    """Looks after the namespace of a kernel; ``log`` gets a sentence for what it had to mend."""

    def __init__(self, kernel: Kernel, log: Callable[[str], None]) -> None:
        self._engine = Engine(kernel)
        self._events = kernel.subscribe(GROUPS)
        self._log = log
        self._known: Marker | None = None
        self._wanted = Consequence.NOTHING
        self._backoff = Backoff()
        self._heard_at = 0.0

    def look(self) -> None:
        """Bring everything to where it should be; raises KernelError."""
        before = self._known
        self._known = self._engine.reconcile(before)
        if self._engine.restored:
            self._log("somebody flushed the policies: knobs and def_policy are put back")

    def fileno(self) -> int:
        """Return a descriptor that is readable while something happened."""
        return self._events.fileno()

    def pause(self) -> float | None:
        """Return how many seconds there are until work() has something to do, None for no end."""
        if self._wanted is not Consequence.NOTHING:
            return self._backoff.remaining()
        if self._flags & UNFINISHED:
            return max(0.0, self._heard_at + _PATIENCE - time.monotonic())
        return None

    def hear(self) -> None:
        """Take note of what happened."""
        self._wanted = max(self._wanted, self._hear())
        self._heard_at = time.monotonic()

    def work(self) -> None:
        """Do what events ask for, but not all the time."""
        if self.pause() != 0:
            return
        wanted, self._wanted = self._wanted or Consequence.LOOK, Consequence.NOTHING
        began = time.monotonic()
        try:
            if wanted is Consequence.LOOK:
                self.look()
            else:
                self._engine.forget_routes()
        except KernelError as error:
            self._log(f"could not look after the policies: {error}")
        self._backoff.start(began)
        self._heard_at = time.monotonic()

    @property
    def _flags(self) -> int:
        return self._known.flags if self._known else 0

    def _hear(self) -> Consequence:
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
                wanted = Consequence.LOOK
                continue
            if not events:
                return wanted
            for event in events:
                if event.pid == mine:
                    continue
                marker = written_marker(event)
                if marker is not None:
                    self._remember(marker)
                elif wanted is not Consequence.LOOK:
                    wanted = max(wanted, consequence(event, self._flags))

    def _remember(self, policy: Policy) -> None:
        with contextlib.suppress(UnsupportedError):
            self._known = read_marker(policy)

    def close(self) -> None:
        """Stop listening."""
        self._events.close()


def tell_systemd(state: str) -> None:
    """Tell a service manager that asked for it (sd_notify(3)), e.g. ``READY=1``."""
    path = os.environ.get("NOTIFY_SOCKET")
    if not path:
        return
    import socket

    address = "\0" + path[1:] if path.startswith("@") else path
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as notify:
        notify.sendto(state.encode(), address)
