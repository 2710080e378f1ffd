"""Every command, whatever its standard streams are: the status is told, and never a traceback."""

import os
import subprocess
import sys
from typing import NamedTuple

import pytest


class Command(NamedTuple):
    """A command, and how it ends for a wrong option and for output that cannot be written."""

    module: str
    words: tuple[str, ...] = ()
    usage: int = 2
    trouble: int = 1

    def command_line(self, option: str) -> list[str]:
        return [sys.executable, "-m", f"kamexfrm.{self.module}", *self.words, option]


COMMANDS = {
    "setkey": Command("setkey", usage=1),
    "kame-sysctl": Command("sysctl"),
    "kamexfrmd": Command("kamexfrmd"),
    "kamexfrm": Command("cli"),
    "kamexfrm exec": Command("cli", ("exec",), usage=125, trouble=125),
    "kamexfrm guest": Command("cli", ("guest",)),
    "kamexfrm demo": Command("cli", ("demo",)),
    "kamexfrm plan": Command("cli", ("plan",)),
    "kamexfrm apply": Command("cli", ("apply",)),
    "kamexfrm confirm": Command("cli", ("confirm",)),
    "kamexfrm save": Command("cli", ("save",)),
    "kamexfrm adopt": Command("cli", ("adopt",)),
    "kamexfrm reset": Command("cli", ("reset",)),
    "kamexfrm mirror": Command("cli", ("mirror",)),
    "kamexfrm keygen": Command("cli", ("keygen",)),
    "kamexfrm check": Command("cli", ("check",)),
    "kamexfrm translate": Command("cli", ("translate",)),
    "kamexfrm explain": Command("cli", ("explain",)),
    "kamexfrm status": Command("cli", ("status",)),
    "kamexfrm help": Command("cli", ("help",)),
    "kamexfrm completion": Command("cli", ("completion",)),
    "kamexfrm doctor": Command("cli", ("doctor",)),
    "kamexfrm watch": Command("cli", ("watch",)),
    "kamexfrm stats": Command("cli", ("stats",)),
    "kamexfrm exempt": Command("cli", ("exempt",)),
    "kamexfrm lockdown": Command("cli", ("lockdown",)),
    "kamexfrm rig": Command("cli", ("rig",)),
    "kamexfrm rig run": Command("cli", ("rig", "run")),
    "kamexfrm rig exec": Command("cli", ("rig", "exec")),
}

each = pytest.mark.parametrize("command", COMMANDS.values(), ids=COMMANDS)


def run(command: Command, option: str, redirection: str = "") -> tuple[int, str, str]:
    words = ["sh", "-c", f'exec "$@" {redirection}', "sh", *command.command_line(option)]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    return done.returncode, done.stdout, done.stderr


@each
def test_help_goes_to_standard_output(command: Command) -> None:
    status, out, err = run(command, "--help")
    assert (status, err) == (0, "")
    assert "usage" in out.lower()


@each
def test_a_wrong_option_is_told_on_standard_error(command: Command) -> None:
    status, out, err = run(command, "--nonsense")
    assert status == command.usage
    assert "--nonsense" in err or command.module == "setkey"  # whose words are getopt(3)'s
    assert "--nonsense" not in out


@each
def test_closed_streams_change_no_status(command: Command) -> None:
    assert run(command, "--help", ">&-") == (0, "", "")
    assert run(command, "--nonsense", "2>&-")[0] == command.usage
    assert run(command, "--nonsense", ">&- 2>&-")[0] == command.usage


@each
def test_a_full_disk_is_told_in_a_line(command: Command) -> None:
    status, _, err = run(command, "--help", ">/dev/full")
    assert status == command.trouble
    assert err.endswith(": No space left on device\n")
    assert err.count("\n") == 1


@each
def test_a_reader_who_has_left_ends_it_quietly(command: Command) -> None:
    readable, writable = os.pipe()
    os.close(readable)
    words = command.command_line("--help")
    done = subprocess.run(words, stdout=writable, stderr=subprocess.PIPE, check=False)
    os.close(writable)
    assert (done.returncode, done.stderr) == (141, b"")


def test_the_options_of_a_command_in_a_host_are_its_own() -> None:
    """What follows HOST is the command's, ``--help`` too: here no rig is up to run it in."""
    command = Command("cli", ("rig", "exec", "alice", "true"))
    status, out, err = run(command, "--help")
    assert (status, out) == (1, "")
    assert err.startswith("kamexfrm rig: no rig is up")
