"""Rigs that stay: a process of their own holds the hosts until it is told to end.

What is kept on disk is one small file a rig, for ``ls`` and ``enter`` to find the holder by; the
hosts themselves have no names and go with the holder, however it ends.
"""

import contextlib
import dataclasses
import errno
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

from kamexfrm.errors import KamexfrmError
from kamexfrm.rig.condition import until
from kamexfrm.rig.scenario.document import read_file
from kamexfrm.rig.scenario.report import identity
from kamexfrm.rig.scenario.result import StepFailed
from kamexfrm.rig.scenario.scene import Scene


class HolderError(KamexfrmError):
    """A rig that is not there, or did not come up."""

    errno = errno.ESRCH


@dataclasses.dataclass(frozen=True, slots=True)
class Held:
    """A rig that is up: its holder's process, when that began, and its hosts' namespaces."""

    name: str
    case: str
    process: int
    began: str
    hosts: dict[str, int]

    def command(self, host: str, words: list[str]) -> list[str]:
        """Return the command that runs ``words`` in a host; raises HolderError."""
        if host not in self.hosts:
            raise HolderError(f"{self.name} has no host {host}: there is {', '.join(self.hosts)}")
        base = f"/proc/{self.process}"
        enter = ["nsenter", f"--net={base}/fd/{self.hosts[host]}"]
        if os.readlink(f"{base}/ns/user") != os.readlink("/proc/self/ns/user"):
            enter += [f"--user={base}/ns/user", "--preserve-credentials"]
        return [*enter, "--", *words]

    @property
    def alive(self) -> bool:
        """Whether the holder is still that process."""
        return _began(self.process) == self.began


def folder() -> Path:
    """Return this user's folder for the files, made if it is not there."""
    base = os.environ.get("XDG_RUNTIME_DIR") or ("/run" if os.geteuid() == 0 else "")
    path = Path(base) / "kamexfrm-rig" if base else Path(f"/tmp/kamexfrm-rig.{os.geteuid()}")  # noqa: S108
    path.mkdir(mode=0o700, parents=True, exist_ok=True)
    if path.stat().st_uid != os.geteuid():
        raise HolderError(f"{path} belongs to somebody else", errno=errno.EPERM)
    return path


def held() -> list[Held]:
    """Return all rigs that are up; files of holders that were killed are taken away."""
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
    """Return a rig by its name, or the only one for an empty name; raises HolderError."""
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


def up(file: Path, case: str, name: str, prefix: list[str]) -> Held:
    """Start a holder and wait until its hosts are there; raises HolderError.

    ``prefix`` goes before the command: unshare for an ordinary user.
    """
    if any(rig.name == name for rig in held()):
        raise HolderError(f"{name} is up already", errno=errno.EEXIST)
    words = [*prefix, sys.executable, "-m", "kamexfrm.rig.scenario.holder"]
    process = subprocess.Popen(
        [*words, str(file), case, name, str(folder())],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    said = process.stdout.read() if process.stdout else ""  # it closes it when it is up
    if said:
        process.wait()
        raise HolderError(said.strip(), errno=errno.EIO)
    return find(name)


def down(rig: Held) -> None:
    """End a rig and wait until it is gone; raises TimeoutError."""
    os.kill(rig.process, signal.SIGTERM)
    until(lambda: not rig.alive, 10.0, f"the end of {rig.name}")
    (folder() / f"{rig.name}.json").unlink(missing_ok=True)
    with contextlib.suppress(OSError):
        folder().rmdir()  # when it was the last


def _began(process: int) -> str:
    """Return when a process began, in clock ticks since boot; empty when it is gone."""
    try:
        fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return ""
    return "" if fields[0] == "Z" else fields[19]


def main(file: str, case_name: str, name: str, where: str) -> int:
    """Hold a rig: what goes wrong is said on the output, which is closed when all is up."""
    from kamexfrm.rig.scenario.runner import furnish

    case = next(one for one in read_file(file) if one.name == case_name)
    path = Path(where) / f"{name}.json"
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM, signal.SIGINT})
    try:
        with Scene(case) as scene:
            scene.raise_hosts()
            for host in case.hosts:
                furnish(scene, host)
            hosts = {key: host.namespace.fileno() for key, host in scene.hosts.items()}
            rig = Held(name, identity(case), os.getpid(), _began(os.getpid()), hosts)
            path.write_text(json.dumps(dataclasses.asdict(rig)), encoding="utf-8")
            nowhere = os.open(os.devnull, os.O_RDWR)
            for number in (1, 2):
                os.dup2(nowhere, number)
            signal.sigwait({signal.SIGTERM, signal.SIGINT})
    except (StepFailed, KamexfrmError, OSError) as error:
        print(error)
        return 1
    finally:
        path.unlink(missing_ok=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
