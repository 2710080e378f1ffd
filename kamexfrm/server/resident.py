"""The resident: follows the kernel's events, so that others' changes have KAME's consequences.

It has no state of its own but what it last read of the marker. A command of ours does all this
for its own changes; the resident does it for those of everybody else, and for SAs that expire.
"""

import contextlib
import errno
import os
import time
from collections.abc import Callable

from kamexfrm.engine.door import Engine
from kamexfrm.errors import Refusal, UnsupportedError
from kamexfrm.kernel.interface import Event, Kernel
from kamexfrm.translate import tag
from kamexfrm.translate.marker import Marker, read_marker
from kamexfrm.xfrm import (
    XFRM_MODE_TRANSPORT,
    XFRMNLGRP_EXPIRE,
    XFRMNLGRP_POLICY,
    XFRMNLGRP_SA,
    Expire,
    Policy,
    PolicyExpire,
    XfrmMsg,
    decode_event,
)

GROUPS = (XFRMNLGRP_SA, XFRMNLGRP_POLICY, XFRMNLGRP_EXPIRE)

#: A look costs a dump of both databases: the next one waits this many times as long as it took.
_REST = 4

#: What is gone with these may have to be put back, or to be followed.
_ALWAYS = frozenset(
    (
        XfrmMsg.NEWSA,
        XfrmMsg.UPDSA,
        XfrmMsg.DELSA,
        XfrmMsg.FLUSHSA,
        XfrmMsg.DELPOLICY,
        XfrmMsg.FLUSHPOLICY,
    )
)


_SOMETIMES = frozenset((XfrmMsg.NEWPOLICY, XfrmMsg.UPDPOLICY, XfrmMsg.EXPIRE, XfrmMsg.POLEXPIRE))


class Resident:
    """Looks after the namespace of a kernel; ``log`` gets a sentence for what it had to mend."""

    def __init__(self, kernel: Kernel, log: Callable[[str], None]) -> None:
        self._engine = Engine(kernel)
        self._events = kernel.subscribe(GROUPS)
        self._log = log
        self._known: Marker | None = None
        self._has_to_look = False
        self._rests_until = 0.0

    def look(self) -> None:
        """Bring everything to where it should be; raises Refusal."""
        before = self._known
        self._known = self._engine.reconcile(before)
        if self._engine.restored:
            self._log("somebody flushed the policies: knobs and def_policy are put back")

    def fileno(self) -> int:
        """Return a descriptor that is readable while something happened."""
        return self._events.fileno()

    def pause(self) -> float | None:
        """Return how many seconds there are until work() has something to do, None for no end."""
        if not self._has_to_look:
            return None
        return max(0.0, self._rests_until - time.monotonic())

    def work(self) -> None:
        """Look if something happened, but not all the time."""
        if self.pause() != 0:
            return
        self._has_to_look = False
        began = time.monotonic()
        try:
            self.look()
        except Refusal as refusal:
            self._log(f"could not look after the policies: {refusal}")
        ended = time.monotonic()
        self._rests_until = ended + (ended - began) * _REST

    def hear(self) -> None:
        """Take note of what happened."""
        if self._hear():
            self._has_to_look = True

    def _hear(self) -> bool:
        """Read all events that wait; return whether one of them matters."""
        found = False
        while True:
            try:
                events = self._events.receive()
            except Refusal as refusal:
                if refusal.errno != errno.ENOBUFS:
                    raise
                self._log("events were lost: looking at everything")
                found = True
                continue
            if not events:
                return found
            for event in events:
                if event.pid != self._engine.port and self._matters(event):
                    found = True

    def _matters(self, event: Event) -> bool:
        """Take note of a written marker; return whether anything else may have to follow."""
        if event.type in _ALWAYS:
            return True
        if event.type not in _SOMETIMES:
            return False
        match decode_event(event.type, event.payload):
            case Policy(if_id=tag.MARKER_IF_ID) as policy:
                self._remember(policy)
                return False
            case Policy(templates=templates):
                return any(template.mode != XFRM_MODE_TRANSPORT for template in templates)
            case Expire(hard=hard) | PolicyExpire(hard=hard):
                return bool(hard)
            case _:
                return False

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
