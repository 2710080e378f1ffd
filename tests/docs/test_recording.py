"""docs/tour.svg: its commands print what it shows, and it is a picture without outside parts."""

import re
from pathlib import Path

import pytest

from kamexfrm.rig import TwoHosts
from tests.docs.animation import lines_of, shown
from tests.docs.recording import COMMANDS, record

PICTURE = (Path(__file__).parents[2] / "docs" / "tour.svg").read_text()

#: Times differ from run to run.
TIME = re.compile(r"\d+\.\d+(?= s\b)|^ *\d+\.\d{3}(?= )")


def plain(lines: list[str]) -> list[str]:
    return [" ".join(TIME.sub("N", line).split()) for line in lines]


@pytest.mark.dataplane
def test_the_commands_of_the_recording_print_what_it_shows(
    two_hosts: TwoHosts, tmp_path: Path
) -> None:
    printed = lines_of(record(two_hosts.a, tmp_path, colour=False))
    assert plain(printed) == plain(shown(PICTURE))
    assert [line[2:] for line in shown(PICTURE) if line.startswith("# ")] == list(COMMANDS)


def test_the_recording_takes_a_minute_and_asks_nothing_of_the_network() -> None:
    (seconds,) = set(re.findall(r"animation:\w+ ([\d.]+)s", PICTURE))
    assert 40 < float(seconds) < 75
    assert set(re.findall(r"\w+://[^\"' ]+", PICTURE)) == {"http://www.w3.org/2000/svg"}
    assert "<script" not in PICTURE
