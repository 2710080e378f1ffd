"""A script as a stream of statements and of runs of plain lines, and what is kept of it."""

from collections.abc import Iterable, Iterator, Sequence

from kamexfrm.records import NamedTuple
from kamexfrm.setkey.fast_parser import plain_statement
from kamexfrm.setkey.hosts import Resolver
from kamexfrm.setkey.parser import Parser
from kamexfrm.setkey.plain_lines import FEWEST, Lines, Stretch
from kamexfrm.setkey.script_file import Script
from kamexfrm.setkey.statements import Exit, Statement


class Span(NamedTuple):
    """A part of a script as text, which begins a line and a statement: read before, without error.

    ``line`` is the number of its first line.
    """

    text: str
    file: str
    line: int


class WholeScripts:
    """Scripts that are read twice as one: to the end for errors, and again to be carried out.

    In between, runs of plain lines are kept as what they say, and the rest as text. Pieces of text
    end where a line and a statement do; a list of them is emptied, or both forms would be held.
    ``exit`` ends the script that it is in.
    """

    def __init__(self, scripts: Sequence[Script], resolve: Resolver) -> None:
        self._scripts = scripts
        self._resolve = resolve
        self._parts: list[Span | Lines] = []

    def check(self) -> Iterator[Statement | Lines]:
        """Yield all statements up to the first that cannot be read: raises ScriptError."""
        for script in self._scripts:
            line = 1
            for piece in _taken(script.pieces):
                parser = LineParser(piece, script.name, line=line, resolve=self._resolve)
                yield from self._check_piece(parser)
                if parser.is_left:
                    break
                line = parser.line

    def _check_piece(self, parser: "LineParser") -> Iterator[Statement | Lines]:
        line, start, has_statements = parser.line, 0, False
        for found in parser.runs():
            if isinstance(found, Lines):
                if has_statements:
                    self._parts.append(Span(parser.text(start), found.file, line))
                self._parts.append(found)
                line, start, has_statements = parser.line, parser.at, False
                yield found
            elif not isinstance(found, Exit):
                has_statements = True
                yield found
        if has_statements:
            self._parts.append(Span(parser.text(start, to_end=True), parser.file, line))

    def statements(self) -> Iterator[Statement | Lines]:
        """Yield the same again."""
        for part in self._parts:
            if isinstance(part, Lines):
                yield part
                continue
            text, file, line = part
            for statement in Parser(text, file, line=line, resolve=self._resolve):
                if not isinstance(statement, Exit):
                    yield statement


def _taken(pieces: Iterable[str]) -> Iterator[str]:
    """Yield pieces of text, and let go of each as the next one is taken."""
    if not isinstance(pieces, list):
        yield from pieces
        return
    pieces.reverse()
    while pieces:
        yield pieces.pop()


class LineParser(Parser):
    """Reads a script, and runs of plain lines at once."""

    _stretches: Iterator[Stretch] = iter(())
    #: Where the stretch that is being read ends, its block, and the last statement.
    _stretch_end = _block_end = _statement_end = 0
    #: Where the last run began.
    _run_start = 0
    _left = False

    def runs(self) -> Iterator[Statement | Lines]:
        """Yield the statements and runs from here on; raises ScriptError."""
        while not self._ended:
            self._skip()
            stretch = self._stretch()
            if stretch and stretch.lines:
                self._run_start = self._at
                self._at = self._line_start = self._statement_end = stretch.end
                self._line = stretch.following
                yield stretch.lines
                continue
            statement = self._one()
            self._statement_end = self._at
            if statement is not None:
                self._left = isinstance(statement, Exit)
                yield statement

    def _stretch(self) -> Stretch | None:
        """Return the stretch that begins here; None where there is none, or within one."""
        if self._at != self._line_start or self._at < self._stretch_end:
            return None
        if self._statement_end > self._stretch_end:
            # A statement went on into lines that seemed to be others.
            self._stretches = iter(())
            self._stretch_end = max(self._block_end, self._statement_end)
            if self._at < self._stretch_end:
                return None
        stretch = next(self._stretches, None)
        if stretch is None:
            found = _read_block(self._text, self._at, self._file, self._line)
            self._stretches = iter(found)
            stretch = next(self._stretches, None)
            self._block_end = found[-1].end if found else 0
        if stretch:
            self._stretch_end = stretch.end
        return stretch

    def _one(self) -> Statement | None:
        at = self._at
        plain = plain_statement(self._text, at, self._file, self._line, at - self._line_start)
        if plain is None:
            return self._next()
        self._at = self._line_start = self._text.find("\n", at) + 1
        self._line += 1
        return plain

    def text(self, start: int, *, to_end: bool = False) -> str:
        """Return the text from an offset to the run that was read last, or to the end."""
        return self._text[start:] if to_end else self._text[start : self._run_start]

    @property
    def at(self) -> int:
        """The offset of what is read next."""
        return self._at

    @property
    def line(self) -> int:
        """The number of its line."""
        return self._line

    @property
    def file(self) -> str:
        """The script's name."""
        return self._file

    @property
    def is_left(self) -> bool:
        """Whether the script was left with ``exit``."""
        return self._left


def _read_block(text: str, at: int, file: str, line: int) -> list[Stretch]:
    """Return what the lines from ``at`` say that may be a run, nothing where none may be.

    ``at`` begins a statement and a line, the one with number ``line``.
    """
    if not text.startswith(("add", "spdadd"), at) or not _has_lines(text, at, FEWEST):
        return []
    from kamexfrm.setkey import plain_reading

    if text.startswith("add", at):
        return plain_reading.read_associations(text, at, file, line)
    return plain_reading.read_policies(text, at, file, line)


def _has_lines(text: str, at: int, count: int) -> bool:
    """Whether there are so many more lines: no expression is compiled for fewer."""
    end = at
    for _ in range(count):
        end = text.find("\n", end) + 1
        if not end:
            return False
    return True
