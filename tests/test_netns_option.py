"""setkey and kame-sysctl act in a network namespace by its path and by a process in it."""

import os
import subprocess
import sys

import pytest

from kamexfrm.rig.namespace import Namespace

COMMANDS = {
    "setkey": ["-m", "kamexfrm.setkey", "-D", "--netns"],
    "kame-sysctl": ["-m", "kamexfrm.sysctl", "net.key.prefered_oldsa", "--netns"],
}


def run(*words: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run([sys.executable, *words], capture_output=True, text=True, check=False)


@pytest.fixture
def other() -> Namespace:
    """Return a namespace with one policy."""
    try:
        namespace = Namespace()
    except PermissionError:
        pytest.skip("network namespaces need CAP_SYS_ADMIN")
    with namespace.enter():
        done = run("-m", "kamexfrm.setkey", "-e", "spdadd 1.1.1.1 2.2.2.2 any -P out discard;")
        assert done.returncode == 0, done.stderr
    return namespace


def test_setkey_acts_in_the_namespace_of_a_path_and_of_a_process(other: Namespace) -> None:
    with other.enter():
        inside = subprocess.Popen(["sleep", "100"])
    try:
        for name in (f"/proc/{os.getpid()}/fd/{other.fileno()}", str(inside.pid)):
            done = run("-m", "kamexfrm.setkey", "-DP", "--netns", name)
            assert done.stdout.startswith("1.1.1.1[any] 2.2.2.2[any] 255"), done.stderr
    finally:
        inside.kill()
        inside.wait()


def test_kame_sysctl_writes_in_the_namespace(other: Namespace) -> None:
    path = f"--netns=/proc/{os.getpid()}/fd/{other.fileno()}"
    knob = "net.inet.ipsec.esp_trans_deflev"
    assert run("-m", "kamexfrm.sysctl", path, f"{knob}=2").returncode == 0
    assert run("-m", "kamexfrm.sysctl", "-n", knob, path).stdout == "2\n"


@pytest.mark.parametrize("command", COMMANDS)
def test_a_namespace_that_is_not_there_is_named(command: str) -> None:
    done = run(*COMMANDS[command], "a\x1bname")
    assert done.returncode == 1
    assert done.stderr.startswith(f"{command}: --netns: No such file or directory (/run/netns/a\\x")
    assert run(*COMMANDS[command], "").returncode != 0
