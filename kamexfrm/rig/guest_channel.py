"""Programs in the hosts of a guest, asked for from outside: by files in a shared folder.

The guest looks for ``NUMBER.ask``, starts what it says in a host, and leaves its output in
``NUMBER.stdout`` and ``NUMBER.stderr`` and its exit status in ``NUMBER.status``. The standard
input comes as ``NUMBER.input.0``, ``.1`` and so on, the empty one last; or all three are a
console. ``NUMBER.leave`` ends the program: who asked is gone. Nothing is told across the border
but by such files, each complete as soon as it has its name.
"""

import contextlib
import json
import os
import secrets
import select
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from kamexfrm.rig.console import claim, ending_orderly
from kamexfrm.rig.host import Host

#: Seconds between two looks: no file system event crosses the border.
_PAUSE = 0.03

#: Exit status when the program is not there, as in env(1).
_NO_PROGRAM = 127


def serve(folder: Path, hosts: Mapping[str, Host], over: Callable[[], bool]) -> None:
    """Start in ``hosts`` what is asked for in ``folder``, until ``over()``; inside the guest."""
    running: list[_Program] = []
    while not over():
        for path in sorted(folder.glob("*.ask")):
            request = Request(**json.loads(path.read_text(encoding="utf-8")))
            path.unlink()
            host = hosts.get(request.host)
            if host is None:
                _finish(path, 1, f"there is no host {request.host} now\n")
            else:
                running.append(_Program(path, host, request))
        running = [program for program in running if not program.ended()]
        time.sleep(_PAUSE)


class Request(NamedTuple):
    """A program that somebody wants run: on the guest's console of that number, 0 for on none."""

    host: str
    words: list[str]
    environment: dict[str, str]
    directory: str
    console: int


class _Program:
    """A program that was asked for, while it runs."""

    def __init__(self, path: Path, host: Host, request: Request) -> None:
        self._path = path
        self._process: subprocess.Popen[bytes] | None = None
        words = request.words
        with contextlib.ExitStack() as stack:
            if request.console:
                words = ["setsid", "--ctty", "--wait", *words]
                terminal = os.open(f"/dev/tty{request.console}", os.O_RDWR | os.O_NOCTTY)
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
                        env=request.environment,
                        cwd=request.directory,
                        stdin=stdin,
                        stdout=stdout,
                        stderr=stderr,
                        process_group=0,
                    )
            except OSError as error:
                _finish(path, _NO_PROGRAM, f"{request.words[0]}: {error.strerror}\n")
        if self._process and not request.console:
            threading.Thread(target=self._feed, daemon=True).start()

    def _feed(self) -> None:
        """Hand the pieces of the input to the program."""
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
        """Whether it is over; its status is told then."""
        if self._process is None:
            return True
        status = self._process.poll()
        left = self._path.with_suffix(".leave").exists()
        if status is None and left:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
        elif status is not None and left:
            _forget(self._path)
        elif status is not None:
            _finish(self._path, status if status >= 0 else 128 - status)
        return status is not None


def _finish(path: Path, status: int, trouble: str = "") -> None:
    if trouble:
        path.with_suffix(".stderr").write_text(trouble)
    _place(path.with_suffix(".status"), str(status).encode())


def _place(path: Path, data: bytes) -> None:
    """Write a file that is complete as soon as it has its name."""
    fresh = path.with_name(f"{path.name}.new")
    fresh.write_bytes(data)
    fresh.rename(path)


def call(
    folder: Path,
    host: str,
    words: Sequence[str],
    environment: Mapping[str, str],
    alive: Callable[[], bool],
) -> int:
    """Run a program in a host of the guest and return its exit status; outside the guest.

    It has our terminal when we have one, else our standard input and outputs. Raises
    ProcessLookupError when the guest ends before the program, as ``alive()`` then says.
    """
    asked = folder / f"{secrets.token_hex(4)}.ask"
    console = claim(folder) if os.isatty(0) and os.isatty(1) else None
    number = console.number if console else 0
    request = Request(host, list(words), dict(environment), os.getcwd(), number)
    with contextlib.ExitStack() as stack:
        stack.callback(_tidy, asked)
        stack.enter_context(ending_orderly())
        if console:
            stack.enter_context(console)
        else:
            threading.Thread(target=_send_input, args=(asked,), daemon=True).start()
        _place(asked.with_suffix(".asker"), str(os.getpid()).encode())
        _place(asked, json.dumps(request._asdict()).encode())
        seen = {"stdout": 0, "stderr": 0}
        while True:
            over = asked.with_suffix(".status").exists() or not alive()
            for number, name in enumerate(seen, 1):
                seen[name] += _copy(asked.with_suffix(f".{name}"), seen[name], number)
            if over:
                break
            if console:
                console.listen(asked.with_suffix(".opened"))
                console.relay(_PAUSE)
            else:
                time.sleep(_PAUSE)
        try:
            return int(asked.with_suffix(".status").read_text())
        except OSError:
            raise ProcessLookupError("the guest has ended") from None


def _send_input(asked: Path) -> None:
    """Hand over our standard input as it comes, while somebody wants it."""
    number = 0
    with contextlib.suppress(OSError):
        while True:
            select.select([0], [], [])
            data = os.read(0, 1 << 16)
            _place(asked.with_suffix(f".input.{number}"), data)
            if not data:
                return
            number += 1


def _copy(path: Path, begin: int, number: int) -> int:
    """Copy what has come in a file since ``begin`` to our own, and return how much that was."""
    with contextlib.suppress(FileNotFoundError), path.open("rb") as file:
        file.seek(begin)
        data = file.read()
        os.write(number, data)
        return len(data)
    return 0


def _tidy(asked: Path) -> None:
    """Take away the files of a program that has ended; end one that has not."""
    if asked.with_suffix(".status").exists():
        _forget(asked)
    elif asked.parent.exists():
        _place(asked.with_suffix(".leave"), b"")


def _forget(asked: Path) -> None:
    for path in asked.parent.glob(f"{asked.stem}.*"):
        path.unlink(missing_ok=True)


def tidy_after_killed(folder: Path) -> None:
    """End programs whose askers were killed; to be called now and then outside the guest."""
    for path in folder.glob("*.asker"):
        if not Path(f"/proc/{path.read_text()}").exists():
            _tidy(path.with_suffix(".ask"))
