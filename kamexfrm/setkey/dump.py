"""Dumps of both databases to stdout: in setkey's form with sequence numbers, or as JSON."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Iterator
from itertools import islice

from kamexfrm.model.association import SadEntry
from kamexfrm.model.policy import Owner, SpdEntry
from kamexfrm.setkey.arguments import Options

TYPE_CHECKING = False  # typing takes long to load
if TYPE_CHECKING:
    from typing import Any, TextIO, TypeVar

    from kamexfrm.translate.xfrm.policy_from_kernel import SidecarOf
    from kamexfrm.xfrm import Run

    _T = TypeVar("_T")

_FORGED = Owner.FORGED

#: Called with each entry of a dump and its sequence number before it is printed.
Announce = Callable[[SadEntry | SpdEntry, int], None]


def _write(texts: Iterator[str], out: TextIO, announce: Announce | None) -> bool:
    """Write in large pieces, as stdout may be unbuffered; return whether there was something.

    With ``announce`` each entry is written alone: the announcement goes to the same output.
    """
    count = 1 if announce else 256
    written = False
    while piece := "".join(islice(texts, count)):
        out.write(piece)
        written = True
    return written


def _with_sequence(entries: Iterable[_T]) -> Iterator[tuple[int, _T]]:
    """Count entries as the kernel's PF_KEY dumps do: 1, 2, 3 and so on, and 0 for the last."""
    rest = iter(entries)
    for first in islice(rest, 1):
        previous = first
        for number, entry in enumerate(rest, 1):
            yield number, previous
            previous = entry
        yield 0, previous


def dump_sad(
    entries: Iterable[SadEntry], out: TextIO, options: Options, announce: Announce | None = None
) -> bool:
    """Print SAs; return whether there was one."""
    from kamexfrm.setkey import dump_sa

    if options.json:
        return write_json([dump_sa.sa_to_dict(e) for e in entries], out)
    pid, ports, keys, wrap = os.getpid(), options.ports, options.keys, options.wrap

    def texts() -> Iterator[str]:
        for number, entry in _with_sequence(entries):
            if announce:
                announce(entry, number)
            yield dump_sa.format_sa(
                entry, ports=ports, sequence=number, pid=pid, keys=keys, wrap=wrap
            )

    return _write(texts(), out, announce)


def dump_sad_runs(runs: Iterable[Run], out: TextIO, options: Options) -> bool:
    """Print SAs as dump_sad() does, from the kernel's messages."""
    from kamexfrm.setkey import dump_sa
    from kamexfrm.setkey.dump_sad_fast import SadTexts, SaText

    pid, now = os.getpid(), time.time()
    if options.repeat:
        return dump_sad_short(_decoded(runs, now), out)
    if options.json:
        rows = SadTexts(SaText(lambda entry, _: _row(dump_sa.sa_to_dict(entry)), True, False), now)
        return write_rows(rows.iter_texts(runs), out)

    def form(entry: SadEntry, number: int) -> str:
        return dump_sa.format_sa(
            entry,
            ports=options.ports,
            sequence=number,
            pid=pid,
            keys=options.keys,
            wrap=options.wrap,
            now=int(now),
        )

    texts = SadTexts(SaText(form, options.wrap, True), now)
    return _write(texts.iter_texts(runs), out, None)


def _decoded(runs: Iterable[Run], now: float) -> Iterator[SadEntry]:
    from kamexfrm.model.policy import IPSEC_PROTOCOLS
    from kamexfrm.translate.xfrm.sa_from_kernel import sad_entry_from_kernel
    from kamexfrm.xfrm import decode_state

    states = (decode_state(payload) for run in runs for payload in run.payloads())
    return (sad_entry_from_kernel(s, now) for s in states if s.protocol in IPSEC_PROTOCOLS)


def _row(row: dict[str, Any]) -> str:
    """Return an entry of a JSON array, but for its first line's indentation."""
    import json

    return json.dumps(row, indent=2).replace("\n", "\n  ")


def dump_sad_short(entries: Iterable[SadEntry], out: TextIO) -> bool:
    """Print one line for each SA; return whether there was one."""
    from kamexfrm.setkey.dump_sa import format_sa_short

    lines = [format_sa_short(entry) for entry in entries]
    out.write("".join(lines))
    return bool(lines)


def dump_spd(
    entries: Iterable[SpdEntry],
    out: TextIO,
    options: Options,
    announce: Announce | None = None,
    *,
    err: TextIO,
) -> bool:
    """Print policies, and to ``err`` warnings about them; return whether there was one."""
    from kamexfrm.setkey import dump_sp

    if options.json:
        found = list(entries)
        shown = write_json([dump_sp.sp_to_dict(e) for e in found], out)
        _warn_of_forged([e.id for e in found if e.owner is Owner.FORGED], out, err)
        return shown
    pid, ports, hides = os.getpid(), options.ports, options.hide_sockets
    hidden = 0
    forged: list[int] = []

    def texts() -> Iterator[str]:
        nonlocal hidden
        for number, entry in _with_sequence(entries):
            if announce:
                announce(entry, number)
            if entry.owner is _FORGED:
                forged.append(entry.id)
            if hides and entry.socket:
                hidden += 1
            else:
                yield dump_sp.format_sp(entry, ports=ports, sequence=number, pid=pid)

    shown = _write(texts(), out, announce)
    return _end_of_policies(shown, hidden, forged, out, err)


def _end_of_policies(shown: bool, hidden: int, forged: list[int], out: TextIO, err: TextIO) -> bool:
    if hidden:
        from kamexfrm.setkey.dump_sp import format_hidden_sockets

        out.write(format_hidden_sockets(hidden))
    _warn_of_forged(forged, out, err)
    return shown or hidden > 0


def dump_spd_runs(
    runs: Iterable[Run],
    sidecar_of: SidecarOf,
    out: TextIO,
    options: Options,
    *,
    err: TextIO,
) -> bool:
    """Print policies as dump_spd() does, from the kernel's messages."""
    if options.json:
        from kamexfrm.setkey.dump_spd_json import iter_json

        forged: list[int] = []
        shown = write_rows(iter_json(runs, sidecar_of, forged), out)
        _warn_of_forged(forged, out, err)
        return shown
    from kamexfrm.setkey.dump_spd_fast import SpdTexts

    hides = options.hide_sockets
    texts = SpdTexts(sidecar_of, pid=os.getpid(), ports=options.ports, hides=hides)
    shown = False
    for piece in texts.pieces(runs):
        shown = True
        out.write(piece)
    return _end_of_policies(shown, texts.hidden, texts.forged, out, err)


def _warn_of_forged(ids: list[int], out: TextIO, err: TextIO) -> None:
    if ids:
        out.flush()
    for id in ids:
        err.write(
            f"setkey: WARNING: the policy with spid={id} is marked as one of def_policy's, but is"
            " none: another program wrote it\n"
        )


def write_rows(texts: Iterator[str], out: TextIO) -> bool:
    """Write entries that are JSON already as write_json() does; return whether there was one."""
    between = "[\n  "
    while rows := list(islice(texts, 256)):
        out.write(between + ",\n  ".join(rows))
        between = ",\n  "
    out.write("[]\n" if between.startswith("[") else "\n]\n")
    return not between.startswith("[")


def write_json(rows: list[dict[str, Any]], out: TextIO) -> bool:
    """Write entries as a JSON array; return whether there was one."""
    import json

    json.dump(rows, out, indent=2)
    out.write("\n")
    return bool(rows)
