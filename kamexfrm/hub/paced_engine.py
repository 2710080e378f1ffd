"""The hub's engine: what follows from a change is put off while that costs too much."""

import contextlib
import time

from kamexfrm.engine.engine import Engine
from kamexfrm.engine.requests import Write, Written
from kamexfrm.errors import KamexfrmError
from kamexfrm.hub.backoff import Backoff
from kamexfrm.hub.feed import Feed, FeedEvent

#: Where there are SAs of mode any, each change needs a resync. With more entries than this, one
#: resync does for all that is written meanwhile.
_FEW_ENTRIES = 200

#: Seconds until what failed is tried again.
_RETRY_AFTER = 1.0


class PacedEngine:
    """An engine that writes for the clients of a feed; others may read by it."""

    def __init__(self, engine: Engine, feed: Feed) -> None:
        self._engine = engine
        self._feed = feed
        self._backoff = Backoff()

    def write(self, request: Write) -> list[FeedEvent]:
        """Carry out a write; return the events of our own changes. Raises KamexfrmError."""
        began = time.monotonic()
        try:
            self._engine.submit(request)
            written = self._engine.flush(reconcile=not self._backoff.remaining())
        finally:
            own = self._feed.own_events()
        self._pause_after(began, written)
        return own

    def _pause_after(self, began: float, written: Written) -> None:
        """Start the pause, if what began then was a resync of many entries."""
        if written.resynced and len(self._feed.shadow) > _FEW_ENTRIES:
            self._backoff.start(began)

    def run_deferred(self) -> float | None:
        """Do what was put off, if it is time.

        Return in how many seconds to call again, None where nothing is left. Never raises.
        """
        if not self._engine.pending_reconcile:
            return None
        if pause := self._backoff.remaining():
            return pause
        began = time.monotonic()
        with contextlib.suppress(KamexfrmError):  # tried again
            written = self._engine.flush()
            self._pause_after(began, written)
            self._feed.own_events()
        return _RETRY_AFTER if self._engine.pending_reconcile else None

    def finish(self) -> None:
        """Do what was put off, now."""
        self._backoff.cancel()
        self.run_deferred()
