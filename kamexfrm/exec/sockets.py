"""The programs' PF_KEY sockets: pairs of Unix sockets, one end the program's, one served here.

SEQPACKET keeps messages apart and tells of the peer's end, which a pair of DGRAM does not.
"""

import errno
import os
import socket
from _socket import socketpair  # socket's own takes a quarter longer, to wrap what it returns
from collections.abc import Iterator

from kamexfrm.exec.connection import ROOM, Connection
from kamexfrm.exec.loop import HUNG_UP, WRITABLE, Loop
from kamexfrm.exec.netns import Space
from kamexfrm.kernel.connection import set_buffer

#: PF_KEY sockets at a time: enough for any use, and a bound for what one program can take.
MOST = 16384


class Sockets:
    """All PF_KEY sockets of the programs, by the inode of the program's end."""

    def __init__(self, loop: Loop) -> None:
        self._loop = loop
        self._by_inode: dict[int, tuple[Connection, Space]] = {}

    def __len__(self) -> int:
        return len(self._by_inode)

    def __iter__(self) -> Iterator[int]:
        return iter(list(self._by_inode))

    def open(self, space: Space) -> socket.SocketType:
        """Make a PF_KEY socket in a namespace; return the program's end, for us to close.

        Once nobody has that any more, ours goes too. Raises KamexfrmError, OSError.
        """
        if len(self) >= MOST:
            raise OSError(errno.ENFILE, "too many PF_KEY sockets")
        hub = space.hub()
        theirs, ours = socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        set_buffer(theirs, socket.SO_SNDBUF, ROOM)
        inode = os.fstat(theirs.fileno()).st_ino
        connection = Connection(hub, ours, inode, self._loop, space.due)
        self._by_inode[inode] = connection, space
        space.connections.add(connection)

        def ready(events: int) -> None:
            if events & WRITABLE:
                connection.write()
            if events & ~WRITABLE:
                connection.read(hung_up=bool(events & HUNG_UP))
                self._settle(connection, space)

        self._loop.watch(connection.fileno(), ready)
        return theirs

    def find(self, inode: int) -> Connection | None:
        """Return the socket whose program's end has this inode, if it is one of ours."""
        found = self._by_inode.get(inode)
        return None if found is None else found[0]

    def drain(self, inode: int) -> None:
        """Serve all that was sent on a socket so far."""
        connection, space = self._by_inode[inode]
        connection.drain()
        self._settle(connection, space)

    def send(self, inode: int, message: bytes) -> None:
        """Carry out one more request of a socket, behind those sent so far.

        Raises KamexfrmError with the errno that send(2) has to return.
        """
        connection, space = self._by_inode[inode]
        connection.drain()
        try:
            connection.client.send(message)
        finally:
            space.flush()

    def _settle(self, connection: Connection, space: Space) -> None:
        """Tell the others what came of a request, and end the one whose program has left."""
        space.flush()
        if connection.gone:
            del self._by_inode[connection.inode]
            space.connections.discard(connection)
            self._loop.forget(connection.fileno())
            connection.close()
