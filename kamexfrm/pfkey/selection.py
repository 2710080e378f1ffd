"""Extensions that single out packets, associations or interfaces.

Sources: Linux linux/pfkeyv2.h (sadb_x_filter); KAME net/pfkeyv2.h (sadb_x_tag, sadb_x_packet);
FreeBSD net/pfkeyv2.h (sadb_x_if_hw_offl).
"""

from dataclasses import dataclass
from typing import ClassVar, Self

from kamexfrm.errors import WireError
from kamexfrm.net import ADDRESS_BYTES, Address
from kamexfrm.pfkey.cursor import Cursor
from kamexfrm.pfkey.extension import EXTENSION_HEAD, Dialect, Extension, FixedExtension
from kamexfrm.pfkey.layout import (
    WORD,
    FieldError,
    Layout,
    array,
    check_bytes,
    checked_padding,
    fill,
    u8,
    u16,
    u32,
)


@dataclass(frozen=True, slots=True)
class Filter(FixedExtension):
    """SADB_X_EXT_FILTER (Linux, in DUMP): which associations to show.

    The addresses are 16 bytes each, an IPv4 address in the first four; prefix lengths in bits.
    """

    NAME: ClassVar[str] = "SADB_X_EXT_FILTER"
    LAYOUT: ClassVar[Layout] = Layout(
        "sadb_x_filter",
        40,
        array("source", 16),
        array("destination", 16),
        u16("family"),
        u8("source_prefixlen"),
        u8("destination_prefixlen"),
    )
    source: bytes
    destination: bytes
    family: int
    source_prefixlen: int
    destination_prefixlen: int

    @classmethod
    def between(
        cls,
        source: Address,
        source_prefixlen: int,
        destination: Address,
        destination_prefixlen: int,
    ) -> Self:
        """Return the filter for two prefixes; raises FieldError if their families differ."""
        if source.family != destination.family:
            raise FieldError("a filter's addresses are of one family")
        return cls(
            source.packed.ljust(16, b"\0"),
            destination.packed.ljust(16, b"\0"),
            source.family,
            source_prefixlen,
            destination_prefixlen,
        )

    @property
    def addresses(self) -> tuple[Address, Address] | None:
        """Source and destination; None for a family that is neither IPv4 nor IPv6."""
        size = ADDRESS_BYTES.get(self.family)
        if size is None:
            return None
        return (
            Address(self.family, self.source[:size]),
            Address(self.family, self.destination[:size]),
        )


def _set_name(record: object, size: int) -> None:
    """Fill a record's ``name`` up with zeros to its size; raises FieldError if it is longer."""
    name = check_bytes(getattr(record, "name", None), "a name")
    if len(name) > size:
        raise FieldError(f"a name of {len(name)} bytes, {size} at most")
    object.__setattr__(record, "name", name.ljust(size, b"\0"))


@dataclass(frozen=True, slots=True)
class Tag(FixedExtension):
    """SADB_X_EXT_TAG (KAME): a packet filter's tag in place of addresses, filled to 16 bytes."""

    NAME: ClassVar[str] = "SADB_X_EXT_TAG"
    LAYOUT: ClassVar[Layout] = Layout("sadb_x_tag", 24, array("name", 16), u32("reserved"))
    name: bytes
    reserved: int = 0

    def __post_init__(self) -> None:
        _set_name(self, 16)
        self.LAYOUT.validate(self)


@dataclass(frozen=True, slots=True)
class IfHwOffl(FixedExtension):
    """SADB_X_EXT_IF_HW_OFFL (FreeBSD): the interface that does the work, filled to 32 bytes."""

    NAME: ClassVar[str] = "SADB_X_EXT_IF_HW_OFFL"
    LAYOUT: ClassVar[Layout] = Layout("sadb_x_if_hw_offl", 40, u32("flags"), array("name", 32))
    name: bytes
    flags: int = 0

    def __post_init__(self) -> None:
        _set_name(self, 32)
        self.LAYOUT.validate(self)


_PACKET = Layout("sadb_x_packet", 8, u32("copylen"))


@dataclass(frozen=True, slots=True)
class Packet(Extension):
    """SADB_X_EXT_PACKET (KAME, in ACQUIRE): the beginning of the packet that caused it."""

    NAME: ClassVar[str] = "SADB_X_EXT_PACKET"
    packet: bytes = b""
    padding: bytes = b""

    def __post_init__(self) -> None:
        length = _PACKET.size + len(check_bytes(self.packet, "a packet"))
        padding = checked_padding(self.padding, length, self.NAME)
        object.__setattr__(self, "padding", padding)

    @classmethod
    def read(cls, cursor: Cursor, dialect: Dialect) -> Self:
        """Read the packet; raises WireError when its length is not the extension's."""
        values = _PACKET.unpack(cursor)
        packet = cursor.raw(values["copylen"], "the packet")
        if cursor.remaining >= WORD:
            raise WireError(f"{cursor.remaining} bytes after the packet", cursor.offset)
        return cls(packet, cursor.rest())

    def body(self, dialect: Dialect) -> bytes:
        """Return length, packet and padding."""
        head = _PACKET.pack_values({"copylen": len(self.packet)}, dialect.byte_order)
        return fill(head + self.packet + self.padding, EXTENSION_HEAD)
