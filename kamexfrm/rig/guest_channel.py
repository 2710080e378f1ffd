"""The guest exec channel: commands run in the hosts of a guest, by files in a shared folder.

The guest polls for ``NUMBER.command``, in JSON, runs it in a host, and writes its output to
``NUMBER.stdout`` and ``NUMBER.stderr`` and its exit status to ``NUMBER.status``. The standard
input comes as ``NUMBER.input.0``, ``.1`` and so on, the empty one last; or all three are a
console, whose new sizes come as ``NUMBER.size.0`` and so on. ``NUMBER.leave`` kills the command,
since its caller has ended. These files are the only way between guest and machine; each is
complete as soon as it has its name.
"""

import contextlib
import fcntl
import json
import os
import secrets
import select
import signal
import subprocess
import termios
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from kamexfrm.rig.console import claim, ending_orderly
from kamexfrm.rig.host import Host

#: Seconds between two polls: no file system event crosses from or to the guest.
_PAUSE = 0.03

#: Exit status when the program is not there, as in env(1).
_NO_PROGRAM = 127


def serve(folder: Path, hosts: Mapping[str, Host], over: Callable[[], bool]) -> None:
    """Run the commands that arrive in ``folder``, until ``over()``; inside the guest."""
    running: list[_Program] = []
    while not over():
        for path in sorted(folder.glob("*.command")):
            command = GuestCommand(**json.loads(path.read_text(encoding="utf-8")))
            path.unlink()
            host = hosts.get(command.host)
            if host is None:
                _finish(path, 1, f"there is no host {command.host} now\n")
            else:
                running.append(_Program(path, host, command))
        running = [program for program in running if not program.ended()]
        time.sleep(_PAUSE)


class GuestCommand(NamedTuple):
    """A command for a host of the guest; ``console`` is the number of its console, 0 for none."""

    host: str
    words: list[str]
    environment: dict[str, str]
    directory: str
    console: int


class _Program:
    """A command of the channel while it runs."""

    def __init__(self, path: Path, host: Host, command: GuestCommand) -> None:
        self._path = path
        self._process: subprocess.Popen[bytes] | None = None
        self._console = command.console
        self._sizes = 0
        words = command.words
        with contextlib.ExitStack() as stack:
            if command.console:
                words = ["setsid", "--ctty", "--wait", *words]
                terminal = os.open(f"/dev/tty{command.console}", os.O_RDWR | os.O_NOCTTY)
                stack.callback(os.close, terminal)
                path.with_suffix(".opened").touch()
                stdin = stdout = stderr = terminal
            else:
                stdin = subprocess.PIPE
                stdout, stderr = (
                    stack.enter_context(path.with_suffix(f".{name}").open("wb")).fileno()
                    for name in ("stdout", "stderr")
                )
            try:
                with host.enter():
                    self._process = subprocess.Popen(
                        words,
                        env=command.environment,
                        cwd=command.directory,
                        stdin=stdin,
                        stdout=stdout,
                        stderr=stderr,
                        process_group=0,
                    )
            except OSError as error:
                _finish(path, _NO_PROGRAM, f"{command.words[0]}: {error.strerror}\n")
        if self._process and not command.console:
            threading.Thread(target=self._feed, daemon=True).start()

    def _feed(self) -> None:
        """Write the pieces of the input to the program."""
        process, number = self._process, 0
        if process is None or process.stdin is None:
            return
        with contextlib.suppress(OSError), process.stdin:
            while process.poll() is None:
                piece = self._path.with_suffix(f".input.{number}")
                if not piece.exists():
                    time.sleep(_PAUSE)
                    continue
                data = piece.read_bytes()
                piece.unlink()
                if not data:
                    return
                process.stdin.write(data)
                process.stdin.flush()
                number += 1

    def ended(self) -> bool:
        """Whether it has ended; writes its status then."""
        if self._process is None:
            return True
        self._fit()
        status = self._process.poll()
        abandoned = self._path.with_suffix(".leave").exists()
        if status is None and abandoned:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
        elif status is not None and abandoned:
            _remove_files(self._path)
        elif status is not None:
            _finish(self._path, status if status >= 0 else 128 - status)
        return status is not None

    def _fit(self) -> None:
        """Give the console the size that has come."""
        while (path := self._path.with_suffix(f".size.{self._sizes}")).exists():
            self._sizes += 1
            with open(f"/dev/tty{self._console}", "rb+", buffering=0, opener=_no_terminal) as file:
                fcntl.ioctl(file, termios.TIOCSWINSZ, path.read_bytes())


def _no_terminal(path: str, flags: int) -> int:
    """Open a terminal that does not become this process's own."""
    return os.open(path, flags | os.O_NOCTTY)


def _finish(path: Path, status: int, error: str = "") -> None:
    if error:
        path.with_suffix(".stderr").write_text(error)
    _place(path.with_suffix(".status"), str(status).encode())


def _place(path: Path, data: bytes) -> None:
    """Write a file that is complete as soon as it has its name.

    It is a new one: a link that the guest puts in its place must not lead out of the folder.
    """
    temporary = path.with_name(f"{path.name}.new")
    with temporary.open("xb") as file:
        file.write(data)
    temporary.rename(path)


def call(
    folder: Path,
    host: str,
    words: Sequence[str],
    environment: Mapping[str, str],
    alive: Callable[[], bool],
) -> int:
    """Run a program in a host of the guest and return its exit status; outside the guest.

    It gets our terminal if we have one, else our standard input and outputs. Raises
    ProcessLookupError if the guest ends before the program: when ``alive()`` is false.
    """
    command_file = folder / f"{secrets.token_hex(4)}.command"
    console = claim(folder) if os.isatty(0) and os.isatty(1) else None
    number = console.number if console else 0
    command = GuestCommand(host, list(words), dict(environment), os.getcwd(), number)
    with contextlib.ExitStack() as stack:
        stack.callback(_clean_up, command_file)
        stack.enter_context(ending_orderly())
        if console:
            stack.enter_context(console)
        else:
            threading.Thread(target=_send_input, args=(command_file,), daemon=True).start()
        _place(command_file.with_suffix(".caller"), str(os.getpid()).encode())
        _place(command_file, json.dumps(command._asdict()).encode())
        seen = {"stdout": 0, "stderr": 0}
        sizes = [console.size] if console else []
        while True:
            over = command_file.with_suffix(".status").exists() or not alive()
            for number, name in enumerate(seen, 1):
                seen[name] += _copy(command_file.with_suffix(f".{name}"), seen[name], number)
            if over:
                break
            if console:
                console.listen(command_file.with_suffix(".opened"))
                console.relay(_PAUSE)
                if console.size != sizes[-1]:
                    _place(command_file.with_suffix(f".size.{len(sizes) - 1}"), console.size)
                    sizes.append(console.size)
            else:
                time.sleep(_PAUSE)
        try:
            return int(command_file.with_suffix(".status").read_text())
        except OSError:
            raise ProcessLookupError("the guest has ended") from None


def _send_input(command_file: Path) -> None:
    """Send our standard input as it comes, until its end or that of the command."""
    number = 0
    with contextlib.suppress(OSError):
        while True:
            select.select([0], [], [])
            data = os.read(0, 1 << 16)
            _place(command_file.with_suffix(f".input.{number}"), data)
            if not data:
                return
            number += 1


def _copy(path: Path, begin: int, number: int) -> int:
    """Copy a file from ``begin`` on to an open file number; return the number of bytes."""
    with contextlib.suppress(FileNotFoundError), path.open("rb") as file:
        file.seek(begin)
        data = file.read()
        os.write(number, data)
        return len(data)
    return 0


def _clean_up(command_file: Path) -> None:
    """Remove the files of a program that has ended; kill one that runs."""
    if command_file.with_suffix(".status").exists():
        _remove_files(command_file)
    elif command_file.parent.exists():
        _place(command_file.with_suffix(".leave"), b"")


def _remove_files(command_file: Path) -> None:
    for path in command_file.parent.glob(f"{command_file.stem}.*"):
        path.unlink(missing_ok=True)


def clean_up_after_killed(folder: Path) -> None:
    """Kill programs whose callers were killed; to be called repeatedly outside the guest."""
    for path in folder.glob("*.caller"):
        if not Path(f"/proc/{path.read_text()}").exists():
            _clean_up(path.with_suffix(".command"))
