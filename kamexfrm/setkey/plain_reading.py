"""Reads runs of plain ``spdadd`` and ``add`` lines: one expression reads each.

What is not an address or a port is read once for each spelling of it, by ``fast_parser``, which
also says what is plain. A property test holds the two together.
"""

from __future__ import annotations

import _socket as socket  # the module socket takes as long to load as a command to run
import sys
from array import array
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from itertools import repeat
from operator import itemgetter

from kamexfrm.lazy import expression
from kamexfrm.model.policy_run import PolicyGroup, PolicyRun
from kamexfrm.net import AF_INET, AF_INET6
from kamexfrm.setkey.fast_parser import plain_statement
from kamexfrm.setkey.plain_lines import FEWEST, AssociationLines, PolicyLines, Stretch
from kamexfrm.setkey.statements import Add, SpdAdd

TYPE_CHECKING = False  # typing and re take long to load
if TYPE_CHECKING:
    import re

    from kamexfrm.model.association import SecurityAssociation
    from kamexfrm.model.association_run import AssociationRun

_BLANK = r"[ \t]*(?:#[^\n]*)?\r?\n"
_RANGE = r"[ \t]+([0-9A-Fa-f.:]+)(/[0-9]{1,3})?(\[[0-9]{1,5}\])?"

#: Lines that may be a run: without an indent, and with nothing but comments between them.
_BLOCK = expression(rf"(?>(?:spdadd[ \t][^\n]*\n|{_BLANK})+)")

#: A line that may be plain, a blank one, or any other: there is a match for each line of a block.
_LINE = expression(rf'spdadd{_RANGE}{_RANGE}([ \t][^\n;#"]*);{_BLANK}|({_BLANK})|[^\n]*\n')

#: What differs in lines that are alike: the groups of _LINE, and what they match.
_DIFFERENT = (
    (1, "([0-9A-Fa-f.:]+)"),
    (3, r"(\[[0-9]{1,5}\])"),
    (4, "([0-9A-Fa-f.:]+)"),
    (6, r"(\[[0-9]{1,5}\])"),
)

#: An ``add`` line that may be plain; addresses, SPI and keys differ in lines that are alike.
_SPI = "(0x[0-9A-Fa-f]{1,8}|[0-9]{1,9})"
_ADD_BLOCK = expression(r"(?>(?:add[ \t][^\n]*\n)+)")
_ADD_LINE = expression(
    rf"add[ \t]+([0-9A-Fa-f.:]+)[ \t]+([0-9A-Fa-f.:]+)[ \t]+(?:esp|ah)[ \t]+{_SPI}[^\n;#\"]*?"
    r"(?:[ \t]-E[ \t]+[a-z0-9-]+[ \t]+0x([0-9A-Fa-f]+))?"
    rf"(?:[ \t]+-A[ \t]+[a-z0-9-]+[ \t]+0x([0-9A-Fa-f]+))?[ \t]*;{_BLANK}"
)

#: A line's source, its prefix and port, the same of its destination, the rest up to the semicolon,
#: and what a blank line has; texts that are not there are empty.
_Row = tuple[str, str, str, str, str, str, str, str]

_inet_pton = socket.inet_pton


def read_policies(text: str, at: int, file: str, line: int) -> list[Stretch]:
    """Return what the ``spdadd`` and blank lines from ``at`` say, nothing where there are none."""
    block = _BLOCK.match(text, at)
    if not block:
        return []
    alike = _read_alike(text, at, block.end(), file, line)
    if alike:
        return [Stretch(block.end(), line + alike.run.total, alike)]
    rows: list[_Row] = _LINE.findall(text, at, block.end())
    whole = _read_rows(rows, file, line)
    if not isinstance(whole, set):
        return [Stretch(block.end(), line + len(rows), whole)]
    found: list[Stretch] = []
    start = 0
    for stop in (*sorted(whole), len(rows)):
        lines = _read_rows(rows[start:stop], file, line + start)
        if isinstance(lines, PolicyLines):
            at = _after(text, at, stop - start)
            found.append(Stretch(at, line + stop, lines))
            start = stop
        if start < len(rows):
            stop = min(stop + 1, len(rows))  # noqa: PLW2901  (the line that is not plain)
            at = _after(text, at, stop - start)
            found.append(Stretch(at, line + stop, None))
        start = stop
    return found


def read_associations(text: str, at: int, file: str, line: int) -> list[Stretch]:
    """Return what the ``add`` lines from ``at`` say: a run if all are like the first, or nothing.

    They may have other addresses, SPIs and keys.
    """
    block = _ADD_BLOCK.match(text, at)
    total = text.count("\n", at, block.end()) if block else 0
    if not block or total < FEWEST:
        return []
    end = block.end()
    general = [Stretch(end, line + total, None)]
    first = plain_statement(text, at, file, line, 0)
    parts = _ADD_LINE.match(text, at, end)
    if not parts or not isinstance(first, Add):
        return general
    pattern = expression("".join(_add_pattern(parts, text)))
    last = text.rfind("\n", at, end - 1) + 1
    if not pattern.match(text, last):
        return general
    found = pattern.findall(text, at, end)
    run = _read_associations(first.associations[0], parts, found) if len(found) == total else None
    return [Stretch(end, line + total, AssociationLines(first, run))] if run else general


def _add_pattern(first: re.Match[str], text: str) -> Iterator[str]:
    """Yield what matches lines that are a first one with other addresses, SPI and keys."""
    from re import escape

    start = first.start()
    address = "([0-9A-Fa-f.:]+)"
    for number, digits in enumerate((address, address, _SPI, "", ""), 1):
        if first[number] is not None:
            yield escape(text[start : first.start(number)])
            yield digits or f"([0-9A-Fa-f]{{{len(first[number])}}})"
            start = first.end(number)
    yield escape(text[start : first.end()])


def _read_associations(
    first: SecurityAssociation, parts: re.Match[str], rows: Sequence[tuple[str, ...]]
) -> AssociationRun | None:
    from kamexfrm.model.association_run import AssociationRun

    columns = iter(zip(*rows, strict=True))
    sources, destinations, spis, *keys = columns
    ciphers = keys.pop(0) if parts[4] else ()
    family = first.source.family
    try:
        numbers = array("I", [int(spi, 0) for spi in spis])
        if 0 in numbers:
            return None
        if sys.byteorder == "little":
            numbers.byteswap()
        return AssociationRun(
            first,
            len(rows),
            b"".join(map(_inet_pton, repeat(family), sources)),
            b"".join(map(_inet_pton, repeat(family), destinations)),
            numbers.tobytes(),
            bytes.fromhex("".join(ciphers)),
            bytes.fromhex("".join(keys.pop(0) if parts[5] else ())),
        )
    except (OSError, ValueError):
        return None


def _read_alike(text: str, at: int, end: int, file: str, line: int) -> PolicyLines | None:
    """Return the run of lines that are the first one with other addresses and ports, else None.

    That takes half the time of _read_rows().
    """
    total = text.count("\n", at, end)
    first = _LINE.match(text, at, end)
    if total < FEWEST or not first or not first[1]:
        return None
    from re import escape

    parts: list[str] = []
    start = at
    for number, digits in _DIFFERENT:
        if first[number]:
            parts += (escape(text[start : first.start(number)]), digits)
            start = first.end(number)
    pattern = expression("".join((*parts, escape(text[start : first.end()]))))
    last = text.rfind("\n", at, end - 1) + 1
    if not (pattern.match(text, first.end()) and pattern.match(text, last)):
        return None
    found = pattern.findall(text, at, end)
    if len(found) != total:
        return None
    columns: list[Sequence[str]] = [[text or ""] * total for text in first.groups()]
    varying = [number - 1 for number, _ in _DIFFERENT if first[number]]
    for number, column in zip(varying, zip(*found, strict=True), strict=True):
        columns[number] = column
    group = _read_group(columns, range(total))
    if isinstance(group, set):
        return None
    return PolicyLines(file, range(line, line + total), PolicyRun((group,), total))


def _after(text: str, at: int, lines: int) -> int:
    """Return the offset behind so many lines."""
    for _ in range(lines):
        at = text.index("\n", at) + 1
    return at


def _read_rows(rows: Sequence[_Row], file: str, line: int) -> PolicyLines | set[int] | None:
    """Return the run that some rows are, the places of those that are not plain, or None.

    None is for what is better read line by line.
    """
    if len(rows) < FEWEST:
        return None
    columns: list[tuple[str, ...]] = list(zip(*rows, strict=True))
    if "" not in columns[0]:
        return _read_columns(columns, file, range(line, line + len(rows)))
    others = {at for at, row in enumerate(rows) if not (row[0] or row[7])}
    if others:
        return others
    plain = [at for at, row in enumerate(rows) if row[0]]
    if len(plain) < FEWEST:
        return None
    taken = itemgetter(*plain)
    read = _read_columns(
        [taken(column) for column in columns], file, array("I", (line + at for at in plain))
    )
    return {plain[at] for at in read} if isinstance(read, set) else read


def _read_columns(
    columns: Sequence[Sequence[str]], file: str, lines: Sequence[int]
) -> PolicyLines | set[int] | None:
    """Do the same for the columns of rows that are not blank; ``lines`` are their numbers."""
    total = len(lines)
    groups: list[PolicyGroup] = []
    others: set[int] = set()
    places = _by_spelling(columns)
    if len(places) * FEWEST > total:
        return None
    for at in places:
        mine = columns
        if len(at) < total:
            mine = [[column[place] for place in at] for column in columns]
        group = _read_group(mine, at)
        if isinstance(group, set):
            others |= group
        else:
            groups.append(group)
    return others or PolicyLines(file, lines, PolicyRun(tuple(groups), total))


def _by_spelling(columns: Sequence[Sequence[str]]) -> list[Sequence[int]]:
    """Return the places of the lines that share all but their addresses and ports."""
    source, prefix, port, _, other_prefix, other_port, rest, _ = columns
    total = len(rest)
    spelled = (prefix, other_prefix, rest)
    sources = "".join(source)
    families: Iterable[bool] = repeat(":" in sources, total)
    if ":" in sources and "." in sources:
        families = [":" in address for address in source]
    elif all(column.count(column[0]) == total for column in spelled) and all(
        column.count("") in (0, total) for column in (port, other_port)
    ):
        return [range(total)]
    found: defaultdict[tuple[object, ...], list[int]] = defaultdict(list)
    keys = zip(*spelled, map(bool, port), map(bool, other_port), families, strict=True)
    for at, key in enumerate(keys):
        found[key].append(at)
    return [_as_range(at) for at in found.values()]


def _as_range(places: list[int]) -> Sequence[int]:
    """Return rising places as a range where they are one, else as numbers of four bytes."""
    if len(places) > 1:
        step = places[1] - places[0]
        regular = range(places[0], places[-1] + 1, step)
        if len(regular) == len(places) and all(map(int.__eq__, regular, places)):
            return regular
    return array("I", places)


def _read_group(columns: Sequence[Sequence[str]], at: Sequence[int]) -> PolicyGroup | set[int]:
    """Return the group of some lines, or the places of those that are not plain."""
    sources, _, ports, destinations, _, other_ports, _, _ = columns
    first = _first_statement(columns)
    if first is None:
        return set(at)
    family = first.policy.selector.family
    try:
        return PolicyGroup(
            first.policy,
            at,
            b"".join(map(_inet_pton, repeat(family), sources)),
            b"".join(map(_inet_pton, repeat(family), destinations)),
            _read_ports(ports),
            _read_ports(other_ports),
        )
    except (OSError, ValueError, OverflowError):
        return {
            place
            for place, *row in zip(at, sources, destinations, ports, other_ports, strict=True)
            if not _is_plain(family, *row)
        }


def _first_statement(columns: Sequence[Sequence[str]]) -> SpdAdd | None:
    """Return the statement of the first line that is one of these with an address that is one."""
    for row in zip(*columns, strict=True):
        source, prefix, port, destination, other_prefix, other_port, rest, _ = row
        text = f"spdadd {source}{prefix}{port} {destination}{other_prefix}{other_port}{rest};\n"
        statement = plain_statement(text, 0, "", 0, 0)
        if statement is not None and not isinstance(statement, Add):
            selector = statement.policy.selector
            if bool(port) == (selector.source_port is not None) and bool(other_port) == (
                selector.destination_port is not None
            ):
                return statement
        family = AF_INET6 if ":" in source else AF_INET
        if _is_plain(family, source, destination, port, other_port):
            return None  # it is the rest that is not plain
    return None


def _is_plain(family: int, source: str, destination: str, *ports: str) -> bool:
    try:
        _inet_pton(family, source)
        _inet_pton(family, destination)
        for port in ports:
            _read_ports((port,))
    except (OSError, ValueError, OverflowError):
        return False
    return True


def _read_ports(ports: Sequence[str]) -> bytes:
    """Return ``[80]`` of each line as 16 bits in network order.

    Raises OverflowError for a number that is none, ValueError for 0, which is no port.
    """
    if not ports[0]:
        return b""
    found = array("H", map(int, "".join(ports)[1:-1].split("][")))
    if 0 in found:
        raise ValueError("port 0")
    if sys.byteorder == "little":
        found.byteswap()
    return found.tobytes()
