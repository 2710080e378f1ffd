"""The caller of a system call: what /proc and the namespaces show of a thread, and its rights.

All that is read here holds only if the call still waits afterwards (Listener.check()): then its
thread was there, and did nothing else, all the time. Sources: ioctl_ns(2), user_namespaces(7),
Linux security/commoncap.c cap_capable().
"""

import errno
import fcntl
import os
from typing import NamedTuple

from kamexfrm.exec import system
from kamexfrm.kernel.namespace import name_of

CAP_NET_ADMIN, CAP_NET_RAW = 12, 13

NS_GET_USERNS, NS_GET_PARENT, NS_GET_OWNER_UID = 0xB701, 0xB702, 0xB704
_SIOCGSKNS = 0x894C
_PIDFD_THREAD = os.O_EXCL
#: What the kernel shows for a user that is not mapped in our user namespace.
_NOBODY = 65534


class UserNamespace(NamedTuple):
    """A user namespace: its name, and the user who made it."""

    name: str
    owner: int


class Owners(NamedTuple):
    """The user namespace that owns a network namespace, and its ancestors as far as we see.

    They are the same for as long as the network namespace lives.
    """

    chain: tuple[UserNamespace, ...]


def _socket_inode(path: str) -> int:
    kind, _, inode = os.readlink(path).partition(":")
    return int(inode[1:-1]) if kind == "socket" else 0


def owners(namespace: int) -> Owners:
    """Return the owners of a network namespace (a descriptor).

    The chain is empty where the owner is not our own user namespace or a descendant of it. Raises
    OSError.
    """
    chain = []
    try:
        current = fcntl.ioctl(namespace, NS_GET_USERNS)
    except PermissionError:
        return Owners(())
    while True:
        try:
            owner = bytearray(4)
            fcntl.ioctl(current, NS_GET_OWNER_UID, owner)
            chain.append(UserNamespace(name_of("user", current), int.from_bytes(owner, "little")))
            try:
                parent = fcntl.ioctl(current, NS_GET_PARENT)
            except PermissionError:  # that is our own, or the first of all
                return Owners(tuple(chain))
        finally:
            os.close(current)
        current = parent


class Caller:
    """A thread that waits for the answer to a system call. Every method raises OSError."""

    def __init__(self, tid: int) -> None:
        if not tid:
            raise ProcessLookupError("the caller is in a PID namespace that is not ours to see")
        self.tid = tid

    def name(self) -> str:
        """Return the thread's name (comm), which it chose, as it is: quote it where it is shown."""
        try:
            with open(f"/proc/{self.tid}/comm", encoding="utf-8", errors="surrogateescape") as comm:
                return comm.read().removesuffix("\n")
        except OSError:
            return "?"

    def network_namespace(self) -> str:
        """Return the name of the thread's network namespace."""
        return os.readlink(f"/proc/{self.tid}/ns/net")

    def open_network_namespace(self) -> int:
        """Return a descriptor of the thread's network namespace."""
        return os.open(f"/proc/{self.tid}/ns/net", os.O_RDONLY | os.O_CLOEXEC)

    def is_capable(self, capability: int, owners: Owners) -> bool:
        """Return whether the thread has a capability in a network namespace that has these owners.

        It has if it holds it in the owner or in an ancestor of that, or if its user made one of
        these and it is in the parent of that one. Any process can show a full set in a user
        namespace that it made, where it counts for nothing outside.
        """
        home = os.readlink(f"/proc/{self.tid}/ns/user")
        child = None
        for namespace in owners.chain:
            if namespace.name == home:
                if system.effective_capabilities(self.tid) >> capability & 1:
                    return True
                return child is not None and child.owner == self._effective_user() != _NOBODY
            child = namespace
        return False

    def _effective_user(self) -> int:
        return int(self.status("Uid").split()[1])

    def file_owner(self) -> tuple[int, int]:
        """Return the file-system user and group: the owners of what the thread makes."""
        return int(self.status("Uid").split()[3]), int(self.status("Gid").split()[3])

    def groups(self) -> tuple[int, list[int]]:
        """Return the thread's effective group and its further groups."""
        return int(self.status("Gid").split()[1]), [int(g) for g in self.status("Groups").split()]

    def status(self, field: str) -> str:
        """Return a field of /proc/TID/status."""
        with open(f"/proc/{self.tid}/status", encoding="utf-8", errors="replace") as status:
            for line in status:
                name, _, value = line.partition(":")
                if name == field:
                    return value.strip()
        raise ProcessLookupError(f"no {field} in the caller's status")

    def socket_inode(self, number: int) -> int:
        """Return the inode of a socket among the thread's descriptors, 0 if it is none.

        Raises FileNotFoundError where there is no such descriptor.
        """
        return _socket_inode(f"/proc/{self.tid}/fd/{number}")

    def duplicate(self, number: int) -> int:
        """Return a duplicate of one of the thread's descriptors.

        Raises OSError: EBADF where there is none, EPERM without the right to trace the thread.
        """
        try:
            pidfd = os.pidfd_open(self.tid, _PIDFD_THREAD)
        except OSError:  # before Linux 6.9 there were only processes
            pidfd = os.pidfd_open(int(self.status("Tgid")))
        try:
            found = system.pidfd_getfd(pidfd, number)
        finally:
            os.close(pidfd)
        # A thread may have left the descriptors of its process (unshare(CLONE_FILES)).
        try:
            same = self.socket_inode(number) == _socket_inode(f"/proc/self/fd/{found}")
        except OSError:
            same = False
        if not same:
            os.close(found)
            raise OSError(errno.EOPNOTSUPP, "the thread has descriptors of its own")
        return found

    def read(self, address: int, count: int) -> bytes:
        """Return bytes at an address of the thread's memory; raises OSError (EFAULT)."""
        memory = os.open(f"/proc/{self.tid}/mem", os.O_RDONLY | os.O_CLOEXEC)
        try:
            data = os.pread(memory, count, address)
        except (OSError, OverflowError):
            raise OSError(errno.EFAULT, os.strerror(errno.EFAULT)) from None
        finally:
            os.close(memory)
        if len(data) != count:
            raise OSError(errno.EFAULT, os.strerror(errno.EFAULT))
        return data

    def write(self, address: int, data: bytes) -> None:
        """Write bytes to an address of the thread's memory, where it could write them itself.

        Raises OSError (EFAULT).
        """
        if system.write_memory(self.tid, address, data) != len(data):
            raise OSError(errno.EFAULT, os.strerror(errno.EFAULT))


def namespace_of_socket(descriptor: int) -> int:
    """Return a descriptor of the network namespace that a socket belongs to.

    Raises OSError; EPERM without CAP_NET_ADMIN there.
    """
    return fcntl.ioctl(descriptor, _SIOCGSKNS)
