"""Echo requests and answers by ICMP, UDP and TCP, in place of ping and netcat."""

import contextlib
import errno
import itertools
import os
import select
import socket
import struct
import threading
import time
from collections.abc import Callable

from kamexfrm.rig.condition import until

_ECHO = {socket.AF_INET: (8, 0), socket.AF_INET6: (128, 129)}  # RFC 792, RFC 4443 section 4

#: Errors of a send when a policy or a missing route keeps the packet back.
_NOT_SENT = {
    errno.EPERM,
    errno.EACCES,
    errno.ENETUNREACH,
    errno.EHOSTUNREACH,
    errno.ENETDOWN,
    errno.EADDRNOTAVAIL,
    errno.ECONNREFUSED,
    errno.EINVAL,
    errno.EAGAIN,
    errno.ESRCH,
}

#: TCP_LAST_ACK of linux/tcp_states.h, and how many seconds to wait for its end.
_LAST_ACK, _LAST_ACK_TIMEOUT = 9, 1.0

_identifiers = itertools.count(os.getpid())

#: Called with a socket before it sends, for example to give it a policy of its own.
Prepare = Callable[[socket.socket], None]


def nothing(_: socket.socket) -> None:
    """Leave a socket as it is."""


def family_of(address: str) -> socket.AddressFamily:
    """Return AF_INET6 for an address with a colon, AF_INET for any other."""
    return socket.AF_INET6 if ":" in address else socket.AF_INET


def ping(destination: str, count: int, timeout: float, payload: bytes, source: str | None) -> bool:
    """Return whether each of ``count`` echo requests was answered within ``timeout`` seconds."""
    try:
        ask_echo(destination, count, timeout, payload, source)
    except TimeoutError:
        return False
    except OSError as error:
        if error.errno in _NOT_SENT:
            return False
        raise
    return True


def ask_echo(
    destination: str,
    count: int,
    timeout: float,
    payload: bytes,
    source: str | None,
    prepare: Prepare = nothing,
) -> None:
    """Have each of ``count`` echo requests answered; ``prepare`` is called with the socket.

    Raises TimeoutError when an answer does not come within ``timeout`` seconds, and the OSError
    of a request that may not or cannot be sent.
    """
    family = family_of(destination)
    protocol = socket.IPPROTO_ICMP if family == socket.AF_INET else socket.IPPROTO_ICMPV6
    identifier = next(_identifiers) & 0xFFFF
    with socket.socket(family, socket.SOCK_RAW, protocol) as link:
        prepare(link)
        if source is not None:
            link.bind((source, 0))
        for sequence in range(1, count + 1):
            request = _echo_request(family, identifier, sequence, payload)
            link.sendto(request, (destination, 0))
            if not _answered(link, family, request, timeout):
                raise TimeoutError(f"no answer within {timeout:g} s")


def _echo_request(family: int, identifier: int, sequence: int, payload: bytes) -> bytes:
    """Return an ICMP echo request; the kernel fills in ICMPv6's checksum, not ICMP's."""
    kind = _ECHO[socket.AddressFamily(family)][0]
    message = struct.pack("!BBHHH", kind, 0, 0, identifier, sequence) + payload
    if family == socket.AF_INET:
        message = message[:2] + struct.pack("!H", _checksum(message)) + message[4:]
    return message


def _checksum(data: bytes) -> int:
    """Return the Internet checksum (RFC 1071)."""
    data += b"\0" * (len(data) % 2)
    total: int = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def _answered(link: socket.socket, family: int, request: bytes, timeout: float) -> bool:
    """Whether the answer to ``request`` comes; a raw socket receives all other ICMP as well."""
    end = time.monotonic() + timeout
    while (left := end - time.monotonic()) > 0:
        if not select.select([link], [], [], left)[0]:
            break
        with contextlib.suppress(OSError):  # an ICMP error about our request
            data = link.recv(65536)
            if family == socket.AF_INET:
                data = data[(data[0] & 15) * 4 :]
            is_reply = data[:1] == bytes([_ECHO[socket.AddressFamily(family)][1]])
            if is_reply and data[4:] == request[4:]:
                return True
    return False


class UdpEcho:
    """Answers datagrams with their own data, in a thread, until closed."""

    def __init__(self, address: str, port: int) -> None:
        self._socket = socket.socket(family_of(address), socket.SOCK_DGRAM)
        self._socket.bind((address, port))
        self.address = address
        self.port: int = self._socket.getsockname()[1]
        self.received: list[bytes] = []
        self._wake, self._woken = socket.socketpair()
        self._thread = threading.Thread(target=self._serve, name="udp echo")
        self._thread.start()

    def _serve(self) -> None:
        while self._woken not in (ready := select.select([self._socket, self._woken], [], [])[0]):
            if self._socket in ready:
                with contextlib.suppress(OSError):  # refused by a policy, or an ICMP error
                    data, sender = self._socket.recvfrom(65536)
                    self.received.append(data)
                    self._socket.sendto(data, sender)

    def close(self) -> None:
        """End the thread and close its sockets."""
        self._wake.send(b"x")
        self._thread.join()
        for each in (self._socket, self._wake, self._woken):
            each.close()


def udp_ask(
    destination: str, port: int, payload: bytes, timeout: float, source: str | None
) -> bytes | None:
    """Return the answer to a datagram, or None when none came or it could not be sent."""
    try:
        return udp_exchange(destination, port, payload, timeout, (source or "", 0))
    except TimeoutError:
        return None
    except OSError as error:
        if error.errno in _NOT_SENT:
            return None
        raise


def udp_exchange(
    destination: str,
    port: int,
    payload: bytes,
    timeout: float,
    source: tuple[str, int],
    prepare: Prepare = nothing,
) -> bytes:
    """Return the answer to a datagram; raises TimeoutError, and the OSError of a refusal.

    ``source`` is an address and a port to send from; empty and 0 leave them to the kernel.
    ``prepare`` is called with the socket.
    """
    with socket.socket(family_of(destination), socket.SOCK_DGRAM) as link:
        prepare(link)
        link.settimeout(timeout)
        if any(source):
            link.bind(source)
        link.sendto(payload, (destination, port))
        return link.recv(65536)


class TcpEcho:
    """Answers connections with their own data, one after the other in a thread, until closed."""

    def __init__(self, address: str, port: int) -> None:
        self._socket = socket.create_server(
            (address, port), family=family_of(address), reuse_port=False
        )
        self.port: int = self._socket.getsockname()[1]
        self._wake, self._woken = socket.socketpair()
        self._thread = threading.Thread(target=self._serve, name="tcp echo")
        self._thread.start()

    def _serve(self) -> None:
        while self._woken not in select.select([self._socket, self._woken], [], [])[0]:
            with contextlib.suppress(OSError):
                peer, _ = self._socket.accept()
                with peer:
                    self._echo(peer)

    def _echo(self, peer: socket.socket) -> None:
        while self._woken not in (ready := select.select([peer, self._woken], [], [])[0]):
            if peer in ready:
                data = peer.recv(65536)
                if not data:
                    self._finish(peer)
                    return
                peer.sendall(data)

    def _finish(self, peer: socket.socket) -> None:
        """Wait for the last packet of a connection, so that it is not captured later."""
        peer.shutdown(socket.SHUT_WR)

        def is_over() -> bool:
            return peer.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0] != _LAST_ACK

        with contextlib.suppress(TimeoutError):
            until(is_over, _LAST_ACK_TIMEOUT, "the last acknowledgement")

    def close(self) -> None:
        """End the thread and close its sockets."""
        self._wake.send(b"x")
        self._thread.join()
        for each in (self._socket, self._wake, self._woken):
            each.close()


def tcp_exchange(
    destination: str,
    port: int,
    payload: bytes,
    timeout: float,
    source: tuple[str, int],
    prepare: Prepare = nothing,
) -> bytes:
    """Return as many bytes as were sent; raises TimeoutError, and the OSError of a refusal."""
    with socket.socket(family_of(destination), socket.SOCK_STREAM) as link:
        prepare(link)
        link.settimeout(timeout)
        if any(source):
            link.bind(source)
        link.connect((destination, port))
        link.sendall(payload)
        answer = b""
        while len(answer) < len(payload):
            data = link.recv(65536)
            if not data:
                break
            answer += data
        link.shutdown(socket.SHUT_WR)
        while link.recv(65536):
            pass
        return answer
