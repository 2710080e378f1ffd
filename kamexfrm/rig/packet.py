"""Reading captured packets: what crosses a link, in one line that a failed test can show.

Pure: bytes in, records out. Knows enough of IPv4, IPv6 and what runs on them to name ESP, AH
(and what is inside), IPComp, IP in IP, ICMP, UDP and TCP. Sources: RFC 791, 8200, 4302, 4303,
3173, 3948.
"""

import dataclasses
import socket
import struct

from kamexfrm.net import (
    IPPROTO_AH,
    IPPROTO_COMP,
    IPPROTO_ESP,
    IPPROTO_ICMP,
    IPPROTO_ICMPV6,
    IPPROTO_IPIP,
    IPPROTO_IPV6,
    IPPROTO_TCP,
    IPPROTO_UDP,
)

ETH_P_IP = 0x0800
ETH_P_ARP = 0x0806
ETH_P_IPV6 = 0x86DD

#: IPv6 extension headers with the common length field: hop-by-hop, routing, destination options.
_EXTENSIONS = {0, 43, 60}
_FRAGMENT = 44
_NO_NEXT = 59

_NAMES = {
    IPPROTO_ICMP: "ICMP",
    IPPROTO_IPIP: "IPIP",
    IPPROTO_TCP: "TCP",
    IPPROTO_UDP: "UDP",
    IPPROTO_IPV6: "IPv6",
    IPPROTO_ESP: "ESP",
    IPPROTO_AH: "AH",
    IPPROTO_ICMPV6: "ICMPv6",
    IPPROTO_COMP: "IPComp",
    _FRAGMENT: "fragment",
}

_ICMP_TYPES = {0: "echo reply", 3: "unreachable", 8: "echo request", 11: "time exceeded"}
_ICMPV6_TYPES = {
    1: "unreachable",
    2: "too big",
    128: "echo request",
    129: "echo reply",
    130: "MLD query",
    131: "MLD report",
    133: "router solicitation",
    134: "router advertisement",
    135: "neighbour solicitation",
    136: "neighbour advertisement",
    143: "MLD report",
}

#: The port of IKE and of ESP in UDP (RFC 3948).
_NATT_PORT = 4500


@dataclasses.dataclass(frozen=True, slots=True)
class Packet:
    """A packet that crossed a link.

    ``direction`` is "out" when the capturing host sent it, "in" when its peer did. ``protocol``
    is the first one after the IP header and IPv6 extension headers; ``protocols`` goes on through
    AH and IP in IP, as far as there is clear text. ``payload`` is what follows the last header
    that was read; ``data`` the whole packet from the IP header on. ``length`` in bytes.
    """

    time: float
    direction: str
    ethertype: int
    source: str
    destination: str
    protocol: int
    protocols: tuple[int, ...]
    spi: int | None
    sequence: int | None
    summary: str
    payload: bytes
    data: bytes

    @property
    def length(self) -> int:
        """The packet's length in bytes, from the IP header on."""
        return len(self.data)

    def has(self, protocol: int) -> bool:
        """Whether the protocol is somewhere in the packet's readable headers."""
        return protocol in self.protocols

    def __str__(self) -> str:
        return f"{self.direction:3} {self.summary}"


class _Reader:
    """Walks through a packet's headers, noting protocols and words for the summary."""

    def __init__(self) -> None:
        self.ends: tuple[str, str] | None = None
        self.protocols: list[int] = []
        self.words: list[str] = []
        self.spi: int | None = None
        self.sequence: int | None = None
        self.rest = b""

    def ip(self, data: bytes) -> None:
        """Read an IP header of either version and all after it."""
        version = data[0] >> 4
        self.rest = data
        if version == 4 and len(data) >= 20:
            size = (data[0] & 15) * 4
            (total,) = struct.unpack_from("!H", data, 2)
            (fragment,) = struct.unpack_from("!H", data, 6)
            self._addresses(socket.AF_INET, data[12:16], data[16:20])
            self._next(data[9], data[size:total], bool(fragment & 0x1FFF))
        elif version == 6 and len(data) >= 40:
            (total,) = struct.unpack_from("!H", data, 4)
            self._addresses(socket.AF_INET6, data[8:24], data[24:40])
            self._next(data[6], data[40 : 40 + total], False)

    def _addresses(self, family: socket.AddressFamily, source: bytes, destination: bytes) -> None:
        ends = socket.inet_ntop(family, source), socket.inet_ntop(family, destination)
        if self.ends is None:
            self.ends = ends
        else:
            self.words.append(f"[{ends[0]} > {ends[1]}]")

    def _next(self, protocol: int, data: bytes, later_fragment: bool) -> None:
        """Read what an IP header, an extension header or AH announces."""
        while protocol in _EXTENSIONS and len(data) >= 8:
            protocol, data = data[0], data[(data[1] + 1) * 8 :]
        if protocol == _FRAGMENT and len(data) >= 8:
            (offset,) = struct.unpack_from("!H", data, 2)
            later_fragment = later_fragment or bool(offset & 0xFFF8)
            protocol, data = data[0], data[8:]
            self.words.append("fragment")
        self.rest = data
        if protocol == _NO_NEXT:
            return
        self.protocols.append(protocol)
        self.words.append(_NAMES.get(protocol, f"protocol {protocol}"))
        if later_fragment:
            self.words.append("(later fragment)")
        else:
            self._body(protocol, data)

    def _body(self, protocol: int, data: bytes) -> None:
        """Read one upper-layer or IPsec header."""
        if protocol == IPPROTO_ESP and len(data) >= 8:
            self._security(*struct.unpack_from("!II", data))
            self.rest = data[8:]
        elif protocol == IPPROTO_AH and len(data) >= 12:
            self._security(*struct.unpack_from("!II", data, 4))
            self._next(data[0], data[(data[1] + 2) * 4 :], False)
        elif protocol == IPPROTO_COMP and len(data) >= 4:
            (cpi,) = struct.unpack_from("!H", data, 2)
            self.words.append(f"cpi={cpi:#x}")
            self.rest = data[4:]
        elif protocol in (IPPROTO_IPIP, IPPROTO_IPV6) and data:
            self.ip(data)
        elif protocol in (IPPROTO_UDP, IPPROTO_TCP) and len(data) >= 8:
            ports = struct.unpack_from("!HH", data)
            self.words.append(f"{ports[0]} > {ports[1]}")
            self._transport(protocol, ports, data)
        elif protocol in (IPPROTO_ICMP, IPPROTO_ICMPV6) and len(data) >= 4:
            names = _ICMP_TYPES if protocol == IPPROTO_ICMP else _ICMPV6_TYPES
            self.words.append(names.get(data[0], f"type {data[0]} code {data[1]}"))
            self.rest = data[8:]

    def _transport(self, protocol: int, ports: tuple[int, int], data: bytes) -> None:
        size = 8 if protocol == IPPROTO_UDP else (data[12] >> 4) * 4 if len(data) > 12 else 0
        self.rest = data[size:]
        is_natt = protocol == IPPROTO_UDP and _NATT_PORT in ports
        if is_natt and len(self.rest) >= 8 and self.rest[:4] != bytes(4):
            self.protocols.append(IPPROTO_ESP)
            self.words.append("ESP")
            self._body(IPPROTO_ESP, self.rest)

    def _security(self, spi: int, sequence: int) -> None:
        if self.spi is None:
            self.spi, self.sequence = spi, sequence
        self.words.append(f"spi={spi:#x} seq={sequence}")


def read_packet(time: float, direction: str, ethertype: int, data: bytes) -> Packet:
    """Return the record of a packet; what cannot be read is left out, never an error.

    ``time`` is in seconds since the epoch, ``data`` starts at the IP header.
    """
    reader = _Reader()
    if ethertype in (ETH_P_IP, ETH_P_IPV6) and data:
        reader.ip(data)
    source, destination = reader.ends or ("", "")
    if reader.ends:
        summary = f"{source} > {destination} {' '.join(reader.words)} {len(data)} bytes"
    elif ethertype == ETH_P_ARP and len(data) >= 28:
        source, destination = (socket.inet_ntoa(data[i : i + 4]) for i in (14, 24))
        summary = f"{source} > {destination} ARP {len(data)} bytes"
    else:
        summary = f"ethertype {ethertype:#06x} {len(data)} bytes"
    return Packet(
        time=time,
        direction=direction,
        ethertype=ethertype,
        source=source,
        destination=destination,
        protocol=reader.protocols[0] if reader.protocols else 0,
        protocols=tuple(reader.protocols),
        spi=reader.spi,
        sequence=reader.sequence,
        summary=summary,
        payload=reader.rest if reader.ends else data,
        data=data,
    )
