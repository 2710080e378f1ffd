"""Nothing of the working directory runs: a folder there may be called as our package."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import kamexfrm
from kamexfrm.rig import Host

TRAP = """
import os, sys
sys.stderr.write("SPRUNG\\n")
with open(os.environ["TRAP"], "w") as file:
    file.write("SPRUNG")
"""

SCENARIO = """
links = "alice 10.0.0.1/24 -- 10.0.0.2/24 bob"
kernel = "any"
[[steps]]
ping = "alice -> bob"
"""


@pytest.fixture
def trap(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Go to a folder with modules that should never run; yield the file that they would write."""
    sprung = tmp_path / "sprung"
    for name in ("kamexfrm", "click", "json", "pytest"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text(TRAP)
    (tmp_path / "two.rig.toml").write_text(SCENARIO)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TRAP", str(sprung))
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    yield sprung
    assert not sprung.exists()


def command(*words: str) -> subprocess.CompletedProcess[str]:
    """Run the command as it is installed: without the working directory in the path."""
    return subprocess.run(
        [sys.executable, "-P", "-m", "kamexfrm.cli", *words],
        check=False,
        capture_output=True,
        text=True,
    )


@pytest.mark.parametrize("kernel", ["host", "guest"])
def test_a_rig_that_stays_up(trap: Path, kernel: str) -> None:
    done = command("rig", "up", "two.rig.toml", "--kernel", kernel)
    assert "SPRUNG" not in done.stderr + done.stdout
    assert done.stdout.startswith("two: alice, bob up")
    assert command("rig", "down").returncode == 0


def test_a_run_in_the_guest(trap: Path) -> None:
    done = command("rig", "run", "two.rig.toml", "--kernel", "guest")
    assert "SPRUNG" not in done.stderr + done.stdout
    assert "1 passed in" in done.stdout


def test_a_run_in_a_user_namespace(trap: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from kamexfrm.cli import rig_run

    ran: list[list[str]] = []
    for name in ("KAMEXFRM_UNSHARED", "KAMEXFRM_RIGS"):
        monkeypatch.setenv(name, "")  # what the command sets ends with the test
    monkeypatch.setattr(os, "execvp", lambda _, words: ran.append(words))
    rig_run._run_unshared(None)
    python = ran[0][: ran[0].index("kamexfrm.cli") + 1]
    done = subprocess.run([*python, "--version"], check=True, capture_output=True, text=True)
    assert done.stdout.startswith("kamexfrm, version")


def test_the_demonstration(trap: Path) -> None:
    done = command("demo", "--kernel", "guest")
    assert "SPRUNG" not in done.stderr + done.stdout
    assert "All as promised." in done.stdout


def test_a_daemon_on_a_host(trap: Path, namespace: Host) -> None:
    namespace.kamexfrmd().terminate()


def test_children_of_this_interpreter_have_one_beginning() -> None:
    for path in Path(kamexfrm.__file__).parent.rglob("*.py"):
        text = path.read_text(encoding="utf-8")
        assert path.name == "python.py" or not re.search(r'sys\.executable,\s+"-[mcu]', text), path
