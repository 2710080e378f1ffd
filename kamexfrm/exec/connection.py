"""A program's PF_KEY socket, seen from the supervisor's loop."""

import select
import socket

from kamexfrm.exec.loop import READABLE, WRITABLE, Loop
from kamexfrm.server.hub import Hub
from kamexfrm.server.stream import ServedSocket

#: Turns of reading after which all is read that one socket's buffer can hold (277 messages fit
#: into the usual one, a turn is 64): what comes later is later than the call that waits.
_TURNS = 9


class Connection(ServedSocket):
    """Our end of a pair; ``inode`` is that of the program's end, by which the program's is known.

    The loop calls ``ready`` when there is something to do.
    """

    def __init__(self, hub: Hub, ours: socket.socket, inode: int, loop: Loop) -> None:
        super().__init__(hub, ours)
        self.inode = inode
        self._loop = loop
        self._watches_room = False

    def write(self) -> None:
        """Send what waits as far as there is room, and have the loop tell when there is more."""
        super().write()
        if self.writable != self._watches_room:
            self._watches_room = self.writable
            self._loop.want(self.fileno(), READABLE | (WRITABLE if self.writable else 0))

    def drain(self) -> None:
        """Serve all that the program has sent so far."""
        waiting = select.poll()
        waiting.register(self, select.POLLIN)
        for _ in range(_TURNS):
            if self.gone or not waiting.poll(0):
                break
            self.read()
