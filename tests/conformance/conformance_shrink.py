"""Make a failing case small: leave things out for as long as it still fails on the kernel."""

from collections.abc import Callable, Iterator
from dataclasses import replace

from kamexfrm.model.knobs import KNOBS, Knobs
from kamexfrm.model.policy import PRIORITY_DEFAULT, ULPROTO_ANY, SecurityPolicy, Selector
from kamexfrm.net import Address
from tests.conformance.conformance_case import Case, Past

#: Runs on the kernel until the case is small enough.
TRIES = 400


def shrunk(case: Case, fails: Callable[[Case], bool]) -> Case:
    """Return a smaller case that fails too."""
    left = TRIES
    smaller = True
    while smaller and left > 0:
        smaller = False
        for candidate in _smaller(case):
            left -= 1
            if left < 0:
                break
            if fails(candidate):
                case, smaller = candidate, True
                break
    return case


def _smaller(case: Case) -> Iterator[Case]:
    for at in range(len(case.spd)):
        yield case.replace(spd=case.spd[:at] + case.spd[at + 1 :])
    for at in range(len(case.sad)):
        yield case.replace(sad=case.sad[:at] + case.sad[at + 1 :])
    if case.past != Past():
        yield case.replace(past=Past())
    past = case.past
    for at in range(len(past.spd)):
        yield case.replace(past=replace(past, spd=past.spd[:at] + past.spd[at + 1 :]))
    for at in range(len(past.sad)):
        yield case.replace(past=replace(past, sad=past.sad[:at] + past.sad[at + 1 :]))
    if past.knobs != Knobs():
        yield case.replace(past=replace(past, knobs=Knobs()))
    if past.others:
        yield case.replace(past=replace(past, others=False))
    if case.socket is not None:
        yield case.replace(socket=None)
    start = Knobs()
    for knob in KNOBS:
        if case.knobs.value(knob) != start.value(knob):
            yield case.replace(knobs=case.knobs.replace(knob, start.value(knob)))
    seals = case.packet.protections
    for at in range(len(seals)):
        fewer = seals[:at] + seals[at + 1 :]
        yield case.replace(packet=case.packet._replace(protections=fewer))
    for at, entry in enumerate(case.spd):
        for simple in _simpler(entry):
            yield case.replace(spd=(*case.spd[:at], simple, *case.spd[at + 1 :]))


def _simpler(entry: SecurityPolicy) -> Iterator[SecurityPolicy]:
    if len(entry.requests) > 1:
        for at in range(len(entry.requests)):
            yield entry._replace(requests=entry.requests[:at] + entry.requests[at + 1 :])
    if entry.priority != PRIORITY_DEFAULT:
        yield entry._replace(priority=PRIORITY_DEFAULT)
    s = entry.selector
    nowhere = Address.unspecified(s.family)
    for wider in (
        s._replace(source=nowhere, source_prefix=0),
        s._replace(destination=nowhere, destination_prefix=0),
        s._replace(upper=ULPROTO_ANY, source_port=None, destination_port=None),
    ):
        if wider != s:
            yield entry._replace(selector=Selector(*wider))
