"""Reading tables of a scenario with errors that name file, line and key."""

import errno
from collections.abc import Iterable, Iterator, Mapping
from typing import NoReturn

from kamexfrm.errors import KamexfrmError
from kamexfrm.rig.scenario.reading.lines import Lines
from kamexfrm.rig.scenario.reading.lines import Path as KeyPath
from kamexfrm.spelling import did_you_mean, nearest


class ScenarioError(KamexfrmError):
    """A scenario file that cannot be read; the text names file, line and key."""

    errno = errno.EINVAL


def spell(path: KeyPath) -> str:
    """Return a path as text: ``steps[2].wire``, elements counted from 1."""
    text = ""
    for part in path:
        text += f"[{part + 1}]" if isinstance(part, int) else f".{part}" if text else part
    return text


def suggestion(word: str, known: Iterable[str]) -> str:
    """Return ``; did you mean x?``, or ``; there is`` with all known words."""
    known = sorted(known)
    close = nearest(word, known, 1)
    return f"; {did_you_mean(close)}" if close else f"; there is {', '.join(known) or 'nothing'}"


class Table:
    """A table of the document that knows its place, for errors."""

    def __init__(self, data: Mapping[str, object], path: KeyPath, file: str, lines: Lines) -> None:
        self._data = data
        self._lines = lines
        self.path = path
        self.file = file

    def __contains__(self, key: str) -> bool:
        return key in self._data

    def __iter__(self) -> Iterator[str]:
        return iter(self._data)

    @property
    def line(self) -> int:
        """The line of the table."""
        return self._lines.of(self.path)

    def line_of(self, key: str) -> int:
        """Return the line of a key of the table."""
        return self._lines.of((*self.path, key))

    def line_of_value(self, key: str) -> int:
        """Return the line on which a key's value begins."""
        return self._lines.of_value((*self.path, key))

    def fail(self, text: str, key: str = "", at: int | None = None) -> NoReturn:
        """Raise a ScenarioError for a key, or for the table as a whole."""
        raise self.error(text, key, at)

    def error(self, text: str, key: str = "", at: int | None = None) -> ScenarioError:
        """Return the error about a key, or about the table as a whole."""
        path = (*self.path, key) if key else self.path
        if at is not None:
            path += (at,)
        name = f"{spell(path)}: " if path else ""
        return ScenarioError(f"{self.file}:{self._lines.of(path)}: {name}{text}")

    def at(self, part: str | int) -> "Table":
        """Return the place of a key or an element, for errors about it."""
        return Table({}, (*self.path, part), self.file, self._lines)

    def get(self, key: str) -> object:
        """Return the value of a key, None if it is missing."""
        return self._data.get(key)

    def text(self, key: str, default: str = "") -> str:
        """Return a string."""
        value = self.get(key)
        if value is None:
            return default
        if not isinstance(value, str):
            self.fail(f"a string is wanted, not {value!r}", key)
        return value

    def number(self, key: str, default: float) -> float:
        """Return a number that is not negative."""
        value = self.get(key)
        if value is None:
            return default
        if isinstance(value, bool) or not isinstance(value, int | float) or value < 0:
            self.fail(f"a number is wanted, not {value!r}", key)
        return value

    def integer(self, key: str, default: int) -> int:
        """Return an integer that is not negative."""
        value = self.number(key, default)
        if isinstance(value, float) and not value.is_integer():
            self.fail(f"an integer is wanted, not {value!r}", key)
        return int(value)

    def flag(self, key: str, default: bool = False) -> bool:
        """Return true or false."""
        value = self.get(key)
        if value is None:
            return default
        if not isinstance(value, bool):
            self.fail(f"true or false is wanted, not {value!r}", key)
        return value

    def words(self, key: str) -> tuple[str, ...]:
        """Return a string or a list of strings, as a tuple."""
        value = self.get(key)
        if value is None:
            return ()
        if isinstance(value, str):
            return (value,)
        if not isinstance(value, list) or not all(isinstance(word, str) for word in value):
            self.fail(f"a string or a list of strings is wanted, not {value!r}", key)
        return tuple(value)

    def choice(self, key: str, known: Iterable[str], default: str = "") -> str:
        """Return one of the known words."""
        value = self.text(key, default)
        if value != default and value not in (known := tuple(known)):
            self.fail(f"{value!r} is not known{suggestion(value, known)}", key)
        return value

    def table(self, key: str) -> "Table":
        """Return a table below this one, empty if it is missing."""
        value = self.get(key)
        if value is None:
            value = {}
        if not isinstance(value, dict):
            self.fail(f"a table is wanted, not {value!r}", key)
        return Table(value, (*self.path, key), self.file, self._lines)

    def element(self, key: str, at: int, data: Mapping[str, object]) -> "Table":
        """Return a table that is an element of an array."""
        return Table(data, (*self.path, key, at), self.file, self._lines)

    def tables(self, key: str) -> list["Table"]:
        """Return the tables of an array."""
        value = self.get(key)
        if value is None:
            return []
        if not isinstance(value, list) or not all(isinstance(one, dict) for one in value):
            self.fail("[[tables]] are wanted", key)
        return [
            Table(one, (*self.path, key, at), self.file, self._lines)
            for at, one in enumerate(value)
        ]

    def flat(self) -> dict[str, object]:
        """Return all leaves by their dotted names: ``a.b = 1`` is one name in a knobs table."""
        found: dict[str, object] = {}

        def walk(prefix: str, data: Mapping[str, object]) -> None:
            for key, value in data.items():
                if isinstance(value, dict):
                    walk(f"{prefix}{key}.", value)
                else:
                    found[prefix + key] = value

        walk("", self._data)
        return found

    def check_keys(self, known: Iterable[str]) -> None:
        """Raise a ScenarioError for the first key that is not among those known."""
        known = tuple(known)
        for key in self._data:
            if key not in known:
                self.fail(f"no such key{suggestion(key, known)}", key)
