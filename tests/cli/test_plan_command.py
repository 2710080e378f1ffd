"""kamexfrm plan, apply, confirm and save, on the running kernel."""

import json
import os
import re
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from kamexfrm.rig import Host, until
from tests.operator.schemas import valid

FIRST = """
# two hosts
spdadd 10.0.0.1 10.0.0.2 any -P out ipsec esp/transport//require;
spdadd 10.0.0.2 10.0.0.1 any -P in ipsec esp/transport//require;
spdadd 10.1.0.0/16 10.2.0.0/16 any -P out ipsec esp/tunnel/1.1.1.1-2.2.2.2/use;
"""
SECOND = """
spdflush;
spdadd 10.0.0.1 10.0.0.2 any -P out ipsec esp/transport//unique;
spdadd 10.9.0.0/16 10.1.0.0/16 tcp -P in discard;
spdadd 10.0.0.2 10.0.0.1 any -P in ipsec esp/transport//require;
"""
FOREIGN = "ip xfrm policy add src 9.9.9.9 dst 8.8.8.8 dir out priority 5"


def run(*words: str | Path, status: int = 0, **how: Any) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "kamexfrm.cli", *map(str, words)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, **how)
    assert done.returncode == status, done.stderr
    return done


def dump() -> str:
    return subprocess.run(
        ["ip", "-s", "xfrm", "policy"], capture_output=True, text=True, check=True
    ).stdout


@pytest.fixture
def files(tmp_path: Path, namespace: Host) -> tuple[Path, Path]:
    """Give two files, in a namespace of their own."""
    first, second = tmp_path / "first.conf", tmp_path / "second.conf"
    first.write_text(FIRST)
    second.write_text(SECOND)
    return first, second


def test_from_one_file_to_another(files: tuple[Path, Path]) -> None:
    first, second = files
    assert "3 added, 0 updated, 0 moved, 0 deleted: to be done" in run("plan", first).stdout
    assert dump() == ""
    run("apply", first)
    assert run("plan", "--detailed-exitcode", first).stdout == (
        "Nothing to be done: 3 unchanged, 0 foreign.\n"
    )
    subprocess.run(FOREIGN.split(), check=True)
    document = valid(json.loads(run("plan", "--json", second).stdout))
    assert [(c["action"], c["kind"]) for c in document["changes"]] == [
        ("update", "policy"),
        ("add", "policy"),
        ("delete", "policy"),
    ]
    assert (document["unchanged"], document["foreign"]) == (1, 1)
    assert document["changes"][0]["before"] == FIRST.splitlines()[2]
    assert document["changes"][2]["text"] == "spddelete 10.1.0.0/16 10.2.0.0/16 any -P out;"
    assert document["changes"][2]["before"] == FIRST.splitlines()[4]
    run("plan", "--detailed-exitcode", "-q", second, status=2)
    applied = valid(json.loads(run("apply", "--json", second).stdout))
    assert (applied["applied"], applied["changes"]) == (True, document["changes"])
    before = dump()
    assert "9.9.9.9" in before
    run("apply", "--detailed-exitcode", second)
    assert dump() == before


def test_a_refused_apply_changes_nothing(files: tuple[Path, Path]) -> None:
    first, second = files
    run("apply", first)
    before = dump()
    six = " ".join(["esp/tunnel/1.1.1.1-2.2.2.2/require"] * 7)
    second.write_text(f"{SECOND}spdadd 10.3.0.1 10.3.0.2 any -P out ipsec {six};\n")
    done = run("apply", second, status=1)
    assert f"{second},6: Too many levels of symbolic links" in done.stderr
    assert "nothing was changed" in done.stderr
    assert dump() == before
    subprocess.run(FOREIGN.split(), check=True)
    second.write_text("spdadd 9.9.9.9 8.8.8.8 any -P out discard;")
    before = dump()
    assert "a foreign policy of this name is in the way" in run("plan", second, status=1).stderr
    assert "a foreign policy of this name is in the way" in run("apply", second, status=1).stderr
    assert dump() == before


def test_what_no_state_can_be_made_of_is_named_with_its_place(files: tuple[Path, Path]) -> None:
    first, _ = files
    first.write_text(f"{FIRST}{FIRST}")
    done = run("plan", first, status=1)
    assert re.findall(rf"{first},(\d+): a second policy", done.stderr) == ["8", "9", "10"]
    first.write_text("spdadd 10.0.0.1 10.0.0.2 any -P oUt none;")
    done = run("apply", first, status=1)
    assert f"\n{first},1: " in done.stderr
    assert f"\n    {first.read_text()}\n" in done.stderr
    assert "did you mean out" in done.stderr
    missing = run("plan", first.parent / "none", status=1)
    assert missing.stderr.endswith("none: No such file or directory\n")


def test_variables_are_planned_and_applied(files: tuple[Path, Path], tmp_path: Path) -> None:
    first, _ = files
    knobs = tmp_path / "knobs"
    knobs.write_text("net.inet.ipsec.esp_net_deflev = require\n")
    run("apply", "--sysctl", knobs, first)
    assert "Nothing to be done: 4 unchanged" in run("plan", "--sysctl", knobs, first).stdout
    saved = tmp_path / "saved"
    run("save", "--sysctl", saved, tmp_path / "state")
    assert "net.inet.ipsec.esp_net_deflev = 2\n" in saved.read_text()


def test_without_pruning_the_rest_stays(files: tuple[Path, Path], tmp_path: Path) -> None:
    first, _ = files
    run("apply", first)
    more = tmp_path / "more"
    more.write_text("spdadd 10.7.0.1 10.7.0.2 any -P out none;")
    assert "1 added, 0 updated, 0 moved, 0 deleted" in run("apply", "--no-prune", more).stdout
    assert "0 added, 0 updated, 0 moved, 3 deleted" in run("plan", more).stdout


def test_what_is_saved_is_what_is_there(files: tuple[Path, Path], tmp_path: Path) -> None:
    _, second = files
    run("apply", second)
    saved = tmp_path / "saved"
    saved.write_text("old")
    run("save", saved)
    assert stat.S_IMODE(saved.stat().st_mode) == 0o600
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "first.conf",
        "saved",
        "second.conf",
    ]
    assert "Nothing to be done: 3 unchanged" in run("plan", saved).stdout
    text = run("save").stdout
    run("apply", os.devnull)
    assert dump().count("src ") == 1  # the marker
    run("apply", "-", input=text)
    again = run("save").stdout
    assert again.splitlines()[1:] == text.splitlines()[1:]
    run("save", os.devnull)
    assert stat.S_ISCHR(os.stat(os.devnull).st_mode)


def test_a_change_takes_itself_back(files: tuple[Path, Path]) -> None:
    first, second = files
    run("apply", first)
    before = run("save").stdout.splitlines()[1:]
    run("apply", "--confirm", "60", second)
    assert "waits for `kamexfrm confirm`" in run("apply", first, status=1).stderr
    assert valid(json.loads(run("confirm", "--json").stdout))["confirmed"] is True
    assert "Nothing to be done" in run("plan", second).stdout
    assert "no change waits here" in run("confirm", status=1).stderr
    run("apply", first)
    # Its terminal, the session, dies with it: setsid, and the leader is killed.
    run("apply", "--confirm", "1", second, start_new_session=True)
    until(lambda: run("save").stdout.splitlines()[1:] == before, what="the old state")
    run("apply", "--confirm", "60", second)
    assert run("confirm", "--revert").stdout == "The change is taken back.\n"
    assert run("save").stdout.splitlines()[1:] == before


def test_it_asks_on_a_terminal(files: tuple[Path, Path]) -> None:
    first, _ = files
    command = f"{sys.executable} -m kamexfrm.cli apply {first}"
    for answer, status in (("n", 1), ("y", 0)):
        done = subprocess.run(
            ["script", "-qec", command, "/dev/null"],
            input=f"{answer}\n",
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == status, done.stdout
        assert "Do it? [y/N]" in done.stdout
        assert "\x1b[32m+ spdadd" in done.stdout
    assert "Nothing to be done" in run("plan", first).stdout
