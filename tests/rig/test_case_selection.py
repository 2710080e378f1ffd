"""Which cases a command of kamexfrm rig takes: expressions over names, folders, standard input."""

from pathlib import Path

import pytest

from kamexfrm.rig.scenario.reading.files import read_files
from kamexfrm.rig.scenario.reading.selection import selection
from kamexfrm.rig.scenario.reading.table import ScenarioError
from kamexfrm.rig.scenario.report.transcript import identity

TEXT = 'links = "a 10.0.0.1/24 -- 10.0.0.2/24 b"\n'
NAMES = ("t.rig.toml[4-use]", "t.rig.toml[6-use]", "t.rig.toml[6-require]", "Other.rig.toml")


@pytest.mark.parametrize(
    ("text", "chosen"),
    [
        ("", (0, 1, 2, 3)),
        ("use", (0, 1)),
        ("6-", (1, 2)),
        ("other", (3,)),
        ("USE and 6", (1,)),
        ("use or other", (0, 1, 3)),
        ("not use", (2, 3)),
        ("6 and not use", (2,)),
        ("not (use or other)", (2,)),
        ("not use and not other", (2,)),
        ("other or use and 4", (0, 3)),
        ("*[6*", (1, 2)),
        ("t.rig.toml[6-use]", (1,)),
    ],
)
def test_an_expression_chooses_names(text: str, chosen: tuple[int, ...]) -> None:
    matches = selection(text)
    assert tuple(at for at, name in enumerate(NAMES) if matches(name)) == chosen


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("a and", "a word is wanted at the end"),
        ("a b", "and, or or the end is wanted before 'b'"),
        ("(a or b", "a ) is wanted at the end"),
        ("a)", "and, or or the end is wanted before ')'"),
        ("or", "a word is wanted before 'or'"),
        ("not", "a word is wanted at the end"),
    ],
)
def test_what_is_no_expression_is_refused_with_its_place(text: str, complaint: str) -> None:
    with pytest.raises(ScenarioError, match="-k") as caught:
        selection(text)
    assert str(caught.value).endswith(complaint)


def test_a_folder_stands_for_the_scenarios_in_it_and_below(tmp_path: Path) -> None:
    below = tmp_path / "b" / "c"
    below.mkdir(parents=True)
    (tmp_path / ".hidden").mkdir()
    (tmp_path / ".hidden" / "no.rig.toml").write_text("not read")
    (tmp_path / "a.rig.toml").write_text(TEXT)
    (tmp_path / "pyproject.toml").write_text("[project]\n")
    (below / "tunnel.toml").write_text(TEXT)
    found = [identity(case) for case in read_files([tmp_path])]
    assert found == [f"{tmp_path}/a.rig.toml", f"{below}/tunnel.toml"]


def test_a_folder_without_scenarios_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ScenarioError, match="no scenarios"):
        read_files([tmp_path])


def test_a_mistake_in_a_folder_is_told_with_its_file(tmp_path: Path) -> None:
    (tmp_path / "a.rig.toml").write_text(TEXT + "nonsense = 1\n")
    with pytest.raises(ScenarioError, match=r"a\.rig\.toml:2: nonsense: no such key"):
        read_files([tmp_path])


def test_the_standard_input_is_a_scenario_called_by_its_sign() -> None:
    assert [identity(case) for case in read_files([Path("-")], TEXT)] == ["-"]
    with pytest.raises(ScenarioError, match=r"^-:2: nonsense"):
        read_files([Path("-")], TEXT + "nonsense = 1\n")
