"""No fuzz target finds anything in its first inputs, and the fuzzer itself works."""

import pytest

from tests.fuzz.mutation import Finding, fuzz, look, smaller
from tests.fuzz.setkey_laws import check
from tests.fuzz.target import Target
from tests.fuzz.targets import TARGETS, load

#: How many inputs of a target are tried here, unless 2500: they take seconds.
INPUTS = {"setkey": 1100, "scenario": 300, "pfkey": 800, "sysctl": 400}


def unhurried(name: str) -> Target:
    """Return a target, setkey's with more time for a text on a busy machine."""
    target = load(name)
    return target._replace(check=lambda text: check(text, 20.0)) if name == "setkey" else target


@pytest.mark.parametrize("name", TARGETS)
def test_damaged_inputs_break_no_law(name: str) -> None:
    assert list(fuzz(unhurried(name), 1, inputs=INPUTS.get(name, 2500))) == []


@pytest.mark.parametrize("name", TARGETS)
def test_the_seeds_of_a_target_are_read_in_many_ways(name: str) -> None:
    target = load(name)
    answers = {target.check(text) for text in target.seeds()}
    assert len(answers) > 5


def test_a_finding_is_made_smaller() -> None:
    def breaks(text: bytes) -> str:
        return f"{len(text)}" if b"x" not in text else str(1 // 0)

    target = Target(breaks, lambda: [b"abc", b"defghi"], (b"x", b"yz"))
    [found] = fuzz(target, 1, inputs=100)
    assert found.kind == "ZeroDivisionError test_mutation.py:breaks"
    assert found.text == b"x"


def test_a_finding_that_cannot_be_smaller_stays() -> None:
    finding = Finding("ZeroDivisionError", b"flush;\n", "")
    assert look(load("setkey"), finding.text)[1] is None
    assert smaller(load("setkey"), finding) == finding
