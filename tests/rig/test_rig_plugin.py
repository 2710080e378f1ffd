"""The pytest plugin: sessions of their own, whose outcome is looked at from outside."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

CONFTEST = 'pytest_plugins = ["kamexfrm.rig.pytest_guest"]\n'

TESTS = """
import os
import pytest

def guest():
    return os.path.exists("/mnt") and os.uname().release != os.environ["HOST_RELEASE"]

@pytest.mark.dataplane
@pytest.mark.parametrize("word", ["plain", "a b/ü"])
def test_passes(word):
    assert guest()

def test_stays_here():
    assert not guest()

@pytest.mark.dataplane
def test_fails():
    print("printed in the guest")
    assert 1 == 2

@pytest.mark.both_kernels
def test_twice(kernel):
    assert guest() == (kernel == "guest")

@pytest.fixture
def broken():
    yield
    raise RuntimeError("teardown in the guest")

@pytest.mark.dataplane
def test_ends_badly(broken):
    pass
"""

DEATH = """
import pytest

@pytest.mark.dataplane
def test_before():
    pass

@pytest.mark.dataplane
def test_kills_its_guest():
    with open("/proc/sysrq-trigger", "w") as trigger:
        trigger.write("o")
    while True:
        pass

@pytest.mark.dataplane
def test_after():
    pass
"""


def session(
    folder: Path, text: str, *arguments: str, path: str | None = None
) -> subprocess.CompletedProcess[str]:
    (folder / "conftest.py").write_text(CONFTEST)
    (folder / "test_it.py").write_text(text)
    (folder / "pytest.ini").write_text("[pytest]\naddopts = --strict-markers\n")
    environment = {**os.environ, "HOST_RELEASE": os.uname().release}
    environment["PATH"] = path or environment["PATH"]
    environment["COLUMNS"] = "200"
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-v", "-p", "no:cacheprovider", *arguments],
        check=False,
        cwd=folder,
        capture_output=True,
        text=True,
        env=environment,
    )


@pytest.fixture(autouse=True)
def no_outer_guest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PYTEST_ADDOPTS", raising=False)


def test_one_session_shows_the_tests_of_both_kernels(tmp_path: Path) -> None:
    done = session(tmp_path, TESTS)
    for line in (
        "test_it.py::test_passes[plain] PASSED",
        "test_it.py::test_passes[a b/\\xfc] PASSED",
        "test_it.py::test_stays_here PASSED",
        "test_it.py::test_twice[host] PASSED",
        "test_it.py::test_twice[guest] PASSED",
        "test_it.py::test_fails FAILED",
        "test_it.py::test_ends_badly ERROR",
        "printed in the guest",
        "assert 1 == 2",
        "RuntimeError: teardown in the guest",
    ):
        assert line in done.stdout
    assert "1 failed, 6 passed, 1 error in" in done.stdout
    assert done.returncode == 1


def test_selection_and_stopping_work_as_ever(tmp_path: Path) -> None:
    done = session(tmp_path, TESTS, "-x", "-k", "fails or badly or here")
    assert "1 failed, 1 passed, 4 deselected" in done.stdout
    assert "test_ends_badly" not in done.stdout
    done = session(tmp_path, TESTS, "test_it.py::test_twice[guest]")
    assert "test_it.py::test_twice[guest] PASSED" in done.stdout
    assert "1 passed in" in done.stdout
    assert done.returncode == 0


def test_a_guest_that_dies_fails_what_had_not_run(tmp_path: Path) -> None:
    done = session(tmp_path, DEATH)
    assert "test_it.py::test_before PASSED" in done.stdout
    killer = "test_it.py::test_kills_its_guest"
    assert f"FAILED {killer} - the guest ended early, while this test ran" in done.stdout
    after = f"not run: the guest ended early, while {killer} ran"
    assert f"FAILED test_it.py::test_after - {after}" in done.stdout
    assert "2 failed, 1 passed in" in done.stdout
    assert "Power down" in done.stdout
    assert done.returncode == 1


def test_a_missing_guest_fails_its_tests_and_skips_none(tmp_path: Path) -> None:
    done = session(tmp_path, TESTS, "-k", "twice or stays", path="/nonexistent")
    assert "install user-mode-linux" in done.stdout
    assert "1 failed, 2 passed, 4 deselected in" in done.stdout


def test_looking_at_the_tests_boots_nothing(tmp_path: Path) -> None:
    done = session(tmp_path, TESTS, "--collect-only", path="/nonexistent")
    assert done.returncode == 0
    assert "7 tests collected" in done.stdout
