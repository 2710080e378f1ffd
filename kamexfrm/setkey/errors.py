"""The texts of setkey's errors and warnings.

The first lines are those of ipsec-tools, byte for byte; further lines for people follow them.
"""

from collections.abc import Iterable

from kamexfrm.command_line import printable
from kamexfrm.errors import LanguageError, Place

#: Columns of a source line that are shown around the culprit.
_SHOWN = 100


class ScriptError(LanguageError):
    """A statement that the grammar or its meaning forbids.

    ``before`` holds lines that ipsec-tools writes before its message. ``fatal`` is true for a
    character that belongs to no word: setkey then ends at once. ``source`` is the line of the
    error with keys masked, ``caret`` the index in it. Where the reason is empty, setkey says only
    ``parse failed``.
    """

    def __init__(
        self,
        reason: str,
        *,
        token: str,
        place: Place,
        hints: tuple[str, ...] = (),
        before: tuple[str, ...] = (),
        fatal: bool = False,
        source: str = "",
        caret: int = 0,
    ) -> None:
        super().__init__(reason, token=token, place=place, hints=hints)
        self.reason = reason
        self.before = before
        self.fatal = fatal
        self.source = source
        self.caret = caret

    def __str__(self) -> str:
        return f"{self.reason or 'parse failed'} at `{self.token}'"


def format_script_error(error: ScriptError) -> str:
    """Return what ``setkey -f`` writes to stderr about a statement that it cannot read."""
    place = error.place or Place("-", 0)
    where = f"setkey: {printable(place.file)},{place.line}:"
    lines = [_short(line) for line in error.before]
    if error.reason:
        lines.append(f"{where} {error.reason} at `{_token(error)}'")
    if not error.fatal:
        lines.append(f"{where} parse failed")
    return "".join(f"{line}\n" for line in (*lines, *_detail(error)))


def format_interactive_error(error: ScriptError) -> tuple[str, str]:
    """Return what ``setkey -c`` writes about it: to stdout and to stderr."""
    # Differs from ipsec-tools: the message ends its line.
    text = f"{error.reason} at `{_token(error)}'\n" if error.reason else "parse failed\n"
    before = "".join(f"{_short(line)}\n" for line in error.before)
    return text + "".join(f"{line}\n" for line in _detail(error)), before


def format_rejection(place: Place, end_line: int, text: str, details: Iterable[str] = ()) -> str:
    """Return what ``setkey -f`` writes to stderr about a command that is rejected.

    ``details`` are further lines for people; they are indented.
    """
    lines = [f"setkey: {printable(place.file)},{end_line}: {text}"]
    lines += (f"    {printable(detail)}" for detail in details)
    return "".join(f"{line}\n" for line in lines)


def format_interactive_rejection(text: str, details: Iterable[str] = ()) -> str:
    """Return what ``setkey -c`` and ``-D`` write to stdout: the text with a full stop."""
    return f"{text}.\n" + "".join(f"    {printable(detail)}\n" for detail in details)


def format_warning(place: Place, text: str, token: str) -> str:
    """Return what ``setkey -f`` writes to stderr about a command that it carries out."""
    return f"setkey: {printable(place.file)},{place.line}: {text} at `{printable(token)}'\n"


def _token(error: ScriptError) -> str:
    return _short(error.token or "")


def _short(text: str) -> str:
    return printable(text if len(text) <= 2000 else text[:2000] + "...")


def _detail(error: ScriptError) -> list[str]:
    lines = []
    if error.source.strip():
        whole = len(error.source) <= _SHOWN
        first = 0 if whole else max(0, error.caret - _SHOWN // 2)
        shown = printable(error.source[first : first + _SHOWN].replace("\t", " ")).rstrip()
        left = len(printable(error.source[first : error.caret].replace("\t", " ")))
        lines += [f"    {shown}", f"    {' ' * left}^"]
    return lines + [f"    {printable(hint)}" for hint in error.hints]
