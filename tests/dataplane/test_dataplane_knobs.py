"""The knobs beyond the levels, on the wire: DF and ECN of outer headers, ICVs, SPIs and larvals."""

import re
import socket
import struct
from dataclasses import replace
from pathlib import Path

import pytest

from kamexfrm.net import IPPROTO_AH, IPPROTO_ESP
from kamexfrm.rig import Gateways, Host, Packet, TwoHosts, until
from tests.dataplane.dataplane_proof import (
    ESP_KEYS,
    MARKER,
    Watch,
    both_sides,
    inject,
    knob,
    load,
    ping,
    setkey,
)

pytestmark = pytest.mark.dataplane

A, B, A6, B6 = "10.0.0.1", "10.0.0.2", "fd00::1", "fd00::2"
ENDS = {4: (A, B), 6: (A6, B6)}
DFBIT = "net.inet.ipsec.dfbit"
ECN = {4: "net.inet.ipsec.ecn", 6: "net.inet6.ipsec6.ecn"}
LARVAL, SHA256 = "net.key.larval_lifetime", "net.key.sha256_icv"
SPI_MIN, SPI_MAX = "net.key.spi_minval", "net.key.spi_maxval"

#: linux/in.h and linux/in6.h.
IP_TOS, IP_RECVTOS, IP_MTU_DISCOVER, IPV6_TCLASS = 1, 13, 10, 67
CONGESTION = 3
DF = 0x4000
PORT = 7007

VERSIONS = pytest.mark.parametrize("outer", [4, 6], ids=["outer v4", "outer v6"])


def tunnels(outer: int, *, mode: str = "-m tunnel") -> str:
    """Return the SA and the policies that put both families' UDP from ``a`` into one tunnel."""
    left, right = ENDS[outer]
    return f"add {left} {right} esp 0x1000 {mode} {ESP_KEYS};\n" + "".join(
        f"spdadd {ENDS[inner][0]} {ENDS[inner][1]} udp -P out"
        f" ipsec esp/tunnel/{left}-{right}/require;\n"
        for inner in (4, 6)
    )


def again(outer: int, *, mode: str = "-m tunnel") -> str:
    """Return the statements that make the SA of ``tunnels`` again."""
    left, right = ENDS[outer]
    return f"delete {left} {right} esp 0x1000; add {left} {right} esp 0x1000 {mode} {ESP_KEYS};"


def seen(a: Host, inner: int, *, df: bool = False, ecn: int = 0) -> Packet:
    """Send a datagram from ``a`` and return what of it was on the wire."""
    family = socket.AF_INET if inner == 4 else socket.AF_INET6
    with a.capture("eth0") as capture, a.socket(family, socket.SOCK_DGRAM) as link:
        if inner == 4:
            link.setsockopt(socket.IPPROTO_IP, IP_TOS, ecn)
            link.setsockopt(socket.IPPROTO_IP, IP_MTU_DISCOVER, 2 if df else 0)
        else:
            link.setsockopt(socket.IPPROTO_IPV6, IPV6_TCLASS, ecn)
        link.sendto(MARKER, (ENDS[inner][1], PORT))
        return capture.wait_for(lambda packet: packet.has(IPPROTO_ESP))


def traffic_class(packet: Packet) -> int:
    first, second = packet.data[0], packet.data[1]
    return second if first >> 4 == 4 else (first & 15) << 4 | second >> 4


def has_df(packet: Packet) -> bool:
    assert packet.data[0] >> 4 == 4
    return bool(struct.unpack_from("!H", packet.data, 6)[0] & DF)


def outer_df(a: Host) -> list[bool]:
    """Return DF around IPv4 with DF, IPv4 without and IPv6."""
    return [has_df(seen(a, 4, df=True)), has_df(seen(a, 4, df=False)), has_df(seen(a, 6))]


def outer_ecn(a: Host, inner: int) -> list[int]:
    """Return the outer traffic class around each value of the inner ECN bits."""
    return [traffic_class(seen(a, inner, ecn=ecn)) for ecn in range(4)]


#: RFC 6040 section 4.1 in normal mode but for CE, which starts again as ECT(0) (Linux).
ALLOWED = [0, 1, 2, 2]
FORBIDDEN = [0, 0, 0, 0]

#: Outer DF around what ``outer_df`` sends. Linux sets it around IPv6, whose routers never fragment.
COPIED = [True, False, True]
CLEARED = [False, False, False]


@pytest.mark.parametrize("mode", ["-m tunnel", ""], ids=["tunnel", "any"])
def test_dfbit_decides_over_df_of_the_outer_header(two_hosts: TwoHosts, mode: str) -> None:
    a = two_hosts.a
    load(a, tunnels(4, mode=mode))
    assert outer_df(a) == COPIED
    knob(a, f"{DFBIT}=clear")
    assert outer_df(a) == COPIED, "the SA was there before"
    load(a, again(4, mode=mode))
    assert outer_df(a) == CLEARED
    knob(a, f"{DFBIT}=copy")
    assert outer_df(a) == CLEARED, "the SA was there before"
    load(a, again(4, mode=mode))
    assert outer_df(a) == COPIED


def test_dfbit_concerns_no_transport_sa(two_hosts: TwoHosts) -> None:
    a = two_hosts.a
    knob(a, f"{DFBIT}=clear", f"{ECN[4]}=forbidden")
    load(a, f"add {A} {B} esp 0x1000 -m transport {ESP_KEYS};")
    load(a, f"spdadd {A} {B} udp -P out ipsec esp/transport//require;")
    packet = seen(a, 4, df=True, ecn=2)
    assert has_df(packet)
    assert traffic_class(packet) == 2


@VERSIONS
def test_ecn_decides_over_the_ecn_bits_of_its_familys_outer_header(
    two_hosts: TwoHosts, outer: int
) -> None:
    a = two_hosts.a
    load(a, tunnels(outer))
    assert [outer_ecn(a, inner) for inner in (4, 6)] == [ALLOWED, ALLOWED]
    knob(a, f"{ECN[outer]}=forbidden")
    assert outer_ecn(a, 4) == ALLOWED, "the SA was there before"
    load(a, again(outer))
    assert [outer_ecn(a, inner) for inner in (4, 6)] == [FORBIDDEN, FORBIDDEN]
    knob(a, f"{ECN[outer]}=allowed", f"{ECN[10 - outer]}=forbidden")
    load(a, again(outer))
    assert [outer_ecn(a, inner) for inner in (4, 6)] == [ALLOWED, ALLOWED]


def marked(packet: Packet) -> Packet:
    """Return an IPv4 packet as a congested router passes it on."""
    header = bytearray(packet.data[:20])
    header[1] |= CONGESTION
    header[10:12] = b"\0\0"
    total = sum(struct.unpack("!10H", header))
    total = (total & 0xFFFF) + (total >> 16)
    struct.pack_into("!H", header, 10, ~((total & 0xFFFF) + (total >> 16)) & 0xFFFF)
    data = bytes(header) + packet.data[20:]
    return replace(packet, data=data)


@pytest.mark.parametrize(("word", "arrives"), [("allowed", CONGESTION), ("forbidden", 2)])
def test_ecn_decides_whether_a_mark_on_the_way_reaches_the_receiver(
    two_hosts: TwoHosts, word: str, arrives: int
) -> None:
    a, b = two_hosts
    load(a, tunnels(4))
    knob(b, f"{ECN[4]}={word}")
    packet = seen(a, 4, ecn=2)
    load(
        b,
        f"add {A} {B} esp 0x1000 -m tunnel {ESP_KEYS};"
        f"spdadd {A} {B} udp -P in ipsec esp/tunnel/{A}-{B}/require;",
    )
    with b.socket(socket.AF_INET, socket.SOCK_DGRAM) as link:
        link.setsockopt(socket.IPPROTO_IP, IP_RECVTOS, 1)
        link.bind((B, PORT))
        link.settimeout(5)
        inject(marked(packet), a, b)
        payload, control, _, _ = link.recvmsg(4096, 64)
    assert payload == MARKER
    assert [data[0] for _, kind, data in control if kind == IP_TOS] == [arrives]


def test_tunnels_work_with_all_of_kames_start_values(gateways: Gateways) -> None:
    out, back = (f"ipsec esp/tunnel/{ends}/require" for ends in (f"{A}-{B}", f"{B}-{A}"))
    sas = f"add {A} {B} esp 0x1000 -m tunnel {ESP_KEYS};"
    sas += f"add {B} {A} esp 0x1001 -m tunnel {ESP_KEYS};"
    sides = both_sides("10.1.0.0/16", "10.2.0.0/16", out, mirrored=back)
    for gateway, policies in zip(gateways[1:3], sides, strict=True):
        knob(gateway, "--preset", "kame")
        load(gateway, sas + policies)
    with Watch(gateways, gateways.g1, "eth1") as watch:
        assert ping(gateways.h1, "10.2.0.2")
        assert ping(gateways.h2, "10.1.0.2")
    watch.assert_protected(IPPROTO_ESP)
    assert not any(has_df(packet) for packet in watch.packets())


# hmac-sha256


def with_sha256(protocol: str, name: str) -> str:
    """Return an SA for each way, authenticated by hmac-sha256 of some spelling."""
    word = f"-A {name} 0x{bytes(32).hex()}"
    cipher = "-E null " if protocol == "esp" else ""
    ways = ((A, B, 0x1000), (B, A, 0x1001))
    return "".join(f"add {s} {d} {protocol} {spi} {cipher}{word};\n" for s, d, spi in ways)


def lengths(two_hosts: TwoHosts, protocol: str, left: str, right: str) -> set[int]:
    """Return how long packets between two hosts are whose SAs spell hmac-sha256 so."""
    for host in two_hosts:
        setkey(host, "-F")
        setkey(host, "-FP")
    policies = both_sides(A, B, f"ipsec {protocol}/transport//require")
    for host, name, spd in zip(two_hosts, (left, right), policies, strict=True):
        load(host, with_sha256(protocol, name) + spd)
    with Watch(two_hosts, two_hosts.a) as watch:
        assert two_hosts.a.ping(B, payload=bytes(50))
    watch.assert_protected(IPPROTO_ESP if protocol == "esp" else IPPROTO_AH, hides=False)
    return {packet.length for packet in watch.packets()}


#: How much longer a packet is: Linux's AH is a multiple of 8 octets in length.
@pytest.mark.parametrize(("protocol", "more"), [("esp", 4), ("ah", 8)])
def test_sha256_icv_is_the_length_of_plain_hmac_sha256_on_the_wire(
    two_hosts: TwoHosts, protocol: str, more: int
) -> None:
    plain, short, full = "hmac-sha256", "hmac-sha256-96", "hmac-sha256-128"
    of_96 = lengths(two_hosts, protocol, short, short)
    of_128 = lengths(two_hosts, protocol, full, full)
    assert of_128 == {length + more for length in of_96}
    assert lengths(two_hosts, protocol, plain, short) == of_96
    for host in two_hosts:
        knob(host, f"{SHA256}=128")
    assert lengths(two_hosts, protocol, plain, full) == of_128
    assert lengths(two_hosts, protocol, short, short) == of_96
    knob(two_hosts.b, f"{SHA256}=96")
    assert lengths(two_hosts, protocol, full, full) == of_128


def test_sas_that_are_there_keep_their_icv(two_hosts: TwoHosts) -> None:
    policies = both_sides(A, B, "ipsec esp/transport//require")
    for host, spd in zip(two_hosts, policies, strict=True):
        load(host, with_sha256("esp", "hmac-sha256") + spd)
    knob(two_hosts.a, f"{SHA256}=128")
    assert two_hosts.a.ping(B, timeout=5)


# Larval SAs and SPIs


def spis(host: Host) -> list[int]:
    return [int(spi, 16) for spi in re.findall(r"spi=\d+\((0x[0-9a-f]+)\)", setkey(host, "-D"))]


def test_larval_lifetime_ends_a_larval_sa(two_hosts: TwoHosts) -> None:
    a = two_hosts.a
    assert knob(a, "-n", LARVAL).strip() == "30"
    try:
        knob(a, f"{LARVAL}=1")
        assert a.call(Path("/proc/sys/net/core/xfrm_acq_expires").read_text).strip() == "1"
        setkey(a, "-e", f"getspi {A} {B} esp 0x1234;")
        assert spis(a) == [0x1234]
        until(lambda: not spis(a), what="the end of the larval SA")
        assert knob(two_hosts.b, "-n", LARVAL).strip() == "30"
    finally:
        knob(a, f"{LARVAL}=30")


@pytest.mark.parametrize("protocol", ["esp", "ah", "ipcomp"])
def test_getspi_chooses_within_the_range(two_hosts: TwoHosts, protocol: str) -> None:
    a = two_hosts.a
    knob(a, f"{SPI_MIN}=0x4000", f"{SPI_MAX}=0x400f")
    load(a, f"getspi {A} {B} {protocol} 0; getspi {B} {A} {protocol} 0;")
    found = spis(a)
    assert len(found) == 2
    assert all(0x4000 <= spi <= 0x400F for spi in found)


def test_the_range_for_ipcomp_has_16_bits_at_most(two_hosts: TwoHosts) -> None:
    load(two_hosts.a, f"getspi {A} {B} ipcomp 0;")
    assert 0x100 <= spis(two_hosts.a)[0] <= 0xFFFF
