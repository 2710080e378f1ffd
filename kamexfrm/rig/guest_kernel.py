"""Which kernel a guest runs, and where its modules are.

A kernel is named by a word, as in ``--kernel``: the path of a User-Mode-Linux kernel, which is a
program; the path of a kernel for real machines (``vmlinuz``), which QEMU runs; or
``debian:SUITE`` and ``debian-image:SUITE``, those of a Debian suite (``guest_debian``).
"""

import errno
import os
import shutil
import subprocess
from pathlib import Path
from typing import NamedTuple

from kamexfrm.rig import guest_debian, guest_qemu
from kamexfrm.rig.guest_error import GuestError

#: Environment variable with the word for guests that name no kernel.
KERNEL = "KAMEXFRM_GUEST_KERNEL"

#: Debian's user-mode-linux: the kernel, a program, and where its modules are.
PROGRAM = "linux.uml"
MODULES = Path("/usr/lib/uml/modules")

#: Where "HdrS" is in a kernel for PCs, and the magic number of one for ARM (boot protocols in
#: Linux Documentation/arch/x86/boot.rst and arm64/booting.rst).
_MAGIC = ((0x202, b"HdrS"), (56, b"ARM\x64"))


class GuestKernel(NamedTuple):
    """A kernel: its file, the folder of its modules, whether QEMU is what runs it."""

    program: str
    modules: Path | None
    emulated: bool = False


def find(word: str | os.PathLike[str] | None) -> GuestKernel:
    """Return the kernel that a word names, the installed one for None.

    Raises GuestError if there is none.
    """
    word = os.environ.get(KERNEL, "") if word is None else os.fspath(word)
    if not word:
        program = shutil.which(PROGRAM)
        if program is None:
            raise GuestError(f"no {PROGRAM} in PATH: install user-mode-linux", errno=errno.ENOENT)
        return GuestKernel(program, _installed_modules(program))
    path = guest_debian.fetch(word) if guest_debian.is_named(word) else Path(word)
    program = str(path.resolve())
    if not os.path.isfile(program):
        wanted = "" if "/" in word else ": debian:SUITE, or the path of a kernel, is wanted"
        raise GuestError(f"{word} is no program{wanted}", errno=errno.ENOENT)
    if _is_for_machines(program):
        return GuestKernel(program, _modules_of_machine(program), emulated=True)
    if not os.access(program, os.X_OK):
        raise GuestError(f"{word} is no program", errno=errno.ENOEXEC)
    return GuestKernel(program, _modules_beside(program))


def _is_for_machines(path: str) -> bool:
    try:
        with open(path, "rb") as file:
            begin = file.read(0x206)
    except OSError as error:
        raise GuestError(f"{path}: {error.strerror}", errno=error.errno or errno.EIO) from None
    return any(begin[place : place + 4] == magic for place, magic in _MAGIC)


def _installed_modules(program: str) -> Path:
    """Return the modules of Debian's installed kernel; raises GuestError when it has none."""
    folders = [path.parent for path in sorted(MODULES.glob("*/modules.dep"))]
    if not folders:
        raise GuestError(f"nothing in {MODULES}: install user-mode-linux", errno=errno.ENOENT)
    if len(folders) > 1:
        version = version_of(program)
        folders = [folder for folder in folders if folder.name == version] or folders
    return folders[-1]


def _modules_beside(program: str) -> Path | None:
    """Return the modules of a kernel given by its path; None when they are built in.

    They are in ``modules/VERSION`` beside it, in ``../lib/uml/modules`` as in Debian's package, or
    where Debian's installed ones are.
    """
    version = version_of(program)
    folder = Path(program).parent
    for place in (folder / "modules", folder.parent / "lib" / "uml" / "modules", MODULES):
        if (place / version / "modules.dep").exists():
            return place / version
    return None


def _modules_of_machine(program: str) -> Path | None:
    """Return the modules of a ``vmlinuz``: beside it, in its tree, or this machine's."""
    version = guest_qemu.version_of(program)
    folder = Path(program).parent
    trees = (folder.parent, folder.parent / "usr", Path("/"))
    places = [folder, *(tree / "lib" / "modules" / version for tree in trees)]
    return next((place for place in places if (place / "modules.dep").exists()), None)


def version_of(program: str) -> str:
    """Return a User-Mode-Linux kernel's version; raises GuestError for another program."""
    try:
        done = subprocess.run(
            [program, "--version"], check=True, capture_output=True, text=True, timeout=10
        )
    except (OSError, subprocess.SubprocessError) as error:
        raise GuestError(f"{program} --version: {error}") from None
    return done.stdout.strip()
