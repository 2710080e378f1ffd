"""The lines of the keys of a TOML file: tomllib gives values without places."""

import re

#: A path into the document: keys, and indices of [[tables]].
Path = tuple[str | int, ...]

_KEY = re.compile(r"""\s*("(?:[^"\\]|\\.)*"|'[^']*'|[A-Za-z0-9_-]+)\s*(\.)?""")
_TABLE = re.compile(r"\s*(\[\[?)(.*?)\]\]?\s*(?:#.*)?$")
_AT_LINE = re.compile(r"(.*) \(at line (\d+), column (\d+)\)$", re.DOTALL)


class Lines:
    """The lines of a document's keys; exact for tables and for keys that begin a line.

    A key inside an inline table, and an element of an array, has the line of the key that
    begins the line.
    """

    def __init__(self, text: str) -> None:
        self._found: dict[Path, int] = {(): 1}
        self._counts: dict[Path, int] = {}
        self._below: set[Path] = set()
        table: Path = ()
        state = _Value()
        # Not splitlines(): to TOML a line separator of Unicode is one more character.
        for number, line in enumerate(text.replace("\r\n", "\n").split("\n"), 1):
            if state.inside:
                state.read(line)
                continue
            if match := _TABLE.match(line):
                table = self._table(_keys(match[2])[0], match[1] == "[[")
                self._found.setdefault(table, number)
                continue
            keys, rest = _assignment(line)
            if keys:
                path = table + keys
                for size in range(len(table) + 1, len(path) + 1):
                    self._found.setdefault(path[:size], number)
                if rest.strip() in ('"""', "'''"):
                    self._below.add(path)
                state.read(rest)

    def _table(self, keys: tuple[str, ...], is_array: bool) -> Path:
        """Return the path of a header; the last [[x]] is meant where x is an array."""
        path: Path = ()
        for at, key in enumerate(keys):
            path += (key,)
            if is_array and at == len(keys) - 1:
                self._counts[path] = self._counts.get(path, -1) + 1
                path += (self._counts[path],)
            elif path in self._counts:
                path += (self._counts[path],)
        return path

    def of(self, path: Path) -> int:
        """Return the line of a path, or of the nearest table around it; from 1."""
        while path not in self._found:
            path = path[:-1]
        return self._found[path]

    def of_value(self, path: Path) -> int:
        """Return the line of a value's first character: of long strings often the next one."""
        return self.of(path) + (path in self._below)


class _Value:
    """Follows a value over lines: strings of several lines, and brackets that stay open."""

    def __init__(self) -> None:
        self._quote = ""
        self._depth = 0

    @property
    def inside(self) -> bool:
        return bool(self._quote or self._depth)

    def read(self, text: str) -> None:
        at = 0
        while at < len(text):
            if self._quote:
                at = self._skip(text, at)
                continue
            character = text[at]
            if character == "#":
                return
            if character in "\"'":
                self._quote = character * 3 if text.startswith(character * 3, at) else character
                at += len(self._quote)
                continue
            self._depth += (character in "[{") - (character in "]}")
            at += 1
        if len(self._quote) == 1:
            self._quote = ""  # a string of one line: tomllib reports if it is open

    def _skip(self, text: str, at: int) -> int:
        if text[at] == "\\" and self._quote[0] == '"':
            return at + 2
        if text.startswith(self._quote, at):
            size, self._quote = len(self._quote), ""
            return at + size
        return at + 1


def _keys(text: str) -> tuple[tuple[str, ...], str]:
    """Read a dotted key; return its parts and what follows."""
    keys: list[str] = []
    at = 0
    while match := _KEY.match(text, at):
        keys.append(match[1].strip("\"'"))
        at = match.end()
        if not match[2]:
            break
    return tuple(keys), text[at:]


def _assignment(line: str) -> tuple[tuple[str, ...], str]:
    """Split ``key = value``; no keys for any other line."""
    keys, rest = _keys(line)
    if not keys or not rest.startswith("="):
        return (), ""
    return keys, rest[1:]


def place_of(error: str) -> tuple[str, int]:
    """Split tomllib's message into the error and the line, 1 if it names none."""
    if match := _AT_LINE.match(error):
        return match[1], int(match[2])
    return error, 1
