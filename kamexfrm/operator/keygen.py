"""``kamexfrm keygen``: keys of the system's randomness, and whole files for two ends."""

import errno
import ipaddress
import secrets
from collections.abc import Iterator
from typing import NamedTuple

from kamexfrm.algorithms import Algorithm, Kind, by_name, spellings
from kamexfrm.errors import KamexfrmError
from kamexfrm.net import Address
from kamexfrm.spelling import hints

#: Algorithms with a key, and the encryption among them that is followed by a salt of 32 bits.
_KINDS = (Kind.AEAD, Kind.ENCRYPTION, Kind.AUTHENTICATION)
_SALTED = ("aes-ctr", "aes-gcm-16", "chacha20-poly1305")
_SALT_BITS = 32

#: The longest key that is made where none is asked for, without the salt.
_USUAL_BITS = 256

#: What comes with encryption that does not authenticate.
_AUTHENTICATION = "hmac-sha256-128"

#: SPIs that are chosen: those below 4096 are left to people.
_SPIS = range(0x1000, 0xFFFFFFFF)

#: Packets that may arrive out of order.
_WINDOW = 64


def algorithm(name: str) -> Algorithm:
    """Return an algorithm by setkey's word; raises KamexfrmError for one without a key."""
    rows = [row for kind in _KINDS if (row := by_name(kind, name))]
    if not rows:
        known = {word for kind in _KINDS for word in spellings(kind)} - {"null"}
        near = hints(name, sorted(known)) or ("setkey(8) lists them",)
        raise KamexfrmError(f"there is no algorithm {name!r}: {near[0]}")
    with_key = [row for row in rows if row.takes_key and row.kernel]
    if not with_key:
        lacks = "takes no key" if rows[0].kernel else "is not in Linux: take another algorithm"
        raise KamexfrmError(f"{name} {lacks}", errno=errno.EOPNOTSUPP)
    return with_key[0]


def key_bits(row: Algorithm, bits: int | None) -> int:
    """Return the length of a key with its salt; raises KamexfrmError for one that is not taken.

    Of an algorithm with a salt ``bits`` may be with or without it.
    """
    sizes = row.key_sizes
    salt = _SALT_BITS if row.name in _SALTED else 0
    if bits is None:
        return max((size for size in sizes if size <= _USUAL_BITS + salt), default=sizes[0])
    if bits in sizes:
        return bits
    if bits + salt in sizes:
        return bits + salt
    if len(sizes) > 4:
        wanted = f"{sizes[0]} to {sizes[-1]}, in steps of {sizes[1] - sizes[0]}"
    else:
        wanted = " or ".join(map(str, sizes))
    raise KamexfrmError(f"{row.name} takes keys of {wanted} bits, not of {bits}")


def key(row: Algorithm, bits: int | None = None) -> str:
    """Return a new key as setkey reads it."""
    return f"0x{secrets.token_hex(key_bits(row, bits) // 8)}"


class Pair(NamedTuple):
    """What a file for two ends says: networks behind the ends for a tunnel, None for transport."""

    source: Address
    destination: Address
    algorithm: Algorithm
    bits: int | None
    networks: tuple[str, str] | None = None
    level: str = "require"


def network(text: str) -> str:
    """Return a prefix in its usual form; raises KamexfrmError."""
    try:
        return str(ipaddress.ip_network(text))
    except ValueError as error:
        raise KamexfrmError(f"--tunnel {text}: {error}") from None


def pair_lines(pair: Pair) -> Iterator[str]:
    """Yield the file of the source; its mirror is that of the destination."""
    here, there = str(pair.source), str(pair.destination)
    ah = pair.algorithm.kind is Kind.AUTHENTICATION
    protocol, mode = "ah" if ah else "esp", "tunnel" if pair.networks else "transport"
    yield f"# {protocol.upper()} in {mode} mode between {here} and {there}, with random keys."
    yield f"# This file is {here}'s. That of {there} is its mirror:"
    yield "#     kamexfrm mirror THIS-FILE > OTHER-FILE"
    yield "# Both hold the keys: mode 0600, and send it by a safe way."
    yield ""
    spis: set[int] = set()
    while len(spis) < 2:
        spis.add(secrets.choice(_SPIS))
    ends = ((here, there), (there, here))
    for (source, destination), spi in zip(ends, spis, strict=True):
        yield f"add {source} {destination} {protocol} {spi:#x} -m {mode} -r {_WINDOW}"
        yield f"    {_algorithms(pair)};"
    yield ""
    inside = pair.networks or (here, there)
    for direction, at in (("out", 0), ("in", 1)):
        outer = f"{ends[at][0]}-{ends[at][1]}" if pair.networks else ""
        yield f"spdadd {inside[at]} {inside[1 - at]} any -P {direction} ipsec"
        yield f"    {protocol}/{mode}/{outer}/{pair.level};"


def _algorithms(pair: Pair) -> str:
    row = pair.algorithm
    text = f"{row.name} {key(row, pair.bits)}"
    if row.kind is Kind.AUTHENTICATION:
        return f"-A {text}"
    if row.kind is Kind.AEAD:
        return f"-E {text}"
    return f"-E {text} -A {_AUTHENTICATION} {key(algorithm(_AUTHENTICATION))}"
