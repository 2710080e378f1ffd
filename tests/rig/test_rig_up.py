"""Rigs that stay: made, looked into, ended; and gone with their holder however it ends."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from kamexfrm.rig import until

TEXT = """
links = "alice 10.0.0.1/24 -- 10.0.0.2/24 bob"
kernel = "any"
[hosts.alice]
setkey = "spdadd 10.0.0.1 10.0.0.2 tcp -P out none;"
"""

Call = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def call(tmp_path: Path) -> Iterator[Call]:
    """Yield what runs ``kamexfrm rig`` with a folder of its own for what is up."""
    (tmp_path / "two.rig.toml").write_text(TEXT)
    (tmp_path / "bad.rig.toml").write_text(TEXT.replace("spdadd", "spdad"))

    def run(*words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "kamexfrm.cli", "rig", *words],
            check=False,
            cwd=tmp_path,
            capture_output=True,
            text=True,
            env={**os.environ, "XDG_RUNTIME_DIR": str(tmp_path)},
        )

    yield run
    for line in run("ls").stdout.splitlines():
        run("down", line.split("\t")[0])


def test_a_rig_is_made_entered_and_ended(call: Call) -> None:
    assert call("up", "two.rig.toml").stdout.startswith("two: alice, bob up")
    assert call("ls").stdout.startswith("two\ttwo.rig.toml\talice bob\t")
    assert "10.0.0.2/24" in call("exec", "bob", "ip", "-br", "addr").stdout
    assert "out prio def none" in call("exec", "alice", "setkey", "-DP").stdout
    assert call("exec", "alice", "sh", "-c", "exit 7").returncode == 7
    assert call("down").returncode == 0
    assert call("ls").stdout == ""
    done = call("exec", "bob", "true")
    assert "no rig is up" in done.stderr
    assert done.returncode == 1


def test_several_rigs_have_names(call: Call) -> None:
    call("up", "two.rig.toml")
    assert "two is up already" in call("up", "two.rig.toml").stderr
    assert call("up", "two.rig.toml", "--name", "other").returncode == 0
    assert "which? other, two" in call("exec", "bob", "true").stderr
    assert call("exec", "--name", "other", "bob", "true").returncode == 0
    assert "two has no host carol" in call("exec", "--name", "two", "carol", "true").stderr
    assert call("up", "two.rig.toml", "--name", "a/b").returncode == 2


def test_a_dump_shows_all_hosts_and_no_keys(call: Call) -> None:
    call("up", "two.rig.toml")
    done = call("dump")
    for line in ("alice# setkey -D --nokeys", "bob# kame-sysctl -a", "out prio def none"):
        assert line in done.stdout.replace("\t", "")
    assert "bob#" not in call("dump", "alice").stdout


def test_a_rig_that_cannot_be_made_says_why(call: Call) -> None:
    done = call("up", "bad.rig.toml")
    assert "alice: setkey refused" in done.stderr
    assert done.returncode == 1
    assert call("ls").stdout == ""


def test_a_killed_holder_leaves_nothing(call: Call, tmp_path: Path) -> None:
    call("up", "two.rig.toml")
    holder = int(call("ls").stdout.split("\t")[3])
    os.kill(holder, signal.SIGKILL)
    until(lambda: call("ls").stdout == "", what="an empty list")
    until(lambda: not (tmp_path / "kamexfrm-rig").exists(), what="the end of the folder")
