"""How far a long script is, on standard error: a bar on a terminal, with -v lines elsewhere."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator

from kamexfrm.setkey.plain_lines import Lines
from kamexfrm.setkey.statements import Statement

TYPE_CHECKING = False  # typing takes long to load
if TYPE_CHECKING:
    from typing import TextIO

#: Seconds until something is shown, between two looks of the bar, and between two lines.
_DELAY, _BAR_PAUSE, _LINE_PAUSE = 1.0, 0.1, 1.0

_WIDTH = 24


class Progress:
    """Counts the statements of a script that are carried out, of ``total``.

    It stands for the stream that it writes to: what is written in between takes the bar away.
    """

    def __init__(self, err: TextIO, total: int) -> None:
        self._err = err
        self._total = total
        self._is_terminal = err.isatty()
        self._began = time.monotonic()
        self._next = self._began + _DELAY
        self._done = 0
        self._is_shown = False

    def followed(self, parts: Iterable[Statement | Lines]) -> Iterator[Statement | Lines]:
        """Yield what is to be carried out; the next one is asked for when one has been."""
        for part in parts:
            yield part
            self._done += part.run.total if isinstance(part, Lines) else 1
            now = time.monotonic()
            if now >= self._next:
                self._next = now + (_BAR_PAUSE if self._is_terminal else _LINE_PAUSE)
                self._show(now - self._began)

    def _show(self, seconds: float) -> None:
        text = f"{self._done:,} of {self._total:,} statements, {self._done / seconds:,.0f}/s"
        if not self._is_terminal:
            self._err.write(f"setkey: {text}\n")
            return
        filled = _WIDTH * self._done // max(self._total, 1)
        self._err.write(f"\rsetkey: [{'#' * filled:.<{_WIDTH}}] {text}\033[K")
        self._err.flush()
        self._is_shown = True

    def close(self) -> None:
        """Take the bar away."""
        if self._is_shown:
            self._err.write("\r\033[K")
            self._err.flush()
            self._is_shown = False

    def write(self, text: str) -> int:
        """Write an error or a warning in place of the bar."""
        self.close()
        return self._err.write(text)
