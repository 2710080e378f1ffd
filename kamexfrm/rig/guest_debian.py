"""Kernels of Debian's suites, fetched by apt into a cache of their own.

``debian:SUITE`` is User-Mode-Linux of a suite: 5.10 of bullseye, 6.1 of bookworm, 6.12 of trixie,
the newest of sid. Only this cache is written to: the machine's sources of packages, its lists and
its installed packages stay as they are. A kernel that wants a newer libc than this machine's gets
that of its suite.
"""

import contextlib
import errno
import fcntl
import os
import re
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path

from kamexfrm.rig.guest_error import GuestError

_PREFIX = "debian:"

#: Who signs Debian's suites.
_KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg"

#: What is unpacked: the kernel, a libc, and a program that has the kernel use it.
_PACKAGES = ("user-mode-linux", "libc6", "patchelf", "libstdc++6", "libgcc-s1")


def suite_of(word: str) -> str:
    """Return the suite of ``debian:SUITE``, "" for another word; raises GuestError."""
    if not word.startswith(_PREFIX):
        return ""
    suite = word.removeprefix(_PREFIX)
    if not re.fullmatch(r"[a-z][a-z0-9-]*", suite):
        raise GuestError(f"{word}: a suite is wanted, as in debian:trixie", errno=errno.EINVAL)
    return suite


def user_mode_linux(suite: str) -> Path:
    """Return a suite's User-Mode-Linux, from the cache or else from Debian; raises GuestError."""
    folder = cache() / suite
    program = folder / "usr" / "bin" / "linux.uml"
    with _locked(folder):
        if not (folder / "complete").exists():
            _empty(folder)
            unpack(suite, _PACKAGES, folder)
            _use_its_libc(program, folder)
            for modules in (folder / "usr" / "lib" / "uml" / "modules").iterdir():
                list_modules(modules)
            (folder / "complete").touch()
    return program


def cache() -> Path:
    """Return the folder of fetched kernels."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "kamexfrm" / "kernels"


def unpack(suite: str, packages: Sequence[str], folder: Path) -> None:
    """Unpack packages of a Debian suite into a folder; raises GuestError."""
    state = folder / "apt"
    (state / "lists" / "partial").mkdir(parents=True)
    (state / "packages").mkdir()
    source = f"deb [signed-by={_KEYRING}] {_mirror()} {suite} main\n"
    (state / "sources.list").write_text(source)
    apt = [
        "apt-get", "-qq",
        "-o", f"Dir::Etc::sourcelist={state}/sources.list",
        "-o", "Dir::Etc::sourceparts=/dev/null",
        "-o", f"Dir::State::lists={state}/lists",
        "-o", "Dir::State::status=/dev/null",
        "-o", "Dir::Cache::pkgcache=",
        "-o", "Dir::Cache::srcpkgcache=",
        "-o", "APT::Sandbox::User=",
        "-o", "Acquire::Languages=none",
    ]  # fmt: skip
    what = f"the kernel of Debian's suite {suite}"
    _run([*apt, "update"], what, state)
    _run([*apt, "download", *packages], what, state / "packages")
    for package in sorted((state / "packages").glob("*.deb")):
        _run(["dpkg-deb", "-x", str(package), str(folder)], what, state)
    shutil.rmtree(state)


def list_modules(modules: Path) -> None:
    """Write ``modules.dep`` and its like for a folder of modules; raises GuestError."""
    tree = modules.parent / "tree"
    (tree / "lib").mkdir(parents=True)
    (tree / "lib" / "modules").symlink_to(modules.parent)
    _run(["depmod", "-b", str(tree), modules.name], f"the modules {modules.name}", tree)
    shutil.rmtree(tree)


def _use_its_libc(program: Path, folder: Path) -> None:
    """Have a program use the libc unpacked beside it, when this machine's is too old for it."""
    if not subprocess.run([program, "--version"], check=False, capture_output=True).returncode:
        return
    loader = next(iter(sorted(folder.glob("**/ld-linux-*.so.*"))), None)
    libc = next((path.parent for path in folder.glob("**/libc.so.6")), None)
    libraries = next((path.parent for path in folder.glob("**/libstdc++.so.6")), None)
    if loader is None or libc is None:
        raise GuestError(f"{program} does not run here, and there is no libc for it")
    _run(
        [
            str(loader), "--library-path", f"{libc}:{libraries}", f"{folder}/usr/bin/patchelf",
            "--set-interpreter", str(loader), "--set-rpath", str(libc), str(program),
        ],
        f"{program} with its libc",
        folder,
    )  # fmt: skip


def _mirror() -> str:
    """Return the address of Debian's packages that this machine's apt uses; raises GuestError."""
    if shutil.which("apt-get") is None:
        raise GuestError("kernels of Debian's suites are fetched by apt-get", errno=errno.ENOENT)
    words = ["apt-get", "indextargets", "--format", "$(ORIGIN) $(REPO_URI)", "Created-By: Packages"]
    done = subprocess.run(words, check=False, capture_output=True, text=True)
    for line in done.stdout.splitlines():
        origin, _, address = line.partition(" ")
        if origin == "Debian" and "security" not in address:
            return address
    return "http://deb.debian.org/debian"


def _run(words: Sequence[str], what: str, folder: Path) -> None:
    """Run a program in a folder; raises GuestError with its last words."""
    environment = {**os.environ, "PATH": f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"}
    try:
        done = subprocess.run(
            words,
            check=False,
            cwd=folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
    except OSError as error:
        raise GuestError(f"{what}: {words[0]}: {error.strerror}", errno=error.errno) from None
    if done.returncode:
        last = [line for line in done.stdout.splitlines() if line.strip()][-3:]
        raise GuestError(f"{what}: {words[0]} failed: {'; '.join(last) or done.returncode}")


@contextlib.contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Keep other processes from fetching the same; raises GuestError."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with (folder / "lock").open("w") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield
    except OSError as error:
        raise GuestError(f"{folder}: {error.strerror}", errno=error.errno or errno.EIO) from None


def _empty(folder: Path) -> None:
    """Remove what a fetch left that was stopped."""
    for entry in folder.iterdir():
        if entry.name != "lock":
            if entry.is_dir() and not entry.is_symlink():
                shutil.rmtree(entry)
            else:
                entry.unlink()
