"""One kamexfrmd in each network namespace: the claim is membership in a netlink group.

To join a group of NETLINK_XFRM takes CAP_NET_ADMIN over the namespace, so an ordinary user can
neither claim the namespace nor keep a daemon from it, as with a file, a flock or a name of a
socket. The kernel lists the members in /proc/net/netlink; membership ends with the process.
"""

import contextlib
import errno
import os
from collections.abc import Iterator
from pathlib import Path

from kamexfrm.errors import KernelError
from kamexfrm.kernel.interface import Kernel
from kamexfrm.kernel.lock import process_name
from kamexfrm.xfrm import NETLINK_XFRM

#: A group that the kernel sends nothing to: each protocol has 32, XFRM uses the first eight.
GROUP = 32
_BIT = 1 << GROUP - 1

#: The netlink sockets of the calling thread's namespace; /proc/net would be the main thread's.
_TABLE = "/proc/thread-self/net/netlink"


@contextlib.contextmanager
def only_one(kernel: Kernel) -> Iterator[None]:
    """Claim the calling thread's namespace, which is the kernel object's.

    Raises KernelError: EADDRINUSE if another kamexfrmd has claimed it, EPERM without CAP_NET_ADMIN.
    """
    # The lock lets one of two win that start at the same time. Who cannot have it goes on without.
    with kernel.lock():
        claim = kernel.subscribe((GROUP,))
        try:
            _check_alone(claim.fileno())
        except KernelError:
            claim.close()
            raise
    try:
        yield
    finally:
        claim.close()


def _check_alone(descriptor: int) -> None:
    """Raise KernelError where a socket other than ours is in the group."""
    ours = str(os.fstat(descriptor).st_ino)
    for inode in _members():
        if inode != ours:
            reason = f"a kamexfrmd follows this namespace already: {_owner(inode)}"
            raise KernelError(errno.EADDRINUSE, reason)


def _members() -> list[str]:
    """Return the inodes of the sockets in the group; raises KernelError without /proc."""
    try:
        lines = Path(_TABLE).read_text(encoding="ascii").splitlines()[1:]
    except OSError as error:
        reason = f"{_TABLE} shows whether another kamexfrmd follows this namespace"
        raise KernelError(error.errno or errno.EIO, reason) from None
    # sk Eth Pid Groups Rmem Wmem Dump Locks Drops Inode (Linux af_netlink.c netlink_seq_show())
    rows = [line.split() for line in lines]
    return [row[9] for row in rows if row[1] == str(NETLINK_XFRM) and int(row[3], 16) & _BIT]


def _owner(inode: str) -> str:
    """Name the process that has a socket open."""
    link = f"socket:[{inode}]"
    for process in Path("/proc").glob("[0-9]*"):
        # A process may end meanwhile, or be another user's.
        with contextlib.suppress(OSError), os.scandir(process / "fd") as entries:
            if any(os.readlink(entry.path) == link for entry in entries):
                return process_name(process.name)
    return "another process"
