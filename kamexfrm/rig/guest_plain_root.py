"""A writable root for a guest without a working overlayfs: what may be written is in memory.

A memory file system becomes the root. Folders of this machine are mounted into it as they are,
read-only. The places where programs write are memory file systems themselves: their folders are
mounted in turn, their files are copies. Linux 5.10 needs this: its overlayfs opens no file of a
hostfs.
"""

import glob
import os
import shlex
from collections.abc import Sequence
from pathlib import Path

#: Places where programs write, besides the working directory and the user's own folder; and where
#: the guest puts its modules.
_PLACES = (
    *("/etc", "/tmp", "/var", "/var/cache", "/var/lib", "/var/log", "/var/tmp"),  # noqa: S108
    *("/lib", "/usr", "/usr/lib"),
)

#: Mounted or made by the guest itself.
_OWN = frozenset({"/dev", "/mnt", "/proc", "/run", "/sys"})

#: Bytes of the largest file that is copied; a larger one is a link to the machine's.
_LARGEST = 1 << 20

#: Where the machine's own root is, for those links.
_MACHINE = "/.machine"


def write(folder: Path, places: Sequence[Path]) -> None:
    """Write ``root.mounts`` and ``root.sh``, which make the root at /mnt/root.

    ``places`` are folders to make writable besides the usual ones. What this process cannot read
    is left out.
    """
    script = ["umount -q /mnt/root", "mount -t tmpfs root /mnt/root || return"]
    # What others remove meanwhile, in /tmp, is none of ours.
    script += [f"mount -a -T {folder}/root.mounts 2> /dev/null", "[ -d /mnt/root/usr ] || return"]
    mounts = [f"/ /mnt/root{_MACHINE} none bind,X-mount.mkdir"]
    pytests = glob.glob("/tmp/pytest-of-*")  # noqa: S108 (where its tests' folders are made)
    names = ["/", *sorted({*_PLACES, *pytests, *(str(place.resolve()) for place in places)})]
    for place in names:
        if place in _OWN or not os.access(place, os.R_OK) or os.path.islink(place):
            continue
        if place != "/":
            mode = os.stat(place).st_mode & 0o7777
            mounts.append(f"above /mnt/root{_word(place)} tmpfs mode={mode:o}")
        _add(place, script, mounts)
    _write(folder / "root.mounts", "\n".join([*mounts, ""]))
    _write(folder / "root.sh", "\n".join([*script, "true", ""]))


def _add(place: str, script: list[str], mounts: list[str]) -> None:
    """Add what mounts a place's folders and copies its files."""
    copies: list[str] = []
    with os.scandir(place) as entries:
        for entry in sorted(entries, key=lambda entry: entry.name):
            target = f"/mnt/root{entry.path}"
            if entry.path in _OWN:
                script.append(f"mkdir -p {shlex.quote(target)}")
            elif entry.is_dir(follow_symlinks=False):
                mounts.append(f"{_word(entry.path)} {_word(target)} none bind,X-mount.mkdir")
            elif entry.is_symlink() or _is_small(entry):
                copies.append(shlex.quote(entry.path))
            elif entry.is_file(follow_symlinks=False):
                script.append(f"ln -s {shlex.quote(_MACHINE + entry.path)} {shlex.quote(target)}")
    if copies:
        target = shlex.quote(f"/mnt/root{place}")
        script.append(f"cp -a -- {' '.join(copies)} {target} 2> /dev/null")


def _is_small(entry: "os.DirEntry[str]") -> bool:
    readable = entry.is_file(follow_symlinks=False) and os.access(entry.path, os.R_OK)
    return readable and entry.stat(follow_symlinks=False).st_size <= _LARGEST


def _word(text: str) -> str:
    """Return a path in fstab(5)'s form: white space and backslashes in octal."""
    return "".join(f"\\{ord(c):03o}" if c in " \t\n\\" else c for c in text)


def _write(path: Path, text: str) -> None:
    path.write_bytes(os.fsencode(text))
