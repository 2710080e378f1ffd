"""What to do about a failure: about its likeliest cause, or about the scenario."""

import re
from collections.abc import Iterable, Iterator
from enum import IntEnum

from kamexfrm.model.counters import COUNTERS
from kamexfrm.rig.scenario.plan import Case, Script, Setkey


class Rank(IntEnum):
    """How likely a cause explains a failure: lower ones are listed first."""

    PATH = 0  # packets cannot get there, protected or not
    SA = 1  # sender and receiver do not understand each other
    SENDER = 2
    RECEIVER = 3
    COUNTER = 4
    HINT = 5  # listed when nothing better was found


_CURES = {counter.name: counter.cure for counter in COUNTERS}


#: Where setkey found an error.
_PLACE = re.compile(r"setkey refused: (?P<file>[^\n]+?),(?P<line>\d+): ")


def correct_line(case: Case, line: int, message: str) -> str:
    """Return what to do about a step, or a script, that itself is wrong."""
    place = _PLACE.search(message)
    if place and place["file"] in {script.file for script in _scripts(case)}:
        return f"correct line {place['line']} of {place['file']}"
    return f"correct line {line} of {case.file}"


def _scripts(case: Case) -> Iterator[Script]:
    yield from (host.script for host in case.hosts.values() if host.script)
    yield from (step.action.script for step in case.steps if isinstance(step.action, Setkey))


def change_expectation(case: Case, line: int) -> str:
    """Return what to do about a packet that took the way it should, otherwise than expected."""
    return f"if what was seen is right, change what line {line} of {case.file} expects"


def about_probe(case: Case, rank: Rank, counters: Iterable[str]) -> str:
    """Return what to do about a packet whose likeliest cause is of a rank.

    ``counters`` are the Xfrm counters that rose.
    """
    match rank:
        case Rank.PATH:
            return f"see addresses and routes: kamexfrm rig up {case.file}, rig exec HOST ip route"
        case Rank.SA:
            return 'make the SAs of both ends the same: mirror = "HOST" makes one of the other'
        case Rank.SENDER | Rank.RECEIVER:
            return "compare the policies and SAs of both ends: rig run --report FILE has them"
        case _:
            cures = [_CURES[name] for name in counters if name in _CURES]
            return cures[0] if cures else "see what was on the wire: rig run --report FILE"
