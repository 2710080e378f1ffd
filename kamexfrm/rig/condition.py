"""Waiting: a condition and a deadline, never a fixed sleep."""

import time
from collections.abc import Callable
from typing import TypeVar

Value = TypeVar("Value")

#: Seconds between two polls of a condition: short at first, then longer.
FIRST_PAUSE = 0.001
LONGEST_PAUSE = 0.05


def until(
    condition: Callable[[], Value], deadline: float = 5.0, what: str = "the condition"
) -> Value:
    """Return the first true value of ``condition()``, polled for at most ``deadline`` seconds.

    Raises TimeoutError naming ``what`` after that; the condition is polled once more at the very
    end, for slow machines.
    """
    end = time.monotonic() + deadline
    pause = FIRST_PAUSE
    while True:
        late = time.monotonic() >= end
        value = condition()
        if value:
            return value
        if late:
            raise TimeoutError(f"{what}: not within {deadline:g} s")
        time.sleep(min(pause, max(end - time.monotonic(), 0)))
        pause = min(pause * 2, LONGEST_PAUSE)
