"""The table of KAME's behaviour as rows, what is not run of it, and how a decision is compared.

``kame-truth.csv`` was read from KAME's sources: J is the tree of February 2000, F the last one,
DOC what ipsec(4) says. DOC goes before F, F before J.
"""

import csv
import errno
import re
from collections import Counter
from pathlib import Path
from typing import NamedTuple

from kamexfrm.model.decision import OutputDecision
from kamexfrm.model.knobs import FamilyKnobs, Knobs
from kamexfrm.net import AF_INET, AF_INET6
from tests.model.decide_cases import FAMILIES, only

#: Rows that are not run, each with the reason.
NOT_RUN = {
    "L007": "DOC beats it: L008",
    "L011": "DOC beats it: L012",
    "L021": "DOC beats it: L022",
    "L025": "DOC beats it: L026",
    "L033": "contradicts ipsec(4), by which each family has its own knobs: L034 is followed",
    "L035": "FreeBSD only: an unchecked write; here it is refused, as in L037",
    "L036": "FreeBSD only: a crash after an unchecked write",
    "O139": "DOC beats it: O140",
    "O142": "DOC beats it: O143",
    "O149": "DOC beats it: O150",
    "O152": "DOC beats it: O153",
    "O156": "a packet's length, below which IPComp does not compress, is not decided about",
    "O157": "contradicts what netlink allows: KAME had not yet written IPComp in IPv6 tunnels",
    "O158": "F mended it: an SA is looked up for each packet",
    "O159": "memory for an ACQUIRE running out is not decided about",
    "O160": "memory for an ACQUIRE running out is not decided about",
    "O162": "contradicts the rule that tunnels between the families work: XFRM has them",
    "O163": "routes are not decided about",
    "B173": "F mended it: the SA is sought by the outer addresses",
    "P178": "FreeBSD only: an unchecked write; here it is refused, as in L037",
    "P179": "F beats it: P180",
    "P190": "FreeBSD only: an unchecked write; here it is refused, as in L037",
    "P191": "F beats it: P192",
    "I310": "F beats it: I311",
    "F315": "F beats it: F316",
    "F321": "F forwards IPv6 with IPsec always: F322 to F324",
    **{
        f"S{number}": "setsockopt's checks of its buffer are not decisions about a packet"
        for number in (*range(337, 352),)
    },
}


class Row(NamedTuple):
    """One line of the table."""

    id: str
    kind: str
    version: str
    family: str
    dir: str
    policy: str
    request: str
    sysctl: str
    sa_state: str
    packet: str
    outcome: str
    acquire: str
    errno_to_caller: str
    counter: str
    source: str

    @property
    def families(self) -> tuple[int, ...]:
        return {"inet": (AF_INET,), "inet6": (AF_INET6,), "both": FAMILIES}[self.family]


def read_table() -> list[Row]:
    table = Path(__file__).with_name("kame-truth.csv")
    with table.open(encoding="utf-8", newline="") as lines:
        reader = csv.reader(lines, delimiter="|")
        assert tuple(next(reader)) == Row._fields
        return [Row(*fields) for fields in reader]


ROWS = read_table()

ALL_ONE = Knobs()
ALL_TWO = Knobs(FamilyKnobs(1, 2, 2, 2, 2), FamilyKnobs(1, 2, 2, 2, 2))


def knobs_of(row: Row, family: int) -> list[Knobs]:
    """Return what the row's sysctl column says, one knob against all others."""
    if row.sysctl in ("any", "n/a", "-"):
        return [ALL_ONE, ALL_TWO]
    found = re.fullmatch(r"(\w+)=(\d)", row.sysctl)
    assert found, row.sysctl
    if found[1] != "def_policy":
        return [only(family, found[1], int(found[2]))]
    value, other = int(found[2]), 1 - int(found[2])
    mine, theirs = FamilyKnobs(def_policy=value), FamilyKnobs(def_policy=other)
    return [Knobs(mine, theirs) if family == AF_INET else Knobs(theirs, mine)]


def written(text: str) -> list[str]:
    """Expand ``(esp,ah)/(transport,tunnel)/use`` and put the gateways into tunnels."""
    found = re.fullmatch(r"(\(.*?\)|\w+)/(\(.*?\)|\w+)/(?:[^/]*/)?([\w:]+)", text)
    assert found, text
    many = [part.strip("()").split(",") for part in (found[1], found[2])]
    level = found[3].replace(":N", ":7")
    return [
        f"{protocol}/{mode}/{'A-B' if mode == 'tunnel' else ''}/{level}"
        for protocol in many[0]
        for mode in many[1]
    ]


def compare_numbers(row: Row, decision: OutputDecision) -> None:
    """Compare ACQUIREs, the caller's error and the counters with the row."""
    told = re.match(r"(\d+|[A-Z]+)", row.errno_to_caller)
    if row.errno_to_caller.startswith("return value of key_spdacquire"):
        assert decision.errno == 0
    elif told:
        assert decision.errno == (int(told[1]) if told[1] == "0" else getattr(errno, told[1]))
    else:
        assert row.errno_to_caller == "-"
    if "ICMPv6" in row.errno_to_caller:
        assert decision.admin_prohibited
    _acquires(row, decision)
    compare_counters(row, decision.counters)


def _acquires(row: Row, decision: OutputDecision) -> None:
    asked = [sought.protocol.name for sought in decision.acquires]
    match row.acquire:
        case "no" | "none" | "-":
            assert not asked
            assert not decision.spd_acquire
        case "yes*" | "0 receivers (not an error)":
            assert len(asked) == 1
        case "SPDACQUIRE":
            assert decision.spd_acquire
            assert not asked
        case text:
            assert re.findall(r"(ESP|AH)\*", text) == asked


def compare_counters(row: Row, counted: tuple[str, ...]) -> None:
    if row.counter in ("-", "none"):
        assert counted == ()
        return
    expected: Counter[str] = Counter()
    for name, times in re.findall(r"\b((?:in|out)_\w+)(?:\+\+)?(?: x(\d))?", row.counter):
        expected[name] += int(times or 1)
    assert expected, row.counter
    with_hist = any("hist" in name for name in expected)
    assert Counter(name for name in counted if with_hist or "hist" not in name) == expected
