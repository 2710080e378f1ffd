"""Starts the guest's kernel where it can write to its own folders only.

A guest's root can mount any folder of this machine (hostfs), and its kernel is an ordinary
process here. So that process gets a mount namespace in which all is read-only but the folders
named, in a user namespace of its own: it has no rights over processes outside, whose
``/proc/PID/root`` would lead to the writable mounts. Its memory is in a file system of its own.

It runs as a program, ``FOLDER SHARED... -- PROGRAM WORD...``, and becomes PROGRAM.
"""

import ctypes
import os
import sys
from collections.abc import Sequence

#: The folder below the guest's where its memory is.
MEMORY = "memory"

# <linux/sched.h>, <linux/mount.h>, <linux/fcntl.h>, <linux/prctl.h>
_CLONE_NEWNS, _CLONE_NEWUSER = 0x20000, 0x10000000
_MOUNT_ATTR_RDONLY, _MS_PRIVATE = 1, 1 << 18
_OPEN_TREE_CLONE, _AT_RECURSIVE, _AT_FDCWD = 1, 0x8000, -100
_MOVE_MOUNT_F_EMPTY_PATH = 4
_PR_CAPBSET_DROP, _PR_SET_NO_NEW_PRIVS = 24, 38

# Since 5.1 a system call has one number on all architectures but Alpha.
_SYS_OPEN_TREE, _SYS_MOVE_MOUNT, _SYS_MOUNT_SETATTR = 428, 429, 442

#: What root keeps, from <linux/capability.h>: CHOWN, DAC_OVERRIDE, DAC_READ_SEARCH, FOWNER and
#: FSETID, so that the guest reads all files and gives those in its folders any owner.
_KEPT = frozenset(range(5))
_LAST_CAPABILITY = 63

_libc = ctypes.CDLL(None, use_errno=True)


class _MountAttributes(ctypes.Structure):
    """The ``struct mount_attr`` of mount_setattr(2)."""

    _fields_ = [  # as ctypes wants it
        ("set", ctypes.c_uint64),
        ("clear", ctypes.c_uint64),
        ("propagation", ctypes.c_uint64),
        ("user_namespace", ctypes.c_uint64),
    ]


def confine(writable: Sequence[str], memory: str) -> None:
    """Leave this process only the folders ``writable`` to write to; raises OSError.

    ``memory`` is a folder in one of them that gets a memory file system.
    """
    _enter_namespaces()
    trees = [
        _call(
            f"open_tree {path}",
            _libc.syscall(
                _SYS_OPEN_TREE, _AT_FDCWD, os.fsencode(path), _OPEN_TREE_CLONE | _AT_RECURSIVE
            ),
        )
        for path in writable
    ]
    attributes = _MountAttributes(set=_MOUNT_ATTR_RDONLY, propagation=_MS_PRIVATE)
    size = ctypes.sizeof(attributes)
    _call(
        "mount_setattr /",
        _libc.syscall(
            _SYS_MOUNT_SETATTR, _AT_FDCWD, b"/", _AT_RECURSIVE, ctypes.byref(attributes), size
        ),
    )
    for path, tree in zip(writable, trees, strict=True):
        _call(
            f"move_mount {path}",
            _libc.syscall(
                _SYS_MOVE_MOUNT, tree, b"", _AT_FDCWD, os.fsencode(path), _MOVE_MOUNT_F_EMPTY_PATH
            ),
        )
        os.close(tree)
    os.chdir("/")
    _call(f"mount {memory}", _libc.mount(b"memory", os.fsencode(memory), b"tmpfs", 0, b"mode=700"))
    _drop_rights()


def _enter_namespaces() -> None:
    """Enter a new user and mount namespace, with the same users; raises OSError."""
    user, group = os.geteuid(), os.getegid()
    if user:
        _call("unshare", _libc.unshare(_CLONE_NEWUSER | _CLONE_NEWNS))
        _write("/proc/self/setgroups", "deny")
        _write("/proc/self/uid_map", f"{user} {user} 1")
        _write("/proc/self/gid_map", f"{group} {group} 1")
        return
    ready, go = os.pipe()
    process = os.getpid()
    child = os.fork()
    if child == 0:  # only a process outside may map all users
        os.close(go)
        os.read(ready, 1)
        os._exit(_map_all_users(process))
    os.close(ready)
    number = _libc.unshare(_CLONE_NEWUSER | _CLONE_NEWNS) and ctypes.get_errno()
    os.close(go)
    mapped = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    if number:  # no user namespaces: root can do with a mount namespace
        _call("unshare", _libc.unshare(_CLONE_NEWNS))
    elif not mapped:
        raise PermissionError("cannot map the users")


def _map_all_users(process: int) -> int:
    """Map every user and group of ours to itself in a process's namespace; return 1 on failure."""
    if os.readlink(f"/proc/{process}/ns/user") == os.readlink("/proc/self/ns/user"):
        return 1
    try:
        for name in ("uid_map", "gid_map"):
            with open(f"/proc/self/{name}", encoding="ascii") as file:
                rows = [line.split() for line in file]
            text = "".join(f"{first} {first} {count}\n" for first, _, count in rows)
            _write(f"/proc/{process}/{name}", text)
    except OSError:
        return 1
    return 0


def _drop_rights() -> None:
    """Give up what could undo this; an ordinary user's rights end with the next program."""
    if os.geteuid() == 0:
        for capability in range(_LAST_CAPABILITY + 1):
            # The kernel does not know the last of them.
            if capability not in _KEPT and _libc.prctl(_PR_CAPBSET_DROP, capability, 0, 0, 0):
                break
    _call("prctl", _libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))


def _write(path: str, text: str) -> None:
    with open(path, "w", encoding="ascii") as file:
        file.write(text)


def _call(what: str, result: int) -> int:
    """Return a system call's result; raises OSError with its name when it failed."""
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")
    return result


def main(words: list[str]) -> int:
    """Confine this process and run the program; return only on failure."""
    end = words.index("--")
    folder, program = words[0], words[end + 1 :]
    memory = os.path.join(folder, MEMORY)
    try:
        confine(words[:end], memory)
        os.execve(program[0], program, {**os.environ, "TMPDIR": memory})  # noqa: S606
    except OSError as error:
        reason = error.strerror or str(error)
        print(
            f"the guest's kernel cannot be kept from writing to this machine ({reason}): allow"
            " user namespaces, or set KAMEXFRM_GUEST_UNCONFINED=1 to go without"
        )
    return 126


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
