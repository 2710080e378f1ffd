"""Every algorithm that setkey knows protects packets, or is refused as the kernel's own tool is."""

import errno
import os
import socket
from collections.abc import Iterator
from functools import partial

import pytest

from kamexfrm.algorithms import TABLE, Algorithm, Kind
from kamexfrm.net import IPPROTO_AH, IPPROTO_COMP, IPPROTO_ESP, IPPROTO_UDP
from kamexfrm.rig import Host, Packet, Rig, TwoHosts, until
from kamexfrm.rig.traffic import UdpEcho
from tests.dataplane.dataplane_proof import (
    AUTHENTICATION,
    ENCRYPTION,
    ESP_KEYS,
    Watch,
    both_sides,
    bypass,
    inject,
    keys,
    load,
    ping,
    try_setkey,
    waits_for_counter,
)

pytestmark = pytest.mark.dataplane

A, B, SPI = "10.0.0.1", "10.0.0.2", 0x1000
UDP_ENCAP, UDP_ENCAP_ESPINUDP = 100, 2  # linux/udp.h

#: setkey's words for what Linux never had are refused by the parser: see the tests of the language.
KNOWN = [row for row in TABLE if row.kernel]


def sizes(row: Algorithm) -> list[int]:
    """Return the key lengths to try: all of a few, the ends of many."""
    found = row.key_sizes
    return list(found) if len(found) <= 3 else [found[0], found[-1]]


def cases(*kinds: Kind) -> list[tuple[Algorithm, int]]:
    return [(row, bits) for row in KNOWN if row.kind in kinds for bits in sizes(row)]


def name_of(value: object) -> str:
    return value.name if isinstance(value, Algorithm) else str(value)


@pytest.fixture(scope="module")
def spare() -> Iterator[Host]:
    """Yield a host for the kernel's own tool to try an algorithm on."""
    with Rig() as rig:
        yield rig.host("spare")


def kernel_refusal(host: Host, row: Algorithm, bits: int) -> str:
    """Return ip(8)'s error for an SA with this algorithm; empty if the kernel has it."""
    key = "0x" + bytes(n & 0xFF for n in range(bits // 8)).hex() if bits else ""
    words = {
        Kind.ENCRYPTION: ["proto", "esp", "enc", row.kernel, key],
        Kind.AEAD: ["proto", "esp", "aead", row.kernel, key, f"{row.icv_bits}"],
        Kind.COMPRESSION: ["proto", "comp", "comp", row.kernel],
        Kind.AUTHENTICATION: ["proto", "ah", "auth-trunc", row.kernel, key, f"{row.icv_bits}"],
    }[row.kind]
    done = host.run(["ip", "xfrm", "state", "add", "src", A, "dst", B, "spi", "0x1000", *words])
    host.run(["ip", "xfrm", "state", "flush"], check=True)
    return done.stderr if done.status else ""


def protects(two_hosts: TwoHosts, protocol: str, algorithms: str) -> list[str]:
    """Load an SA each way and ``require`` on both sides; return what the kernel refused."""
    refused = []
    for host, policies in zip(
        two_hosts, both_sides(A, B, f"ipsec {protocol}/transport//require"), strict=True
    ):
        lines = "".join(
            f"add {source} {destination} {protocol} {SPI + at:#x} {algorithms};\n"
            for at, (source, destination) in enumerate(((A, B), (B, A)))
        )
        done = try_setkey(host, "-e", "flush; spdflush;\n" + lines + policies)
        if done.status:
            refused.append(done.stdout + done.stderr)
    return refused


def check(
    two_hosts: TwoHosts,
    spare: Host,
    row: Algorithm,
    bits: int,
    protocol: str,
    algorithms: str,
    *,
    hides: bool,
) -> None:
    """Assert that packets are protected, or that the kernel itself has no such algorithm."""
    refused = protects(two_hosts, protocol, algorithms)
    if refused:
        reason = kernel_refusal(spare, row, bits)
        print(f"{row.name} {bits}: {reason.strip()}")
        assert reason, f"setkey says {refused}, ip(8) is content"
        assert os.strerror(errno.ENOSYS) in refused[0]
        return
    with Watch(two_hosts, two_hosts.a) as watch:
        assert ping(two_hosts.a, B)
        assert ping(two_hosts.b, A)
    headers = {"esp": IPPROTO_ESP, "ah": IPPROTO_AH, "ipcomp": IPPROTO_COMP}
    watch.assert_protected(headers[protocol], hides=hides)


@pytest.mark.parametrize(("row", "bits"), cases(Kind.ENCRYPTION, Kind.AEAD), ids=name_of)
def test_each_cipher_hides_what_it_carries(
    two_hosts: TwoHosts, spare: Host, row: Algorithm, bits: int
) -> None:
    algorithms = f"-E {keys(row, bits)}" + ("" if row.kind is Kind.AEAD else f" {AUTHENTICATION}")
    check(two_hosts, spare, row, bits, "esp", algorithms, hides=bits > 0 and row.name != "aes-gmac")


@pytest.mark.parametrize("protocol", ["esp", "ah"])
@pytest.mark.parametrize(("row", "bits"), cases(Kind.AUTHENTICATION), ids=name_of)
def test_each_digest_authenticates_esp_and_ah(
    two_hosts: TwoHosts, spare: Host, row: Algorithm, bits: int, protocol: str
) -> None:
    if protocol == "ah" and not bits:
        done = try_setkey(two_hosts.a, "-e", f"add {A} {B} ah 0x1000 -A {row.name};")
        assert done.status == 1
        assert os.strerror(errno.EINVAL) in done.stdout + done.stderr
        return
    algorithms = f"-A {keys(row, bits)}"
    if protocol == "esp":
        algorithms = f"{ENCRYPTION} {algorithms}"
    check(two_hosts, spare, row, bits, protocol, algorithms, hides=protocol == "esp")


@pytest.mark.parametrize(("row", "bits"), cases(Kind.COMPRESSION), ids=name_of)
def test_each_compression_compresses(
    two_hosts: TwoHosts, spare: Host, row: Algorithm, bits: int
) -> None:
    check(two_hosts, spare, row, bits, "ipcomp", f"-C {row.name}", hides=True)


@pytest.mark.parametrize("spelling", ["hmac-sha256-96", "hmac-sha256-128"])
def test_the_icv_of_sha256_is_as_long_as_its_name_says(two_hosts: TwoHosts, spelling: str) -> None:
    bits = int(spelling.rpartition("-")[2])
    algorithms = f"-E null -A {spelling} 0x{bytes(32).hex()}"
    lines = f"add {A} {B} esp 0x1000 {algorithms}; add {B} {A} esp 0x1001 {algorithms};"
    for host, policies in zip(
        two_hosts, both_sides(A, B, "ipsec esp/transport//require"), strict=True
    ):
        load(host, lines + policies)
    with Watch(two_hosts, two_hosts.a) as watch:
        assert two_hosts.a.ping(B, payload=bytes(50))
    watch.assert_protected(IPPROTO_ESP)
    # IP, SPI and sequence, ICMP with its data, pad length and next header, ICV.
    assert {p.length for p in watch.packets()} == {20 + 8 + 58 + 2 + bits // 8}


# Replay windows


def recorded(two_hosts: TwoHosts, options: str, count: int) -> list[Packet]:
    """Return ESP packets numbered from 1 that ``b``, having no SA yet, has dropped."""
    load(two_hosts.a, f"add {A} {B} esp 0x1000 {options} {ESP_KEYS};")
    load(two_hosts.a, f"spdadd {A} {B} udp -P out ipsec esp/transport//require;")
    with (
        two_hosts.a.capture("eth0") as capture,
        two_hosts.a.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender,
    ):
        for _ in range(count):
            sender.sendto(b"numbered", (B, 7))
        capture.wait_for(lambda packet: packet.sequence == count)
    packets = [p for p in capture.packets if p.has(IPPROTO_ESP)]
    assert [p.sequence for p in packets] == list(range(1, count + 1))
    return packets


#: Options, what becomes of an old packet, and of one that comes twice (None: it is taken).
#: Under ESN an old number is taken for one of the next 2**32 (RFC 4303 appendix A2.2): its ICV is
#: wrong then.
_WINDOWS = [
    ("-r 4", "XfrmInStateSeqError", "XfrmInStateSeqError"),
    ("-r 64", None, "XfrmInStateSeqError"),
    ("-r 4 -esn", "XfrmInStateProtoError", "XfrmInStateSeqError"),
    ("-r 64 -esn", None, "XfrmInStateSeqError"),
    ("-r 4096", None, "XfrmInStateSeqError"),
    ("", None, None),
]


def _has_more(echo: UdpEcho, number: int) -> bool:
    """Whether an echo has received more datagrams than so many."""
    return len(echo.received) > number


@pytest.mark.parametrize(("options", "old", "twice"), _WINDOWS, ids=lambda value: value or "taken")
def test_the_replay_window_is_as_wide_as_asked(
    two_hosts: TwoHosts, options: str, old: str | None, twice: str | None
) -> None:
    a, b = two_hosts
    packets = recorded(two_hosts, options, 40)
    load(b, f"add {A} {B} esp 0x1000 {options} {ESP_KEYS};")
    with b.udp_echo(B) as echo:
        for at, counter in ((39, None), (39, twice), (37, None), (37, twice), (0, old)):
            number, before = len(echo.received), b.counters()
            inject(packets[at], a, b)
            if counter:
                waits_for_counter(b, counter, before)
            else:
                until(partial(_has_more, echo, number), what="a datagram")


# ESP in UDP


@pytest.mark.parametrize("mode", ["transport", "tunnel"])
@pytest.mark.parametrize(("left", "right", "family"), [(A, B, 2), ("fd00::1", "fd00::2", 10)])
def test_esp_in_udp_protects_both_ways(
    two_hosts: TwoHosts, left: str, right: str, family: int, mode: str
) -> None:
    assert two_hosts.a.ping(right)
    sas = "".join(
        f"add {source}[4500] {destination}[4500] esp-udp {SPI + at:#x} -m {mode} {ESP_KEYS};\n"
        for at, (source, destination) in enumerate(((left, right), (right, left)))
    )
    ends = f"{left}-{right}", f"{right}-{left}"
    out, back = (f"ipsec esp/{mode}/{e}/require" for e in ends)
    encap_sockets = []
    try:
        for host, own, policies in zip(
            two_hosts, (left, right), both_sides(left, right, out, mirrored=back), strict=True
        ):
            encap_socket = host.socket(family, socket.SOCK_DGRAM)
            encap_sockets.append(encap_socket)
            encap_socket.bind((own, 4500))
            encap_socket.setsockopt(socket.IPPROTO_UDP, UDP_ENCAP, UDP_ENCAP_ESPINUDP)
            # Linux holds the outer datagram against the inbound policies first.
            bypass(encap_socket)
            load(host, sas + policies)
        with Watch(two_hosts, two_hosts.a) as watch:
            assert ping(two_hosts.a, right)
            assert ping(two_hosts.b, left)
        watch.assert_protected(IPPROTO_UDP, IPPROTO_ESP)
    finally:
        for encap_socket in encap_sockets:
            encap_socket.close()
