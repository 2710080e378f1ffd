"""A User-Mode-Linux guest over this machine's own files, for the kernels that lack ESP and AH.

The guest sees this machine's file system, read-only, with a memory file system above it: what a
command writes there is gone afterwards, but for one shared folder. Its kernel is a process that
can write to this machine in that folder only (``guest_confinement``). It boots in about two
seconds, runs one command, hands over output as it comes, and ends with the command's status.
Needs Debian's user-mode-linux and kmod; works for root and for ordinary users.
"""

import contextlib
import errno
import os
import secrets
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import BinaryIO, Self

from kamexfrm.rig import guest_confinement, guest_kernel, guest_qemu
from kamexfrm.rig.console import Console, ending_orderly, kernel_words
from kamexfrm.rig.guest_error import GuestError
from kamexfrm.rig.guest_files import (
    STATUS_NO_GUEST,
    SYSTEM_PATH,
    command_text,
    write_files,
)
from kamexfrm.rig.guest_kernel import GuestKernel
from kamexfrm.rig.guest_kernel import find as find_kernel
from kamexfrm.rig.processor import on_one_processor
from kamexfrm.rig.reaper import Reaper

#: Environment variable that has the guest's kernel run where it can write to all of the machine.
UNCONFINED = "KAMEXFRM_GUEST_UNCONFINED"

#: Exit status of our own, as in timeout(1).
STATUS_TIMEOUT = 124

#: Seconds between two polls of the guest's output.
_PAUSE = 0.02

#: Longest path of the guest's folder: the kernel makes a Unix socket below it (108 bytes).
_LONGEST_FOLDER = 60

#: What the reaper does when we are killed: $words is the guest's folder, which all processes of the
#: guest have in their command lines. A process just started may not have it yet, one just killed
#: may still write, so this is repeated.
_TIDY = """
for _ in 1 2 3 4 5; do
    grep -lsE "(uml_di[r]|kamexfrm.gues[t])=${words% }/" /proc/[0-9]*/cmdline |
        while IFS=/ read -r _ _ process _; do kill -s KILL "$process"; done
    sleep 0.1
done
rm -rf -- "${words% }"
"""


class GuestTimeoutError(GuestError):
    """The command did not end before the deadline; the guest is gone."""

    errno = errno.ETIMEDOUT


class Guest:
    """A booted guest that runs one command; a context manager that cleans up.

    ``share`` is a folder of this machine that the command may write to, under the same path.
    ``timeout`` counts seconds from the start, boot included; None is no limit. ``environment``
    is this process's unless given, ``directory`` (the working directory) too. The command's
    standard input is empty. ``program`` names the guest's kernel (``guest_kernel``); it is Debian's
    installed one, or that of the variable KAMEXFRM_GUEST_KERNEL, unless given.

    ``console`` gives the command a terminal instead: our standard input, and those of ``stdout``
    and ``stderr`` that it lists; ``wait`` relays it. ``consoles`` is the folder where further
    consoles of the guest appear while one is in use (``kamexfrm.rig.console``).

    Raises GuestError from the constructor when the guest cannot be started.
    """

    def __init__(
        self,
        command: Sequence[str],
        *,
        share: Path | None = None,
        memory: str = "2G",
        timeout: float | None = 120.0,
        environment: Mapping[str, str] | None = None,
        directory: Path | None = None,
        program: str | Path | None = None,
        console: Sequence[str] | None = None,
        consoles: Path | None = None,
    ) -> None:
        kernel = find_kernel(program)
        if kernel.emulated and console is not None:
            raise GuestError(
                "QEMU runs this kernel, and such a guest has no terminal: name a command without "
                "--tty, or take a User-Mode-Linux kernel"
            )
        self.command = tuple(command)
        self.timeout = timeout
        self._status: int | None = None
        self._consoles = consoles
        self.folder = _new_folder_name()
        self._reaper = Reaper(_TIDY)
        self._reaper.add(str(self.folder))  # before it exists: we may be killed any moment
        try:
            self.folder.mkdir(mode=0o700)
            (self.folder / guest_confinement.MEMORY).mkdir()
            self._console = Console(self._console_folder, 1) if console is not None else None
            environment = os.environ if environment is None else environment
            text = command_text(command, environment, directory)
            places = [directory or Path.cwd(), Path(environment.get("HOME", "/"))]
            write_files(self.folder, kernel, share, text, console, places)
            words = self._words(kernel, memory, share)
            names: Mapping[str, str] = os.environ
            if kernel.emulated:
                names = guest_qemu.environment(names, self.folder)
            self._process = self._start(words, names, kernel, share)
            self._end = None if timeout is None else time.monotonic() + timeout
        except BaseException:
            shutil.rmtree(self.folder, ignore_errors=True)
            self._reaper.dismiss()
            raise
        self._seen = {"stdout": 0, "stderr": 0}
        self._left: dict[str, bytes] = {}
        self._last_console = ""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _words(self, kernel: GuestKernel, memory: str, share: Path | None) -> list[str]:
        """Return the command line that boots the kernel; raises GuestError."""
        if kernel.emulated:
            writable = [str(self.folder), *([str(share.resolve())] if share else [])]
            return guest_qemu.command(kernel.program, kernel.modules, self.folder, writable, memory)
        return [
            kernel.program,
            f"mem={memory}",
            "rootfstype=hostfs",
            "rootflags=/",
            "ro",
            f"uml_dir={self.folder}/",
            "umid=uml",
            f"init={self.folder}/init",
            "con=null",
            "con0=fd:0,fd:1",
            *kernel_words(self._console_folder, self._console),
        ]

    def _start(
        self,
        words: Sequence[str],
        environment: Mapping[str, str],
        kernel: GuestKernel,
        share: Path | None,
    ) -> subprocess.Popen[bytes]:
        """Start the guest's kernel in a process group of its own, its console into a file."""
        processors = contextlib.nullcontext() if kernel.emulated else on_one_processor()
        with (self.folder / "console").open("wb") as console, processors:
            return subprocess.Popen(
                [*self._confinement(share), *words],
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=console,
                stderr=subprocess.STDOUT,
                # Not a session of its own: the first terminal that a session leader opens
                # becomes its controlling terminal, and ends it by SIGHUP.
                process_group=0,
                cwd="/",
                pass_fds=[self._console.slave] if self._console else [],
            )

    def _confinement(self, share: Path | None) -> list[str]:
        """Return the beginning of a command line that keeps a program from writing elsewhere."""
        if os.environ.get(UNCONFINED):
            return []
        shared = [str(share.resolve())] if share else []
        program = [sys.executable, "-I", "-S", guest_confinement.__file__]
        return [*program, str(self.folder), *shared, "--"]

    @property
    def _console_folder(self) -> Path:
        return self._consoles or self.folder

    def output(self, name: str = "stdout") -> bytes:
        """Return what has come on ``stdout`` or ``stderr`` since the last call."""
        if name in self._left:  # the guest has been stopped
            data, self._left[name] = self._left[name], b""
            return data
        with (self.folder / "out" / name).open("rb") as file:
            file.seek(self._seen[name])
            data = file.read()
        self._seen[name] += len(data)
        return data

    def poll(self) -> int | None:
        """Return the command's exit status, or None while it runs.

        Raises GuestTimeoutError after the deadline, GuestError when the guest ended without
        giving a status; both end the guest.
        """
        if self._status is not None:
            return self._status
        ended = self._process.poll() is not None
        try:
            self._status = int((self.folder / "out" / "status").read_text())
        except (OSError, ValueError):
            if ended:
                self.stop()
                raise GuestError(f"the guest ended early; {self._console_tail()}") from None
        if self._status is None and self._end is not None and time.monotonic() > self._end:
            self.stop()
            raise GuestTimeoutError(
                f"not done within {self.timeout:g} s: {shlex.join(self.command)}"
            )
        return self._status

    def wait(
        self,
        stdout: BinaryIO | None = None,
        stderr: BinaryIO | None = None,
        begun: Callable[[], None] | None = None,
    ) -> int:
        """Return the command's exit status, its output copied to the two files as it comes.

        ``begun`` is called before the first output. Raises what ``poll`` raises.
        """
        copies = [(n, f) for n, f in (("stdout", stdout), ("stderr", stderr)) if f is not None]
        with contextlib.ExitStack() as stack:
            if self._console is not None:
                stack.enter_context(ending_orderly())
                stack.enter_context(self._console)
            while True:
                try:
                    status = self.poll()
                finally:
                    for name, file in copies:
                        if data := self.output(name):
                            if begun is not None:
                                begun()
                                begun = None
                            file.write(data)
                            file.flush()
                if status is not None:
                    return status
                # Poll: no file system event crosses from the guest.
                if self._console is not None:
                    self._console.listen(self.folder / "out" / "opened")
                    self._console.relay(_PAUSE)
                else:
                    time.sleep(_PAUSE)

    def console(self) -> str:
        """Return the output of the guest's kernel and of its process 1."""
        if self._left:
            return self._last_console
        return (self.folder / "console").read_text(errors="replace")

    def _console_tail(self) -> str:
        lines = [line for line in self.console().splitlines() if line.strip()][-20:]
        return "the end of its console:\n" + "\n".join(f"  {line}" for line in lines)

    def stop(self) -> None:
        """Kill the guest and remove its folder; a second call does nothing."""
        if self._left:
            return
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        self._last_console = self.console()
        self._left = {name: self.output(name) for name in self._seen}
        shutil.rmtree(self.folder, ignore_errors=True)
        self._reaper.dismiss()


__all__ = [
    "STATUS_NO_GUEST",
    "STATUS_TIMEOUT",
    "Guest",
    "GuestError",
    "GuestTimeoutError",
    "check",
    "release",
    "run_in_guest",
]


def run_in_guest(
    command: Sequence[str],
    *,
    share: Path | None = None,
    memory: str = "2G",
    timeout: float | None = 120.0,
    stdout: BinaryIO | None = None,
    stderr: BinaryIO | None = None,
    console: Path | None = None,
    program: str | Path | None = None,
    on_console: Sequence[str] | None = None,
    environment: Mapping[str, str] | None = None,
    begun: Callable[[], None] | None = None,
) -> int:
    """Run a command in a guest of its own and return its exit status.

    Output goes to the files ``stdout`` and ``stderr`` as it comes; ``console`` names a file that
    gets the guest's console. ``on_console`` is Guest's ``console``, ``environment`` its own, and
    ``begun`` its ``wait``'s.
    Raises GuestError, GuestTimeoutError.
    """
    with Guest(
        command,
        share=share,
        memory=memory,
        timeout=timeout,
        program=program,
        console=on_console,
        environment=environment,
    ) as guest:
        try:
            return guest.wait(stdout, stderr, begun)
        finally:
            if console is not None:
                console.write_text(guest.console())


def check() -> None:
    """Raise GuestError when no guest can be started."""
    find_kernel(None)
    if shutil.which("modprobe", path=SYSTEM_PATH) is None:
        raise GuestError("no modprobe: install kmod", errno=errno.ENOENT)


def release() -> str:
    """Return the release of the guest's kernel, as uname(1) would; raises GuestError."""
    kernel = find_kernel(None)
    version = guest_qemu.version_of if kernel.emulated else guest_kernel.version_of
    return version(kernel.program)


def _new_folder_name() -> Path:
    """Return a new folder's path that fits in the kernel's command line and in a socket's name."""
    base = tempfile.gettempdir()
    if len(base) > _LONGEST_FOLDER - 25 or not base.replace("/", "").replace("-", "_").isalnum():
        base = "/tmp"  # noqa: S108 (mkdir fails where the name is there)
    return Path(base) / f"kamexfrm-guest.{secrets.token_hex(4)}"
