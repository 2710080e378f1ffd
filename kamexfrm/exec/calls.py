"""The system calls that the filter sends us, each with its answer.

Who asks, and what his arguments point to, is read while the caller waits; whether it still waits
is asked afterwards, before anything is done. A socket is only given to a caller that does.
"""

import errno
import os
import socket
import struct
from collections.abc import Callable, Sequence

from kamexfrm.errors import KamexfrmError
from kamexfrm.exec import system
from kamexfrm.exec.caller import CAP_NET_ADMIN, Caller, namespace_of_socket
from kamexfrm.exec.filter import AF_KEY, IP_IPSEC_POLICY, IPV6_IPSEC_POLICY
from kamexfrm.exec.log import Journal
from kamexfrm.exec.netns import Space, Spaces
from kamexfrm.exec.policies import LONGEST, Asked, make_socket, read_value, set_on
from kamexfrm.exec.seccomp import Gone, Listener, Notification
from kamexfrm.exec.sockets import Sockets
from kamexfrm.exec.strict import sent_message

#: PF_KEY_V2 of linux/pfkeyv2.h, the one protocol of the family.
_PF_KEY_V2 = 2

_FLAGS = socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK
_TYPE_MASK = 0xF
_TYPES = 11  # SOCK_MAX of linux/net.h

_POLLFD = struct.Struct("=i4x")  # struct pollfd


class Calls:
    """Answers system calls; ``policies`` are what each IP socket gets, or empty."""

    def __init__(
        self,
        listener: Listener,
        sockets: Sockets,
        spaces: Spaces,
        journal: Journal,
        policies: Sequence[Asked],
    ) -> None:
        self._listener = listener
        self._sockets = sockets
        self._spaces = spaces
        self._journal = journal
        self._policies = policies
        machine = self._machine = system.machine()
        self._names = {machine.socket: "socket", machine.setsockopt: "setsockopt"}
        self._handlers: dict[int, Callable[[Notification], None]] = {
            machine.socket: self._socket,
            machine.setsockopt: self._setsockopt,
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
                self._note(notification, f"refused: {said}")
                self._listener.refuse(notification, error.errno or errno.EPERM)
            except Exception:  # the program gets an error, the supervisor goes on
                self._journal.failure("a system call could not be served")
                self._listener.refuse(notification, errno.EIO)
        except Gone:
            pass

    def _note(self, notification: Notification, text: str) -> None:
        if self._journal.listens:
            name = Caller(notification.tid).name() if notification.tid else "?"
            call = self._names.get(notification.number, "send")
            self._journal.note(f"{name} ({notification.tid}): {call}: {text}")

    # socket(2)

    def _socket(self, notification: Notification) -> None:
        family, kind = notification.integer(0), notification.integer(1)
        protocol = notification.integer(2)
        if kind & ~_TYPE_MASK & ~_FLAGS or kind & _TYPE_MASK >= _TYPES:
            raise system.error(errno.EINVAL)
        caller = Caller(notification.tid)
        space = self._spaces.of_caller(caller)
        try:
            if family == AF_KEY:
                made = self._pf_key(notification, caller, space, kind & _TYPE_MASK, protocol)
            else:
                self._listener.check(notification)
                made = make_socket(caller, space, (family, kind, protocol), self._policies)
            try:
                if kind & socket.SOCK_NONBLOCK:
                    made.setblocking(False)
                close_on_exec = kind & socket.SOCK_CLOEXEC
                self._listener.answer_with(notification, made.fileno(), close_on_exec)
            finally:
                made.close()
        finally:
            self._spaces.release(space)

    def _pf_key(
        self, notification: Notification, caller: Caller, space: Space, kind: int, protocol: int
    ) -> socket.SocketType:
        """Return the program's end of a PF_KEY socket; errors as in af_key.c pfkey_create()."""
        if not caller.is_capable(CAP_NET_ADMIN, space.owners):
            raise system.error(errno.EPERM)
        if kind != socket.SOCK_RAW:
            raise system.error(errno.ESOCKTNOSUPPORT)
        if protocol != _PF_KEY_V2:
            raise system.error(errno.EPROTONOSUPPORT)
        if not space.is_open:  # it is this caller's, and we shall have to do with it
            self._listener.check(notification)
        self._note(notification, "a PF_KEY socket")
        return self._sockets.open(space)

    # setsockopt(2)

    def _setsockopt(self, notification: Notification) -> None:
        option = notification.integer(2)
        if option in (IP_IPSEC_POLICY, IPV6_IPSEC_POLICY):
            self._ipsec_policy(notification, option)
        else:
            self._v6_only(notification)

    def _ipsec_policy(self, notification: Notification, option: int) -> None:
        """Set what IP_IPSEC_POLICY asks for.

        What is none of ours goes on to the kernel, which finds no more in it than the program's
        own rights allow, whatever became of the descriptor meanwhile: it says EBADF or
        ENOPROTOOPT, and takes an empty value itself.
        """
        number, _, _, where, _, _ = notification.arguments
        length = notification.integer(4)
        caller = Caller(notification.tid)
        sock = self._inet_socket(caller, number & 0xFFFFFFFF)
        if sock is None or not 0 < length <= LONGEST:
            self._listener.let_through(notification)
            return
        with sock:
            if option == IPV6_IPSEC_POLICY and sock.family == socket.AF_INET:
                raise system.error(errno.ENOPROTOOPT)
            space = self._spaces.of(namespace_of_socket(sock.fileno()))
            try:
                if not caller.is_capable(CAP_NET_ADMIN, space.owners):
                    raise system.error(errno.EPERM)
                value = caller.read(where, length)
                self._listener.check(notification)
                set_on(sock, read_value(value, option, sock.family), space.engine)
            finally:
                self._spaces.release(space)
        self._listener.answer(notification)

    def _inet_socket(self, caller: Caller, number: int) -> socket.socket | None:
        """Return a duplicate of a program's IP socket, None if that is something else."""
        try:
            descriptor = caller.duplicate(number)
        except OSError as error:
            if error.errno == errno.EBADF:
                return None
            raise
        try:
            sock = socket.socket(fileno=descriptor)
        except OSError:
            os.close(descriptor)
            return None
        if sock.family in (socket.AF_INET, socket.AF_INET6):
            return sock
        sock.close()
        return None

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

    # recvfrom(2) and recvmsg(2), or sendto(2) and its kind: what the barrier is made of

    def _receiver(self, notification: Notification) -> None:
        """Serve what was sent on a socket before its program looks for the replies."""
        if self._sockets:
            try:
                inode = self._looked_at(notification)
            except FileNotFoundError:
                pass
            except OSError:  # we may not look at it: it could be any of ours
                for inode in self._sockets:
                    self._sockets.drain(inode)
            else:
                if self._sockets.find(inode):
                    self._sockets.drain(inode)
        self._listener.let_through(notification)

    def _looked_at(self, notification: Notification) -> int:
        """Return the inode of the socket that a call receives from or polls."""
        caller = Caller(notification.tid)
        number = notification.integer(0)
        if notification.number in (self._machine.poll, self._machine.ppoll):
            (number,) = _POLLFD.unpack(caller.read(notification.arguments[0], _POLLFD.size))
        return caller.socket_inode(number)

    def _sender(self, notification: Notification) -> None:
        """Carry out the request that a call sends, and return what send(2) on PF_KEY would."""
        message = None
        if self._sockets:
            caller = Caller(notification.tid)
            try:
                inode = caller.socket_inode(notification.integer(0))
            except OSError:
                inode = 0
            if self._sockets.find(inode):
                message = sent_message(notification, caller, self._machine)
                self._listener.check(notification)
        if message is None:
            self._listener.let_through(notification)
        else:
            self._sockets.send(inode, message)
            self._listener.answer(notification, len(message))
