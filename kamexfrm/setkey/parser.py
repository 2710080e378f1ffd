"""A script as a stream of statements, read one by one: those before a syntax error too."""

from __future__ import annotations

from functools import cache

from kamexfrm.setkey.errors import ScriptError
from kamexfrm.setkey.fast_parser import plain_statement
from kamexfrm.setkey.hosts import Resolver, system_resolver
from kamexfrm.setkey.lexer import COMMANDS, SKIP, STATEMENT, Words
from kamexfrm.setkey.statements import Exit

TYPE_CHECKING = False  # typing takes long to load
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from kamexfrm.setkey.statements import Statement

#: The longest statement in characters, and how much of a longer one is looked at for the message.
LONGEST = 1 << 20
_SHOWN = 1000
_TOO_LONG = f"a statement of more than {LONGEST >> 20} MiB: a `;' or a quotation mark is missing"

_ENDINGS = ("exit", "quit", "bye")


@cache
def _readers() -> dict[str, Callable[[Words, Resolver], Statement]]:
    """Return the readers of commands, which plain lines do not need."""
    from kamexfrm.setkey import sa_commands, spd_commands

    return {**sa_commands.READERS, **spd_commands.READERS}


def parse(
    text: str | bytes, file: str = "-", *, resolve: Resolver = system_resolver
) -> Iterator[Statement]:
    """Read a script; raises ScriptError, a LanguageError, at the first bad statement.

    ``resolve`` is called as socket.getaddrinfo() for names, services and odd spellings of
    addresses only.
    """
    return iter(Parser(text, file, resolve=resolve))


class Parser:
    """Reads a script; can continue after an error.

    Iterating again after a ScriptError continues after the bad statement's semicolon. ``line`` is
    the number of the text's first line.
    """

    def __init__(
        self,
        text: str | bytes,
        file: str = "-",
        *,
        line: int = 1,
        resolve: Resolver = system_resolver,
    ) -> None:
        if isinstance(text, bytes):
            text = text.decode("utf-8", "surrogateescape")
        self._text = text
        self._file = file
        self._resolve = resolve
        self._at = 0
        self._line = line
        self._line_start = 0
        self._ended = False

    def __iter__(self) -> Iterator[Statement]:
        """Yield the statements from here on."""
        text, file = self._text, self._file
        while not self._ended:
            self._skip()
            at, line, indent = self._at, self._line, self._at - self._line_start
            while statement := plain_statement(text, at, file, line, indent):
                self._at = self._line_start = at = text.find("\n", at) + 1
                self._line = line = line + 1
                indent = 0
                yield statement
            general = self._next()
            if general is not None:
                yield general

    def _skip(self) -> None:
        """Step over white space and comments."""
        if self._text[self._at : self._at + 1].isalpha():
            return
        blank = SKIP.match(self._text, self._at)
        if blank:
            self._advance(blank.end())

    def _next(self) -> Statement | None:
        """Read one statement; None and ``_ended`` at the end of the text."""
        self._skip()
        text, start = self._text, self._at
        if start == len(text):
            self._ended = True
            return None
        found = STATEMENT.match(text, start)
        end = found.end() if found else len(text)
        if end - start > LONGEST:
            words = Words(text[start : start + _SHOWN], self._file, self._line, self._column(start))
            self._ended = True
            words.fail("syntax error", at=0, hints=(_TOO_LONG,), fatal=True)
        words = Words(text[start:end], self._file, self._line, self._column(start))
        try:
            statement = self._read(words)
        except ScriptError:
            self._advance(end if found else (text.find(";", start) + 1 or end))
            raise
        self._advance(end)
        self._ended = isinstance(statement, Exit)
        return statement

    def _column(self, at: int) -> int:
        return at - self._line_start + 1

    def _read(self, words: Words) -> Statement:
        command = words.words[0]
        reader = _readers().get(command)
        if reader is not None:
            return reader(words, self._resolve)
        if command == "include":
            words.unexpected("there is no include: setkey takes several files, -f ONE -f OTHER")
        if command not in _ENDINGS:
            words.unexpected(among=COMMANDS)
        words.at = 1
        words.expect(";")
        return Exit(words.place(), words.end_line)

    def _advance(self, end: int) -> None:
        """Move to an offset and keep count of the lines."""
        lines = self._text.count("\n", self._at, end)
        if lines:
            self._line += lines
            self._line_start = self._text.rfind("\n", self._at, end) + 1
        self._at = end
