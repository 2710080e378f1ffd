"""Where setkey's errors go: of a script to stderr with a place, of -c to stdout without."""

from __future__ import annotations

from collections.abc import Iterable

from kamexfrm.errors import Place
from kamexfrm.setkey.errors import (
    ScriptError,
    format_interactive_error,
    format_interactive_rejection,
    format_rejection,
    format_script_error,
    format_warning,
)

TYPE_CHECKING = False  # typing takes long to load
if TYPE_CHECKING:
    from typing import TextIO

    from kamexfrm.setkey.progress import Progress


class Reporter:
    """Writes errors and warnings; ``interactive`` is the form of -c and of -D, -F and -x.

    ``rejections`` counts the commands that were not carried out.
    """

    def __init__(self, out: TextIO, err: TextIO, *, interactive: bool = False) -> None:
        self.rejections = 0
        self._out = out
        self._err: TextIO | Progress = err
        self._interactive = interactive

    def write_through(self, progress: Progress) -> None:
        """Write errors and warnings through a bar from now on, which is then taken away."""
        self._err = progress

    def rejected(self, place: Place, end_line: int, text: str, details: Iterable[str] = ()) -> None:
        """Report that the kernel, or the engine, rejected a command."""
        self.rejections += 1
        self._answer(place, end_line, text, details)

    def empty(self, place: Place, end_line: int, text: str) -> None:
        """Report that there is nothing to dump, which is no failure."""
        self._answer(place, end_line, text)

    def _answer(self, place: Place, end_line: int, text: str, details: Iterable[str] = ()) -> None:
        if self._interactive:
            self._out.write(format_interactive_rejection(text, details))
        else:
            self._out.flush()
            self._err.write(format_rejection(place, end_line, text, details))

    def script_error(self, error: ScriptError) -> None:
        """Report a statement that cannot be read."""
        if self._interactive:
            text, before = format_interactive_error(error)
            self._err.write(before)
            self._out.write(text)
        else:
            self._out.flush()
            self._err.write(format_script_error(error))

    def warning(self, place: Place, text: str, token: str) -> None:
        """Report one of setkey's own warnings, which names a token."""
        self._err.write(format_warning(place, text, token))

    def remark(self, place: Place, text: str) -> None:
        """Report one of our warnings, which names the line only."""
        self._err.write(f"setkey: {place.file},{place.line}: WARNING: {text}\n")
