"""A program's PF_KEY socket, seen from the supervisor's loop."""

import select
import socket
import sys

from kamexfrm.errors import KamexfrmError
from kamexfrm.exec.loop import READABLE, WRITABLE, Loop
from kamexfrm.hub.hub import Hub
from kamexfrm.hub.unix_socket import ServedSocket
from kamexfrm.pfkey import PF_KEY_V2

_HEADER = 16  # struct sadb_msg

#: Bytes of requests that wait for us before their program has to. AF_KEY takes each at once, and a
#: program that will not wait would lose it: racoon deletes a peer's SAs one by one and never looks
#: whether it could. The kernel doubles the number and counts 768 bytes for a short message, so
#: 1365 of them fit where the usual buffer takes 277.
ROOM = 1 << 19

#: Turns of reading after which all is read that the buffer can hold (a turn is 64): what comes
#: later is later than the call that waits.
_TURNS = 22


class Connection(ServedSocket):
    """Our end of a pair; ``inode`` is that of the program's end, by which the program's is known.

    It puts itself on the list ``due`` when the hub has something for it.
    """

    def __init__(
        self, hub: Hub, ours: socket.SocketType, inode: int, loop: Loop, due: "list[Connection]"
    ) -> None:
        super().__init__(hub, ours)
        self.inode = inode
        self._loop = loop
        self._due = due
        self._watches_room = False

    def _note(self) -> None:
        if not self.dirty:
            self._due.append(self)
        super()._note()

    def write(self) -> None:
        """Send what waits as far as there is room, and have the loop tell when there is more."""
        super().write()
        if self.writable != self._watches_room:
            self._watches_room = self.writable
            self._loop.want(self.fileno(), READABLE | (WRITABLE if self.writable else 0))

    def refused(self, request: bytes, error: KamexfrmError) -> None:
        """Answer a request that send(2) of AF_KEY would have refused: it has returned already.

        So the program does not wait for ever. What has no header gets no answer.
        """
        if len(request) >= _HEADER:
            words = (_HEADER // 8).to_bytes(2, sys.byteorder)
            head = bytes((PF_KEY_V2, request[1], error.errno, request[3]))
            self.client.put(head + words + request[6:_HEADER])

    def drain(self) -> None:
        """Serve all that the program has sent so far, and fill the room for what waits.

        A dump does not fit into the socket, and EAGAIN is its end to a program that reads on.
        """
        if self.writable:
            self.write()
        waiting = select.poll()
        waiting.register(self, select.POLLIN)
        for _ in range(_TURNS):
            if self.gone or not waiting.poll(0):
                break
            self.read()
