"""Files of the kinds that people have: each loads, and means what its first lines say."""

import re
from pathlib import Path

import pytest

from kamexfrm.model.decide_spd import Spd
from kamexfrm.model.decider import decide
from kamexfrm.model.decision import OutputDecision, Verdict
from kamexfrm.model.knobs import Knobs
from kamexfrm.model.packet import Packet
from kamexfrm.operator.file_state import FileState
from kamexfrm.setkey.command import main
from kamexfrm.setkey.parser import parse
from tests.setkey.peoples_files import FILES, lines, wires

each_file = pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)


@each_file
def test_a_file_loads_and_says_no_more_than_it_should(
    path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert main(["-n", "-f", str(path)]) == 0
    said = capfd.readouterr().err.splitlines()
    says = list(lines(path, "says"))
    assert all(any(text in line for line in said) for text in says)
    assert len([line for line in said if line.startswith("setkey: ")]) == len(says)


def fate(state: FileState, sent: Packet) -> str:
    decision = decide(sent, Spd.of(state.policies), state.sad, Knobs())
    assert isinstance(decision, OutputDecision)
    if decision.verdict is Verdict.DROPPED:
        return "nothing"
    layers = (
        f"{layer.protocol.name} {layer.mode.name} {layer.spi:#x}".lower()
        for layer in decision.bundle
    )
    return ", ".join(layers) or "clear"


@each_file
def test_packets_leave_as_a_file_says(path: Path) -> None:
    state = FileState()
    for statement in parse(path.read_bytes().decode(), path.name):
        state.take(statement)
    for packet, layers in wires(path):
        assert fate(state, packet) == layers


def test_each_outbound_policy_with_requests_has_a_packet() -> None:
    without = [
        path.stem
        for path in FILES
        if re.search(r"(?m)^spdadd[^#;]*-P out[^#;]*(esp|ah|ipcomp)/", path.read_text())
        and not list(lines(path, "wire"))
    ]
    assert without == []
    assert len(FILES) > 60
