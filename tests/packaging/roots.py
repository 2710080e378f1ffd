"""Fresh Debian systems in folders: made by debootstrap once a suite, entered by pivot_root.

Each :class:`Root` is a memory of changes above the suite's base, which stays as it was made. What
runs there has its own mounts and processes; a plain chroot(2) cannot make user namespaces.
"""

import contextlib
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.packaging.results import ROOT

SUITES = ("bookworm", "trixie")
NAMES = {"bullseye": "Debian 11", "bookworm": "Debian 12", "trixie": "Debian 13"}
PACKAGES = "ca-certificates,git,make,python3"
_FOLDER = ROOT / "build" / "roots"
_CERTIFICATES = "/etc/ssl/certs/ca-certificates.crt"

#: Makes the mounts, enters the root and runs what follows. A proxy of this machine's may have a
#: certificate of its own, so that its certificates are the root's, too.
_ENTER = f"""
base=$1 changes=$2 cache=$3; shift 3
mount --make-rprivate /
root=$changes/root
mount -t overlay overlay -o "lowerdir=$base,upperdir=$changes/upper,workdir=$changes/work" "$root"
mount --rbind /dev "$root/dev"
mount -t proc proc "$root/proc"
mount -t sysfs sysfs "$root/sys"
mount -t tmpfs tmpfs "$root/tmp" -o mode=1777
mount -t tmpfs tmpfs "$root/run" -o mode=755
mount --bind "$cache" "$root/var/cache/apt/archives"
cp -L /etc/resolv.conf /etc/hosts "$root/etc/"
[ ! -e {_CERTIFICATES} ] || cp -L {_CERTIFICATES} "$root{_CERTIFICATES}"
cd "$root"
mkdir -p .before
pivot_root . .before
umount -l .before
rmdir .before
cd /root
exec env -i HOME=/root LANG=C.UTF-8 TERM=xterm DEBIAN_FRONTEND=noninteractive \\
    PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \\
    PIP_CERT={_CERTIFICATES} NODE_EXTRA_CA_CERTS={_CERTIFICATES} "$@"
"""


class Root:
    """A fresh system of a suite; what changes in it is gone when it is closed."""

    def __init__(self, suite: str) -> None:
        self.suite = suite
        self.base = base(suite)
        self._kept = _FOLDER / f"{suite}-packages"
        self._kept.mkdir(parents=True, exist_ok=True)
        self.changes = Path(tempfile.mkdtemp(prefix=f"{suite}-", dir=_FOLDER))
        # Packages that were fetched before; apt locks its folder, so each root has one of its own.
        self._cache = self.changes / "packages"
        (self._cache / "partial").mkdir(parents=True)
        _link(self._kept, self._cache)
        for name in ("upper", "work", "root"):
            (self.changes / name).mkdir()
        self.changes.chmod(0o755)
        (self.changes / "upper").chmod(0o755)
        # A mirror may stand still for longer than the lists of sid are valid.
        self.run("apt-get -q -o Acquire::Check-Valid-Until=false update")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Forget the changes, but for the packages that were fetched."""
        _link(self._cache, self._kept)
        shutil.rmtree(self.changes)

    @property
    def files(self) -> Path:
        """The folder of what was changed or added, for copying to and from the root."""
        return self.changes / "upper"

    def run(self, script: str, *, log: Path | None = None) -> str:
        """Run a script of bash as root; return its output. SystemExit where it fails."""
        command = ["unshare", "--mount", "--pid", "--ipc", "--uts", "--fork", "--kill-child"]
        command += ["sh", "-eu", "-c", _ENTER, "enter", str(self.base), str(self.changes)]
        command += [str(self._cache), "bash", "-euo", "pipefail", "-c", script]
        done = subprocess.run(
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
        )
        if log:
            log.write_text(done.stdout)
        if done.returncode:
            lines = done.stdout.splitlines()[-60:]
            sys.exit("\n".join((f"{self.suite}: status {done.returncode} of", script, *lines)))
        return done.stdout

    def install(self, packages: str) -> None:
        """Install Debian's packages."""
        self.run(f"apt-get -q -y install --no-install-recommends {packages}")

    def take_sources(self) -> None:
        """Copy the sources to /root/kamexfrm."""
        copy_sources(self.files / "root" / "kamexfrm")


def _link(source: Path, target: Path) -> None:
    """Put the packages of a folder into another one as well."""
    for path in source.glob("*.deb"):
        with contextlib.suppress(FileExistsError):
            os.link(path, target / path.name)


def copy_sources(place: Path) -> None:
    """Copy what git tracks, or would, to a new folder."""
    command = ["git", "-C", str(ROOT), "ls-files", "-z", "-co", "--exclude-standard"]
    listing = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout
    for name in filter(None, listing.split("\0")):
        if (ROOT / name).exists() or (ROOT / name).is_symlink():
            (place / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, place / name, follow_symlinks=False)


def base(suite: str) -> Path:
    """Return the folder of a suite's base, made now where it is not there."""
    folder = _FOLDER / suite
    if not folder.exists():
        _FOLDER.mkdir(parents=True, exist_ok=True)
        new = folder.with_suffix(".new")
        shutil.rmtree(new, ignore_errors=True)
        command = ["debootstrap", "--variant=minbase", f"--include={PACKAGES}", suite]
        with (_FOLDER / f"{suite}.log").open("w") as log:
            subprocess.run([*command, str(new)], stdout=log, check=True)
        new.rename(folder)
    return folder
