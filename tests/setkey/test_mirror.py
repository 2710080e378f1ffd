"""The mirror of a script: in and out exchanged, all else as it was."""

from pathlib import Path

import pytest

from kamexfrm.setkey.errors import ScriptError
from kamexfrm.setkey.mirror import mirror
from kamexfrm.setkey.parser import parse
from kamexfrm.setkey.statements import SpdAdd, SpdDelete, SpdGet, Statement

FOLDERS = [Path(__file__).parent / "samples", Path(__file__).parents[1] / "golden" / "samples"]
SCRIPTS = sorted(path for folder in FOLDERS for path in folder.rglob("*.conf"))


def statements(text: str) -> list[tuple[str, object]] | str:
    """Return statements without their places, or the error of a script that cannot be read."""
    found: list[tuple[str, object]] = []
    try:
        for statement in parse(text):
            fields = statement._asdict()
            for name in ("place", "end_line", "warnings"):
                fields.pop(name, None)
            found.append((type(statement).__name__, fields))
    except ScriptError as error:
        return str(error)
    return found


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.name)
def test_the_mirror_of_the_mirror_means_what_the_script_means(path: Path) -> None:
    script = path.read_bytes().decode("utf-8", "surrogateescape")
    assert statements(mirror(mirror(script))) == statements(script)


def test_a_policy_of_one_end_is_a_comment_at_the_other() -> None:
    script = (
        "flush; spdadd 10.0.0.1 10.0.0.2 any -P fwd none; # here\n"
        "spdadd 10.0.0.1 10.0.0.2 any -P\n  # not in\n  fwd none;"
    )
    there = mirror(script)
    assert [type(each).__name__ for each in parse(there)] == ["Flush"]
    assert statements(mirror(there)) == statements(script)


@pytest.mark.parametrize(
    ("here", "there"),
    [
        ("-P in discard;", "-P out discard;"),
        ("-P\n in discard;", "-P\n out discard;"),
        ("-P # out\n in discard;", "-P # out\n in discard;".replace(" in", " out")),
        ("-P out prio high + 3 ipsec esp/transport//unique#70000;", None),
    ],
)
def test_directions_are_exchanged_wherever_they_stand(here: str, there: str | None) -> None:
    for command in ("spdadd", "spdupdate", "spddelete"):
        head = f"# -P in\n{command} 10.0.0.1 10.0.0.2 any "
        wanted = there or here.replace("-P out", "-P in")
        assert mirror(head + here) == head + wanted
        (one,), (other,) = parse(head + here), parse(mirror(head + here))
        assert {_direction(one), _direction(other)} == {"IN", "OUT"}


def _direction(statement: Statement) -> str:
    if isinstance(statement, SpdAdd):
        return statement.policy.direction.name
    assert isinstance(statement, (SpdDelete, SpdGet))
    return statement.direction.name


@pytest.mark.parametrize("word", ["dir", "-dir", "dir \\\n"])
def test_the_direction_of_an_sa_is_exchanged(word: str) -> None:
    head, key = "add 10.0.0.1 10.0.0.2 esp 0x100 if_id 7", "-E null;"
    assert mirror(f"{head} {word} in {key}") == f"{head} {word} out {key}"
    script = f"{head} {key} # dir in"
    assert mirror(script) == script


def test_what_is_quoted_stays() -> None:
    script = 'add 10.0.0.1 10.0.0.2 esp 300 -E aes-cbc "-P in # ; -P out0";\n'
    assert mirror(script) == script
