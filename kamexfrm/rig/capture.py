"""Packets as they cross a link, seen by packet sockets: no tcpdump.

A host that decapsulates a tunnel packet shows the inner one to a packet socket as if it had come
in on the same interface. So a link of the rig is watched at both its ends, and at each end only
what it sends counts: that is what is on the wire, each packet once, and clear text there is a leak.
"""

import contextlib
import select
import socket
import struct
import time
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import NamedTuple, Self

from kamexfrm.kernel.connection import set_buffer
from kamexfrm.rig.namespace import Namespace
from kamexfrm.rig.packet import Packet, read_packet

# linux/if_ether.h, linux/if_packet.h, asm-generic/socket.h
ETH_P_ALL = 3
ETH_HEADER = 14
PACKET_OUTGOING = 4
SOL_PACKET = 263
PACKET_STATISTICS = 6
SO_TIMESTAMPNS = 35
_TIMESPEC = struct.Struct("@qq")

#: Receive buffer of a packet socket in bytes: about 10,000 full packets.
_BUFFER = 16 << 20


class WatchedEnd(NamedTuple):
    """One end of a captured link: an interface of a namespace.

    ``direction`` is that of the counted packets as the capturing host sees them, "out" or "in".
    ``sent`` is whether the packets that the interface sends are counted, else those it receives.
    """

    namespace: Namespace
    interface: str
    direction: str
    sent: bool


class Capture:
    """The packets that cross an interface's link from ``with`` on; made by ``Host.capture``.

    ``lo``, and an interface that no ``Rig.link`` made, have one end: there received packets count.
    Raises RuntimeError when more packets came than the buffer holds.
    """

    def __init__(self, interface: str, ends: Sequence[WatchedEnd]) -> None:
        self._interface = interface
        self._ends = tuple(ends)
        self._packets: list[Packet] = []
        self._sockets: list[tuple[socket.socket, str, bool]] = []

    def __enter__(self) -> Self:
        for end in self._ends:
            self._sockets.append((_open_packet_socket(end), end.direction, end.sent))
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            if kind is None:
                self._read()
        finally:
            for link, _, _ in self._sockets:
                link.close()
            self._sockets.clear()

    @property
    def packets(self) -> list[Packet]:
        """All packets so far, in the order of their time."""
        self._read()
        return list(self._packets)

    def wait_for(self, predicate: Callable[[Packet], bool], deadline: float = 5.0) -> Packet:
        """Return the first packet, past ones included, for which ``predicate`` is true.

        Raises TimeoutError with all packets' summaries after ``deadline`` seconds.
        """
        end = time.monotonic() + deadline
        while True:
            left = end - time.monotonic()
            for packet in self.packets:
                if predicate(packet):
                    return packet
            if left <= 0:
                raise TimeoutError(f"no such packet within {deadline:g} s; there were:\n{self}")
            select.select([link for link, _, _ in self._sockets], [], [], left)

    def contains(self, marker: bytes) -> bool:
        """Whether the bytes were in some packet, header included: clear text on the wire."""
        return any(marker in packet.data for packet in self.packets)

    def clear(self) -> None:
        """Forget the packets so far."""
        self._read()
        self._packets.clear()

    def __str__(self) -> str:
        return "\n".join(str(packet) for packet in self._packets) or "(no packets)"

    def _read(self) -> None:
        """Read what the sockets hold; both ends are merged by the kernel's time stamps."""
        received: list[Packet] = []
        for link, direction, sent in self._sockets:
            with contextlib.suppress(BlockingIOError):
                while True:
                    frame, control, _, address = link.recvmsg(1 << 17, 64)
                    if (address[2] == PACKET_OUTGOING) == sent:
                        when = _time_of(control)
                        received.append(
                            read_packet(when, direction, address[1], frame[ETH_HEADER:])
                        )
            dropped = struct.unpack("@II", link.getsockopt(SOL_PACKET, PACKET_STATISTICS, 8))[1]
            if dropped:
                raise RuntimeError(f"the capture on {self._interface} lost {dropped} packets")
        received.sort(key=lambda packet: packet.time)
        self._packets += received


def _open_packet_socket(end: WatchedEnd) -> socket.socket:
    """Return a packet socket on one end of a link, non-blocking and with time stamps."""
    with end.namespace.enter():
        link = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
    try:
        link.setblocking(False)
        set_buffer(link, socket.SO_RCVBUF, _BUFFER)
        link.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
        with end.namespace.enter():
            link.bind((end.interface, ETH_P_ALL))
    except BaseException:
        link.close()
        raise
    return link


def _time_of(control: list[tuple[int, int, bytes]]) -> float:
    """Return a message's time in seconds since the epoch, from its ancillary data."""
    for level, kind, data in control:
        if level == socket.SOL_SOCKET and kind == SO_TIMESTAMPNS:
            seconds, nanoseconds = _TIMESPEC.unpack(data[: _TIMESPEC.size])
            return float(seconds + nanoseconds / 1e9)
    return time.time()
