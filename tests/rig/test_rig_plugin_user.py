"""The pytest plugin without the right to make namespaces, and below pytest-xdist."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

TESTS = """
import os

SA = "add 10.0.0.1 10.0.0.2 esp 0x1001 -E null -A hmac-md5 0x000102030405060708090a0b0c0d0e0f;"

def place():
    return os.environ.get("KAMEXFRM_TESTS_PLACE", "here")

def test_one(two_hosts):
    assert two_hosts.a.run(["setkey", "-f", "-"], input=SA).status == 0
    assert place() == "the guest"

def test_two(rig):
    rig.host("a")
    assert place() == "the guest"

def test_policies_alone(namespace):
    assert place() == "the user namespace"

def test_neither():
    assert place() == "here"

def test_fails(gateways):
    assert not gateways.h1.ping("10.2.0.2"), "it answered"
"""

TOO_LATE = """
def test_late(request):
    request.getfixturevalue("two_hosts")
"""

#: What an ordinary user lacks.
UNPRIVILEGED = ("setpriv", "--bounding-set=-sys_admin", "--inh-caps=-all")


def session(folder: Path, text: str, *words: str, **names: str) -> str:
    """Return what pytest prints for a file of tests, as if for an ordinary user."""
    (folder / "test_it.py").write_text(text)
    (folder / "pytest.ini").write_text("[pytest]\n")
    environment = {key: value for key, value in os.environ.items() if key != "PYTEST_ADDOPTS"}
    done = subprocess.run(
        [
            *(*UNPRIVILEGED, sys.executable, "-m", "pytest", "-p", "no:cacheprovider"),
            *("-p", "kamexfrm.rig.pytest_guest", "-rA", *words),
        ],
        check=False,
        cwd=folder,
        capture_output=True,
        text=True,
        env={**environment, "COLUMNS": "200", **names},
    )
    return done.stdout + done.stderr


def test_each_worker_sends_unmarked_tests_where_their_fixtures_work(tmp_path: Path) -> None:
    printed = session(tmp_path, TESTS, "-n", "2")
    for line in (
        "PASSED test_it.py::test_one",
        "PASSED test_it.py::test_two",
        "PASSED test_it.py::test_policies_alone",
        "PASSED test_it.py::test_neither",
        "FAILED test_it.py::test_fails - AssertionError: it answered",
    ):
        assert line in printed, printed
    assert "1 failed, 4 passed in" in printed


@pytest.mark.parametrize(
    ("text", "names", "why"),
    [
        (
            "def test_it(two_hosts): pass",
            {"KAMEXFRM_GUEST_KERNEL": "/nonexistent"},
            "the running kernel lacks ESP or AH, and the guest does not start: "
            "/nonexistent is no program",
        ),
        (TOO_LATE, {}, "be root, or root of a user namespace: unshare --map-root-user --net"),
    ],
    ids=["no guest", "asked for too late"],
)
def test_what_cannot_run_fails_with_its_cure(
    tmp_path: Path, text: str, names: dict[str, str], why: str
) -> None:
    printed = session(tmp_path, text, **names)
    assert "1 failed in" in printed
    assert why in printed.splitlines()[-2], printed
