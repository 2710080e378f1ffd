"""Netlink sockets to the kernel's XFRM: for requests, and for the events of groups."""

from __future__ import annotations

import _socket as socket  # the module socket takes as long to load as a command to run
import errno

from kamexfrm.errors import KernelError, UnsupportedError, WireError
from kamexfrm.kernel.interface import Event
from kamexfrm.kernel.namespace import within
from kamexfrm.xfrm.constants import (
    NETLINK_ADD_MEMBERSHIP,
    NETLINK_CAP_ACK,
    NETLINK_DROP_MEMBERSHIP,
    NETLINK_EXT_ACK,
    NETLINK_XFRM,
    SOL_NETLINK,
)
from kamexfrm.xfrm.netlink import split_messages

TYPE_CHECKING = False  # typing and collections take long to load
if TYPE_CHECKING:
    from collections.abc import Sequence

#: Room for any message of the kernel's.
RECEIVE_BYTES = 1 << 16

#: SO_SNDBUFFORCE and SO_RCVBUFFORCE, which Python does not name.
_FORCE = {socket.SO_SNDBUF: 32, socket.SO_RCVBUF: 33}
_EVENT_BUFFER = 1 << 25
_UNSUPPORTED = (errno.EPROTONOSUPPORT, errno.EAFNOSUPPORT)


def open_connection(buffer: int, namespace: int | None) -> socket.socket:
    """Open a netlink socket; raises UnsupportedError where the kernel has no XFRM."""
    try:
        with within(namespace):
            connection = socket.socket(
                socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, NETLINK_XFRM
            )
    except OSError as error:
        if error.errno in _UNSUPPORTED:
            raise UnsupportedError(
                "this kernel has no XFRM netlink interface (CONFIG_XFRM_USER, module xfrm_user)",
                errno=error.errno,
            ) from None
        raise KernelError(error.errno or errno.EIO) from None
    for option in (NETLINK_CAP_ACK, NETLINK_EXT_ACK):
        connection.setsockopt(SOL_NETLINK, option, 1)
    for plain in (socket.SO_SNDBUF, socket.SO_RCVBUF):
        set_buffer(connection, plain, buffer)
    connection.bind((0, 0))
    return connection


def set_buffer(connection: socket.SocketType, option: int, size: int) -> None:
    """Set SO_SNDBUF or SO_RCVBUF to a size in bytes, past the system's limit if allowed."""
    try:
        connection.setsockopt(socket.SOL_SOCKET, _FORCE[option], size)
    except OSError:
        connection.setsockopt(socket.SOL_SOCKET, option, size)


def receive(connection: socket.SocketType) -> bytes:
    """Return the next datagram of the kernel's; raises OSError.

    Another process with CAP_NET_ADMIN over the namespace can send to this port too: the kernel's
    own port is 0, and what comes from any other is dropped.
    """
    while True:
        data, (port, _) = connection.recvfrom(RECEIVE_BYTES)
        if port == 0:
            return data


class NetlinkEvents:
    """A socket that receives the events of XFRM's multicast groups."""

    def __init__(self, groups: Sequence[int], namespace: int | None = None) -> None:
        self._socket = open_connection(_EVENT_BUFFER, namespace)
        self._socket.setblocking(False)
        try:
            for group in groups:
                self.join(group)
        except KernelError:
            self._socket.close()
            raise

    def fileno(self) -> int:
        """Return the socket's descriptor."""
        return self._socket.fileno()

    def receive(self) -> list[Event]:
        """Return what waits; raises KernelError (ENOBUFS) when events were lost.

        A datagram that cannot be read counts as lost.
        """
        try:
            data = receive(self._socket)
        except BlockingIOError:
            return []
        except OSError as error:
            raise KernelError(error.errno or errno.EIO, "events were lost") from None
        try:
            messages = split_messages(data)
            return [Event(m.type, bytes(m.payload), m.sequence, m.pid) for m in messages]
        except WireError as error:
            raise KernelError(errno.ENOBUFS, f"events cannot be read: {error}") from None

    def join(self, group: int) -> None:
        """Join one more group."""
        self._set_membership(NETLINK_ADD_MEMBERSHIP, group)

    def leave(self, group: int) -> None:
        """Leave a group."""
        self._set_membership(NETLINK_DROP_MEMBERSHIP, group)

    def _set_membership(self, option: int, group: int) -> None:
        try:
            self._socket.setsockopt(SOL_NETLINK, option, group)
        except OSError as error:
            raise KernelError(error.errno or errno.EIO) from None

    def close(self) -> None:
        """Leave the groups."""
        self._socket.close()
