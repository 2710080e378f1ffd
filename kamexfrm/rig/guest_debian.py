"""Kernels of Debian's suites, fetched by apt into a cache of their own.

``debian:SUITE`` is User-Mode-Linux of a suite: 5.10 of bullseye, 6.1 of bookworm, 6.12 of trixie,
the newest of sid. ``debian-image:SUITE`` is the suite's kernel for real machines. Only this cache
is written to: the machine's sources of packages, its lists and its installed packages stay as they
are. A kernel that wants a newer libc than this machine's gets that of its suite.
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
_IMAGE_PREFIX = "debian-image:"

#: Who signs Debian's suites.
_KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg"

#: What is unpacked: the kernel, a libc, and a program that has the kernel use it.
_PACKAGES = ("user-mode-linux", "libc6", "patchelf", "libstdc++6", "libgcc-s1")


def is_named(word: str) -> bool:
    """Whether a word names a kernel of Debian's."""
    return word.startswith((_PREFIX, _IMAGE_PREFIX))


def fetch(word: str) -> Path:
    """Return a kernel of Debian's, from the cache or else by apt; raises GuestError."""
    suite = word.partition(":")[2]
    if not re.fullmatch(r"[a-z][a-z0-9-]*", suite):
        raise GuestError(f"{word}: a suite is wanted, as in debian:trixie", errno=errno.EINVAL)
    is_image = word.startswith(_IMAGE_PREFIX)
    folder = cache() / (f"{suite}-image" if is_image else suite)
    with _locked(folder):
        if not (folder / "complete").exists():
            _empty(folder)
            if is_image:
                _fetch_image(suite, folder)
            else:
                _fetch_user_mode_linux(suite, folder)
            (folder / "complete").touch()
    if not is_image:
        return _uml(folder)
    images = [*folder.glob("boot/vmlinuz-*"), *folder.glob("usr/lib/modules/*/vmlinuz")]
    if not images:
        raise GuestError(f"{word}: no kernel in {folder}", errno=errno.ENOENT)
    return images[-1]


def _uml(folder: Path) -> Path:
    return folder / "usr" / "bin" / "linux.uml"


def _fetch_user_mode_linux(suite: str, folder: Path) -> None:
    with _Apt(suite, folder) as apt:
        apt.unpack(_PACKAGES)
    _use_its_libc(_uml(folder), folder)
    for modules in (folder / "usr" / "lib" / "uml" / "modules").iterdir():
        list_modules(modules)


def _fetch_image(suite: str, folder: Path) -> None:
    with _Apt(suite, folder) as apt:
        apt.unpack(apt.packages_of_image())
    for modules in folder.glob("**/lib/modules/*/kernel"):
        list_modules(modules.parent)


def cache() -> Path:
    """Return the folder of fetched kernels."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "kamexfrm" / "kernels"


class _Apt:
    """Debian's packages of a suite, with lists of their own in a folder while it is entered."""

    def __init__(self, suite: str, folder: Path) -> None:
        self._suite = suite
        self._folder = folder
        self._state = folder / "apt"
        self._what = f"the kernel of Debian's suite {suite}"

    def __enter__(self) -> "_Apt":
        (self._state / "lists" / "partial").mkdir(parents=True)
        (self._state / "packages").mkdir()
        source = f"deb [signed-by={_KEYRING}] {_mirror()} {self._suite} main\n"
        (self._state / "sources.list").write_text(source)
        self._run("apt-get", "update")
        return self

    def __exit__(self, *_: object) -> None:
        shutil.rmtree(self._state)

    def _run(self, program: str, *words: str) -> str:
        state = self._state
        options = [
            f"Dir::Etc::sourcelist={state}/sources.list",
            "Dir::Etc::sourceparts=/dev/null",
            f"Dir::State::lists={state}/lists",
            "Dir::State::status=/dev/null",
            "Dir::Cache::pkgcache=",
            "Dir::Cache::srcpkgcache=",
            "APT::Sandbox::User=",
            "Acquire::Languages=none",
            # A mirror may stand still for longer than the lists of sid are valid.
            "Acquire::Check-Valid-Until=false",
        ]
        with_options = [word for option in options for word in ("-o", option)]
        return _run([program, "-qq", *with_options, *words], self._what, state / "packages")

    def unpack(self, packages: Sequence[str]) -> None:
        """Unpack packages into the folder; raises GuestError."""
        self._run("apt-get", "download", *packages)
        for package in sorted((self._state / "packages").glob("*.deb")):
            _run(["dpkg-deb", "-x", str(package), str(self._folder)], self._what, self._state)

    def packages_of_image(self) -> list[str]:
        """Return the packages that a suite's kernel for this architecture is in."""
        here = _run(["dpkg", "--print-architecture"], self._what, self._state).strip()
        only = ("recommends", "suggests", "conflicts", "breaks", "replaces", "enhances")
        words = ["depends", "--recurse", *(f"--no-{word}" for word in only)]
        text = self._run("apt-cache", *words, f"linux-image-{here}")
        return re.findall(r"^(linux-(?:image|binary|modules)-\d\S*)$", text, re.MULTILINE)


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
        # Before the first apt-get update an archive has no origin yet.
        is_debian = origin == "Debian" or (not origin and address.rstrip("/").endswith("/debian"))
        if is_debian and "security" not in address:
            return address
    raise GuestError("apt-get knows no archive of Debian: name one in its sources")


def _run(words: Sequence[str], what: str, folder: Path) -> str:
    """Run a program in a folder and return its output; raises GuestError with its last words."""
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
    return done.stdout


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
