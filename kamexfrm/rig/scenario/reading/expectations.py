"""Reading what a step is expected to show: answers, packets, SAs, counters and output."""

import re

from kamexfrm.model.counters import COUNTERS
from kamexfrm.rig.scenario.plan import Action, Expectation, Kill, Probe
from kamexfrm.rig.scenario.reading import schema
from kamexfrm.rig.scenario.reading.context import Context, check_host, link_name
from kamexfrm.rig.scenario.reading.table import Table, suggestion

_SA = re.compile(r"(\S+)\s+(?:(esp|ah|ipcomp)\s+)?(0x[0-9a-fA-F]+|\d+)$")
_COUNTER = re.compile(r"(\S+)\s+(Xfrm\w+)(?:\s+\+?(\d+))?$")
_NAMES = frozenset(counter.name for counter in COUNTERS)
_PACKETS = re.compile(schema.PACKETS_PATTERN)


def read_expectation(table: Table, context: Context, action: Action) -> Expectation:
    """Read what a step is to show; raises ScenarioError."""
    outcome = table.text("expect")
    if isinstance(action, Probe | Kill):
        table.choice("expect", schema.OUTCOMES)
    elif outcome not in ("", *schema.DONE_OUTCOMES):
        table.fail(f"ok or refused is wanted, not {outcome!r}", "expect")
    if "on" in table and "wire" not in table:
        table.fail("on says which link wire is about: there is no wire", "on")
    link = link_name(table, "on", table.text("on"), context.links) if "on" in table else ""
    status = table.integer("status", 0) if "status" in table else None
    return Expectation(
        outcome=outcome,
        wire=_read_wire(table) if "wire" in table else None,
        link=link,
        moves=_read_sas(table, "moves", context),
        rests=_read_sas(table, "rests", context),
        counters=_read_counters(table, context),
        output=table.words("output"),
        absent=table.words("absent"),
        status=status,
        errors=table.flag("errors"),
    )


def _read_wire(table: Table) -> tuple[str, ...]:
    words = tuple(dict.fromkeys(table.words("wire")))
    for word in words:
        if word != schema.NOTHING and not _PACKETS.match(word):
            hint = suggestion(word, schema.PACKETS)
            table.fail(f"{word!r} is never on the wire{hint}", "wire")
    if not words or (schema.NOTHING in words and len(words) > 1):
        table.fail("nothing stands alone", "wire")
    return words


def _read_sas(table: Table, key: str, context: Context) -> tuple[tuple[str, str, int], ...]:
    found = []
    for word in table.words(key):
        match = _SA.match(word)
        if not match:
            table.fail(f"{word!r}: HOST [esp|ah|ipcomp] SPI is wanted", key)
        check_host(table, key, match[1], context)
        found.append((match[1], match[2] or "", int(match[3], 0)))
    return tuple(found)


def _read_counters(table: Table, context: Context) -> tuple[tuple[str, str, int], ...]:
    found = []
    for word in table.words("counter"):
        match = _COUNTER.match(word)
        if not match:
            table.fail(f"{word!r}: HOST XfrmCOUNTER [NUMBER] is wanted", "counter")
        check_host(table, "counter", match[1], context)
        if match[2] not in _NAMES:
            table.fail(f"no counter is called {match[2]}{suggestion(match[2], _NAMES)}", "counter")
        found.append((match[1], match[2], int(match[3] or 0)))
    return tuple(found)
