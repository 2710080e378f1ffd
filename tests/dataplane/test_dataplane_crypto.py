"""What is on the wire is opened in user space: the kernel's own word for its crypto is not taken.

Two kernels with the same mistake agree with each other. So each algorithm's packets are verified
and decrypted by other implementations, with the keys as the setkey script spells them: a key in
the wrong place, a nonce at the wrong end or an ICV of the wrong length cannot pass.
"""

import errno
import os
import socket

import pytest

from kamexfrm.algorithms import SHA256_SPELLINGS, TABLE, Algorithm, Kind
from kamexfrm.net import IPPROTO_AH, IPPROTO_COMP, IPPROTO_ESP, IPPROTO_ICMP, IPPROTO_IPIP
from kamexfrm.rig import Packet, TwoHosts
from tests.dataplane.dataplane_proof import MARKER, both_sides, try_setkey
from tests.dataplane.textbook_ciphers import Serpent, Twofish
from tests.dataplane.userspace_ipsec import (
    Forged,
    Opened,
    Sa,
    check_ah,
    is_sound_echo,
    open_esp,
    open_ipcomp,
    xcbc,
)

ENDS = {4: ("10.0.0.1", "10.0.0.2"), 6: ("fd00::1", "fd00::2")}

#: Algorithms that the guest's kernel (6.1) has no implementation of, or refuses in ESP.
ABSENT_IN_GUEST = {"sm3"}


def cases(*kinds: Kind) -> list[tuple[Algorithm, int]]:
    found = []
    for row in TABLE:
        if row.kind in kinds and row.kernel:
            sizes = row.key_sizes
            found += [
                (row, bits) for bits in (sizes if len(sizes) <= 3 else (*sizes[:1], sizes[-1]))
            ]
    return found


def name_of(value: object) -> str:
    return value.name if isinstance(value, Algorithm) else str(value)


def counted(bits: int, start: int) -> bytes:
    """Return a key unlike those of the other start numbers, and not the same reversed."""
    return bytes((start + at) & 0xFF for at in range(bits // 8))


def word(name: str, key: bytes) -> str:
    return f"{name} 0x{key.hex()}" if key else name


class Exchange:
    """Pings both ways between two hosts with different keys each way, and the packets of it."""

    def __init__(
        self,
        hosts: TwoHosts,
        protocol: str,
        words: tuple[str, str],
        *,
        version: int = 4,
        options: str = "",
        mode: str = "transport",
    ) -> None:
        left, right = ENDS[version]
        lines = (
            f"add {left} {right} {protocol} 0x1000 -m {mode} {options} {words[0]};\n"
            f"add {right} {left} {protocol} 0x1001 -m {mode} {options} {words[1]};\n"
        )
        requests = [
            f"ipsec {protocol}/{mode}/{ends if mode == 'tunnel' else ''}/require"
            for ends in (f"{left}-{right}", f"{right}-{left}")
        ]
        scripts = both_sides(left, right, requests[0], mirrored=requests[1])
        self.refused = ""
        for host, policies in zip(hosts, scripts, strict=True):
            done = try_setkey(host, "-e", "flush; spdflush;\n" + lines + policies)
            if done.status:
                self.refused = done.stdout + done.stderr
        self.there: list[Packet] = []
        self.back: list[Packet] = []
        if self.refused:
            return
        number = {"esp": IPPROTO_ESP, "ah": IPPROTO_AH, "ipcomp": IPPROTO_COMP}[protocol]
        with hosts.a.capture("eth0") as capture:
            assert hosts.a.ping(right, timeout=5.0, payload=MARKER)
            assert hosts.b.ping(left, timeout=5.0, payload=MARKER)
            packets = [p for p in capture.packets if p.has(number)]
        self.there = [p for p in packets if p.source == left]
        self.back = [p for p in packets if p.source == right]
        assert len(self.there) >= 2
        assert len(self.back) >= 2

    def absent(self, row: Algorithm) -> bool:
        """Whether the kernel has no such algorithm; what it has must be had."""
        if not self.refused:
            return False
        assert row.name in ABSENT_IN_GUEST, self.refused
        assert os.strerror(errno.ENOSYS) in self.refused
        return True


def body(packet: Packet) -> bytes:
    """Return a packet from behind its IP header on."""
    return (
        packet.data[40:] if packet.data[0] >> 4 == 6 else packet.data[(packet.data[0] & 15) * 4 :]
    )


def is_our_echo(packet: Packet, opened: Opened) -> bool:
    family = socket.AF_INET6 if packet.data[0] >> 4 == 6 else socket.AF_INET
    source = socket.inet_pton(family, packet.source)
    destination = socket.inet_pton(family, packet.destination)
    return is_sound_echo(opened.data, source, destination, MARKER)


def wrong(key: bytes) -> bytes:
    """Return a key with one bit changed, one that no cipher takes for parity."""
    return bytes([key[0] ^ 0x10]) + key[1:]


def check_esp(exchange: Exchange, sas: tuple[Sa, Sa]) -> None:
    """Assert that each packet opens with its own direction's keys, and with no others."""
    for sa, packets in zip(sas, (exchange.there, exchange.back), strict=True):
        opened = [open_esp(body(packet), sa) for packet in packets]
        echoes = [is_our_echo(*pair) for pair in zip(packets, opened, strict=True)]
        assert sum(echoes) >= 2
        if sa.digest_key:
            with pytest.raises(Forged):
                open_esp(body(packets[0]), sa._replace(digest_key=wrong(sa.digest_key)))
        if sa.cipher_key:
            other = sa._replace(cipher_key=wrong(sa.cipher_key))
            try:
                garbage = open_esp(body(packets[0]), other)
            except Forged:
                continue
            assert not is_our_echo(packets[0], garbage)


def esp_sas(
    cipher: Algorithm, bits: int, digest: Algorithm | None, digest_bits: int, *, esn: bool = False
) -> tuple[tuple[str, str], tuple[Sa, Sa]]:
    """Return both directions' words for setkey, and the same for our own eyes."""
    words, sas = [], []
    for start in (0x00, 0x80):
        key, other = counted(bits, start), counted(digest_bits, start + 0x40)
        text = f"-E {word(cipher.name, key)}"
        if digest:
            text += f" -A {word(digest.name, other)}"
        words.append(text)
        sas.append(
            Sa(
                cipher.name,
                key,
                digest.name.removesuffix("-128").removesuffix("-96")
                if digest and digest.name in SHA256_SPELLINGS
                else digest.name
                if digest
                else "",
                other if digest else b"",
                digest.icv_bits // 8 if digest else 0,
                esn,
            )
        )
    return (words[0], words[1]), (sas[0], sas[1])


def row_of(kind: Kind, name: str) -> Algorithm:
    return next(row for row in TABLE if row.kind is kind and row.name == name)


SHA1 = row_of(Kind.AUTHENTICATION, "hmac-sha1")
AES = row_of(Kind.ENCRYPTION, "aes-cbc")

dataplane = pytest.mark.dataplane


@dataplane
@pytest.mark.parametrize("version", [4, 6])
@pytest.mark.parametrize(("row", "bits"), cases(Kind.ENCRYPTION, Kind.AEAD), ids=name_of)
def test_each_cipher_is_opened_in_user_space(
    two_hosts: TwoHosts, row: Algorithm, bits: int, version: int
) -> None:
    digest = None if row.kind is Kind.AEAD else SHA1
    words, sas = esp_sas(row, bits, digest, 160)
    exchange = Exchange(two_hosts, "esp", words, version=version)
    if not exchange.absent(row):
        check_esp(exchange, sas)


@dataplane
@pytest.mark.parametrize(("row", "bits"), cases(Kind.AUTHENTICATION), ids=name_of)
def test_each_digest_of_esp_is_verified_in_user_space(
    two_hosts: TwoHosts, row: Algorithm, bits: int
) -> None:
    words, sas = esp_sas(AES, 128, row, bits)
    exchange = Exchange(two_hosts, "esp", words)
    if not exchange.absent(row):
        check_esp(exchange, sas)


@dataplane
@pytest.mark.parametrize(("name", "bits"), SHA256_SPELLINGS.items())
def test_the_two_icvs_of_sha256_are_what_they_say(
    two_hosts: TwoHosts, name: str, bits: int
) -> None:
    row = row_of(Kind.AUTHENTICATION, "hmac-sha256")._replace(name=name, icv_bits=bits)
    words, sas = esp_sas(AES, 256, row, 256)
    check_esp(Exchange(two_hosts, "esp", words), sas)


@dataplane
@pytest.mark.parametrize("version", [4, 6])
@pytest.mark.parametrize(
    ("row", "bits"), [case for case in cases(Kind.AUTHENTICATION) if case[1]], ids=name_of
)
def test_each_digest_of_ah_is_verified_in_user_space(
    two_hosts: TwoHosts, row: Algorithm, bits: int, version: int
) -> None:
    keys = counted(bits, 0x00), counted(bits, 0x80)
    words = tuple(f"-A {word(row.name, key)}" for key in keys)
    exchange = Exchange(two_hosts, "ah", (words[0], words[1]), version=version)
    if exchange.absent(row):
        return
    for key, packets in zip(keys, (exchange.there, exchange.back), strict=True):
        sa = Sa("", b"", row.name, key, row.icv_bits // 8)
        assert sum(is_our_echo(packet, check_ah(packet.data, sa)) for packet in packets) >= 2
        with pytest.raises(Forged):
            check_ah(packets[0].data, sa._replace(digest_key=wrong(key)))


@dataplane
@pytest.mark.parametrize("cipher", ["aes-cbc", "aes-gcm-16", "chacha20-poly1305"])
def test_extended_sequence_numbers_are_in_what_is_authenticated(
    two_hosts: TwoHosts, cipher: str
) -> None:
    row = next(row for row in TABLE if row.name == cipher)
    bits = row.key_sizes[-1]
    digest = None if row.kind is Kind.AEAD else SHA1
    words, sas = esp_sas(row, bits, digest, 160, esn=True)
    exchange = Exchange(two_hosts, "esp", words, options="-r 64 -esn")
    check_esp(exchange, sas)
    with pytest.raises(Forged):
        open_esp(body(exchange.there[0]), sas[0]._replace(esn=False))


@dataplane
def test_a_tunnel_holds_the_whole_inner_packet(two_hosts: TwoHosts) -> None:
    words, sas = esp_sas(AES, 128, SHA1, 160)
    exchange = Exchange(two_hosts, "esp", words, mode="tunnel")
    for sa, packets in zip(sas, (exchange.there, exchange.back), strict=True):
        opened = [open_esp(body(packet), sa) for packet in packets]
        assert {one.next_header for one in opened} == {IPPROTO_IPIP}
        for packet, one in zip(packets, opened, strict=True):
            inner = Opened(IPPROTO_ICMP, one.data[20:])
            assert one.data[12:20] == packet.data[12:20]
            assert is_our_echo(packet, inner)


@dataplane
@pytest.mark.parametrize("version", [4, 6])
def test_ipcomp_is_inflated_in_user_space(two_hosts: TwoHosts, version: int) -> None:
    exchange = Exchange(two_hosts, "ipcomp", ("-C deflate", "-C deflate"), version=version)
    for packets in (exchange.there, exchange.back):
        assert sum(is_our_echo(p, open_ipcomp(body(p))) for p in packets) >= 2


# The proof's own tools


def test_xcbc_is_that_of_its_rfc() -> None:
    # RFC 3566 section 4, test cases 1, 2 and 4.
    key = bytes(range(16))
    for size, mac in (
        (0, "75f0251d528ac01c4573dfd584d79f29"),
        (3, "5b376580ae2f19afe7219ceef172756f"),
        (16, "d2a246fa349b68a79998a4394ff7a263"),
    ):
        assert xcbc(key, bytes(range(size))).hex() == mac


@pytest.mark.parametrize(
    ("cipher", "key", "sealed"),
    [
        # The all-zero vectors of the papers.
        (Serpent, 16, "3620b17ae6a993d09618b8768266bae9"),
        (Twofish, 16, "9f589f5cf6122c32b6bfec2f2ae8c35a"),
        (Twofish, 24, "efa71f788965bd4453f860178fc19101"),
        (Twofish, 32, "57ff739d4dc92c1bd7fc01700cc8216f"),
    ],
)
def test_the_textbook_ciphers_are_those_of_their_papers(
    cipher: type[Serpent | Twofish], key: int, sealed: str
) -> None:
    assert cipher(bytes(key)).decrypt(bytes.fromhex(sealed)) == bytes(16)
