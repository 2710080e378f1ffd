"""Explain against a second KAME, and against the table of KAME's behaviour.

KAMEXFRM_EXPLAIN_CASES is the number of random cases (200), KAMEXFRM_SEED the seed.
"""

import os
from collections import Counter
from collections.abc import Sequence
from typing import Any

import pytest

from kamexfrm.model.association import SadEntry
from kamexfrm.model.decide_spd import Spd
from kamexfrm.model.decision import Decision
from kamexfrm.model.knobs import Knobs, knob
from kamexfrm.model.linux.deciding import judge
from kamexfrm.model.packet import Packet, Path, SocketPolicies
from kamexfrm.net import AF_INET, AF_INET6, Address
from kamexfrm.operator.document import document
from kamexfrm.operator.explain.arrival import read_header
from kamexfrm.operator.explain.candidates import Candidate
from kamexfrm.operator.explain.explaining import (
    Databases,
    explain,
    of_files,
    socket_policies,
)
from kamexfrm.operator.explain.report import members
from kamexfrm.operator.file_state import FileState
from kamexfrm.setkey.parser import parse
from tests.conformance.conformance_case import case_text, policy_line, sa_line
from tests.conformance.conformance_random import random_case as random_kernel_case
from tests.model import decide_cases, test_decide_truth
from tests.model.decide_truth import NOT_RUN, ROWS, Row
from tests.operator.explain_cases import random_case
from tests.operator.kame_machine import Machine
from tests.operator.schemas import valid

CASES = int(os.environ.get("KAMEXFRM_EXPLAIN_CASES", "200"))
SEED = os.environ.get("KAMEXFRM_SEED", "kame")

_PATHS = {"out": Path.OUT, "in": Path.IN, "fwd": Path.FORWARDED}


def script(machine: Machine) -> str:
    return "\n".join([*(sa.text() for sa in machine.sad), *(e.text() for e in machine.spd)])


def explained(machine: Machine, packet: dict[str, Any]) -> dict[str, Any]:
    """Return the document about a case; its host as files, its headers as --via takes them."""
    state = FileState()
    for statement in parse(script(machine)):
        state.take(statement)
    knobs = Knobs(preferred_oldsa=1)
    for name, value in machine.knobs.items():
        knobs = knobs.replace(knob(name), value)
    headers = [
        read_header(f"{protocol}:{spi}/{mode}" + (f"/{near}-{far}" if mode == "tunnel" else ""))
        for protocol, mode, near, far, spi in packet["via"]
    ]
    texts = [
        " ".join((direction, action, *(request.text() for request in requests)))
        for direction, (action, requests) in machine.socket.items()
    ]
    asked = Packet(
        _PATHS[packet["path"]],
        Address.parse(packet["source"]),
        Address.parse(packet["destination"]),
        packet["upper"],
        *packet["ports"],
    )
    found = explain(asked, headers, of_files(state, knobs), socket_policies(texts))
    return document("explain", **members(found), route=None, probe=None, hints=[])


def differences(found: dict[str, Any], wanted: dict[str, Any]) -> list[str]:
    """Return what explain says otherwise than the second KAME."""
    pairs = [
        ("verdict", found["verdict"], wanted["verdict"]),
        ("position", found["governing"]["position"], wanted["position"]),
    ]
    if "wire" in wanted:
        wire = [tuple(layer.values()) for layer in reversed(found["bundle"])]
        acquires = [tuple(index.values())[:4] for index in found["acquires"]]
        pairs += [
            ("bundle", wire, wanted["wire"] if wanted["verdict"] == "protected" else []),
            ("acquires", acquires, wanted["acquires"]),
        ]
    else:
        early = found["rule"] in ("NO_SUCH_SA", "SA_NOT_TUNNEL", "NO_TUNNEL_ENTRY")
        pairs.append(("rejected before policies", early, wanted["early"]))
    return [f"{what}: {mine} and not {other}" for what, mine, other in pairs if mine != other]


def test_random_packets_are_explained_as_a_second_kame_decides() -> None:
    counted: Counter[str] = Counter()
    for number in range(CASES):
        machine, packet = random_case(f"{SEED}:{number}")
        found = valid(explained(machine, packet))
        wrong = differences(found, machine.decide(packet))
        assert not wrong, f"case {number}: {wrong}\n{script(machine)}\n{packet}"
        counted[found["verdict"]] += 1
    assert set(counted) == {"clear", "protected", "dropped", "accepted", "rejected"}


def test_what_is_said_of_linux_is_what_the_conformance_tests_hold_against_the_wire() -> None:
    counted: Counter[str] = Counter()
    for number in range(CASES):
        path = list(Path)[number % 3]
        case = random_kernel_case(f"{SEED}:explain:{number}", (AF_INET, AF_INET6)[number % 2], path)
        state = FileState()
        for statement in parse("\n".join([*map(policy_line, case.spd), *map(sa_line, case.sad)])):
            state.take(statement)
        if state.policies != list(case.spd):
            continue  # type 0 with a code has no word of its own in setkey's language
        found = explain(case.packet, [], of_files(state, case.knobs), case.socket)
        assert found.linux == judge(case.situation()), case_text(case)
        assert found.decision.verdict == case.decide().verdict
        counted.update(found.linux.names)
    assert len(counted) > 10


@pytest.mark.parametrize(
    "row", [row for row in ROWS if row.id not in NOT_RUN], ids=lambda row: row.id
)
def test_the_rows_of_kames_table_are_explained_so(
    row: Row, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each row of the table, with explain in the place of ``decide``."""

    def explaining(
        packet: Packet,
        spd: Spd,
        sad: Sequence[SadEntry] = (),
        knobs: Knobs = Knobs(),  # noqa: B008 - an immutable tuple
        socket: SocketPolicies | None = None,
    ) -> Decision:
        entries = [
            Candidate(entry.position, entry.policy, entry.id)
            for entry in (*spd.inbound, *spd.outbound)
        ]
        databases = Databases(lambda: entries, lambda: sad, knobs)
        return explain(packet, [], databases, socket).decision

    monkeypatch.setattr(decide_cases, "decide", explaining)
    test_decide_truth.RUN[row.kind](row)
