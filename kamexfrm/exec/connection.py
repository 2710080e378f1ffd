"""A program's PF_KEY socket under kamexfrm exec: its send(2) has returned when we read."""

import select

from kamexfrm.errors import KamexfrmError
from kamexfrm.hub.header import SADB_MSG
from kamexfrm.hub.served import ServedSocket
from kamexfrm.pfkey import PF_KEY_V2

#: Bytes of requests that may wait for us before their program has to. AF_KEY takes each at once,
#: and a program that does not wait would lose it: racoon deletes a peer's SAs one by one and never
#: checks send(2). The kernel doubles the number and counts 768 bytes for a short message, so
#: 1365 of them fit where the usual buffer takes 277.
ROOM = 1 << 19

#: Turns of reading after which all is read that the buffer can hold (a turn is 64): what comes
#: later is later than the call that waits.
_TURNS = 22


class Connection(ServedSocket):
    """Our end of a pair whose other end is the program's PF_KEY socket."""

    def refused(self, request: bytes, error: KamexfrmError) -> None:
        """Answer a request that send(2) of AF_KEY would have refused: it has returned already.

        So the program does not wait for ever. What has no header gets no answer.
        """
        if len(request) >= SADB_MSG.size:
            _, type_, _, satype, _, *others = SADB_MSG.unpack_from(request)
            head = PF_KEY_V2, type_, error.errno, satype, SADB_MSG.size // 8
            self.client.put(SADB_MSG.pack(*head, *others))

    def send(self, message: bytes) -> None:
        """Carry out one more request, after those sent so far; see Client.send()."""
        self.drain()
        self.client.send(message)

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
