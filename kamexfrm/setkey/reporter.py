"""Where setkey's trouble goes: for a script to stderr with a place, for -c to stdout without."""

from collections.abc import Iterable
from typing import TextIO

from kamexfrm.errors import Place
from kamexfrm.setkey.errors import (
    ScriptError,
    format_interactive_error,
    format_interactive_refusal,
    format_refusal,
    format_script_error,
    format_warning,
)


class Reporter:
    """Words trouble; ``interactive`` is the manner of -c and of the options without a script.

    ``refusals`` counts the commands that were not carried out.
    """

    def __init__(self, out: TextIO, err: TextIO, *, interactive: bool = False) -> None:
        self.refusals = 0
        self._out = out
        self._err = err
        self._interactive = interactive

    def rejected(self, place: Place, end_line: int, text: str, details: Iterable[str] = ()) -> None:
        """Report that the kernel, or we for it, refused a command."""
        self.refusals += 1
        self._answer(place, end_line, text, details)

    def empty(self, place: Place, end_line: int, text: str) -> None:
        """Report that there is nothing to dump, which is no failure."""
        self._answer(place, end_line, text)

    def _answer(self, place: Place, end_line: int, text: str, details: Iterable[str] = ()) -> None:
        if self._interactive:
            self._out.write(format_interactive_refusal(text, details))
        else:
            self._out.flush()
            self._err.write(format_refusal(place, end_line, text, details))

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
        """Report something that a reader of the script should know."""
        self._err.write(f"setkey: {place.file},{place.line}: WARNING: {text}\n")
