"""Lines that fit a terminal: folded at words, nothing lost."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kamexfrm.rig.scenario.reading.document import read_text
from kamexfrm.rig.scenario.report import graph
from kamexfrm.rig.scenario.report.folding import fold


def test_a_line_is_folded_at_words_and_indented() -> None:
    assert fold("    because it is so", 16) == ["    because it", "      is so"]
    assert fold("short", 16) == ["short"]
    assert fold("any length" * 10, 0) == ["any length" * 10]
    assert fold("yes  a finding", 12, 5) == ["yes  a", "     finding"]


@given(st.text("ab ", max_size=80), st.integers(8, 40), st.integers(0, 20))
def test_nothing_is_lost_and_nothing_is_too_wide(text: str, width: int, more: int) -> None:
    lines = fold(text, width, more)
    assert all(len(line) <= width for line in lines)
    assert "".join("".join(lines).split()) == "".join(text.split())


LINKS = """
left 2001:db8:1111:2222::1/64 -- 2001:db8:1111:2222::2/64 middle 10.0.0.1/24 \\
    -- 10.0.0.2/24 right 10.1.0.1/24 -- mtu=1400 10.1.0.2/24 the-host-at-the-end
"""


@pytest.mark.parametrize("width", [40, 60, 80])
def test_a_graph_that_is_too_wide_goes_on_below(width: int) -> None:
    (case,) = read_text(f'links = """{LINKS}"""\n', "x.rig.toml")
    text = graph.text(case, width)
    assert max(map(len, text.splitlines())) <= width
    for word in ("left", "middle", "right", "the-host-at-the-end", "2222::1/64", "10.1.0.2/24"):
        assert word in text
