"""The system calls that the filter sends us, each with its answer.

The caller's rights, and what its arguments point to, are read while it waits; that it still waits
is checked afterwards, before anything is done. A socket is only given to a caller that does.
"""

import errno
import os
import socket
import struct
from collections.abc import Callable, Sequence

from kamexfrm.command_line import printable
from kamexfrm.errors import KamexfrmError
from kamexfrm.exec import system
from kamexfrm.exec.caller import CAP_NET_ADMIN, Caller, namespace_of_socket
from kamexfrm.exec.filter import AF_KEY, IP_IPSEC_POLICY, IPV6_IPSEC_POLICY, MIN_TIMEOUT
from kamexfrm.exec.log import Log
from kamexfrm.exec.netns import Netns, NetnsTable
from kamexfrm.exec.policies import (
    MAX_VALUE,
    PolicyTable,
    check_family,
    inet_socket,
    make_socket,
    read_value,
    set_on,
)
from kamexfrm.exec.seccomp import Gone, Listener, Notification
from kamexfrm.exec.shown import Shown
from kamexfrm.exec.sockets import PF_KEY_V2, Sockets
from kamexfrm.exec.strict import sent_message
from kamexfrm.log_level import LogLevel
from kamexfrm.model.policy import SocketPolicy

_FLAGS = socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK
_TYPE_MASK = 0xF
_TYPES = 11  # SOCK_MAX of linux/net.h

_POLLFD = struct.Struct("=i4x")  # struct pollfd
_TIMEVAL = struct.Struct("=qq")  # struct timeval of 64 bits: seconds, microseconds


class Calls:
    """Answers system calls; ``policies`` are the forced policies of each IP socket, or empty."""

    def __init__(
        self,
        listener: Listener,
        sockets: Sockets,
        netns_table: NetnsTable,
        log: Log,
        policies: Sequence[SocketPolicy],
    ) -> None:
        self._listener = listener
        self._sockets = sockets
        self._netns_table = netns_table
        self._log = log
        self._policies = policies
        machine = self._machine = system.machine()
        self._table = PolicyTable()
        self._names = {
            machine.socket: "socket",
            machine.setsockopt: "setsockopt",
            machine.getsockopt: "getsockopt",
        }
        self._handlers: dict[int, Callable[[Notification], None]] = {
            machine.socket: self._socket,
            machine.setsockopt: self._setsockopt,
            machine.getsockopt: Shown(listener, sockets, self._table).answer,
            machine.recvfrom: self._receiver,
            machine.recvmsg: self._receiver,
            machine.poll: self._receiver,
            machine.ppoll: self._receiver,
        }

    def handle(self) -> None:
        """Answer the call that waits longest; never raises for what a program does."""
        try:
            notification = self._listener.receive()
            try:
                self._handlers.get(notification.number, self._sender)(notification)
            except Gone:
                raise
            except (OSError, KamexfrmError) as error:
                said = error.strerror if isinstance(error, OSError) else error
                self._write_log(notification, f"refused: {said}", LogLevel.WARNING)
                self._listener.refuse(notification, error.errno or errno.EPERM)
            except Exception:  # the program gets an error, the supervisor goes on
                self._log.failure("a system call could not be served")
                self._listener.refuse(notification, errno.EIO)
        except Gone:
            pass

    def _write_log(
        self, notification: Notification, text: str, level: LogLevel = LogLevel.INFO
    ) -> None:
        if self._log.takes(level):
            name = Caller(notification.tid).name() if notification.tid else "?"
            call = self._names.get(notification.number, "send")
            line = printable(f"{name} ({notification.tid}): {call}: {text}", "")
            self._log.write(line, level)

    # socket(2)

    def _socket(self, notification: Notification) -> None:
        family, kind = notification.integer(0), notification.integer(1)
        protocol = notification.integer(2)
        if kind & ~_TYPE_MASK & ~_FLAGS or kind & _TYPE_MASK >= _TYPES:
            raise system.error(errno.EINVAL)
        caller = Caller(notification.tid)
        netns = self._netns_table.of_caller(caller)
        try:
            if family == AF_KEY:
                made = self._pf_key(notification, caller, netns, kind & _TYPE_MASK, protocol)
            else:
                self._listener.check(notification)
                arguments = (family, kind, protocol)
                made = make_socket(caller, netns, arguments, self._policies, self._table)
            try:
                if kind & socket.SOCK_NONBLOCK:
                    made.setblocking(False)
                close_on_exec = kind & socket.SOCK_CLOEXEC
                self._listener.answer_with(notification, made.fileno(), close_on_exec)
            finally:
                made.close()
        finally:
            self._netns_table.release(netns)

    def _pf_key(
        self, notification: Notification, caller: Caller, netns: Netns, kind: int, protocol: int
    ) -> socket.SocketType:
        """Return the program's end of a PF_KEY socket; errors as in af_key.c pfkey_create()."""
        if not caller.is_capable(CAP_NET_ADMIN, netns.owners):
            raise system.error(errno.EPERM)
        if kind != socket.SOCK_RAW:
            raise system.error(errno.ESOCKTNOSUPPORT)
        if protocol != PF_KEY_V2:
            raise system.error(errno.EPROTONOSUPPORT)
        if not netns.is_open:  # before we open it, for this caller
            self._listener.check(notification)
        self._write_log(notification, "a PF_KEY socket")
        return self._sockets.open(netns)

    # setsockopt(2)

    def _setsockopt(self, notification: Notification) -> None:
        option = notification.integer(2)
        if notification.integer(1) == socket.SOL_SOCKET:
            self._receive_timeout(notification)
        elif option in (IP_IPSEC_POLICY, IPV6_IPSEC_POLICY):
            self._ipsec_policy(notification, option)
        else:
            self._v6_only(notification)

    def _ipsec_policy(self, notification: Notification, option: int) -> None:
        """Set what IP_IPSEC_POLICY asks for.

        What we do not serve goes on to the kernel, which allows no more than the program's own
        rights do, even if the descriptor has changed meanwhile: it returns EBADF or ENOPROTOOPT,
        and takes an empty value itself.
        """
        number, _, _, where, _, _ = notification.arguments
        length = notification.integer(4)
        caller = Caller(notification.tid)
        sock = inet_socket(caller, number & 0xFFFFFFFF)
        if sock is None or not 0 < length <= MAX_VALUE:
            self._listener.let_through(notification)
            return
        with sock:
            check_family(option, sock.family)
            netns = self._netns_table.of(namespace_of_socket(sock.fileno()))
            try:
                if not caller.is_capable(CAP_NET_ADMIN, netns.owners):
                    raise system.error(errno.EPERM)
                value = caller.read(where, length)
                self._listener.check(notification)
                policy = read_value(value, option, sock.family)
                set_on(sock, policy, netns.engine)
                self._table.note(sock, policy)
            finally:
                self._netns_table.release(netns)
        self._listener.answer(notification)

    def _v6_only(self, notification: Notification) -> None:
        """Keep IPv6 sockets with a policy from IPv4, which their policy would not cover."""
        _, _, _, where, _, _ = notification.arguments
        if notification.integer(4) < 4:
            raise system.error(errno.EINVAL)
        value = Caller(notification.tid).read(where, 4)
        if not any(value):
            raise KamexfrmError(
                "IPV6_V6ONLY stays on: the policy would not cover IPv4", errno=errno.EPERM
            )
        self._listener.answer(notification)

    # The barrier: receiving and polling calls (peek and strict), their timeouts (peek), sending
    # calls (strict)

    def _receive_timeout(self, notification: Notification) -> None:
        """Set a SO_RCVTIMEO that leaves time for a reply; the kernel sets all others.

        With AF_KEY the timeout never runs while a request waits for its reply.
        """
        sock = self._with_short_timeout(notification)
        if sock is None:
            self._listener.let_through(notification)
            return
        with sock:
            self._listener.check(notification)
            value = _TIMEVAL.pack(MIN_TIMEOUT, 0)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, value)
        self._listener.answer(notification)

    def _with_short_timeout(self, notification: Notification) -> socket.socket | None:
        """Return a duplicate of the PF_KEY socket that is to have a valid, but short, timeout.

        None for any other descriptor or value, and for what we may not read.
        """
        if not self._sockets or notification.integer(4) < _TIMEVAL.size:
            return None
        caller, number = Caller(notification.tid), notification.integer(0)
        try:
            if caller.socket_inode(number) not in self._sockets:
                return None
            value = caller.read(notification.arguments[3], _TIMEVAL.size)
            seconds, microseconds = _TIMEVAL.unpack(value)
            if not 0 <= microseconds < 1_000_000 or not (seconds, microseconds) > (0, 0):
                return None
            if seconds >= MIN_TIMEOUT:
                return None
            sock = socket.socket(fileno=caller.duplicate(number))
        except OSError:
            return None
        if os.fstat(sock.fileno()).st_ino in self._sockets:
            return sock
        sock.close()
        return None

    def _receiver(self, notification: Notification) -> None:
        """Serve what was sent on a socket before its program looks for the replies."""
        if self._sockets:
            try:
                inode = self._inode_of_receiver(notification)
            except FileNotFoundError:
                pass
            except OSError:  # we may not read its descriptors: it could be any of ours
                for inode in self._sockets:
                    self._sockets.drain(inode)
            else:
                if inode in self._sockets:
                    self._sockets.drain(inode)
        self._listener.let_through(notification)

    def _inode_of_receiver(self, notification: Notification) -> int:
        """Return the inode of the socket that a call receives from or polls."""
        caller = Caller(notification.tid)
        number = notification.integer(0)
        if notification.number in (self._machine.poll, self._machine.ppoll):
            (number,) = _POLLFD.unpack(caller.read(notification.arguments[0], _POLLFD.size))
        return caller.socket_inode(number)

    def _sender(self, notification: Notification) -> None:
        """Carry out the request that a call sends, and return what send(2) on PF_KEY would."""
        caller = Caller(notification.tid) if self._sockets else None
        inode = self._inode_of_sender(notification, caller) if caller else 0
        if caller is None or inode not in self._sockets:
            self._listener.let_through(notification)
            return
        message = sent_message(notification, caller, self._machine)
        self._listener.check(notification)
        self._sockets.send(inode, message)
        self._listener.answer(notification, len(message))

    def _inode_of_sender(self, notification: Notification, caller: Caller) -> int:
        """Return the inode of the socket that a call sends on, 0 if it is none."""
        try:
            return caller.socket_inode(notification.integer(0))
        except OSError:
            return 0
