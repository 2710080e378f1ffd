"""System calls for which Python 3.11 has no function: seccomp, capget, pidfd_getfd, prctl...

Each raises OSError. Numbers: Linux arch/x86/entry/syscalls/syscall_64.tbl and asm-generic/unistd.h
(aarch64, riscv64); the ones above 423 are the same everywhere.
"""

import ctypes
import errno
import os
import struct
from typing import NamedTuple

_CLONE_NEWUSER = 0x10000000
_PR_SET_NO_NEW_PRIVS = 38
_PIDFD_GETFD = 438
_CAPABILITY_VERSION_3 = 0x20080522
#: struct __user_cap_header_struct, and two of __user_cap_data_struct: effective, permitted,
#: inheritable, 32 capabilities each.
_CAPABILITY_HEADER = struct.Struct("=Ii")
_CAPABILITY_DATA = struct.Struct("=6I")

_IOVEC = struct.Struct("=QQ")  # struct iovec: address, length
_ADDRESSES = (1 << 64) - 1

_capabilities = ctypes.create_string_buffer(_CAPABILITY_DATA.size)

_libc = ctypes.CDLL(None, use_errno=True)
_libc.syscall.restype = ctypes.c_long
_libc.process_vm_writev.restype = ctypes.c_ssize_t


class Machine(NamedTuple):
    """An architecture's number (linux/audit.h), and its numbers of system calls."""

    audit: int
    socket: int
    setsockopt: int
    sendto: int
    recvfrom: int
    sendmsg: int
    recvmsg: int
    write: int
    writev: int
    seccomp: int
    ppoll: int
    getsockopt: int
    #: 0 where a C library makes poll(2) of ppoll(2).
    poll: int = 0
    #: The first number of a second table in the same architecture (x32), 0 for none.
    other_table: int = 0


_GENERIC = (198, 208, 206, 207, 211, 212, 64, 66, 277, 73, 209)

#: By the name that uname(2) gives.
MACHINES = {
    "x86_64": Machine(
        0xC000003E, 41, 54, 44, 45, 46, 47, 1, 20, 317, 271, 55, poll=7, other_table=0x40000000
    ),
    "aarch64": Machine(0xC00000B7, *_GENERIC),
    "riscv64": Machine(0xC00000F3, *_GENERIC),
}


def machine() -> Machine:
    """Return the numbers of the running machine; raises OSError (ENOSYS) where none are known."""
    name = os.uname().machine
    found = MACHINES.get(name)
    if found is None or struct.calcsize("P") != 8:
        raise OSError(errno.ENOSYS, f"system calls of a {name} with this Python are not known")
    return found


def error(number: int) -> OSError:
    """Return the error of an errno."""
    return OSError(number, os.strerror(number))


def _checked(result: int) -> int:
    if result < 0:
        raise error(ctypes.get_errno())
    return result


def call(number: int, *arguments: int) -> int:
    """Make a system call of integers and addresses; return its result."""
    return _checked(_libc.syscall(*map(ctypes.c_long, (number, *arguments))))


def address(buffer: "bytearray | ctypes.Array[ctypes.c_char]") -> int:
    """Return the address of a buffer, valid as long as the caller keeps it."""
    if isinstance(buffer, bytearray):
        return ctypes.addressof(ctypes.c_char.from_buffer(buffer))
    return ctypes.addressof(buffer)


def set_no_new_privileges() -> None:
    """Set no_new_privs, which ends setuid and file capabilities, here and in all children."""
    _checked(_libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))


def effective_capabilities(tid: int) -> int:
    """Return a thread's effective capabilities, one bit each (capget(2))."""
    _checked(_libc.capget(_CAPABILITY_HEADER.pack(_CAPABILITY_VERSION_3, tid), _capabilities))
    low, _, _, high, _, _ = _CAPABILITY_DATA.unpack(_capabilities)
    return int(low | high << 32)


def pidfd_getfd(pidfd: int, number: int) -> int:
    """Return a duplicate of another process's descriptor."""
    return call(_PIDFD_GETFD, pidfd, number, 0)


def write_memory(tid: int, where: int, data: bytes) -> int:
    """Write to a thread's memory (process_vm_writev(2)); return how many bytes were written.

    The protection of its pages counts, which it does not for /proc/PID/mem.
    """
    buffer = ctypes.create_string_buffer(data, len(data))
    here = ctypes.create_string_buffer(_IOVEC.pack(address(buffer), len(data)))
    there = ctypes.create_string_buffer(_IOVEC.pack(where & _ADDRESSES, len(data)))
    arguments = map(ctypes.c_ulong, (tid, address(here), 1, address(there), 1, 0))
    return _checked(_libc.process_vm_writev(*arguments))


def enter_user_namespace(descriptor: int) -> None:
    """Put this process, of one thread, into a user namespace for good (setns(2))."""
    _checked(_libc.setns(descriptor, _CLONE_NEWUSER))


def set_file_owner(uid: int, gid: int) -> None:
    """Set the owner and group of what the calling thread makes (setfsuid(2), setfsgid(2)).

    These calls report no failure: without the right to it, nothing changes.
    """
    _libc.setfsgid(gid)
    _libc.setfsuid(uid)
