"""ESP in UDP without an IKE daemon: the sockets that take a peer's packets, and keepalives.

The kernel takes the ESP out of a UDP packet for sockets that ask for it (udp(7) UDP_ENCAP), and
drops it otherwise. Each socket has a policy of its own for both directions, bypass: else a policy
for any packet would be met by the UDP packet before the ESP in it is seen. A NAT forgets a flow
that is silent, so a keepalive is sent now and then for each outbound SA (RFC 3948 section 4).
"""

import contextlib
import errno
import os
import socket
import time
from collections.abc import Callable, Iterable
from typing import NamedTuple

from kamexfrm.command_line import UsageError
from kamexfrm.engine.socket_policy import option_value
from kamexfrm.errors import KamexfrmError, KernelError
from kamexfrm.hub.event_loop import EventLoop
from kamexfrm.kernel.interface import Kernel
from kamexfrm.model.policy import Direction, PolicyType, SocketPolicy
from kamexfrm.net import AF_INET, AF_INET6, Address
from kamexfrm.xfrm import (
    IP_XFRM_POLICY,
    IPV6_XFRM_POLICY,
    NLA_TYPE_MASK,
    UDP_ENCAP_ESPINUDP,
    XFRMA_ENCAP,
    State,
    decode_state,
    iter_attributes,
)
from kamexfrm.xfrm.structs import USERSA_INFO

#: Seconds between two keepalives to a peer (RFC 3948 section 4).
INTERVAL = 20.0

_UDP_ENCAP = 100  # linux/udp.h
_KEEPALIVE = b"\xff"
_PORT_MAX = 65535

#: Packets that are read at a time; what is no ESP belongs to nobody here.
_TURNS = 64

_IN_USE = (
    "another program has the port: an IKE daemon that is there takes ESP in UDP itself,"
    " and needs no --encap"
)


class EncapAddress(NamedTuple):
    """Where to take packets: ``address`` is unspecified for all of a family; the UDP port."""

    address: Address
    port: int

    def __str__(self) -> str:
        shown = str(self.address)
        return f"[{shown}]:{self.port}" if ":" in shown else f"{shown}:{self.port}"


def parse_encap(text: str) -> tuple[EncapAddress, ...]:
    """Read ``PORT``, ``ADDRESS:PORT`` or ``[ADDRESS]:PORT``; a port alone is for both families.

    Raises UsageError.

    >>> parse_encap("192.0.2.1:4500")[0].port
    4500
    """
    host, _, port = text.rpartition(":")
    if not port.isascii() or not port.isdigit() or not 0 < int(port) <= _PORT_MAX:
        raise UsageError(f"--encap={text}: a UDP port is a number from 1 to {_PORT_MAX}")
    if not host:
        nowhere = (Address.unspecified(family) for family in (AF_INET, AF_INET6))
        return tuple(EncapAddress(each, int(port)) for each in nowhere)
    is_bracketed = host.startswith("[") and host.endswith("]")
    try:
        address = Address.parse(host[1:-1] if is_bracketed else host)
    except (KamexfrmError, ValueError):
        raise UsageError(f"--encap={text}: no address; use ADDRESS:PORT") from None
    if (address.family == AF_INET6) != is_bracketed:
        raise UsageError(f"--encap={text}: an address of IPv6, and none of IPv4, is in brackets")
    return (EncapAddress(address, int(port)),)


def open_encap(at: EncapAddress) -> socket.socket:
    """Return a socket that takes ESP in UDP; raises KernelError."""
    six = at.address.family == AF_INET6
    level, option = (
        (socket.IPPROTO_IPV6, IPV6_XFRM_POLICY) if six else (socket.IPPROTO_IP, IP_XFRM_POLICY)
    )
    made: socket.socket | None = None
    try:
        made = socket.socket(socket.AF_INET6 if six else socket.AF_INET, socket.SOCK_DGRAM)
        made.setblocking(False)
        if six:
            made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        for direction in (Direction.IN, Direction.OUT):
            bypass = SocketPolicy(direction, PolicyType.BYPASS)
            made.setsockopt(level, option, option_value(bypass, at.address.family))
        made.setsockopt(socket.IPPROTO_UDP, _UDP_ENCAP, UDP_ENCAP_ESPINUDP)
        made.bind((str(at.address), at.port))
    except OSError as error:
        if made is not None:
            made.close()
        why = _IN_USE if error.errno == errno.EADDRINUSE else ""
        raise KernelError(
            error.errno or errno.EIO, f"--encap {at}{': ' * bool(why)}{why}"
        ) from None
    return made


class Peer(NamedTuple):
    """Where a keepalive goes, and from which port and address."""

    source: Address
    source_port: int
    destination: Address
    destination_port: int


def peers_of(states: Iterable[State]) -> set[Peer]:
    """Return the ends of SAs of ESP in UDP, whichever of the two is ours."""
    return {
        Peer(s.source, s.encap.source_port, s.destination, s.encap.destination_port)
        for s in states
        if s.encap is not None and s.encap.type == UDP_ENCAP_ESPINUDP and s.spi
    }


def _has_encap(payload: bytes) -> bool:
    return any(
        number & NLA_TYPE_MASK == XFRMA_ENCAP
        for number, _, _ in iter_attributes(payload, USERSA_INFO.size)
    )


class Encap:
    """The sockets of a daemon, and when the next keepalives are due.

    ``interval`` is in seconds, 0 for no keepalives; ``log`` gets a sentence for what fails.
    """

    def __init__(
        self,
        kernel: Kernel,
        addresses: Iterable[EncapAddress],
        loop: EventLoop,
        log: Callable[[str], None],
        interval: float = INTERVAL,
    ) -> None:
        """Open all sockets; raises KernelError."""
        self._kernel = kernel
        self._log = log
        self._interval = interval
        self._next = time.monotonic()
        self._sockets: dict[EncapAddress, socket.socket] = {}
        self._failure = ""
        try:
            for at in addresses:
                self._open(at, loop)
        except KernelError:
            self.close()
            raise

    def _open(self, at: EncapAddress, loop: EventLoop) -> None:
        if at in self._sockets:
            return
        if at.address.is_unspecified and at.address.family == AF_INET6 and not _has_ipv6():
            return
        made = self._sockets[at] = open_encap(at)
        loop.watch(made.fileno(), lambda _: _discard(made))

    @property
    def addresses(self) -> tuple[EncapAddress, ...]:
        """Where ESP in UDP is taken."""
        return tuple(self._sockets)

    def pause(self) -> float | None:
        """Return the seconds until keepalives are due, None for never."""
        return max(0.0, self._next - time.monotonic()) if self._interval else None

    def run_deferred(self) -> float | None:
        """Send the keepalives that are due; return in how many seconds to call again, or None."""
        if self.pause() == 0.0:
            self._next = time.monotonic() + self._interval
            try:
                payloads = self._kernel.raw_states()
                self._send(peers_of(decode_state(p) for p in payloads if _has_encap(p)))
                self._failure = ""
            except (OSError, KamexfrmError) as error:
                if str(error) != self._failure:
                    self._log(f"could not send keepalives: {error}")
                self._failure = str(error)
        return self.pause()

    def _send(self, peers: Iterable[Peer]) -> None:
        """Send a keepalive for each SA whose source is one of our sockets; raises OSError."""
        failed: OSError | None = None
        for peer in peers:
            sender = self._sender(peer)
            if sender is None:
                continue
            try:
                _send_from(sender, peer)
            except OSError as error:
                # EADDRNOTAVAIL: of an inbound SA the source is the peer, no address of ours.
                if error.errno not in (errno.EADDRNOTAVAIL, errno.EINVAL, errno.EAGAIN):
                    failed = error
        if failed is not None:
            raise failed

    def _sender(self, peer: Peer) -> socket.socket | None:
        for at, each in self._sockets.items():
            same = at.address in (peer.source, Address.unspecified(peer.source.family))
            if same and at.port == peer.source_port:
                return each
        return None

    def close(self) -> None:
        """Close all sockets."""
        for each in self._sockets.values():
            each.close()
        self._sockets.clear()


_IP_PKTINFO = 8  # linux/in.h


def _send_from(sender: socket.socket, peer: Peer) -> None:
    """Send a keepalive from an address of ours; raises OSError where it is none."""
    source = peer.source.packed
    if peer.source.family == AF_INET6:
        control = (socket.IPPROTO_IPV6, socket.IPV6_PKTINFO, source + bytes(4))
    else:
        control = (socket.IPPROTO_IP, _IP_PKTINFO, bytes(4) + source + bytes(4))
    sender.sendmsg([_KEEPALIVE], [control], 0, (str(peer.destination), peer.destination_port))


def _has_ipv6() -> bool:
    return os.path.exists("/proc/net/if_inet6")


def _discard(taken: socket.socket) -> None:
    """Read what is no ESP, such as IKE's packets, so that it does not fill the socket."""
    with contextlib.suppress(OSError):
        for _ in range(_TURNS):
            taken.recv(1)
