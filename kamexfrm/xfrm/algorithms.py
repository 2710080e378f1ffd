"""Algorithms with their keys on the wire: xfrm_algo, xfrm_algo_auth, xfrm_algo_aead.

None of these values ever shows its key: not in its repr, not in an error.
"""

import struct

from kamexfrm.errors import KamexfrmError
from kamexfrm.records import NamedTuple
from kamexfrm.xfrm.attributes import Span, read
from kamexfrm.xfrm.structs import ALGO, ALGO_WITH_ICV, Buffer, misfit, short


class Algorithm(NamedTuple):
    """Struct xfrm_algo: kernel name, key, and the key's length in bits."""

    name: str
    key: bytes
    bits: int

    def __repr__(self) -> str:
        return f"Algorithm(name={self.name!r}, key=<hidden>, bits={self.bits})"


class AuthAlgorithm(NamedTuple):
    """Struct xfrm_algo_auth: ``truncation_bits`` of the ICV are sent, 0 is the kernel's choice."""

    name: str
    key: bytes
    bits: int
    truncation_bits: int = 0

    def __repr__(self) -> str:
        return (
            f"AuthAlgorithm(name={self.name!r}, key=<hidden>, bits={self.bits}, "
            f"truncation_bits={self.truncation_bits})"
        )


class AeadAlgorithm(NamedTuple):
    """Struct xfrm_algo_aead: the key includes the salt, ``icv_bits`` is the ICV's length."""

    name: str
    key: bytes
    bits: int
    icv_bits: int

    def __repr__(self) -> str:
        return (
            f"AeadAlgorithm(name={self.name!r}, key=<hidden>, bits={self.bits}, "
            f"icv_bits={self.icv_bits})"
        )


#: The longest name: one byte of the field is for the NUL.
_NAME_BYTES = ALGO.offset("key_bits") - 1


def _name(name: str) -> bytes:
    """Return a name's bytes, which must leave room for the NUL."""
    try:
        packed = name.encode("latin-1")
    except UnicodeEncodeError:
        raise KamexfrmError(f"algorithm name {name!r} has foreign letters") from None
    if len(packed) > _NAME_BYTES or b"\0" in packed:
        raise KamexfrmError(f"algorithm name {name!r} is not one of {_NAME_BYTES} letters at most")
    return packed


def _check_key(name: str, key: bytes, bits: int) -> None:
    if len(key) != (bits + 7) // 8:
        raise KamexfrmError(f"{name}: a key of {len(key)} bytes is not one of {bits} bits")


def pack_algorithm(algorithm: Algorithm) -> bytes:
    """Return an xfrm_algo with its key; raises KamexfrmError."""
    name, key, bits = algorithm
    _check_key(name, key, bits)
    try:
        return ALGO.pack(_name(name), bits) + key
    except struct.error as error:
        raise misfit("algorithm", error) from None


def pack_algorithm_with_icv(algorithm: AuthAlgorithm | AeadAlgorithm) -> bytes:
    """Return an xfrm_algo_auth or xfrm_algo_aead with its key; raises KamexfrmError."""
    name, key, bits, icv_bits = algorithm
    _check_key(name, key, bits)
    try:
        return ALGO_WITH_ICV.pack(_name(name), bits, icv_bits) + key
    except struct.error as error:
        raise misfit("algorithm", error) from None


def read_algorithm(payload: Buffer, span: Span | None) -> Algorithm | None:
    """Read an xfrm_algo where there is one; raises WireError."""
    if span is None:
        return None
    name, bits = read(ALGO, payload, span, "algorithm")
    return Algorithm(_read_name(name), _read_key(payload, span, ALGO.size, bits), bits)


def read_authentication(
    payload: Buffer, truncated: Span | None, plain: Span | None
) -> AuthAlgorithm | None:
    """Read ALG_AUTH_TRUNC, or else ALG_AUTH, of which the kernel sends both; raises WireError."""
    if truncated is not None:
        name, bits, icv_bits = read(ALGO_WITH_ICV, payload, truncated, "authentication")
        key = _read_key(payload, truncated, ALGO_WITH_ICV.size, bits)
        return AuthAlgorithm(_read_name(name), key, bits, icv_bits)
    algorithm = read_algorithm(payload, plain)
    return None if algorithm is None else AuthAlgorithm(*algorithm)


def read_aead(payload: Buffer, span: Span | None) -> AeadAlgorithm | None:
    """Read an xfrm_algo_aead where there is one; raises WireError."""
    if span is None:
        return None
    name, bits, icv_bits = read(ALGO_WITH_ICV, payload, span, "AEAD")
    key = _read_key(payload, span, ALGO_WITH_ICV.size, bits)
    return AeadAlgorithm(_read_name(name), key, bits, icv_bits)


def _read_name(field: bytes) -> str:
    # The kernel overwrites the last byte with NUL.
    return field[:_NAME_BYTES].partition(b"\0")[0].decode("latin-1")


def _read_key(payload: Buffer, span: Span, head: int, bits: int) -> bytes:
    start = span.start + head
    need = (bits + 7) // 8
    if span.end - start < need:
        short("key", span.end - start, need, start)
    return bytes(payload[start : start + need])
