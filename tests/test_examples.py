"""The examples run as they stand and print what they promise."""

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

from kamexfrm.rig import Host, TwoHosts

FOLDER = Path(__file__).parents[1] / "examples"
ADD = "spdadd 10.0.0.1 10.0.0.2 any -P out ipsec esp/transport//require;"

#: What the examples print that open no socket.
PURE = {
    "decide_packet": (
        "policy: entry 1 of out: 10.0.0.1 10.0.0.2 any out ipsec esp/transport//require",
        "the sender is told: success",
    ),
    "pfkey_message": ("SADB_ADD: 3", "Address.of('10.0.0.2')", "KeyAuth(key=Key(bits=160)"),
    "xfrm_policy": ("252 bytes: fc 00 00 00 13 00", "from 10.0.0.1 to 10.0.0.2\nTrue\n"),
}
MYPY = [sys.executable, "-m", "mypy", "--strict", "--disallow-any-expr"]
TESTS = {"test_with_fake_kernel"}
IN_A_NAMESPACE = {"socket_policy", "watch_pfkey", "live_monitor", "add_and_read"}


def command(name: str, *arguments: str) -> list[str]:
    return [sys.executable, str(FOLDER / f"{name}.py"), *arguments]


def test_each_example_is_tried() -> None:
    assert {path.stem for path in FOLDER.glob("*.py")} == set(PURE) | TESTS | IN_A_NAMESPACE


@pytest.mark.parametrize("name", PURE)
def test_an_example_without_a_kernel_prints_its_result(name: str) -> None:
    done = subprocess.run(command(name), capture_output=True, text=True, check=True)
    assert not done.stderr
    for part in PURE[name]:
        assert part in done.stdout


@pytest.mark.parametrize("name", sorted(TESTS))
def test_an_example_of_tests_passes(name: str, tmp_path: Path) -> None:
    pytest_alone = [sys.executable, "-m", "pytest", "-q", "--strict-markers"]
    path = tmp_path / f"{name}.py"  # where none of our settings are read
    path.write_text((FOLDER / path.name).read_text())
    done = subprocess.run(
        [*pytest_alone, str(path)], capture_output=True, text=True, check=False, cwd=tmp_path
    )
    assert done.returncode == 0, done.stdout


def test_a_socket_policy_holds_back_what_has_no_sa(two_hosts: TwoHosts) -> None:
    done = two_hosts.a.run(command("socket_policy", "10.0.0.2"))
    assert (done.status, done.stderr) == (0, "")
    assert done.stdout == "not sent: there is no SA yet\nsent, in clear\n"


def test_a_registered_socket_sees_a_policy_that_setkey_adds(namespace: Host) -> None:
    # Both run in one shell there: the first line is printed once the socket is registered.
    script = (
        f'{sys.executable} {FOLDER}/watch_pfkey.py 2 | while read line; do echo "$line"; '
        f'case "$line" in SADB_REGISTER*) {sys.executable} -m kamexfrm.setkey -e "{ADD}";; '
        "esac; done"
    )
    done = namespace.run(["sh", "-c", script], environment=dict(os.environ), timeout=60)
    assert (done.status, done.stderr) == (0, "")
    registered, added = done.stdout.splitlines()
    assert registered == "SADB_REGISTER: SupportedAuth, SupportedEncrypt"
    assert added.startswith("SADB_X_SPDADD: AddressSrc, AddressDst")


def test_the_monitor_prints_what_setkey_does(namespace: Host) -> None:
    update = ADD.replace("spdadd", "spdupdate")
    script = (
        f"exec 3< <({sys.executable} {FOLDER}/live_monitor.py 1); "
        "until read -t 0.2 -r line <&3; do "
        f'{sys.executable} -m kamexfrm.setkey -e "{update}"; done; echo "$line"'
    )
    done = namespace.run(["bash", "-c", script], environment=dict(os.environ), timeout=60)
    assert done.status == 0, done.stderr
    assert done.stdout.startswith("policy ")
    assert ADD in done.stdout


@pytest.mark.dataplane
def test_what_is_added_is_read_back(two_hosts: TwoHosts) -> None:
    done = two_hosts.a.run(command("add_and_read"))
    assert (done.status, done.stderr) == (0, "")
    assert done.stdout.splitlines() == ["add 10.0.0.1 10.0.0.2 esp 0x1000 -E aes-gcm-16 ...;", ADD]


@pytest.mark.parametrize("name", ["live_monitor", "add_and_read", "decide_packet", "pfkey_message"])
def test_a_task_of_the_library_takes_less_than_ten_lines(name: str) -> None:
    tree = ast.parse((FOLDER / f"{name}.py").read_text())
    [work] = [n for n in tree.body if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef)]
    last = work.body[-1].end_lineno
    assert last is not None
    assert last - work.body[1].lineno + 1 < 10  # after the docstring


def test_the_examples_are_short_and_typed_without_any() -> None:
    paths = sorted(FOLDER.glob("*.py"))
    for path in paths:
        assert len(path.read_text().splitlines()) <= 45, path.name
    checked = subprocess.run(
        # pytest's decorators are Any
        [*MYPY, *(path for path in paths if path.stem not in TESTS)],
        capture_output=True,
        text=True,
        check=False,
        cwd=FOLDER.parent,
    )
    assert checked.returncode == 0, checked.stdout
