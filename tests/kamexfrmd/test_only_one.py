"""One kamexfrmd a namespace: no ordinary user can stand in its way, a second daemon is named."""

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterator

import pytest

from kamexfrm.errors import KernelError
from kamexfrm.kamexfrmd.only_one import GROUP, only_one
from kamexfrm.kernel.lock import NamespaceLock
from kamexfrm.kernel.netlink import NetlinkKernel
from kamexfrm.rig import Host
from kamexfrm.xfrm import NETLINK_ADD_MEMBERSHIP, NETLINK_XFRM, SOL_NETLINK

KAMEXFRMD = [sys.executable, "-m", "kamexfrm.kamexfrmd"]

#: As another user: takes all that this user can, says what it could not, and stays.
_SQUATTER = f"""
import fcntl, os, signal, socket
os.setgroups([]); os.setresgid(65534, 65534, 65534); os.setresuid(65534, 65534, 65534)
name = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
name.bind("\\0kamexfrmd")
fcntl.flock(os.open("/proc/self/ns/net", os.O_RDONLY), fcntl.LOCK_EX)
links = [socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, {NETLINK_XFRM}) for _ in range(100)]
for port, link in enumerate(links, 1):
    link.bind((port, 0))
    try:
        link.setsockopt({SOL_NETLINK}, {NETLINK_ADD_MEMBERSHIP}, {GROUP})
    except PermissionError:
        continue
    print("joined", flush=True)
print("squats", flush=True)
signal.pause()
"""


@contextlib.contextmanager
def running(*command: str) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


@contextlib.contextmanager
def squatting() -> Iterator[None]:
    with running(sys.executable, "-c", _SQUATTER) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "squats\n"
        yield


def follows(process: subprocess.Popen[str]) -> None:
    assert process.stderr is not None
    assert "following" in process.stderr.readline()


def test_another_user_who_takes_all_there_is_does_not_keep_it_from_starting(
    namespace: Host,
) -> None:
    with squatting(), running(*KAMEXFRMD) as daemon:
        follows(daemon)


@pytest.mark.parametrize("squatted", [False, True])
def test_a_second_one_is_refused_and_the_first_one_named(namespace: Host, squatted: bool) -> None:
    with contextlib.ExitStack() as stack:
        if squatted:
            stack.enter_context(squatting())
        daemon = stack.enter_context(running(*KAMEXFRMD))
        follows(daemon)
        second = subprocess.run(KAMEXFRMD, capture_output=True, text=True, timeout=30, check=False)
        assert second.returncode == 1
        assert second.stderr.startswith(
            "kamexfrmd: Address already in use (a kamexfrmd follows this namespace already:"
            f" process {daemon.pid} ("
        )


def test_after_a_kill_the_next_one_starts(namespace: Host) -> None:
    with running(*KAMEXFRMD) as daemon:
        follows(daemon)
        daemon.send_signal(signal.SIGKILL)
        daemon.wait()
        with running(*KAMEXFRMD) as second:
            follows(second)


def test_one_of_another_namespace_is_not_in_the_way(namespace: Host) -> None:
    with running("unshare", "-n", *KAMEXFRMD) as other:
        follows(other)
        with running(*KAMEXFRMD) as daemon:
            follows(daemon)


def test_of_many_that_start_at_once_one_follows(namespace: Host) -> None:
    started = [subprocess.Popen(KAMEXFRMD, stderr=subprocess.PIPE, text=True) for _ in range(4)]
    lines = []
    for process in started:
        assert process.stderr is not None
        lines.append(process.stderr.readline())
    winners = [process for process, line in zip(started, lines, strict=True) if "following" in line]
    for process in winners:
        process.terminate()
    for process in started:
        process.communicate(timeout=20)
    assert len(winners) == 1
    assert sum("follows this namespace already" in line for line in lines) == 3


def test_the_lock_is_held_while_it_looks_for_others(
    namespace: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = []

    def look(descriptor: int) -> None:
        with NamespaceLock(0) as other:
            found.append(other.is_taken)

    monkeypatch.setattr("kamexfrm.kamexfrmd.only_one._check_alone", look)
    kernel = NetlinkKernel()
    with only_one(kernel), NamespaceLock(0) as other:
        found.append(other.is_taken)
    kernel.close()
    assert found == [True, False]


def test_the_claim_ends_with_the_block_and_knows_itself(namespace: Host) -> None:
    kernel = NetlinkKernel()
    for _ in range(2):
        with only_one(kernel):
            mine = f"process {os.getpid()} \\("
            with pytest.raises(KernelError, match=mine), only_one(kernel):
                pass
    kernel.close()
