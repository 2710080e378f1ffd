"""Files read for checking: the statements that can be read, and the errors of all others."""

import re
from collections.abc import Iterator, Sequence
from functools import cache
from typing import Any, NamedTuple

from kamexfrm.errors import Place
from kamexfrm.model.knobs import Knobs
from kamexfrm.operator.check.codes import Finding
from kamexfrm.operator.file_state import FileState, text_of
from kamexfrm.setkey import statements as s
from kamexfrm.setkey.errors import ScriptError
from kamexfrm.setkey.hosts import Resolver, numeric_address, system_resolver
from kamexfrm.setkey.lexer import SKIP, STATEMENT
from kamexfrm.setkey.parser import Parser

_IGNORE = re.compile(r"#[ \t]*kamexfrm:[ \t]*ignore[ \t]+([^\n]*)")
#: Statements of one file that cannot be read; after so many the rest is not looked at.
_MOST_ERRORS = 50

_CODE = re.compile(r"KX[0-9]{3}")
_TOKEN = re.compile(r'"[^"]*"|#[^\n]*')


class Chunk(NamedTuple):
    """The text of one statement with its semicolon, and where it begins; the last may lack it."""

    text: str
    place: Place
    is_whole: bool


class Source(NamedTuple):
    """A file: its name, text and statements; ``names`` are the addresses of host names in it."""

    file: str
    text: str
    statements: tuple[s.Statement, ...]
    errors: tuple[ScriptError, ...]
    names: dict[str, tuple[str, ...]]

    def chunks(self) -> Iterator[Chunk]:
        """Yield the texts of the statements."""
        text, at, line = self.text, 0, 1
        while True:
            blank = SKIP.match(text, at)
            start = blank.end() if blank else at
            line += text.count("\n", at, start)
            if start == len(text):
                return
            found = STATEMENT.match(text, start)
            at = found.end() if found else len(text)
            column = start - text.rfind("\n", 0, start)
            yield Chunk(text[start:at], Place(self.file, line, column), found is not None)
            line += text.count("\n", start, at)

    def ignored(self) -> dict[int, set[str]]:
        """Return the codes that comments silence, by line."""
        found: dict[int, set[str]] = {}
        for token in _TOKEN.finditer(self.text):
            comment = _IGNORE.match(token[0])
            if comment:
                line = 1 + self.text.count("\n", 0, token.start())
                found.setdefault(line, set()).update(_CODE.findall(comment[1].upper()))
        return found


class Configuration(NamedTuple):
    """Files that are loaded one after the other, and the variables."""

    sources: tuple[Source, ...]
    state: FileState
    knobs: Knobs
    has_variables: bool = False

    def statements(self) -> Iterator[s.Statement]:
        """Yield all statements."""
        for source in self.sources:
            yield from source.statements


def read_configuration(
    paths: Sequence[str],
    knobs: Knobs,
    *,
    has_variables: bool = False,
    resolve: Resolver = system_resolver,
) -> Configuration:
    """Read files; raises KamexfrmError for one that cannot be opened."""
    lookup = cache(resolve)
    sources = tuple(_read(path, lookup) for path in paths)
    state = FileState()
    for source in sources:
        for statement in source.statements:
            state.take(statement)
    return Configuration(sources, state, knobs, has_variables)


def _read(path: str, resolve: Resolver) -> Source:
    text = text_of(path)
    names: dict[str, tuple[str, ...]] = {}

    def lookup(host: str, *rest: Any) -> Sequence[tuple[Any, ...]]:
        found = resolve(host, *rest)
        if numeric_address(host) is None:
            addresses = (str(each[4][0]) for each in found)
            names[host] = tuple(dict.fromkeys((*names.get(host, ()), *addresses)))
        return found

    parser = Parser(text, path, resolve=lookup)
    statements: list[s.Statement] = []
    errors: list[ScriptError] = []
    while len(errors) < _MOST_ERRORS:
        try:
            for statement in parser:
                statements.append(statement)
            break
        except ScriptError as error:
            errors.append(error)
    return Source(path, text, tuple(statements), tuple(errors), names)


def silenced(finding: Finding, ignored: dict[str, dict[int, set[str]]]) -> bool:
    """Whether a comment on a line of its statement silences a finding."""
    lines = ignored.get(finding.place.file, {})
    return any(
        finding.code in lines.get(line, ())
        for line in range(finding.place.line, finding.end_line + 1)
    )
