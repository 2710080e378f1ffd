"""Dumps to stdout: how entries are numbered, and the JSON form of both databases."""

import os
from collections.abc import Callable, Iterable, Iterator
from typing import TextIO, TypeVar

from kamexfrm.model.association import SadEntry
from kamexfrm.model.policy import SpdEntry
from kamexfrm.setkey.arguments import Options

_T = TypeVar("_T")

#: Hears of each entry of a dump and of its number before it is printed.
Announce = Callable[[SadEntry | SpdEntry, int], None]


class _Pages:
    """Gathers text and writes it in large pieces: stdout may be unbuffered."""

    def __init__(self, out: TextIO) -> None:
        self._out = out
        self._pieces: list[str] = []

    def write(self, text: str) -> None:
        """Add a piece."""
        self._pieces.append(text)
        if len(self._pieces) >= 256:
            self.turn()

    def turn(self) -> None:
        """Write what has gathered."""
        self._out.write("".join(self._pieces))
        self._pieces.clear()


def _numbered(entries: Iterable[_T]) -> Iterator[tuple[int, _T]]:
    """Count entries as the kernel's PF_KEY dumps do: 1, 2, 3 and so on, and 0 for the last."""
    number = 0
    previous: list[_T] = []
    for entry in entries:
        if previous:
            number += 1
            yield number, previous.pop()
        previous.append(entry)
    if previous:
        yield 0, previous[0]


def dump_sad(
    entries: Iterable[SadEntry], out: TextIO, choices: Options, announce: Announce | None = None
) -> bool:
    """Print SAs; return whether there was one."""
    from kamexfrm.setkey import dump_sa

    if choices.json:
        return _json([dump_sa.sa_to_dict(e) for e in entries], out)
    pid, shown, pages = os.getpid(), False, _Pages(out)
    for number, entry in _numbered(entries):
        shown = True
        if announce:
            pages.turn()
            announce(entry, number)
        pages.write(
            dump_sa.format_sa(
                entry, ports=choices.ports, sequence=number, pid=pid, keys=choices.keys
            )
        )
    pages.turn()
    return shown


def dump_sad_short(entries: Iterable[SadEntry], out: TextIO) -> bool:
    """Print one line for each SA; return whether there was one."""
    from kamexfrm.setkey.dump_sa import format_sa_short

    lines = [format_sa_short(entry) for entry in entries]
    out.write("".join(lines))
    return bool(lines)


def dump_spd(
    entries: Iterable[SpdEntry], out: TextIO, choices: Options, announce: Announce | None = None
) -> bool:
    """Print policies; return whether there was one."""
    from kamexfrm.setkey import dump_sp

    if choices.json:
        return _json([dump_sp.sp_to_dict(e) for e in entries], out)
    pid, shown, hidden, pages = os.getpid(), False, 0, _Pages(out)
    for number, entry in _numbered(entries):
        shown = True
        if announce:
            pages.turn()
            announce(entry, number)
        if entry.socket and choices.hide_sockets:
            hidden += 1
            continue
        pages.write(dump_sp.format_sp(entry, ports=choices.ports, sequence=number, pid=pid))
    pages.turn()
    if hidden:
        out.write(dump_sp.format_hidden_sockets(hidden))
    return shown


def _json(rows: list[dict[str, object]], out: TextIO) -> bool:
    import json

    json.dump(rows, out, indent=2)
    out.write("\n")
    return bool(rows)
