"""A client of the hub on one end of a Unix SEQPACKET socket; the other end is the program's.

A SEQPACKET socket stands in for one of PF_KEY: it keeps messages apart, shows when the peer closes,
and can be passed to any process. The program sees a difference in SO_DOMAIN, SO_TYPE and
SO_PROTOCOL only; a message that is cut short by a small buffer has MSG_TRUNC set, as on PF_KEY.
"""

import errno
import select
import socket

from kamexfrm.errors import KamexfrmError, KernelError
from kamexfrm.hub.client_queue import Client
from kamexfrm.hub.header import MESSAGE_BYTES
from kamexfrm.hub.hub import Hub
from kamexfrm.kernel.connection import set_buffer

#: Requests of one client that one read() serves.
TURN = 64

#: Reads for one request: a reset, an empty message, and the end may come first.
_TRIES = 3

#: Bytes for what the program has yet to read; set when the usual buffer is full the first time.
_SEND_BUFFER = 1 << 18

#: Messages are received here and copied: bytes cut from a buffer for the longest message would keep
#: a page of that buffer, or leave a hole in the heap.
_ROOM = memoryview(bytearray(MESSAGE_BYTES + 1))

#: Errors of send(2) where the peer does not read.
_FULL = (errno.EAGAIN, errno.ENOBUFS)


class UnixSocketClient:
    """One PF_KEY socket of a program: ``sock`` is our end, which we own from now on.

    ``writable`` is true while messages wait that the socket has no room for: the event loop then
    watches for room too. ``gone`` says that the peer has closed and all it sent is served.
    """

    def __init__(self, hub: Hub, sock: socket.SocketType) -> None:
        self.gone = False
        self.writable = False
        self._socket = sock
        self._waiting: bytes | None = None
        self._is_wide = False
        #: Set by the hub whenever it queues something: write() is due.
        self.dirty = False
        self.client: Client = hub.attach(self._queued)

    def _queued(self) -> None:
        self.dirty = True

    def fileno(self) -> int:
        """Return our end's descriptor."""
        return self._socket.fileno()

    def read(self, *, hung_up: bool = False) -> None:
        """Serve what the program sent, and send it the replies; never blocks or raises.

        Call it when the descriptor is readable, and before a program that sent something polls for
        the reply. ``hung_up`` is true if the peer is known to have closed.
        """
        for _ in range(TURN):
            request = self._receive(hung_up)
            if request is None:
                break
            try:
                self.client.send(request)
            except KamexfrmError as error:
                self.refused(request, error)
        if self.dirty:
            self.write()

    def refused(self, request: bytes, error: KamexfrmError) -> None:
        """Take a request that send(2) would have refused; here the program gets no answer."""

    def _receive(self, hung_up: bool) -> bytes | None:
        ended = False
        for _ in range(_TRIES):
            try:
                length = self._socket.recv_into(_ROOM, 0, socket.MSG_DONTWAIT)
            except BlockingIOError:
                return None
            except ConnectionResetError:
                # The peer closed with messages unread. What it sent before comes after this.
                continue
            except OSError:
                break
            hung_up = hung_up or (not length and self._has_hung_up())
            if length or not hung_up:  # a message of no bytes need not be the end
                return bytes(_ROOM[:length])
            if ended:
                break
            ended = True
        self.gone = True
        return None

    def _has_hung_up(self) -> bool:
        poll = select.poll()
        poll.register(self._socket, select.POLLRDHUP)
        return bool(poll.poll(0))

    def write(self) -> None:
        """Send what waits as far as there is room; never blocks or raises."""
        self.dirty = False
        while not self.gone:
            if self._waiting is None:
                try:
                    self._waiting = self.client.receive()
                except KernelError:
                    continue  # AF_KEY does not report lost messages either
                if self._waiting is None:
                    self.writable = False
                    return
            try:
                self._socket.send(self._waiting, socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL)
            except OSError as error:
                # If the peer has closed, there may still be something to read.
                self.writable = error.errno in _FULL
                if self.writable and not self._is_wide:
                    self._is_wide = True
                    set_buffer(self._socket, socket.SO_SNDBUF, _SEND_BUFFER)
                    continue
                return
            self._waiting = None

    def close(self) -> None:
        """Close our end and leave the hub."""
        self.client.close()
        self._socket.close()
