"""Rigs that stay up: a process of their own, the holder, keeps the hosts until SIGTERM.

On disk there is one small file for each rig, by which ``ls`` and ``enter`` find the holder; the
hosts themselves have no names and end with the holder, also if it is killed. On a kernel without
ESP the holder runs a guest, and the hosts are in there.
"""

import contextlib
import dataclasses
import errno
import itertools
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

from kamexfrm.errors import KamexfrmError
from kamexfrm.rig import guest_channel, python
from kamexfrm.rig.condition import until
from kamexfrm.rig.guest import Guest
from kamexfrm.rig.reaper import Reaper, WatchedFolder
from kamexfrm.rig.scenario.plan import Case
from kamexfrm.rig.scenario.reading.document import read_file
from kamexfrm.rig.scenario.report.transcript import identity
from kamexfrm.rig.scenario.run.runner import furnish
from kamexfrm.rig.scenario.stage.scene import Scene

#: What the process that holds a rig runs.
_MODULE = "kamexfrm.rig.scenario.run.holder"


class HolderError(KamexfrmError):
    """A rig that does not exist, or did not come up."""

    errno = errno.ESRCH


@dataclasses.dataclass(frozen=True, slots=True)
class Held:
    """A rig that is up: its holder's process, when that began, and its hosts.

    ``hosts`` has the holder's file number of each namespace. ``shared`` is the folder that is
    shared with the guest where the hosts are in one.
    """

    name: str
    case: str
    process: int
    began: str
    hosts: dict[str, int]
    shared: str = ""

    def command(self, host: str, words: list[str]) -> list[str]:
        """Return the command that runs ``words`` in a host of the running kernel."""
        base = f"/proc/{self.process}"
        enter = ["nsenter", f"--net={base}/fd/{self.hosts[host]}"]
        if os.readlink(f"{base}/ns/user") != os.readlink("/proc/self/ns/user"):
            enter += [f"--user={base}/ns/user", "--preserve-credentials"]
        return [*enter, "--", *words]

    def run(self, host: str, words: list[str], environment: Mapping[str, str]) -> int:
        """Run a program in a host and return its exit status; raises HolderError, OSError."""
        if host not in self.hosts:
            raise HolderError(f"{self.name} has no host {host}: there is {', '.join(self.hosts)}")
        if self.shared:
            shared = Path(self.shared)
            return guest_channel.call(shared, host, words, environment, lambda: self.alive)
        done = subprocess.run(self.command(host, words), check=False, env=dict(environment))
        return done.returncode if done.returncode >= 0 else 128 - done.returncode

    def read(self, host: str, words: list[str], environment: Mapping[str, str]) -> str:
        """Return what a program prints in a host; raises HolderError when it fails, OSError."""
        with tempfile.TemporaryFile() as output:
            standard = os.dup(1)
            os.dup2(output.fileno(), 1)
            try:
                status = self.run(host, words, environment)
            finally:
                os.dup2(standard, 1)
                os.close(standard)
            output.seek(0)
            text = output.read().decode("utf-8", "replace")
        if status:
            raise HolderError(f"{host}: {' '.join(words)} ended with status {status}")
        return text

    @property
    def alive(self) -> bool:
        """Whether the holder is still that process."""
        return _began(self.process) == self.began


#: Environment variable with the folder of these files: as root of a user namespace we still use
#: that of the user.
FOLDER = "KAMEXFRM_RIGS"


def folder() -> Path:
    """Return this user's folder for the files; it exists while a rig is up."""
    base = os.environ.get("XDG_RUNTIME_DIR") or ("/run" if os.geteuid() == 0 else "")
    path = Path(base) / "kamexfrm-rig" if base else Path(f"/tmp/kamexfrm-rig.{os.geteuid()}")  # noqa: S108
    path = Path(os.environ.get(FOLDER) or path)
    if path.exists() and path.stat().st_uid != os.geteuid():
        raise HolderError(f"{path} belongs to somebody else", errno=errno.EPERM)
    return path


def held() -> list[Held]:
    """Return all rigs that are up; files of holders that were killed are removed."""
    found = []
    for path in sorted(folder().glob("*.json")):
        with contextlib.suppress(OSError, ValueError, TypeError):
            rig = Held(**json.loads(path.read_text(encoding="utf-8")))
            if rig.alive:
                found.append(rig)
                continue
            path.unlink(missing_ok=True)
    return found


def find(name: str) -> Held:
    """Return the rig of that name, or the only one for an empty name; raises HolderError."""
    rigs = held()
    if not name and len(rigs) == 1:
        return rigs[0]
    for rig in rigs:
        if rig.name == name:
            return rig
    if not rigs:
        raise HolderError("no rig is up: kamexfrm rig up FILE makes one")
    names = ", ".join(rig.name for rig in rigs)
    raise HolderError(f"no rig is called {name}; up are {names}" if name else f"which? {names}")


@contextlib.contextmanager
def announced(rig: Held) -> Iterator[None]:
    """Let a rig of this process be found by its name for the ``with``."""
    path = folder() / f"{rig.name}.json"
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    reaper = Reaper('rm -f -- "$1"; rmdir -- "${1%/*}"', str(path))
    try:
        path.write_text(json.dumps(dataclasses.asdict(rig)), encoding="utf-8")
        yield
    finally:
        path.unlink(missing_ok=True)
        reaper.dismiss()
        with contextlib.suppress(OSError):
            path.parent.rmdir()  # if it was the last


def name_of(file: str) -> str:
    """Return the name of a rig that is called as its file."""
    return Path(file).name.removesuffix(".rig.toml")


def free_name(name: str) -> str:
    """Return a name that no rig that is up has."""
    taken = {rig.name for rig in held()}
    names = itertools.chain([name], (f"{name}-{number}" for number in itertools.count(2)))
    return next(one for one in names if one not in taken)


def mine(name: str, case: Case, hosts: dict[str, int], shared: str = "") -> Held:
    """Return a rig that this process holds."""
    return Held(name, identity(case), os.getpid(), _began(os.getpid()), hosts, shared)


def up(file: Path, case: str, name: str, prefix: list[str], kernel: str | None) -> Held:
    """Start a holder and wait until its hosts are there; raises HolderError.

    ``prefix`` goes before the command: unshare for an ordinary user. ``kernel`` is None for the
    running kernel, the file of a guest's, or empty for Debian's guest.
    """
    if any(rig.name == name for rig in held()):
        raise HolderError(f"{name} is up already", errno=errno.EEXIST)
    words = [*prefix, *python.module(_MODULE)]
    process = subprocess.Popen(
        [*words, str(file), case, name, *([] if kernel is None else [kernel])],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
        env={**os.environ, FOLDER: str(folder())},
    )
    output = process.stdout.read() if process.stdout else ""  # the holder closes it when it is up
    if output:
        process.wait()
        raise HolderError(output.strip(), errno=errno.EIO)
    return find(name)


def down(rig: Held) -> None:
    """End a rig and wait for its end; raises TimeoutError."""
    os.kill(rig.process, signal.SIGTERM)
    until(lambda: not rig.alive, 10.0, f"the end of {rig.name}")


def _began(process: int) -> str:
    """Return when a process began, in clock ticks since boot; empty when it has ended."""
    try:
        fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return ""
    return "" if fields[0] == "Z" else fields[19]


_ENDING = {signal.SIGTERM, signal.SIGINT}


def main(file: str, case_name: str, name: str, kernel: str | None = None) -> int:
    """Hold a rig; errors are printed on the output, which is closed when all is up."""
    case = _case(file, case_name)
    signal.pthread_sigmask(signal.SIG_BLOCK, _ENDING)
    try:
        if kernel is None:
            _hold_here(case, name)
        else:
            _hold_guest(case, name, kernel or None)
    except (KamexfrmError, OSError) as error:
        print(error)
        return 1
    return 0


def _case(file: str, name: str) -> Case:
    return next(one for one in read_file(file) if one.name == name)


def _raise(scene: Scene) -> None:
    scene.raise_hosts()
    for host in scene.case.hosts:
        furnish(scene, host)


def _hold_here(case: Case, name: str) -> None:
    with Scene(case) as scene:
        _raise(scene)
        hosts = {key: host.namespace.fileno() for key, host in scene.hosts.items()}
        with announced(mine(name, case, hosts)):
            _detach()
            signal.sigwait(_ENDING)


def _hold_guest(case: Case, name: str, program: str | None) -> None:
    """Boot a guest that holds the hosts, and serve it until it ends."""
    with WatchedFolder("kamexfrm-rig.") as watched:
        shared = watched.path
        words = [*python.module(_MODULE), "--inside", case.file, case.name, str(shared)]
        with Guest(words, share=shared, consoles=shared, timeout=None, program=program) as guest:
            while not (shared / "up").exists():
                if guest.poll() is not None:
                    output = guest.output("stdout") + guest.output("stderr")
                    raise HolderError(output.decode(errors="replace").strip(), errno=errno.EIO)
                time.sleep(0.02)  # poll: no file system event crosses from the guest
            with announced(mine(name, case, dict.fromkeys(case.hosts, 0), str(shared))):
                _detach()
                while signal.sigtimedwait(_ENDING, 0.5) is None and guest.poll() is None:
                    guest_channel.clean_up_after_killed(shared)


def inside(file: str, case_name: str, shared: str) -> int:
    """Hold the hosts inside the guest, and run commands in them, until the guest ends."""
    try:
        with Scene(_case(file, case_name)) as scene:
            _raise(scene)
            (Path(shared) / "up").touch()
            guest_channel.serve(Path(shared), scene.hosts, lambda: False)
    except (KamexfrmError, OSError) as error:
        print(error)
    return 1


def _detach() -> None:
    """Close the outputs: the waiting process reads end of file and knows that all is up."""
    nowhere = os.open(os.devnull, os.O_RDWR)
    for number in (1, 2):
        os.dup2(nowhere, number)


if __name__ == "__main__":
    if sys.argv[1] == "--inside":
        sys.exit(inside(*sys.argv[2:]))
    sys.exit(main(*sys.argv[1:]))
