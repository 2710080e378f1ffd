"""Reading packets: each kind by bytes put together here, from the RFCs' drawings."""

import socket
import struct

from hypothesis import given
from hypothesis import strategies as st

from kamexfrm.rig import Packet, read_packet


def ip4(protocol: int, body: bytes, *, fragment: int = 0, options: bytes = b"") -> bytes:
    size = 20 + len(options)
    ends = socket.inet_aton("10.0.0.1") + socket.inet_aton("10.0.0.2")
    first = 0x40 | size // 4
    head = struct.pack("!BBHHHBBH", first, 0, size + len(body), 1, fragment, 64, protocol, 0)
    return head + ends + options + body


def ip6(protocol: int, body: bytes) -> bytes:
    ends = b"".join(socket.inet_pton(socket.AF_INET6, t) for t in ("fd00::1", "fd00::2"))
    return struct.pack("!IHBB", 6 << 28, len(body), protocol, 64) + ends + body


def ah(next_header: int, body: bytes) -> bytes:
    return struct.pack("!BBHII", next_header, 4, 0, 0x1002, 7) + bytes(12) + body


ESP = struct.pack("!II", 0x1001, 1) + b"secret"
ECHO = struct.pack("!BBHHH", 8, 0, 0, 1, 1) + b"marker"
UDP = struct.pack("!HHHH", 1000, 53, 12, 0) + b"word"


def read4(data: bytes) -> Packet:
    return read_packet(0.0, "out", 0x0800, data)


def read6(data: bytes) -> Packet:
    return read_packet(0.0, "in", 0x86DD, data)


def test_esp_shows_spi_and_sequence_number() -> None:
    packet = read4(ip4(50, ESP))
    assert packet.summary == "10.0.0.1 > 10.0.0.2 ESP spi=0x1001 seq=1 34 bytes"
    assert (packet.protocol, packet.spi, packet.sequence) == (50, 0x1001, 1)
    assert packet.payload == b"secret"
    assert str(read6(ip6(50, ESP))) == "in  fd00::1 > fd00::2 ESP spi=0x1001 seq=1 54 bytes"


def test_ah_is_followed_to_what_it_protects() -> None:
    packet = read4(ip4(51, ah(1, ECHO)))
    assert packet.protocols == (51, 1)
    assert "AH spi=0x1002 seq=7 ICMP echo request" in packet.summary
    assert packet.payload == b"marker"
    assert read6(ip6(51, ah(50, ESP))).protocols == (51, 50)


def test_a_tunnel_in_clear_shows_its_inner_packet() -> None:
    packet = read4(ip4(4, ip4(17, UDP)))
    assert packet.protocols == (4, 17)
    assert packet.summary.startswith("10.0.0.1 > 10.0.0.2 IPIP [10.0.0.1 > 10.0.0.2] UDP 1000 > 53")
    assert read4(ip4(51, ah(41, ip6(17, UDP)))).protocols == (51, 41, 17)
    assert read6(ip6(4, ip4(1, ECHO))).has(1)


def test_ipcomp_shows_its_cpi() -> None:
    packet = read4(ip4(108, struct.pack("!BBH", 4, 0, 0x1234) + b"deflated"))
    assert "IPComp cpi=0x1234" in packet.summary
    assert packet.payload == b"deflated"


def test_esp_in_udp_is_esp_and_ike_on_the_same_port_is_not() -> None:
    def on_4500(body: bytes) -> Packet:
        return read4(ip4(17, struct.pack("!HHHH", 4500, 4500, 8 + len(body), 0) + body))

    assert on_4500(ESP).protocols == (17, 50)
    assert on_4500(ESP).spi == 0x1001
    assert on_4500(bytes(4) + b"an IKE message").protocols == (17,)


def test_extension_headers_and_options_are_passed_over() -> None:
    hop_by_hop = bytes([60, 0]) + bytes(6)
    destination_options = bytes([17, 1]) + bytes(14)
    assert read6(ip6(0, hop_by_hop + destination_options + UDP)).protocols == (17,)
    assert read4(ip4(17, UDP, options=bytes(8))).payload == b"word"


def test_a_later_fragment_has_no_header_to_read() -> None:
    first, later = struct.pack("!BBHI", 17, 0, 1, 9), struct.pack("!BBHI", 17, 0, 800, 9)
    assert "UDP 1000 > 53" in read6(ip6(44, first + UDP)).summary
    assert read6(ip6(44, later + UDP)).summary.count("1000 > 53") == 0
    assert "later fragment" in read4(ip4(17, UDP, fragment=100)).summary


def test_arp_and_strangers_have_a_line_too() -> None:
    arp = bytes(14) + socket.inet_aton("10.0.0.1") + bytes(6) + socket.inet_aton("10.0.0.2")
    packet = read_packet(0.0, "out", 0x0806, arp)
    assert packet.summary == "10.0.0.1 > 10.0.0.2 ARP 28 bytes"
    assert read_packet(0.0, "out", 0x88CC, b"lldp").summary == "ethertype 0x88cc 4 bytes"


@given(st.sampled_from([0x0800, 0x86DD, 0x0806, 1]), st.binary(max_size=200))
def test_no_bytes_make_it_fail(ethertype: int, data: bytes) -> None:
    assert read_packet(0.0, "out", ethertype, data).data == data


@given(st.sampled_from([0, 4, 41, 43, 44, 50, 51, 60, 108, 17, 6, 1, 58]), st.binary(max_size=120))
def test_no_broken_body_makes_it_fail(protocol: int, body: bytes) -> None:
    assert read4(ip4(protocol, body)).length == 20 + len(body)
    assert read6(ip6(protocol, body)).length == 40 + len(body)
