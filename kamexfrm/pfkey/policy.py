"""The policy extension with its list of requests, and the pair of addresses of KMADDRESS.

A request is ``struct sadb_x_ipsecrequest``, whose length counts bytes where all else counts words,
followed by two sockaddrs back to back or by nothing. Sources: KAME net/pfkeyv2.h and key.c
key_msg2sp(); Linux linux/pfkeyv2.h, and af_key.c parse_ipsecrequests() for what it tolerates.
"""

from dataclasses import dataclass
from typing import ClassVar, Self

from kamexfrm.errors import WireError
from kamexfrm.pfkey.constants import IpsecDirection, IpsecLevel, IpsecMode, IpsecPolicy
from kamexfrm.pfkey.cursor import Cursor
from kamexfrm.pfkey.extension import EXTENSION_HEAD, Dialect, Extension
from kamexfrm.pfkey.layout import (
    FieldError,
    Layout,
    checked_padding,
    fill,
    u8,
    u16,
    u32,
)
from kamexfrm.pfkey.sockaddr import AnySockaddr, check_pair, read_pair, write_pair

_REQUEST_LENGTH = 2

#: KAME and the BSDs: 8 bytes, a reqid of 16 bits.
IPSECREQUEST_KAME = Layout(
    "sadb_x_ipsecrequest",
    8,
    u16("proto"),
    u8("mode", IpsecMode),
    u8("level", IpsecLevel),
    u16("reqid"),
    head=_REQUEST_LENGTH,
)

#: Linux: 16 bytes, a reqid of 32 bits.
IPSECREQUEST_LINUX = Layout(
    "sadb_x_ipsecrequest",
    16,
    u16("proto"),
    u8("mode", IpsecMode),
    u8("level", IpsecLevel),
    u16("reserved1"),
    u32("reqid"),
    u32("reserved2"),
    head=_REQUEST_LENGTH,
)


@dataclass(frozen=True, slots=True)
class IpsecRequest:
    """One transform a policy asks for: ``proto`` is 50, 51 or 108.

    ``trailing`` is what follows the addresses within the request's own length. A 32-bit reqid and
    the reserved fields exist on Linux only: encoding them for another dialect raises FieldError.
    """

    proto: int
    mode: IpsecMode = IpsecMode.IPSEC_MODE_ANY
    level: IpsecLevel = IpsecLevel.IPSEC_LEVEL_DEFAULT
    reqid: int = 0
    source: AnySockaddr | None = None
    destination: AnySockaddr | None = None
    reserved1: int = 0
    reserved2: int = 0
    trailing: bytes = b""

    def __post_init__(self) -> None:
        IPSECREQUEST_LINUX.validate(self)
        check_pair(self.source, self.destination, self.trailing, "a request")

    @classmethod
    def read(cls, cursor: Cursor, dialect: Dialect) -> Self:
        """Read one request; raises WireError at it if its length is wrong."""
        start = cursor.offset
        length = cursor.u16("sadb_x_ipsecrequest")
        layout = dialect.ipsecrequest
        room = cursor.remaining + _REQUEST_LENGTH
        if not layout.size <= length <= room:
            raise WireError(f"a request of {length} bytes in the last {room}", start)
        body = cursor.take(length - _REQUEST_LENGTH, "sadb_x_ipsecrequest")
        values = layout.unpack(body)
        source, destination, trailing = read_pair(body, dialect)
        return cls(source=source, destination=destination, trailing=trailing, **values)

    def encode(self, dialect: Dialect) -> bytes:
        """Return the request; raises FieldError for what the dialect cannot express."""
        layout = dialect.ipsecrequest
        known = {member.name for member in layout.members}
        if any(getattr(self, name) for name in ("reserved1", "reserved2") if name not in known):
            raise FieldError(f"a request of {dialect.name} has no reserved fields")
        body = layout.pack(self, dialect.byte_order)
        body += write_pair(self.source, self.destination, self.trailing, dialect)
        length = _REQUEST_LENGTH + len(body)
        if length > 0xFFFF:
            raise FieldError(f"a request of {length} bytes")
        return length.to_bytes(_REQUEST_LENGTH, dialect.byte_order) + body


_POLICY = Layout(
    "sadb_x_policy",
    16,
    u16("type", IpsecPolicy),
    u8("direction", IpsecDirection),
    u8("reserved"),
    u32("id"),
    u32("priority"),
)


@dataclass(frozen=True, slots=True)
class Policy(Extension):
    """SADB_X_EXT_POLICY: type, direction, id and, for type IPSEC, the requests.

    ``priority`` is reserved in KAME and NetBSD; FreeBSD calls ``reserved`` the scope and keeps an
    interface index in ``priority`` of a policy with interface scope. ``padding`` is what follows
    the last request or, for other types, the whole rest.
    """

    NAME: ClassVar[str] = "SADB_X_EXT_POLICY"
    type: IpsecPolicy
    direction: IpsecDirection
    id: int = 0
    priority: int = 0
    requests: tuple[IpsecRequest, ...] = ()
    reserved: int = 0
    padding: bytes = b""

    def __post_init__(self) -> None:
        _POLICY.validate(self)
        requests = tuple(self.requests)
        if not all(isinstance(request, IpsecRequest) for request in requests):
            raise FieldError("a policy's requests must be IpsecRequests")
        if requests and self.type != IpsecPolicy.IPSEC_POLICY_IPSEC:
            raise FieldError("only a policy of type IPSEC has requests")
        object.__setattr__(self, "requests", requests)
        # A request's size modulo 8 is the same in all dialects: the heads are 8 or 16 bytes.
        pairs = ((r.source, r.destination, r.trailing) for r in requests)
        length = _POLICY.size + sum(_pair_length(*pair) for pair in pairs)
        padding = checked_padding(self.padding, length, self.NAME, most=None)
        object.__setattr__(self, "padding", padding)

    @classmethod
    def read(cls, cursor: Cursor, dialect: Dialect) -> Self:
        """Read head and requests; raises WireError at the request that is wrong."""
        values = _POLICY.unpack(cursor)
        requests = []
        if values["type"] == IpsecPolicy.IPSEC_POLICY_IPSEC:
            while cursor.remaining >= dialect.ipsecrequest.size:
                requests.append(IpsecRequest.read(cursor, dialect))
        return cls(requests=tuple(requests), padding=cursor.rest(), **values)

    def body(self, dialect: Dialect) -> bytes:
        """Return head, requests and padding; raises FieldError."""
        if (
            self.type == IpsecPolicy.IPSEC_POLICY_IPSEC
            and len(self.padding) >= dialect.ipsecrequest.size
        ):
            raise FieldError("the padding of a policy is as long as a request")
        content = _POLICY.pack(self, dialect.byte_order)
        content += b"".join(request.encode(dialect) for request in self.requests)
        return fill(content + self.padding, EXTENSION_HEAD)


def _pair_length(
    source: AnySockaddr | None, destination: AnySockaddr | None, trailing: bytes
) -> int:
    """Return the size in bytes of what follows a request's head."""
    length = len(trailing)
    for sockaddr in (source, destination):
        if sockaddr is not None:
            length += sockaddr.size
    return length


_KMADDRESS = Layout("sadb_x_kmaddress", 8, u32("reserved"))


@dataclass(frozen=True, slots=True)
class KmAddress(Extension):
    """SADB_X_EXT_KMADDRESS (Linux, in MIGRATE): the addresses the key managers use now."""

    NAME: ClassVar[str] = "SADB_X_EXT_KMADDRESS"
    local: AnySockaddr | None = None
    remote: AnySockaddr | None = None
    reserved: int = 0
    trailing: bytes = b""

    def __post_init__(self) -> None:
        _KMADDRESS.validate(self)
        check_pair(self.local, self.remote, self.trailing, self.NAME)
        length = _KMADDRESS.size + _pair_length(self.local, self.remote, b"")
        trailing = checked_padding(self.trailing, length, self.NAME, most=None)
        object.__setattr__(self, "trailing", trailing)

    @classmethod
    def read(cls, cursor: Cursor, dialect: Dialect) -> Self:
        """Read the two addresses; raises WireError."""
        values = _KMADDRESS.unpack(cursor)
        local, remote, trailing = read_pair(cursor, dialect)
        return cls(local, remote, values["reserved"], trailing)

    def body(self, dialect: Dialect) -> bytes:
        """Return the two addresses; raises FieldError."""
        head = _KMADDRESS.pack(self, dialect.byte_order)
        length = EXTENSION_HEAD + len(head) + _pair_length(self.local, self.remote, b"")
        trailing = self.trailing or bytes(-length % 8)
        return head + write_pair(self.local, self.remote, trailing, dialect)
