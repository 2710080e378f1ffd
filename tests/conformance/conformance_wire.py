"""Packets made and read byte by byte, so that no kernel has a say in what the tests send and see.

All SAs use null encryption with HMAC-SHA1 for ESP, HMAC-SHA1 for AH and deflate for IPComp: each
layer of a packet on the wire can be taken off again. Sources: RFC 768, 791, 792, 8200, 4302, 4303,
2404, 3173, 2394.
"""

import hmac
import struct
import zlib
from typing import NamedTuple

from kamexfrm.model.packet import Packet, Protection
from kamexfrm.model.policy import IpsecProtocol, Mode
from kamexfrm.net import (
    AF_INET,
    AF_INET6,
    IPPROTO_AH,
    IPPROTO_ICMP,
    IPPROTO_IPIP,
    IPPROTO_IPV6,
    Address,
)

KEY = bytes(range(20))
_ICV = 12  # 96 bits (RFC 2404)
_WINDOW = -11  # Linux's deflate window, 2 kB, without a zlib header
_INSIDE = {AF_INET: IPPROTO_IPIP, AF_INET6: IPPROTO_IPV6}
_TTL = 64
_FRAGMENT = 44  # RFC 8200 section 4.5


class Seal(NamedTuple):
    """One IPsec header as it was found, with the addresses of the IP header before it."""

    protocol: IpsecProtocol
    mode: Mode
    source: Address
    destination: Address
    spi: int

    def __str__(self) -> str:
        mode = self.mode.name.lower()
        ends = f"{self.source}-{self.destination}"
        return f"{self.protocol.name.lower()}/{mode}/{ends} spi {self.spi:#x}"


class Found(NamedTuple):
    """What was on the wire: the seals, innermost first, and the packet inside them."""

    seals: tuple[Seal, ...]
    source: Address
    destination: Address
    upper: int
    ports: tuple[int, int]
    payload: bytes


def _checksum(data: bytes) -> int:
    data += bytes(len(data) % 2)
    total: int = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def _ip(source: Address, destination: Address, protocol: int, payload: bytes) -> bytes:
    """Return an IP packet of the addresses' family."""
    ends = source.packed + destination.packed
    if source.family == AF_INET6:
        return struct.pack("!IHBB", 6 << 28, len(payload), protocol, _TTL) + ends + payload
    head = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(payload), 0, 0, _TTL, protocol, 0) + ends
    return head[:10] + struct.pack("!H", _checksum(head)) + head[12:] + payload


def _upper(packet: Packet, payload: bytes) -> bytes:
    """Return a UDP datagram, a TCP SYN or an ICMP message; ICMP's ports are type and code."""
    first, second = packet.source_port or 0, packet.destination_port or 0
    match packet.upper:
        case 17:
            data = struct.pack("!HHHH", first, second, 8 + len(payload), 0) + payload
            at = 6
        case 6:
            data = struct.pack("!HHIIBBHHH", first, second, 1, 0, 5 << 4, 2, 8192, 0, 0) + payload
            at = 16
        case _:
            data = struct.pack("!BBHHH", first, second, 0, 1, 1) + payload
            at = 2
    pseudo = b""
    if packet.upper != IPPROTO_ICMP:
        ends = packet.source.packed + packet.destination.packed
        pseudo = ends + struct.pack("!IHBB", len(data), 0, 0, packet.upper)
    total = _checksum(pseudo + data)
    return data[:at] + struct.pack("!H", total) + data[at + 2 :]


def _authenticated(header: bytes) -> bytes:
    """Return an IP header as AH sees it: what changes on the way is zero (RFC 4302 section 3.3)."""
    if header[0] >> 4 == 4:
        total = header[:1] + b"\0" + header[2:6] + bytes(2) + b"\0" + header[9:10] + bytes(2)
        return total + header[12:]
    return b"\x60" + bytes(3) + header[4:7] + b"\0" + header[8:]


def _seal(protection: Protection, inner: int, payload: bytes) -> bytes:
    """Return an IP packet with one IPsec header around a payload of protocol ``inner``."""
    source, destination = protection.source, protection.destination
    spi = protection.spi or 0
    match protection.protocol:
        case IpsecProtocol.ESP:
            pad = -(len(payload) + 2) % 4
            data = struct.pack("!II", spi, 1) + payload
            data += bytes(range(1, pad + 1)) + bytes((pad, inner))
            data += hmac.digest(KEY, data, "sha1")[:_ICV]
        case IpsecProtocol.AH:
            head = struct.pack("!BBHII", inner, 4, 0, spi, 1)
            whole = _ip(source, destination, IPPROTO_AH, head + bytes(_ICV) + payload)
            size = len(whole) - len(payload) - len(head) - _ICV
            signed = _authenticated(whole[:size]) + whole[size:]
            data = head + hmac.digest(KEY, signed, "sha1")[:_ICV] + payload
        case _:
            press = zlib.compressobj(9, zlib.DEFLATED, _WINDOW)
            data = struct.pack("!BBH", inner, 0, spi) + press.compress(payload) + press.flush()
    return _ip(source, destination, protection.protocol, data)


def build(packet: Packet, payload: bytes) -> bytes:
    """Return a packet's bytes, with its protections (the outermost first) around it."""
    whole = _ip(packet.source, packet.destination, packet.upper, _upper(packet, payload))
    family = packet.family
    for protection in reversed(packet.protections):
        if protection.mode is Mode.TUNNEL:
            whole = _seal(protection, _INSIDE[family], whole)
            family = protection.source.family
        else:
            size = 20 if family == AF_INET else 40
            whole = _seal(protection, whole[9] if family == AF_INET else whole[6], whole[size:])
    return whole


def read(data: bytes) -> Found:
    """Take off all layers of a packet; raises ValueError for what these tests do not send."""
    seals: list[Seal] = []
    try:
        return _read_ip(data, seals)
    except (struct.error, IndexError, zlib.error) as error:
        raise ValueError(f"unreadable packet {data.hex()}: {error}") from None


def _read_ip(data: bytes, seals: list[Seal]) -> Found:
    if data[0] >> 4 == 4:
        (total,) = struct.unpack_from("!H", data, 2)
        source, destination = (Address(AF_INET, data[at : at + 4]) for at in (12, 16))
        return _read_next(data[9], data[20:total], source, destination, seals)
    (length,) = struct.unpack_from("!H", data, 4)
    source, destination = (Address(AF_INET6, data[at : at + 16]) for at in (8, 24))
    return _read_next(data[6], data[40 : 40 + length], source, destination, seals)


def _read_next(
    protocol: int, data: bytes, source: Address, destination: Address, seals: list[Seal]
) -> Found:
    if protocol == _FRAGMENT and not struct.unpack_from("!H", data, 2)[0] & 0xFFF9:
        # Linux puts a header of a fragment that is the whole packet around a bundle whose outer
        # family is not the inner one: it takes IPv4's control block for IPv6's.
        protocol, data = data[0], data[8:]
    match protocol:
        case 50:
            (spi,) = struct.unpack_from("!I", data)
            if hmac.digest(KEY, data[:-_ICV], "sha1")[:_ICV] != data[-_ICV:]:
                raise ValueError("an ESP packet with a wrong ICV")
            pad, inner = data[-_ICV - 2 : -_ICV]
            rest = data[8 : -_ICV - 2 - pad]
        case 51:
            inner, size = data[0], (data[1] + 2) * 4
            (spi,) = struct.unpack_from("!I", data, 4)
            rest = data[size:]
        case 108:
            inner = data[0]
            (spi,) = struct.unpack_from("!H", data, 2)
            rest = zlib.decompress(data[4:], _WINDOW)
        case _:
            return _read_upper(protocol, data, source, destination, tuple(reversed(seals)))
    mode = Mode.TUNNEL if inner in _INSIDE.values() else Mode.TRANSPORT
    seals.append(Seal(IpsecProtocol(protocol), mode, source, destination, spi))
    if mode is Mode.TUNNEL:
        return _read_ip(rest, seals)
    return _read_next(inner, rest, source, destination, seals)


def _read_upper(
    protocol: int, data: bytes, source: Address, destination: Address, seals: tuple[Seal, ...]
) -> Found:
    match protocol:
        case 17:
            ports, payload = struct.unpack_from("!HH", data), data[8:]
        case 6:
            ports, payload = struct.unpack_from("!HH", data), b""
        case 1 | 58:
            ports, payload = (data[0], data[1]), data[8:]
        case _:
            ports, payload = (0, 0), data
    return Found(seals, source, destination, protocol, (ports[0], ports[1]), payload)
