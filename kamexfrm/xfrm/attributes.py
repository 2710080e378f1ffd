"""Netlink attributes: a bounds-checked walk over them, and their framing.

Source: Linux include/net/netlink.h nla_parse(): of several attributes of one type the last
counts, a longer one than its struct is accepted, the two top bits of the type are flags.
"""

import struct
from collections.abc import Iterable, Iterator
from struct import Struct
from typing import Any, NamedTuple

from kamexfrm.errors import WireError
from kamexfrm.xfrm.constants import NLA_TYPE_MASK
from kamexfrm.xfrm.structs import Buffer, misfit, short

HEADER = Struct("=HH")
_PADDING = (b"", b"\0\0\0", b"\0\0", b"\0")


class Attribute(NamedTuple):
    """An attribute nobody here knows: ``type`` with its flag bits, ``payload`` without padding."""

    type: int
    payload: bytes

    def __repr__(self) -> str:
        # The content may be a key of a kind yet unknown.
        return f"Attribute(type={self.type}, payload=<{len(self.payload)} bytes>)"


class Span(NamedTuple):
    """Where an attribute's payload stands: byte offsets, ``end`` exclusive."""

    start: int
    end: int


def encode_attribute(type_: int, payload: bytes) -> bytes:
    """Return an attribute with its header and padding; raises KamexfrmError over 65531 bytes."""
    length = len(payload)
    try:
        return HEADER.pack(length + 4, type_) + payload + _PADDING[length & 3]
    except struct.error as error:
        raise misfit(f"attribute {type_} of {length} bytes", error) from None


def encode_attributes(pairs: Iterable[tuple[int, bytes]]) -> bytes:
    """Return the attributes of a list of (type, payload), in its order."""
    return b"".join([encode_attribute(type_, payload) for type_, payload in pairs])


def iter_attributes(payload: Buffer, offset: int) -> Iterator[tuple[int, int, int]]:
    """Yield (type, start, end) of each attribute from ``offset`` on; raises WireError."""
    total = len(payload)
    while offset < total:
        if total - offset < 4:
            short("attribute header", total - offset, 4, offset)
        length, type_ = HEADER.unpack_from(payload, offset)
        end = offset + length
        if length < 4 or end > total:
            raise WireError(f"attribute {type_} of impossible length {length}", offset)
        yield type_, offset + 4, end
        offset = end + 3 & ~3


def collect(
    payload: Buffer, offset: int, known: frozenset[int]
) -> tuple[dict[int, Span], tuple[Attribute, ...]]:
    """Return where the known attributes stand, by type, and the others in their order."""
    spans: dict[int, Span] = {}
    others = []
    for type_, start, end in iter_attributes(payload, offset):
        plain = type_ & NLA_TYPE_MASK
        if plain in known:
            spans[plain] = Span(start, end)
        else:
            others.append(Attribute(type_, bytes(payload[start:end])))
    return spans, tuple(others)


def read(layout: Struct, payload: Buffer, span: Span, what: str) -> tuple[Any, ...]:
    """Return the fields of a struct at the start of an attribute; raises WireError if short."""
    if span.end - span.start < layout.size:
        short(what, span.end - span.start, layout.size, span.start)
    return layout.unpack_from(payload, span.start)


def read_number(layout: Struct, payload: Buffer, span: Span | None, default: int | None) -> Any:
    """Return the integer of an attribute, or ``default`` where there is none."""
    if span is None:
        return default
    return read(layout, payload, span, "number")[0]
