"""Interactive runs: before each step, in a shell, at the end; in a guest too."""

import contextlib
import fcntl
import json
import os
import pty
import re
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.operator.schemas import valid

TEXT = """
links = "alice 10.0.0.1/24 -- 10.0.0.2/24 bob"
kernel = "any"
[[steps]]
ping = "alice -> bob"
[[steps]]
say = "that was that"
"""
RIG = [sys.executable, "-m", "kamexfrm.cli", "rig"]
GUEST = [sys.executable, "-m", "kamexfrm.cli", "guest"]

KERNELS = pytest.mark.parametrize("kernel", ["host", "guest"])


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "two.rig.toml").write_text(TEXT)
    return tmp_path


def environment(folder: Path) -> dict[str, str]:
    return {**os.environ, "XDG_RUNTIME_DIR": str(folder), "SHELL": "/bin/sh", "TERM": "vt100"}


#: A shell's loop that ends when the terminal has the size of the tests.
UNTIL_RESIZED = "until [ \"$(stty size)\" = '31 97' ]; do :; done; echo re''sized\n"


class Terminal:
    """A run on a terminal of its own: what it says is read, what is typed is sent."""

    def __init__(self, folder: Path, *words: str, command: list[str] = RIG) -> None:
        self._process, self._master = pty.fork()
        if self._process == 0:
            os.chdir(folder)
            os.execve(command[0], [*command, *words], environment(folder))  # noqa: S606 (ours)
        self.said = ""
        self._seen = 0

    def expect(self, pattern: str, deadline: float = 60.0) -> None:
        """Wait until it has said what matches, after what matched before."""
        end = time.monotonic() + deadline
        while not (found := re.search(pattern, self.said[self._seen :])):
            left = end - time.monotonic()
            assert left > 0, f"no {pattern!r} in {self.said!r}"
            if select.select([self._master], [], [], left)[0]:
                try:
                    self.said += os.read(self._master, 4096).decode()
                except OSError:  # it has ended
                    assert re.search(pattern, self.said[self._seen :]), self.said
        self._seen += found.end()

    def type(self, text: str) -> None:
        os.write(self._master, text.encode())

    def resize(self, rows: int, columns: int) -> None:
        size = struct.pack("HHHH", rows, columns, 0, 0)
        fcntl.ioctl(self._master, termios.TIOCSWINSZ, size)

    def end(self) -> int:
        """Wait for its end and return its status."""
        with contextlib.suppress(OSError):  # the other end is closed
            while os.read(self._master, 4096):
                pass
        os.close(self._master)
        return os.waitstatus_to_exitcode(os.waitpid(self._process, 0)[1])

    def kill(self) -> None:
        os.kill(self._process, signal.SIGKILL)


def call(folder: Path, *words: str, typed: str = "") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*RIG, *words],
        check=False,
        cwd=folder,
        capture_output=True,
        text=True,
        input=typed,
        env=environment(folder),
    )


@KERNELS
def test_a_run_waits_before_steps_and_gives_a_shell(folder: Path, kernel: str) -> None:
    run = Terminal(folder, "run", "--kernel", kernel, "--step", "--enter", "bob", "two.rig.toml")
    run.expect("-- Enter for step 1: alice: ping 10.0.0.2")
    run.type("\n")
    run.expect("1 alice: ping .*ok")
    run.expect("-- Enter for step 2: that was that")
    run.type("\n")
    run.expect("-- a shell on bob")
    run.expect("bob# ")
    run.type("tty && ip -color=never -br addr show dev eth0\n")  # Debian 13's has colours
    run.expect("/dev/")
    run.expect("10.0.0.2/24")
    run.type("exit 3\n")
    run.expect("1 passed in")
    assert run.end() == 0


@KERNELS
def test_what_is_asked_is_answered_by_a_pipe_as_well(folder: Path, kernel: str) -> None:
    done = call(folder, "run", "--kernel", kernel, "--step", "two.rig.toml", typed="\n\n")
    assert "-- Enter for step 2: that was that" in done.stderr
    assert done.stdout.splitlines()[-1].startswith("1 passed in")
    assert done.returncode == 0


@KERNELS
def test_hosts_that_are_kept_can_be_entered_from_elsewhere(folder: Path, kernel: str) -> None:
    run = Terminal(folder, "run", "--kernel", kernel, "--keep", "two.rig.toml")
    run.expect("-- alice, bob stay until Enter; elsewhere: kamexfrm rig enter alice")
    assert call(folder, "ls").stdout.startswith("two\ttwo.rig.toml\talice bob\t")
    assert "10.0.0.1/24" in call(folder, "exec", "alice", "ip", "-br", "addr").stdout
    run.type("\n")
    run.expect("1 passed in")
    assert run.end() == 0
    assert call(folder, "ls").stdout == ""


@pytest.fixture
def up(folder: Path) -> Iterator[Path]:
    done = call(folder, "up", "--kernel", "guest", "two.rig.toml")
    assert done.stdout.startswith("two: alice, bob up in a guest, held by process")
    yield folder
    assert call(folder, "down").returncode == 0
    assert sorted(path.name for path in folder.iterdir()) == ["two.rig.toml"]


def test_programs_run_in_the_hosts_of_a_guest_as_they_do_here(up: Path) -> None:
    assert "10.0.0.2/24" in call(up, "exec", "bob", "ip", "-br", "addr").stdout
    done = call(up, "exec", "alice", "sh", "-c", "cat; echo err >&2; exit 7", typed="one\ntwo\n")
    assert (done.stdout, done.stderr, done.returncode) == ("one\ntwo\n", "err\n", 7)
    assert "10.0.0.1/24" in call(up, "exec", "alice", "--", "ip", "-br", "addr").stdout
    assert "Missing argument" in call(up, "exec", "alice", "--").stderr
    done = call(up, "exec", "alice", "nonsense")
    assert (done.stderr, done.returncode) == ("nonsense: No such file or directory\n", 127)
    call(up, "exec", "bob", "setkey", "-c", typed="spdadd 10.0.0.1 10.0.0.2 tcp -P in none;\n")
    assert "in prio def none" in call(up, "dump", "bob").stdout
    dumped = valid(json.loads(call(up, "dump", "--json").stdout))
    policies = dumped["hosts"]["bob"]["policies"]
    assert [policy["direction"] for policy in policies] == ["in", "fwd"]
    assert dumped["hosts"]["alice"]["policies"] == []
    (listed,) = valid(json.loads(call(up, "ls", "--json").stdout))["rigs"]
    assert (listed["name"], listed["hosts"], listed["guest"]) == ("two", ["alice", "bob"], True)
    assert "two has no host carol" in call(up, "exec", "carol", "true").stderr


def test_a_shell_in_a_guest_has_our_terminal_and_ends_with_it(up: Path) -> None:
    shell = Terminal(up, "enter", "bob")
    shell.expect("bob# ")
    # One program, so that it has the terminal when it speaks.
    shell.type("sh -c 'tty; exec sleep 4321'\n")
    shell.expect("/dev/tty[0-9]")
    shell.resize(31, 97)
    shell.type("\x03")  # ^C ends it, not the shell
    shell.expect("bob# ")
    shell.type(UNTIL_RESIZED)
    shell.expect("resized")
    shell.type("exec sleep 4321\n")
    shell.kill()
    shell.end()
    again = Terminal(up, "enter", "bob")
    again.expect("bob# ")
    again.type("until ! pgrep -f 'sleep 432[1]'; do :; done; echo g''one; exit 5\n")
    again.expect("gone")
    assert again.end() == 5


def test_a_guest_without_a_command_is_a_shell_on_the_terminal(folder: Path) -> None:
    shell = Terminal(folder, command=GUEST)
    shell.expect("guest# ")
    shell.resize(31, 97)
    shell.type(UNTIL_RESIZED)
    shell.expect("resized")
    shell.type("sh -c 'tty; exec sleep 4321'\n")
    shell.expect("/dev/tty1")
    shell.type("\x1a")  # ^Z stops it, and the shell goes on
    shell.expect("Stopped")
    shell.type("kill -s KILL %1; setkey -DP; exit 7\n")
    shell.expect("No SPD entries.")
    assert shell.end() == 7


def test_a_guest_without_command_and_terminal_asks_for_a_command(folder: Path) -> None:
    done = subprocess.run(GUEST, check=False, stdin=subprocess.DEVNULL, capture_output=True)
    assert b"name the command: kamexfrm guest setkey -D" in done.stderr
    assert done.returncode == 2
