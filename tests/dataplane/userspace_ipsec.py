"""ESP, AH and IPComp taken apart in user space, by libraries that know nothing of the kernel's.

What comes back is what was inside; a wrong ICV, padding or key raises ``Forged``. Sources: RFC
4302, 4303, 3173; 2403, 2404, 4868, 2857, 3566 (ICVs); 2405, 2451, 3602, 3686, 4106, 4312, 7634.
"""

import hashlib
import hmac
import struct
import zlib
from collections.abc import Callable
from typing import NamedTuple, Protocol

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.decrepit.ciphers.algorithms import CAST5, Blowfish, Camellia, TripleDES
from cryptography.hazmat.primitives.ciphers import Cipher, CipherAlgorithm
from cryptography.hazmat.primitives.ciphers.aead import AESCCM, AESGCM, ChaCha20Poly1305
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import CBC, CTR, ECB, GCM
from cryptography.hazmat.primitives.cmac import CMAC

from tests.dataplane.textbook_ciphers import Serpent, Twofish


class Forged(Exception):
    """Bytes that these keys did not make."""


class Opened(NamedTuple):
    """What was inside: the next header's number, and the data."""

    next_header: int
    data: bytes


def cmac(key: bytes, data: bytes) -> bytes:
    """Return an AES-CMAC (RFC 4494)."""
    made = CMAC(AES(key))
    made.update(data)
    return made.finalize()


def xcbc(key: bytes, data: bytes) -> bytes:
    """AES-XCBC-MAC (RFC 3566)."""

    def encrypt(key: bytes, block: bytes) -> bytes:
        encryptor = Cipher(AES(key), ECB()).encryptor()  # noqa: S305 (the RFC's building block)
        return encryptor.update(block) + encryptor.finalize()

    def mixed(left: bytes, right: bytes) -> bytes:
        return bytes(a ^ b for a, b in zip(left, right, strict=True))

    keys = [encrypt(key, bytes([number]) * 16) for number in (1, 2, 3)]
    size = max((len(data) + 15) // 16, 1)
    state = bytes(16)
    for at in range(size - 1):
        state = encrypt(keys[0], mixed(state, data[at * 16 : at * 16 + 16]))
    last = data[(size - 1) * 16 :]
    whole = len(last) == 16
    last = last if whole else (last + b"\x80").ljust(16, b"\0")
    return encrypt(keys[0], mixed(mixed(state, last), keys[1 if whole else 2]))


def _hmac(digest: str) -> Callable[[bytes, bytes], bytes]:
    return lambda key, data: hmac.new(key, data, digest).digest()


#: By setkey's name: what makes the whole ICV, before it is cut.
DIGESTS: dict[str, Callable[[bytes, bytes], bytes]] = {
    "aes-xcbc-mac": xcbc,
    "aes-cmac": cmac,
    **{
        name: _hmac(digest)
        for name, digest in (
            ("hmac-md5", "md5"),
            ("hmac-sha1", "sha1"),
            ("hmac-sha256", "sha256"),
            ("hmac-sha384", "sha384"),
            ("hmac-sha512", "sha512"),
            ("hmac-ripemd160", "ripemd160"),
            ("sm3", "sm3"),
        )
    },
}


def _library(
    algorithm: Callable[[bytes], CipherAlgorithm],
) -> Callable[[bytes, bytes, bytes], bytes]:
    def decrypt(key: bytes, iv: bytes, data: bytes) -> bytes:
        decryptor = Cipher(algorithm(key), CBC(iv)).decryptor()
        return decryptor.update(data) + decryptor.finalize()

    return decrypt


def _textbook(cipher: Callable[[bytes], Serpent | Twofish]) -> Callable[..., bytes]:
    def decrypt(key: bytes, iv: bytes, data: bytes) -> bytes:
        machine, plain = cipher(key), b""
        for at in range(0, len(data), 16):
            block = data[at : at + 16]
            plain += bytes(a ^ b for a, b in zip(machine.decrypt(block), iv, strict=True))
            iv = block
        return plain

    return decrypt


def _counter(key: bytes, iv: bytes, data: bytes) -> bytes:
    """AES-CTR with the last four bytes of the key for a nonce (RFC 3686)."""
    decryptor = Cipher(AES(key[:-4]), CTR(key[-4:] + iv + struct.pack("!I", 1))).decryptor()
    return decryptor.update(data) + decryptor.finalize()


#: By setkey's name: the IV's length in bytes, and what decrypts with key, IV and data.
CIPHERS: dict[str, tuple[int, Callable[[bytes, bytes, bytes], bytes]]] = {
    "null": (0, lambda key, iv, data: data),
    "des-cbc": (8, lambda key, iv, data: _library(TripleDES)(key * 3, iv, data)),
    "3des-cbc": (8, _library(TripleDES)),
    "cast128-cbc": (8, _library(CAST5)),
    "blowfish-cbc": (8, _library(Blowfish)),
    "aes-cbc": (16, _library(AES)),
    "aes-ctr": (8, _counter),
    "camellia-cbc": (16, _library(Camellia)),
    "serpent-cbc": (16, _textbook(Serpent)),
    "twofish-cbc": (16, _textbook(Twofish)),
}


class _ShortGcm:
    """AES-GCM with a tag of fewer than 16 bytes, which AESGCM does not take."""

    def __init__(self, key: bytes, tag: int) -> None:
        self._key = key
        self._tag = tag

    def decrypt(self, nonce: bytes, data: bytes, associated: bytes) -> bytes:
        mode = GCM(nonce, data[-self._tag :], min_tag_length=self._tag)
        opened = Cipher(AES(self._key), mode).decryptor()
        opened.authenticate_additional_data(associated)
        return opened.update(data[: -self._tag]) + opened.finalize()


class _Gmac:
    """AES-GMAC (RFC 4543): the IV and the text are authenticated, and nothing is hidden."""

    def __init__(self, key: bytes) -> None:
        self._gcm = AESGCM(key)

    def decrypt(self, nonce: bytes, data: bytes, associated: bytes) -> bytes:
        text, tag = data[:-16], data[-16:]
        self._gcm.decrypt(nonce, tag, associated + nonce[4:] + text)
        return text


class _Opens(Protocol):
    def decrypt(self, nonce: bytes, data: bytes, associated_data: bytes, /) -> bytes: ...


AEADS: dict[str, Callable[[bytes], _Opens]] = {
    "aes-gcm-16": AESGCM,
    "aes-gcm-12": lambda key: _ShortGcm(key, 12),
    "aes-gcm-8": lambda key: _ShortGcm(key, 8),
    "aes-ccm-16": lambda key: AESCCM(key, 16),
    "aes-ccm-12": lambda key: AESCCM(key, 12),
    "aes-ccm-8": lambda key: AESCCM(key, 8),
    "aes-gmac": _Gmac,
    "chacha20-poly1305": ChaCha20Poly1305,
}


class Sa(NamedTuple):
    """Keys of an SA by setkey's names; ``icv`` in bytes, 0 without authentication."""

    cipher: str
    cipher_key: bytes
    digest: str = ""
    digest_key: bytes = b""
    icv: int = 0
    esn: bool = False


def open_esp(esp: bytes, sa: Sa) -> Opened:
    """Verify and decrypt ESP from its SPI on."""
    high = bytes(4) if sa.esn else b""  # the upper half of a young SA's sequence number
    if sa.cipher in AEADS:
        size = 3 if "ccm" in sa.cipher else 4
        salt, key = sa.cipher_key[-size:], sa.cipher_key[:-size]
        associated = esp[:4] + high + esp[4:8]
        try:
            plain = AEADS[sa.cipher](key).decrypt(salt + esp[8:16], esp[16:], associated)
        except InvalidTag:
            raise Forged("the tag") from None
        return _unpadded(plain)
    body = esp
    if sa.icv:
        body, icv = esp[: -sa.icv], esp[-sa.icv :]
        if not hmac.compare_digest(DIGESTS[sa.digest](sa.digest_key, body + high)[: sa.icv], icv):
            raise Forged("the ICV")
    iv_size, decrypt = CIPHERS[sa.cipher]
    return _unpadded(decrypt(sa.cipher_key, body[8 : 8 + iv_size], body[8 + iv_size :]))


def _unpadded(plain: bytes) -> Opened:
    """Take the trailer off; the padding is 1, 2, 3... (RFC 4303 section 2.4)."""
    length, following = plain[-2], plain[-1]
    data, padding = plain[: -2 - length], plain[len(plain) - 2 - length : -2]
    if length > len(plain) - 2 or padding != bytes(range(1, length + 1)):
        raise Forged("the padding")
    return Opened(following, data)


def check_ah(packet: bytes, sa: Sa) -> Opened:
    """Verify AH in a whole IPv4 or IPv6 packet without options."""
    still = bytearray(packet)
    if packet[0] >> 4 == 4:
        start = (packet[0] & 15) * 4
        still[1] = 0  # type of service
        still[6:9] = bytes(3)  # flags, fragment offset, time to live
        still[10:12] = bytes(2)  # checksum
    else:
        start = 40
        still[0:4] = b"\x60\0\0\0"  # traffic class, flow label
        still[7] = 0  # hop limit
    size = (packet[start + 1] + 2) * 4
    icv = packet[start + 12 : start + 12 + sa.icv]
    still[start + 12 : start + 12 + sa.icv] = bytes(sa.icv)  # padding is authenticated as it is
    high = bytes(4) if sa.esn else b""
    expected = DIGESTS[sa.digest](sa.digest_key, bytes(still) + high)[: sa.icv]
    if not hmac.compare_digest(expected, icv):
        raise Forged("the ICV")
    return Opened(packet[start], packet[start + size :])


def open_ipcomp(data: bytes) -> Opened:
    """Inflate IPComp from its header on (RFC 2394: deflate without a zlib header)."""
    machine = zlib.decompressobj(-zlib.MAX_WBITS)
    try:
        return Opened(data[0], machine.decompress(data[4:]) + machine.flush())
    except zlib.error as error:
        raise Forged(str(error)) from None


def is_sound_echo(data: bytes, source: bytes, destination: bytes, marker: bytes) -> bool:
    """Whether an ICMP or ICMPv6 echo is whole: its checksum, and the marker in its data."""
    pseudo = b""
    if len(source) == 16:
        pseudo = source + destination + struct.pack("!I3xB", len(data), 58)
    whole = pseudo + data + b"\0" * (len(data) % 2)
    total = sum(struct.unpack(f"!{len(whole) // 2}H", whole))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return total == 0xFFFF and data[0] in (0, 8, 128, 129) and data[8:] == marker


assert hashlib.new("ripemd160", usedforsecurity=False).digest_size == 20
