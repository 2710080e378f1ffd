"""Socket addresses: the part of a message in which BSD and Linux differ most.

BSD puts a length in the first byte and the family in the second, Linux a 16-bit family; the number
of IPv6 differs everywhere. Above the codec an address is a :class:`kamexfrm.net.Address`, and a
family that the dialect does not know stays a :class:`RawSockaddr`.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from kamexfrm.errors import WireError
from kamexfrm.net import ADDRESS_BYTES, AF_INET, Address
from kamexfrm.pfkey.cursor import Cursor
from kamexfrm.pfkey.extension import Dialect
from kamexfrm.pfkey.layout import (
    FieldError,
    Layout,
    array,
    be16,
    be32,
    check_bytes,
    u32,
)

if TYPE_CHECKING:
    from ipaddress import IPv4Address, IPv6Address

_V4 = (be16("port"), array("packed", 4), array("zero", 8))
_V6 = (be16("port"), be32("flowinfo"), array("packed", 16), u32("scope_id"))

#: struct sockaddr_in and sockaddr_in6 after sa_len and sa_family, which take two bytes anywhere.
_LAYOUTS = {
    4: Layout("sockaddr_in", 16, *_V4, head=2),
    16: Layout("sockaddr_in6", 28, *_V6, head=2),
}
_HEAD = 2

#: The numbers in a sockaddr of any family, for checking them.
_NUMBERS = Layout("sockaddr", 10, _V4[0], _V6[1], _V6[3], head=0)


@dataclass(frozen=True, slots=True)
class Sockaddr:
    """An IPv4 or IPv6 address with a port, and IPv6's flow information and scope.

    ``zero`` holds ``sin_zero`` in the odd case that its eight bytes are not zero.
    """

    address: Address
    port: int = 0
    flowinfo: int = 0
    scope_id: int = 0
    zero: bytes = b""

    @classmethod
    def of(cls, address: "Address | IPv4Address | IPv6Address | str", port: int = 0) -> "Sockaddr":
        """Return a sockaddr of an address as text, an ipaddress object or ours.

        Raises ValueError for what is no address.
        """
        return cls(Address.of(address), port)

    def __post_init__(self) -> None:
        address = self.address
        if not isinstance(address, Address) or not isinstance(address.packed, bytes):
            raise FieldError("a sockaddr needs an Address")
        if ADDRESS_BYTES.get(address.family) != len(address.packed):
            raise FieldError(f"no address of family {address.family} has this length")
        _NUMBERS.pack(self, "big")
        if check_bytes(self.zero, "sin_zero") == bytes(8):
            object.__setattr__(self, "zero", b"")
        if address.family == AF_INET:
            if self.flowinfo or self.scope_id:
                raise FieldError("an IPv4 sockaddr has neither flow information nor scope")
            if len(self.zero) not in (0, 8):
                raise FieldError("sin_zero is eight bytes long")
        elif self.zero:
            raise FieldError("an IPv6 sockaddr has no sin_zero")

    @property
    def size(self) -> int:
        """Its size on the wire in bytes, the same in every dialect: 16 or 28."""
        return _LAYOUTS[len(self.address.packed)].size


@dataclass(frozen=True, slots=True)
class RawSockaddr:
    """A sockaddr of a family that the dialect does not know, head included."""

    data: bytes

    def __post_init__(self) -> None:
        if len(check_bytes(self.data, "a raw sockaddr")) < _HEAD:
            raise FieldError("a sockaddr is at least two bytes long")

    @property
    def size(self) -> int:
        """Its size on the wire in bytes."""
        return len(self.data)


AnySockaddr = Sockaddr | RawSockaddr


def _family(head: bytes, dialect: Dialect) -> int | None:
    """Return kamexfrm's family for the first two bytes of a sockaddr; None if unknown."""
    number = head[1] if dialect.has_sa_len else int.from_bytes(head[:2], dialect.byte_order)
    return dialect.families.get(number)


def read_sockaddr(cursor: Cursor, dialect: Dialect) -> AnySockaddr:
    """Read one sockaddr; one of unknown family takes all that is left unless it has a sa_len.

    Raises WireError when it does not fit, or when its sa_len is not the family's.
    """
    start = cursor.offset
    ahead = cursor.peek()
    if len(ahead) < _HEAD:
        raise WireError("no room for a sockaddr", start)
    family = _family(ahead, dialect)
    if family is None:
        return RawSockaddr(cursor.raw(_raw_size(ahead, dialect), "sockaddr"))
    layout = _LAYOUTS[ADDRESS_BYTES[family]]
    if dialect.has_sa_len and ahead[0] != layout.size:
        raise WireError(f"sa_len of a {layout.name} is {ahead[0]}, not {layout.size}", start)
    if len(ahead) < layout.size:
        raise WireError(f"{layout.name} needs {layout.size} bytes, {len(ahead)} are left", start)
    cursor.raw(_HEAD, "sockaddr")
    values = layout.unpack(cursor)
    return Sockaddr(Address(family, values.pop("packed")), **values)


def _raw_size(data: bytes, dialect: Dialect) -> int:
    """Return how many bytes at the front of ``data`` a sockaddr of unknown family takes."""
    if dialect.has_sa_len and _HEAD <= data[0] <= len(data):
        return data[0]
    return len(data)


def write_sockaddr(sockaddr: AnySockaddr, dialect: Dialect, *, following: bytes = b"") -> bytes:
    """Return a sockaddr's bytes; ``following`` is what will come after it.

    Raises FieldError for a raw sockaddr that would be read back as something else.
    """
    if isinstance(sockaddr, RawSockaddr):
        data = sockaddr.data
        if _family(data, dialect) is not None:
            raise FieldError(f"a raw sockaddr of a family that {dialect.name} knows")
        if _raw_size(data + following, dialect) != len(data):
            raise FieldError("a raw sockaddr whose length cannot be told from its bytes")
        return data
    address = sockaddr.address
    layout = _LAYOUTS[len(address.packed)]
    family = dialect.wire_family(address.family)
    if dialect.has_sa_len:
        head = bytes((layout.size, family))
    else:
        head = family.to_bytes(_HEAD, dialect.byte_order)
    values = {
        "port": sockaddr.port,
        "flowinfo": sockaddr.flowinfo,
        "scope_id": sockaddr.scope_id,
        "zero": sockaddr.zero or bytes(8),
        "packed": address.packed,
    }
    return head + layout.pack_values(values, dialect.byte_order)


def check_sockaddr(value: object, owner: str) -> None:
    """Raise FieldError if ``value`` is not a sockaddr."""
    if not isinstance(value, (Sockaddr, RawSockaddr)):
        raise FieldError(f"{owner} must be a Sockaddr or a RawSockaddr")


def read_pair(
    cursor: Cursor, dialect: Dialect
) -> tuple[AnySockaddr | None, AnySockaddr | None, bytes]:
    """Read two sockaddrs back to back and whatever follows them; all empty if nothing is there.

    The second is missing only when the first is raw and took everything. Raises WireError.
    """
    if not cursor.remaining:
        return None, None, b""
    first = read_sockaddr(cursor, dialect)
    if isinstance(first, RawSockaddr) and not cursor.remaining:
        return first, None, b""
    return first, read_sockaddr(cursor, dialect), cursor.rest()


def write_pair(
    first: AnySockaddr | None, second: AnySockaddr | None, rest: bytes, dialect: Dialect
) -> bytes:
    """Return two sockaddrs back to back, followed by ``rest``; raises FieldError."""
    if first is None:
        return b""
    after = rest if second is None else write_sockaddr(second, dialect, following=rest) + rest
    return write_sockaddr(first, dialect, following=after) + after


def check_pair(first: object, second: object, rest: object, owner: str) -> bytes:
    """Return ``rest`` if a pair of this form can be read back; raises FieldError otherwise."""
    after = check_bytes(rest, owner)
    for sockaddr in (first, second):
        if sockaddr is not None:
            check_sockaddr(sockaddr, owner)
    if second is None and (isinstance(first, Sockaddr) or after):
        raise FieldError(f"{owner}: a source without a destination")
    if first is None and (second is not None or after):
        raise FieldError(f"{owner}: a destination without a source")
    return after
