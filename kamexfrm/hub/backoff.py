"""How often to resync: that costs a dump of both databases."""

import time

#: The pause after a resync is so many times as long as the resync took.
_FACTOR = 4


class Backoff:
    """The pause between two resyncs, by the monotonic clock; there is none at first."""

    def __init__(self) -> None:
        self._until = 0.0

    def remaining(self) -> float:
        """Return the seconds until the next resync is due, 0 if it may begin now."""
        return max(0.0, self._until - time.monotonic())

    def start(self, began: float, least: float = 0.0) -> None:
        """Begin the pause after a resync that began at this time.monotonic() and ends now.

        It takes ``least`` seconds at least.
        """
        now = time.monotonic()
        self._until = now + max(least, (now - began) * _FACTOR)

    def cancel(self) -> None:
        """End the pause."""
        self._until = 0.0
