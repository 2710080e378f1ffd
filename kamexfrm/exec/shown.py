"""getsockopt(2): the policy that a socket was given, and a PF_KEY socket shown as one.

The kernel has no getsockopt() of IP_IPSEC_POLICY; KAME has.
"""

import errno
import socket
import struct

from kamexfrm.exec import system
from kamexfrm.exec.caller import Caller
from kamexfrm.exec.filter import AF_KEY, SHOWN_OPTIONS
from kamexfrm.exec.policies import MIN_VALUE, PolicyTable, check_family, inet_socket
from kamexfrm.exec.seccomp import Listener, Notification
from kamexfrm.exec.sockets import PF_KEY_V2, Sockets

_INT = struct.Struct("=i")
_DIRECTION = 6  # where sadb_x_policy_dir is in struct sadb_x_policy

#: What is shown of a PF_KEY socket.
_PF_KEY_SOCKET = dict(zip(SHOWN_OPTIONS, (socket.SOCK_RAW, PF_KEY_V2, AF_KEY), strict=True))


class Shown:
    """Answers getsockopt(2) from the PF_KEY sockets, and the policies that sockets were given."""

    def __init__(self, listener: Listener, sockets: Sockets, table: PolicyTable) -> None:
        self._listener = listener
        self._sockets = sockets
        self._table = table

    def answer(self, notification: Notification) -> None:
        """Answer a call; raises Gone, and OSError or KamexfrmError with the errno to return."""
        if notification.integer(1) == socket.SOL_SOCKET:
            self._kind(notification)
        else:
            self._policy(notification)

    def _kind(self, notification: Notification) -> None:
        caller = Caller(notification.tid) if self._sockets else None
        try:
            ours = caller and caller.socket_inode(notification.integer(0)) in self._sockets
        except OSError:
            ours = False
        if caller is None or not ours:
            self._listener.let_through(notification)
            return
        shown = _PF_KEY_SOCKET[notification.integer(2)]
        self._write(notification, caller, _INT.pack(shown), cut=True)

    def _policy(self, notification: Notification) -> None:
        """Write a socket's policy of the direction in the header that the program hands over."""
        option = notification.integer(2)
        caller = Caller(notification.tid)
        sock = inet_socket(caller, notification.integer(0))
        if sock is None:
            self._listener.let_through(notification)
            return
        with sock:
            check_family(option, sock.family)
            room = _INT.unpack(caller.read(notification.arguments[4], _INT.size))[0]
            if room < MIN_VALUE:
                raise system.error(errno.EINVAL)
            head = caller.read(notification.arguments[3], MIN_VALUE)
            value = self._table.value(sock, head[_DIRECTION])
        self._write(notification, caller, value)

    def _write(
        self, notification: Notification, caller: Caller, value: bytes, *, cut: bool = False
    ) -> None:
        """Write an option's value where the program wants it; with less room, ``cut`` it.

        Raises OSError: EINVAL where there is too little room, EFAULT.
        """
        _, _, _, where, where_size, _ = notification.arguments
        room = _INT.unpack(caller.read(where_size, _INT.size))[0]
        if room < 0 or (room < len(value) and not cut):
            raise system.error(errno.EINVAL)
        self._listener.check(notification)
        caller.write(where, value[:room])
        caller.write(where_size, _INT.pack(min(room, len(value))))
        self._listener.answer(notification)
