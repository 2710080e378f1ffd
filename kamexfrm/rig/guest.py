"""A User-Mode-Linux guest over this machine's own files, for the kernels that lack ESP and AH.

The guest sees this machine's file system, read-only, with a memory file system above it: what a
command writes there is gone afterwards, but for one shared folder. It boots in about two seconds,
runs one command, hands over output as it comes, and ends with the command's status. Needs
Debian's user-mode-linux and kmod; works for root and for ordinary users.
"""

import contextlib
import errno
import os
import shlex
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Self

from kamexfrm.errors import KamexfrmError
from kamexfrm.rig.warden import Warden

#: Debian's user-mode-linux: the kernel, a program, and where its modules are.
PROGRAM = "linux.uml"
MODULES = Path("/usr/lib/uml/modules")

#: Where the programs are that process 1 starts.
_SYSTEM_PATH = "/usr/sbin:/usr/bin:/sbin:/bin"

#: Exit statuses of our own, as in timeout(1) and env(1).
STATUS_TIMEOUT = 124
STATUS_NO_GUEST = 125

#: Longest path of the guest's folder: the kernel makes a Unix socket below it (108 bytes).
_LONGEST_FOLDER = 60

#: The guest's process 1. Words in capitals are replaced.
_INIT = """#!/bin/sh
# The root is the machine's own, read-only. Put a memory file system above it and move there.
fail() {
    echo "guest: $*"
    [ -w /proc/sysrq-trigger ] || exit
    echo o > /proc/sysrq-trigger
    sleep 60
    exit
}
PATH=FOLDER/bin:SYSTEM_PATH
mount -t proc proc /proc || fail "no /proc"
modprobe -d FOLDER/modules overlay || fail "its kernel has no overlayfs"
mount -t tmpfs above /mnt || fail "no /mnt"
mkdir /mnt/upper /mnt/work /mnt/root
mount -t overlay overlay -o nosuid,lowerdir=/,upperdir=/mnt/upper,workdir=/mnt/work /mnt/root ||
    fail "cannot put a memory file system above the root"
mount -a -T FOLDER/mounts || fail "cannot mount what is in FOLDER/mounts"
cd /mnt/root
pivot_root . mnt && umount -l /mnt || fail "cannot change the root"
ln -s /proc/self/fd /dev/fd
[ -d /lib/modules ] || mkdir /lib/modules
ln -sfn FOLDER/modules/lib/modules/* /lib/modules/
modprobe -a ipv6 xfrm_user esp4 esp6 ah4 ah6 veth    # all else loads on demand
ip link set lo up
ulimit -n 65536
cd FOLDER/out
sh FOLDER/command > stdout 2> stderr < /dev/null
echo $? > status.new
sync
mv status.new status
echo o > /proc/sysrq-trigger
sleep 60
"""

#: The mounts in the new root: source, place, type, options. One mount(8) makes them all, since
#: starting a program takes 70 ms here. The shared folders are written through ("sync"): what the
#: command writes is on this machine when its write(2) returns.
_MOUNTS = """
proc /mnt/root/proc proc defaults
sysfs /mnt/root/sys sysfs defaults
run /mnt/root/run tmpfs mode=755
dev /mnt/root/dev devtmpfs defaults
shm /mnt/root/dev/shm tmpfs X-mount.mkdir
pts /mnt/root/dev/pts devpts X-mount.mkdir
"""

#: What the warden does when we are killed: $1 is the guest's process group, $2 its folder. A
#: killed process may still write for a moment, and dead it counts until somebody asks for its
#: status, so the wait has an end.
_TIDY = """
kill -s KILL -- "-$1"
for _ in 1 2 3 4 5 6 7 8 9 10; do kill -s 0 -- "-$1" && sleep 0.05; done
rm -rf -- "$2"
"""


class GuestError(KamexfrmError):
    """The guest is missing, did not boot, or died before the command ended."""

    errno = errno.EIO


class GuestTimeoutError(GuestError):
    """The command did not end before the deadline; the guest is gone."""

    errno = errno.ETIMEDOUT


class Guest:
    """A booted guest that runs one command; a context manager that leaves nothing behind.

    ``share`` is a folder of this machine that the command may write to, under the same path.
    ``timeout`` counts seconds from the start, boot included; None is no limit. ``environment``
    is this process's unless given, ``directory`` (the working directory) too. The command's
    standard input is empty. ``program`` is the guest's kernel, Debian's unless given.

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
        program: Path | None = None,
    ) -> None:
        found = _program(program)
        self.command = tuple(command)
        self.timeout = timeout
        self._end = None if timeout is None else time.monotonic() + timeout
        self._status: int | None = None
        self.folder = _new_folder()
        try:
            self._write_files(
                share, os.environ if environment is None else environment, directory, found
            )
            self._process = self._start(found, memory)
        except BaseException:
            shutil.rmtree(self.folder, ignore_errors=True)
            raise
        self._warden = Warden(_TIDY, str(self._process.pid), str(self.folder))
        self._seen = {"stdout": 0, "stderr": 0}
        self._left: dict[str, bytes] = {}
        self._last_console = ""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    def _write_files(
        self,
        share: Path | None,
        environment: Mapping[str, str],
        directory: Path | None,
        program: str,
    ) -> None:
        """Fill the guest's folder: process 1, the command, the modules' place, what it writes."""
        out = self.folder / "out"
        out.mkdir()
        for name in ("stdout", "stderr"):
            (out / name).touch()
        # In a user namespace their owner is nobody, and set-user-ID then takes the power away.
        (self.folder / "bin").mkdir()
        for name in ("mount", "umount"):
            copy = self.folder / "bin" / name
            shutil.copyfile(shutil.which(name, path=_SYSTEM_PATH) or name, copy)
            copy.chmod(0o700)
        mounts = _MOUNTS
        for folder in (out, share.resolve()) if share else (out,):
            path = _fstab_word(str(folder))
            mounts += f"share /mnt/root{path} hostfs X-mount.mkdir,sync,{path}\n"
        _write(self.folder / "mounts", mounts)
        modules = _modules(program)
        place = self.folder / "modules" / "lib" / "modules"
        place.mkdir(parents=True)
        if modules is not None:
            (place / modules.name).symlink_to(modules)
        init = self.folder / "init"
        _write(init, _INIT.replace("FOLDER", str(self.folder)).replace("SYSTEM_PATH", _SYSTEM_PATH))
        init.chmod(0o700)
        words = ["exec", "env", "-i"]
        words += [shlex.quote(f"{name}={value}") for name, value in environment.items()]
        words += [shlex.quote(word) for word in self.command]
        where = shlex.quote(str(directory or Path.cwd()))
        _write(
            self.folder / "command",
            f"cd {where} || exit {STATUS_NO_GUEST}\n{' '.join(words)}\n",
        )

    def _start(self, program: str, memory: str) -> subprocess.Popen[bytes]:
        """Start the guest's kernel in a process group of its own, its console into a file."""
        with (self.folder / "console").open("wb") as console:
            return subprocess.Popen(
                [
                    program,
                    f"mem={memory}",
                    "rootfstype=hostfs",
                    "rootflags=/",
                    "ro",
                    f"uml_dir={self.folder}/",
                    "umid=uml",
                    f"init={self.folder}/init",
                    "con=null",
                    "con0=fd:0,fd:1",
                ],
                stdin=subprocess.DEVNULL,
                stdout=console,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                cwd="/",
            )

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
                raise GuestError(f"the guest ended early; {self._console_says()}") from None
        if self._status is None and self._end is not None and time.monotonic() > self._end:
            self.stop()
            raise GuestTimeoutError(
                f"not done within {self.timeout:g} s: {shlex.join(self.command)}"
            )
        return self._status

    def wait(self, stdout: BinaryIO | None = None, stderr: BinaryIO | None = None) -> int:
        """Return the command's exit status, its output copied to the two files as it comes.

        Raises what ``poll`` raises.
        """
        copies = [(n, f) for n, f in (("stdout", stdout), ("stderr", stderr)) if f is not None]
        while True:
            try:
                status = self.poll()
            finally:
                for name, file in copies:
                    if data := self.output(name):
                        file.write(data)
                        file.flush()
            if status is not None:
                return status
            time.sleep(0.02)  # no file system event crosses from the guest: look again

    def console(self) -> str:
        """Return all that the guest's kernel and its process 1 have said."""
        if self._left:
            return self._last_console
        return (self.folder / "console").read_text(errors="replace")

    def _console_says(self) -> str:
        lines = [line for line in self.console().splitlines() if line.strip()][-20:]
        return "the end of its console:\n" + "\n".join(f"  {line}" for line in lines)

    def stop(self) -> None:
        """End the guest, whatever it does, and remove its folder; a second call does nothing."""
        if self._left:
            return
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        self._last_console = self.console()
        self._left = {name: self.output(name) for name in self._seen}
        shutil.rmtree(self.folder, ignore_errors=True)
        self._warden.dismiss()


def run_in_guest(
    command: Sequence[str],
    *,
    share: Path | None = None,
    memory: str = "2G",
    timeout: float | None = 120.0,
    stdout: BinaryIO | None = None,
    stderr: BinaryIO | None = None,
    console: Path | None = None,
    program: Path | None = None,
) -> int:
    """Run a command in a guest of its own and return its exit status.

    Output goes to the files ``stdout`` and ``stderr`` as it comes; ``console`` names a file that
    gets the guest's console. Raises GuestError, GuestTimeoutError.
    """
    with Guest(command, share=share, memory=memory, timeout=timeout, program=program) as guest:
        try:
            return guest.wait(stdout, stderr)
        finally:
            if console is not None:
                console.write_text(guest.console())


def check() -> None:
    """Raise GuestError when no guest can be started."""
    _modules(_program(None))
    if shutil.which("modprobe", path=_SYSTEM_PATH) is None:
        raise GuestError("no modprobe: install kmod", errno=errno.ENOENT)


def _program(asked: Path | None) -> str:
    """Return the guest's kernel; raises GuestError when it is not there."""
    if asked is not None:
        if not os.access(asked, os.X_OK) or asked.is_dir():
            raise GuestError(f"{asked} is no program", errno=errno.ENOENT)
        return str(asked.resolve())
    program = shutil.which(PROGRAM)
    if program is None:
        raise GuestError(f"no {PROGRAM} in PATH: install user-mode-linux", errno=errno.ENOENT)
    return program


def _modules(program: str) -> Path | None:
    """Return the folder of the guest kernel's modules; None for one that needs none.

    A kernel given by its path has them beside it in ``modules/VERSION``, where Debian's are, or
    built in. Raises GuestError when Debian's kernel has none.
    """
    folders = [path.parent for path in sorted(MODULES.glob("*/modules.dep"))]
    if Path(program).name != PROGRAM:
        folders += [path.parent for path in Path(program).parent.glob("modules/*/modules.dep")]
        version = _version(program)
        return next((folder for folder in reversed(folders) if folder.name == version), None)
    if not folders:
        raise GuestError(f"nothing in {MODULES}: install user-mode-linux", errno=errno.ENOENT)
    if len(folders) > 1:
        version = _version(program)
        folders = [folder for folder in folders if folder.name == version] or folders
    return folders[-1]


def _version(program: str) -> str:
    """Return what a guest kernel calls itself; raises GuestError for another program."""
    try:
        done = subprocess.run(
            [program, "--version"], check=True, capture_output=True, text=True, timeout=10
        )
    except (OSError, subprocess.SubprocessError) as error:
        raise GuestError(f"{program} --version: {error}") from None
    return done.stdout.strip()


def _new_folder() -> Path:
    """Return a new folder whose path fits in the kernel's command line and in a socket's name."""
    base = tempfile.gettempdir()
    if len(base) > _LONGEST_FOLDER - 25 or not base.replace("/", "").replace("-", "_").isalnum():
        base = "/tmp"  # noqa: S108 (mkdtemp below makes it safe)
    return Path(tempfile.mkdtemp(prefix="kamexfrm-guest.", dir=base))


def _write(path: Path, text: str) -> None:
    """Write names and words of this machine as they are, whatever their bytes."""
    path.write_bytes(os.fsencode(text))


def _fstab_word(text: str) -> str:
    """Return a path as fstab(5) wants it: white space and backslashes in octal."""
    return "".join(f"\\{ord(c):03o}" if c in " \t\n\\" else c for c in text)
