"""NOTIFY_SOCKET: what is wrong with it is a line in the log, and never an end."""

import contextlib
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from kamexfrm.kamexfrmd.service_manager import ServiceManager
from kamexfrm.rig import Host, until

KAMEXFRMD = [sys.executable, "-m", "kamexfrm.kamexfrmd"]


def notify(monkeypatch: pytest.MonkeyPatch, name: str) -> list[str]:
    """Send a state to a name; return the log."""
    monkeypatch.setenv("NOTIFY_SOCKET", name)
    log: list[str] = []
    with contextlib.closing(ServiceManager(log.append)) as manager:
        manager.notify("READY=1")
    return log


def test_a_listener_gets_the_state(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in (str(tmp_path / "notify"), f"@kamexfrm-test-{os.getpid()}"):
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
            listener.bind(name.replace("@", "\0", 1))
            listener.settimeout(10)
            assert notify(monkeypatch, name) == []
            assert listener.recv(100) == b"READY=1"


def test_without_a_name_nothing_happens(monkeypatch: pytest.MonkeyPatch) -> None:
    assert notify(monkeypatch, "") == []


def test_one_that_nobody_listens_at_is_logged(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    dead, file = tmp_path / "dead", tmp_path / "file"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(str(dead))
    file.write_text("")
    for name, reason in (
        (str(dead), "Connection refused"),
        (str(file), "Connection refused"),
        (str(tmp_path / "nowhere"), "No such file or directory"),
        ("@kamexfrm-nobody", "Connection refused"),
        ("vsock:2:1234", "No such file or directory"),
        ("/" + "x" * 200, "AF_UNIX path too long"),
        ("@" + "x" * 200, "AF_UNIX path too long"),
    ):
        told = f"could not notify the service manager at NOTIFY_SOCKET={name}: {reason}"
        assert notify(monkeypatch, name) == [told]


def test_one_of_another_type_is_logged(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    name = str(tmp_path / "stream")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        listener.bind(name)
        listener.listen()
        (line,) = notify(monkeypatch, name)
    assert line.endswith("Protocol wrong type for socket")


def test_escapes_in_the_name_are_made_visible(monkeypatch: pytest.MonkeyPatch) -> None:
    (line,) = notify(monkeypatch, "/\x1b[31m\n")
    assert "NOTIFY_SOCKET=/\\x1b[31m\\n: " in line


def fill(path: str) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as writer:
        writer.setblocking(False)
        with contextlib.suppress(BlockingIOError):
            while True:
                writer.sendto(b"x", path)


def test_the_daemon_runs_on_where_its_manager_does_not_read(
    namespace: Host, tmp_path: Path
) -> None:
    path = str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(path)
        fill(path)
        process = subprocess.Popen(
            KAMEXFRMD, env={"NOTIFY_SOCKET": path}, stderr=subprocess.PIPE, text=True
        )
        assert process.stderr is not None
        assert "following" in process.stderr.readline()
        assert "Resource temporarily unavailable" in process.stderr.readline()
        process.terminate()
        _, err = process.communicate(timeout=20)
    assert process.returncode == 0
    assert err.count("\n") == 1


def test_an_abstract_name_is_one_of_the_namespace_it_was_started_in(
    namespace: Host,
) -> None:
    name = f"@kamexfrm-test-{os.getpid()}"
    inside = subprocess.Popen(["unshare", "-n", "sleep", "60"])
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
            listener.bind("\0" + name[1:])
            listener.settimeout(20)
            here = os.readlink("/proc/self/ns/net")
            there = f"/proc/{inside.pid}/ns/net"
            until(lambda: os.readlink(there) != here, 10, "a namespace of its own")
            process = subprocess.Popen(
                [*KAMEXFRMD, "--netns", there, "--quiet"],
                env={"NOTIFY_SOCKET": name},
                stderr=subprocess.PIPE,
                text=True,
            )
            assert listener.recv(100) == b"READY=1"
            process.terminate()
            assert process.communicate(timeout=20)[1] == ""
    finally:
        inside.kill()
        inside.wait()
