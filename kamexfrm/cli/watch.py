"""``kamexfrm watch``: what happens to IPsec, as it happens."""

import errno
import sys
import time
from typing import Any

import click

from kamexfrm.cli import options
from kamexfrm.cli.trouble import Command
from kamexfrm.command_line import printable
from kamexfrm.library.event_stream import Events, events
from kamexfrm.model.event import (
    AcquireEvent,
    Event,
    FlushEvent,
    KnobEvent,
    LostEvent,
    MappingEvent,
    OtherEvent,
    PolicyEvent,
    SaEvent,
)
from kamexfrm.operator.document import document, to_text

_KINDS: dict[type, str] = {
    SaEvent: "sa",
    PolicyEvent: "policy",
    FlushEvent: "flush",
    AcquireEvent: "acquire",
    MappingEvent: "mapping",
    KnobEvent: "knob",
    LostEvent: "lost",
    OtherEvent: "other",
}


@click.command(cls=Command)
@click.option("-n", "--count", type=click.IntRange(min=1), help="End after so many events.")
@options.as_json
@options.netns
def watch(count: int | None, as_json: bool) -> None:
    """Print what happens to SAs, policies and variables, one line for each event.

    Keys are not printed. With --json each line is a document. When the kernel had more events than
    could be read, a line says that some were lost.
    """
    with events() as arriving:
        try:
            _print(arriving, count, as_json=as_json)
        except OSError as error:
            if error.errno != errno.EINTR:
                raise


def _print(arriving: Events, count: int | None, *, as_json: bool) -> None:
    for event in arriving:
        now = time.time()
        pid = getattr(event, "pid", 0)
        if as_json:
            line = to_text(_document(event, now, pid), one_line=True)
        else:
            clock = f"{time.strftime('%H:%M:%S', time.localtime(now))}.{int(now % 1 * 1000):03}"
            by = f"  (by {_process(pid)})" if pid else ""
            line = f"{clock} {printable(str(event), '')}{printable(by, '')}\n"
        sys.stdout.write(line)
        sys.stdout.flush()
        if count is not None:
            count -= 1
            if not count:
                return


def _process(pid: int) -> str:
    """Return a process's name and number, the number alone once it has ended."""
    try:
        with open(f"/proc/{pid}/comm", encoding="utf-8", errors="backslashreplace") as file:
            return f"{file.read().strip()}, process {pid}"
    except OSError:
        return f"process {pid}"


def _document(event: Event, now: float, pid: int) -> dict[str, Any]:
    members: dict[str, Any] = {
        "time": round(now, 6),
        "event": _KINDS[type(event)],
        "change": None,
        "id": None,
        "spi": None,
        "pid": pid or None,
        "text": str(event),
    }
    match event:
        case SaEvent(change, entry):
            members |= {"change": change.value, "spi": entry.association.spi}
        case PolicyEvent(change, entry):
            members |= {"change": change.value, "id": entry.id}
        case AcquireEvent():
            members["id"] = event.policy.id
        case MappingEvent(id):
            members["spi"] = id.spi
        case _:
            pass
    return document("watch", **members)
