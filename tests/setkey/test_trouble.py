"""setkey when memory is short, when it is interrupted, and when its namespace goes away."""

import fcntl
import os
import random
import resource
import select
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from kamexfrm.engine.engine import Engine
from kamexfrm.kernel.netlink import NetlinkKernel
from kamexfrm.rig import Host

pytestmark = pytest.mark.not_unit("makes network namespaces, and policies in them")

SETKEY = [sys.executable, "-P", "-m", "kamexfrm.setkey"]
OLD, NEW = "10.0.0.1", "10.0.0.2"

#: Policies of a file that takes a while, and those of one that does not fit.
SOME, MANY = 1000, 5000


def policies(number: int, far: str) -> str:
    lines = (
        f"spdadd 10.1.{at >> 8}.{at & 255} {far} any -P out ipsec esp/transport//require;\n"
        for at in range(number)
    )
    return "spdflush;\n" + "".join(lines)


def setkey(*words: str | Path, memory: int | None = None) -> subprocess.CompletedProcess[str]:
    """Run setkey with so many bytes of memory."""

    def limit() -> None:
        if memory is not None:
            resource.setrlimit(resource.RLIMIT_AS, (memory, memory))

    return subprocess.run(
        [*SETKEY, *map(str, words)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        preexec_fn=limit,
    )


def ends() -> list[str]:
    """Return the destinations of all entries."""
    kernel = NetlinkKernel()
    try:
        return [str(entry.policy.selector.destination) for entry in Engine(kernel).spd()]
    finally:
        kernel.close()


def lock_is_free() -> bool:
    descriptor = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    else:
        return True
    finally:
        os.close(descriptor)


def test_a_load_without_enough_memory_gets_a_message_and_leaves_the_old_policies(
    namespace: Host, tmp_path: Path
) -> None:
    old, new = tmp_path / "old.conf", tmp_path / "new.conf"
    old.write_text(policies(MANY, OLD))
    new.write_text(policies(MANY, NEW))
    megabytes = 48
    done = None
    while done is None or done.returncode == 0:  # less and less, until it is not enough
        assert setkey("-f", old).returncode == 0
        done = setkey("-f", new, memory=megabytes << 20)
        megabytes -= 3
        assert lock_is_free()
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "setkey: Cannot allocate memory\n"
    there = ends()
    assert there.count(OLD) == MANY or there.count(NEW) == MANY


def test_an_interrupted_load_leaves_the_old_policies_the_new_ones_or_both(
    namespace: Host, tmp_path: Path
) -> None:
    old, new = tmp_path / "old.conf", tmp_path / "new.conf"
    old.write_text(policies(SOME, OLD))
    new.write_text(policies(SOME, NEW))
    dice = random.Random(5)
    statuses = set()
    for _ in range(12):
        assert setkey("-f", old).returncode == 0
        process = subprocess.Popen([*SETKEY, "-f", str(new)], stderr=subprocess.PIPE, text=True)
        try:
            process.wait(dice.uniform(0.1, 0.6))
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=60)
        statuses.add(process.returncode)
        if process.returncode == 130:
            assert err == ""
        there = ends()
        assert there.count(OLD) == SOME or there.count(NEW) == SOME
        assert lock_is_free()
    assert statuses <= {0, 130, -signal.SIGINT, 1}
    assert setkey("-f", new).returncode == 0
    assert ends() == [NEW] * SOME


def test_a_monitor_goes_on_when_its_namespace_loses_its_name(tmp_path: Path) -> None:
    name = f"kamexfrm-{os.getpid()}"
    subprocess.run(["ip", "netns", "add", name], check=True)
    inside = ["ip", "netns", "exec", name]
    try:
        monitor = subprocess.Popen(
            [*inside, *SETKEY, "-x"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        assert monitor.stdout is not None
        assert monitor.stdout.readline()  # it follows
    finally:
        subprocess.run(["ip", "netns", "delete", name], check=True)
    assert not select.select([monitor.stdout], [], [], 0.2)[0]
    assert monitor.poll() is None
    monitor.terminate()
    _, err = monitor.communicate(timeout=60)
    assert err == ""


def test_a_daemon_goes_on_when_its_namespace_loses_its_name() -> None:
    name = f"kamexfrm-{os.getpid()}"
    subprocess.run(["ip", "netns", "add", name], check=True)
    command = [sys.executable, "-P", "-m", "kamexfrm.kamexfrmd", "--netns", name]
    try:
        daemon = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
        assert daemon.stderr is not None
        assert "following" in daemon.stderr.readline()
    finally:
        subprocess.run(["ip", "netns", "delete", name], check=True)
    assert daemon.poll() is None
    daemon.terminate()
    _, err = daemon.communicate(timeout=60)
    assert daemon.returncode == 0
    assert "Traceback" not in err
