"""Netlink attributes: their framing, and bounds-checked iteration over them.

Source: Linux include/net/netlink.h nla_parse(): of several attributes of one type the last
counts, a longer one than its struct is accepted, the two top bits of the type are flags.
"""

from __future__ import annotations

import struct

from kamexfrm.errors import WireError
from kamexfrm.records import NamedTuple
from kamexfrm.xfrm import constants as c
from kamexfrm.xfrm.structs import (
    ADDRESS,
    Buffer,
    Layout,
    check_address,
    misfit,
    read_address,
    short,
)

TYPE_CHECKING = False  # typing and collections take long to load
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from typing import Any

    from kamexfrm.net import Address

#: ``length`` is that of the header with the payload.
HEADER = Layout("nlattr", 4, "H length, H type")
_HEADER_BYTES = HEADER.size
_OF_THEIR_OWN = ("XFRMA_SPD_", "XFRMA_SAD_")
_PADDING = (b"", b"\0\0\0", b"\0\0", b"\0")


class Attribute(NamedTuple):
    """An attribute without a decoder: ``type`` with its flag bits, ``payload`` without padding."""

    type: int
    payload: bytes

    def __repr__(self) -> str:
        # The content may be a key.
        return f"Attribute(type={self.type}, payload=<{len(self.payload)} bytes>)"


class Span(NamedTuple):
    """Where an attribute's payload stands: byte offsets, ``end`` exclusive."""

    start: int
    end: int


def encode_attribute(type_: int, payload: bytes) -> bytes:
    """Return an attribute with its header and padding; raises KamexfrmError over 65531 bytes."""
    length = len(payload)
    try:
        return HEADER.pack(length + _HEADER_BYTES, type_) + payload + _PADDING[length & 3]
    except struct.error as error:
        raise misfit(f"attribute {type_} of {length} bytes", error) from None


def encode_attributes(pairs: Iterable[tuple[int, bytes]]) -> bytes:
    """Return the attributes of a list of (type, payload), in its order."""
    return b"".join([encode_attribute(type_, payload) for type_, payload in pairs])


def iter_attributes(payload: Buffer, offset: int) -> Iterator[tuple[int, int, int]]:
    """Yield (type, start, end) of each attribute from ``offset`` on; raises WireError.

    >>> list(iter_attributes(encode_attribute(8, b"label") + encode_attribute(31, bytes(4)), 0))
    [(8, 4, 9), (31, 16, 20)]
    """
    total = len(payload)
    while offset < total:
        if total - offset < _HEADER_BYTES:
            short("attribute header", total - offset, _HEADER_BYTES, offset)
        length, type_ = HEADER.unpack_from(payload, offset)
        end = offset + length
        if length < _HEADER_BYTES or end > total:
            raise WireError(f"attribute {type_} of impossible length {length}", offset)
        yield type_, offset + _HEADER_BYTES, end
        offset = end + 3 & ~3


def attribute_name(number: int) -> str:
    """Return the C name of an attribute's number, or ``UNKNOWN_n``.

    >>> attribute_name(18)
    'XFRMA_ALG_AEAD'
    """
    number &= c.NLA_TYPE_MASK
    for name, value in vars(c).items():
        # NEWSPDINFO and NEWSADINFO have numbers of their own.
        if value == number and name.startswith("XFRMA_") and not name.startswith(_OF_THEIR_OWN):
            return name
    return f"UNKNOWN_{number}"


def attribute_name_at(payload: Buffer, offset: int) -> str:
    """Return the C name of the attribute whose header stands at an offset, empty for none."""
    if not 0 <= offset <= len(payload) - _HEADER_BYTES:
        return ""
    _, type_ = HEADER.unpack_from(payload, offset)
    return attribute_name(type_)


def collect(
    payload: Buffer, offset: int, known: frozenset[int]
) -> tuple[dict[int, Span], tuple[Attribute, ...]]:
    """Return where the known attributes stand, by type, and the others in their order."""
    spans: dict[int, Span] = {}
    others = []
    for type_, start, end in iter_attributes(payload, offset):
        plain = type_ & c.NLA_TYPE_MASK
        if plain in known:
            spans[plain] = Span(start, end)
        else:
            others.append(Attribute(type_, bytes(payload[start:end])))
    return spans, tuple(others)


def read(layout: Layout, payload: Buffer, span: Span, what: str) -> tuple[Any, ...]:
    """Return the fields of a struct at the start of an attribute; raises WireError if short."""
    if span.end - span.start < layout.size:
        short(what, span.end - span.start, layout.size, span.start)
    return layout.unpack_from(payload, span.start)


def read_number(layout: Layout, payload: Buffer, span: Span | None, default: int | None) -> Any:
    """Return the integer of an attribute, or ``default`` where there is none."""
    if span is None:
        return default
    return read(layout, payload, span, "number")[0]


def pack_address(address: Address, family: int, what: str) -> bytes:
    """Return the payload of an address attribute; raises KamexfrmError."""
    return ADDRESS.pack(check_address(address, family, what))


def read_address_attribute(payload: Buffer, span: Span | None, family: int) -> Address | None:
    """Read an address attribute where there is one; raises WireError."""
    if span is None:
        return None
    return read_address(family, read(ADDRESS, payload, span, "address")[0])
