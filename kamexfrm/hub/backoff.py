"""How often to look at everything: a look costs a dump of both databases."""

import time

#: The next look waits so many times as long as the last one took.
_FACTOR = 4


class Rest:
    """The pause between two looks, by the monotonic clock; there is none at first."""

    def __init__(self) -> None:
        self._until = 0.0

    def remaining(self) -> float:
        """Return the seconds until the next look is due, 0 if it may begin now."""
        return max(0.0, self._until - time.monotonic())

    def after(self, began: float) -> None:
        """Pause after a look that began at this time.monotonic() and ends now."""
        now = time.monotonic()
        self._until = now + (now - began) * _FACTOR

    def end(self) -> None:
        """Pause no longer."""
        self._until = 0.0
