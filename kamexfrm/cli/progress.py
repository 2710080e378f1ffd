"""A progress bar on stderr for what takes longer than half a second on a terminal."""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

#: Seconds until a bar appears, and between two looks of it.
_DELAY, _PAUSE = 0.5, 0.1


class Progress:
    """Counts steps; shows a bar with rate and time left once it has taken long enough.

    It draws when it is told of a step, in no thread of its own.
    """

    def __init__(self, what: str, *, shown: bool) -> None:
        self.total = 0
        self._what = what
        self._done = 0
        self._shown = shown
        self._began = time.monotonic()
        self._next = self._began + _DELAY
        self._bar: Any = None
        self._task: Any = None

    def step(self, count: int = 1) -> None:
        """Count steps that were done."""
        self._done += count
        if not self._shown or time.monotonic() < self._next:
            return
        self._next = time.monotonic() + _PAUSE
        bar = self._bar = self._bar or self._started()
        rate = self._done / max(time.monotonic() - self._began, 0.001)
        bar.update(self._task, completed=self._done, total=max(self.total, self._done), rate=rate)
        bar.refresh()

    def _started(self) -> Any:
        from rich.console import Console
        from rich.progress import BarColumn, TextColumn, TimeRemainingColumn
        from rich.progress import Progress as Bar

        bar = Bar(
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.completed:,.0f} of {task.total:,.0f}"),
            TextColumn("{task.fields[rate]:,.0f}/s"),
            TimeRemainingColumn(),
            console=Console(file=sys.stderr),
            auto_refresh=False,
            transient=True,
        )
        bar.start()
        self._task = bar.add_task(self._what, total=max(self.total, 1), rate=0)
        return bar

    def close(self) -> None:
        """Take the bar away."""
        if self._bar is not None:
            self._bar.stop()


@contextmanager
def progress(what: str, *, quiet: bool = False) -> Iterator[Progress]:
    """Give a counter of steps whose bar is shown on a terminal."""
    bar = Progress(what, shown=sys.stderr.isatty() and not quiet)
    try:
        yield bar
    finally:
        bar.close()
