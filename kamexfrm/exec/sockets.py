"""The programs' PF_KEY sockets: pairs of Unix sockets, one end the program's, one served here.

SEQPACKET keeps messages apart and shows when the peer's end is closed, which a pair of DGRAM does
not.
"""

import errno
import os
import socket
from _socket import socketpair  # socket's own takes a quarter longer, to wrap what it returns
from collections.abc import Iterator
from functools import partial

from kamexfrm.exec.connection import ROOM, Connection
from kamexfrm.exec.netns import Netns
from kamexfrm.hub.served import ServedSockets
from kamexfrm.kernel.connection import set_buffer

#: PF_KEY_V2 of linux/pfkeyv2.h, the one protocol of the family.
PF_KEY_V2 = 2

#: PF_KEY sockets at a time: enough for any use, and a bound for what one program can take.
MAX_SOCKETS = 16384


class Sockets:
    """All PF_KEY sockets of the programs, by the inode of the program's end."""

    def __init__(self) -> None:
        self._by_inode: dict[int, tuple[Connection, ServedSockets]] = {}

    def __len__(self) -> int:
        return len(self._by_inode)

    def __iter__(self) -> Iterator[int]:
        return iter(list(self._by_inode))

    def __contains__(self, inode: int) -> bool:
        return inode in self._by_inode

    def open(self, netns: Netns) -> socket.SocketType:
        """Make a PF_KEY socket in a namespace; return the program's end, for the caller to close.

        Once no process holds that any more, ours is closed too. Raises KamexfrmError, OSError.
        """
        if len(self) >= MAX_SOCKETS:
            raise OSError(errno.ENFILE, "too many PF_KEY sockets")
        served = netns.served()
        theirs, ours = socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        set_buffer(theirs, socket.SO_SNDBUF, ROOM)
        inode = os.fstat(theirs.fileno()).st_ino
        connection = served.add(ours, Connection, partial(self._by_inode.pop, inode))
        self._by_inode[inode] = connection, served
        return theirs

    def drain(self, inode: int) -> None:
        """Serve all that was sent on a socket so far."""
        connection, served = self._by_inode[inode]
        connection.drain()
        served.finish(connection)

    def send(self, inode: int, message: bytes) -> None:
        """Carry out one more request of a socket, after those sent so far.

        Raises KamexfrmError with the errno that send(2) has to return.
        """
        connection, served = self._by_inode[inode]
        try:
            connection.send(message)
        finally:
            served.flush()
