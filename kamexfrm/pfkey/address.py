"""Extensions that carry one address, and the small ones of NAT traversal.

Sources: RFC 2367 section 2.3.3; Linux linux/pfkeyv2.h and FreeBSD net/pfkeyv2.h (sadb_x_nat_t_type,
sadb_x_nat_t_port, sadb_x_nat_t_frag and the address extensions from number 23 on).
"""

from dataclasses import dataclass
from typing import ClassVar, Self

from kamexfrm.errors import WireError
from kamexfrm.pfkey.cursor import Cursor
from kamexfrm.pfkey.extension import Dialect, Extension, FixedExtension
from kamexfrm.pfkey.layout import (
    WORD,
    Layout,
    array,
    be16,
    checked_padding,
    u8,
    u16,
)
from kamexfrm.pfkey.sockaddr import (
    AnySockaddr,
    RawSockaddr,
    Sockaddr,
    check_sockaddr,
    read_sockaddr,
    write_sockaddr,
)

_ADDRESS = Layout("sadb_address", 8, u8("proto"), u8("prefixlen"), u16("reserved"))


@dataclass(frozen=True, slots=True)
class AddressExtension(Extension):
    """A sockaddr, a prefix length in bits and an upper-layer protocol (255 is any).

    ``padding`` is what follows the sockaddr if that is not just zeros.
    """

    sockaddr: AnySockaddr
    prefixlen: int = 0
    proto: int = 0
    reserved: int = 0
    padding: bytes = b""

    def __post_init__(self) -> None:
        check_sockaddr(self.sockaddr, self.NAME)
        _ADDRESS.validate(self)
        length = _ADDRESS.size + self.sockaddr.size
        most = None if isinstance(self.sockaddr, RawSockaddr) else WORD - 1
        padding = checked_padding(self.padding, length, self.NAME, most=most)
        object.__setattr__(self, "padding", padding)

    @classmethod
    def read(cls, cursor: Cursor, dialect: Dialect) -> Self:
        """Read head, sockaddr and padding; raises WireError where they do not fit."""
        head = _ADDRESS.unpack(cursor)
        sockaddr = read_sockaddr(cursor, dialect)
        if isinstance(sockaddr, Sockaddr) and cursor.remaining >= WORD:
            raise WireError(f"{cursor.remaining} bytes after a sockaddr", cursor.offset)
        return cls(sockaddr, padding=cursor.rest(), **head)

    def body(self, dialect: Dialect) -> bytes:
        """Return head, sockaddr and padding; raises FieldError for a family without a number."""
        head = _ADDRESS.pack(self, dialect.byte_order)
        padding = self.padding or bytes(-(_ADDRESS.size + self.sockaddr.size) % WORD)
        return head + write_sockaddr(self.sockaddr, dialect, following=padding) + padding


class AddressSrc(AddressExtension):
    """SADB_EXT_ADDRESS_SRC: the source of an association or of a selector."""

    __slots__ = ()
    NAME = "SADB_EXT_ADDRESS_SRC"


class AddressDst(AddressExtension):
    """SADB_EXT_ADDRESS_DST: the destination of an association or of a selector."""

    __slots__ = ()
    NAME = "SADB_EXT_ADDRESS_DST"


class AddressProxy(AddressExtension):
    """SADB_EXT_ADDRESS_PROXY: for whom the source acts; Linux puts the inner selector here."""

    __slots__ = ()
    NAME = "SADB_EXT_ADDRESS_PROXY"


class NatTOa(AddressExtension):
    """SADB_X_EXT_NAT_T_OA (Linux): the peer's address before translation."""

    __slots__ = ()
    NAME = "SADB_X_EXT_NAT_T_OA"


class NatTOai(AddressExtension):
    """SADB_X_EXT_NAT_T_OAI (FreeBSD, NetBSD): the source before translation."""

    __slots__ = ()
    NAME = "SADB_X_EXT_NAT_T_OAI"


class NatTOar(AddressExtension):
    """SADB_X_EXT_NAT_T_OAR (FreeBSD, NetBSD): the destination before translation."""

    __slots__ = ()
    NAME = "SADB_X_EXT_NAT_T_OAR"


class NewAddressSrc(AddressExtension):
    """SADB_X_EXT_NEW_ADDRESS_SRC (FreeBSD): the source an UPDATE moves an association to."""

    __slots__ = ()
    NAME = "SADB_X_EXT_NEW_ADDRESS_SRC"


class NewAddressDst(AddressExtension):
    """SADB_X_EXT_NEW_ADDRESS_DST (FreeBSD): the destination an UPDATE moves it to."""

    __slots__ = ()
    NAME = "SADB_X_EXT_NEW_ADDRESS_DST"


@dataclass(frozen=True, slots=True)
class NatTType(FixedExtension):
    """SADB_X_EXT_NAT_T_TYPE: ``type`` is the number of UDP_ENCAP, 2 for RFC 3948."""

    NAME: ClassVar[str] = "SADB_X_EXT_NAT_T_TYPE"
    LAYOUT: ClassVar[Layout] = Layout("sadb_x_nat_t_type", 8, u8("type"), array("reserved", 3))
    type: int
    reserved: bytes = bytes(3)


@dataclass(frozen=True, slots=True)
class NatTPort(FixedExtension):
    """A UDP port of NAT traversal."""

    LAYOUT: ClassVar[Layout] = Layout("sadb_x_nat_t_port", 8, be16("port"), u16("reserved"))
    port: int
    reserved: int = 0


class NatTSport(NatTPort):
    """SADB_X_EXT_NAT_T_SPORT: the source port."""

    __slots__ = ()
    NAME = "SADB_X_EXT_NAT_T_SPORT"


class NatTDport(NatTPort):
    """SADB_X_EXT_NAT_T_DPORT: the destination port."""

    __slots__ = ()
    NAME = "SADB_X_EXT_NAT_T_DPORT"


@dataclass(frozen=True, slots=True)
class NatTFrag(FixedExtension):
    """SADB_X_EXT_NAT_T_FRAG (FreeBSD, NetBSD): where to fragment before ESP, in bytes."""

    NAME: ClassVar[str] = "SADB_X_EXT_NAT_T_FRAG"
    LAYOUT: ClassVar[Layout] = Layout("sadb_x_nat_t_frag", 8, u16("fraglen"), u16("reserved"))
    fraglen: int
    reserved: int = 0
