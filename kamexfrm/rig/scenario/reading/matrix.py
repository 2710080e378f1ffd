"""The matrix of a scenario, and ``${name}`` for its values, addresses and test keys."""

import itertools
import re
from collections.abc import Callable, Iterator, Mapping

from kamexfrm.rig.scenario.reading.table import Table, suggestion

_NAME = re.compile(r"\$\{([^{}]*)\}")
#: A test key of at most 99,999 bits: the longest of an algorithm has 4,096.
_KEY = re.compile(r"key:([0-9]{1,5})(?:\+([0-9]{1,5}))?\Z")

#: Returns the value of a name; raises KeyError for an unknown one.
Lookup = Callable[[str], object]

#: Most cases of a scenario: more are a mistake.
_MOST = 100_000

#: Most characters that the names of one case stand for, each name counted as one more: names that
#: stand for names twice, each of those again, and so on, would take all memory.
_MOST_CHARACTERS = 1_000_000


def choices(document: Table) -> Iterator[tuple[str, dict[str, object]]]:
    """Yield each (case name, values) of [matrix], less those that an [[exclude]] matches."""
    matrix = document.table("matrix")
    axes: list[tuple[str, list[object]]] = []
    number = 1
    for name in matrix:
        values = matrix.get(name)
        if not isinstance(values, list) or not values:
            matrix.fail("a list of values is wanted", name)
        axes.append((name, values))
        number *= len(values)
    if number > _MOST:
        document.fail(f"{number} cases are too many", "matrix")
    excluded = []
    for table in document.tables("exclude"):
        for key in table:
            if key not in matrix:
                table.fail(f"the matrix has no such axis{suggestion(key, matrix)}", key)
        excluded.append({key: table.get(key) for key in table})
    for combination in itertools.product(*(values for _, values in axes)):
        chosen = {name: value for (name, _), value in zip(axes, combination, strict=True)}
        if any(
            all(_label(chosen[key]) == value or chosen[key] == value for key, value in one.items())
            for one in excluded
        ):
            continue
        yield "-".join(_label(value) for value in combination), chosen


def _label(value: object) -> str:
    """Return a value's part of the case's name: of a table the ``name``, or all its values.

    ${...} is no part of a name.
    """
    if isinstance(value, Mapping):
        if "name" in value:
            return str(value["name"])
        return ",".join(str(one) for one in value.values())
    return " ".join(_NAME.sub("", str(value)).split())


def key_of(bits: int, start: int = 0) -> str:
    """Return a test key of counted bytes, as setkey writes it."""
    return "0x" + bytes((start + at) & 0xFF for at in range((bits + 7) // 8)).hex()


def chosen_lookup(chosen: Mapping[str, object]) -> Lookup:
    """Return the lookup of a case's own values: ``x``, ``x.y`` in a table, ``key:BITS[+START]``."""

    def lookup(name: str) -> object:
        if match := _KEY.match(name):
            return key_of(int(match[1]), int(match[2] or 0))
        value: object = chosen
        for part in name.split("."):
            if not isinstance(value, Mapping):
                raise KeyError(name)
            value = value[part]
        return value

    return lookup


def limited(lookup: Lookup, table: Table) -> Lookup:
    """Return a lookup that raises ScenarioError once its names have stood for too much."""
    left = _MOST_CHARACTERS

    def look_up(name: str) -> object:
        nonlocal left
        found = lookup(name)
        left -= 1 + (len(found) if isinstance(found, str) else 0)
        if left < 0:
            table.fail(f"the names of a case stand for over {_MOST_CHARACTERS} characters")
        return found

    return look_up


def fill(
    table: Table,
    value: object,
    lookup: Lookup,
    known: Callable[[], list[str]],
    within: tuple[str, ...] = (),
) -> object:
    """Return ``value`` with each ``${name}`` replaced; one alone keeps the type of its value.

    ``within`` are the names that it is a part of. Raises ScenarioError, with all names when one is
    unknown.
    """
    if isinstance(value, dict):
        return {
            key: fill(_below(table, key), one, lookup, known, within) for key, one in value.items()
        }
    if isinstance(value, list):
        return [fill(_below(table, at), one, lookup, known, within) for at, one in enumerate(value)]
    if not isinstance(value, str) or "${" not in value:
        return value

    def replace(match: re.Match[str]) -> object:
        name = match[1].strip()
        if name in within:
            table.fail(f"{value!r} stands for itself")
        try:
            found = lookup(name)
        except KeyError:
            table.fail(f"${{{name}}} stands for nothing{suggestion(name, known())}")
        if not isinstance(found, str):
            return found
        return fill(table, found, lookup, known, (*within, name))

    try:
        if match := _NAME.fullmatch(value):
            return replace(match)
        return _NAME.sub(lambda match: str(replace(match)), value)
    except RecursionError:
        raise table.error(f"{value!r} stands for itself") from None


def _below(table: Table, part: str | int) -> Table:
    return table.at(part)
