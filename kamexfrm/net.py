"""Addresses and upper-layer protocol names: the words that all three vocabularies share.

Floor 0. The address family travels with every address; nothing is guessed from zeros.
"""

from __future__ import annotations

import _socket as socket  # the module socket takes as long to load as a command to run

from kamexfrm.records import NamedTuple

TYPE_CHECKING = False  # ipaddress takes long to load
if TYPE_CHECKING:
    from ipaddress import IPv4Address, IPv6Address

AF_INET = 2
AF_INET6 = 10

#: Address length in bits and in bytes, by family.
ADDRESS_BITS = {AF_INET: 32, AF_INET6: 128}
ADDRESS_BYTES = {AF_INET: 4, AF_INET6: 16}

IPPROTO_ICMP = 1
IPPROTO_IPIP = 4
IPPROTO_TCP = 6
IPPROTO_UDP = 17
IPPROTO_IPV6 = 41
IPPROTO_GRE = 47
IPPROTO_ESP = 50
IPPROTO_AH = 51
IPPROTO_ICMPV6 = 58
IPPROTO_COMP = 108
IPPROTO_MH = 135


class Address(NamedTuple):
    """An IPv4 or IPv6 address: ``family`` is Linux's AF_ number, ``packed`` 4 or 16 bytes.

    What a kernel or another process gives may have another family: 16 bytes, shown as IPv6's are.

    >>> Address.of("10.0.0.1")
    Address.of('10.0.0.1')
    >>> str(Address.of("2001:db8::1"))
    '2001:db8::1'
    """

    family: int
    packed: bytes

    @classmethod
    def parse(cls, text: str) -> Address:
        """Read a numeric address; raises ValueError for anything else (names, scopes, ``10.1``)."""
        try:
            return cls(AF_INET, socket.inet_pton(AF_INET, text))
        except (OSError, ValueError):
            pass
        try:
            return cls(AF_INET6, socket.inet_pton(AF_INET6, text))
        except (OSError, ValueError):
            raise ValueError(f"not a numeric address: {text!r}") from None

    @classmethod
    def of(cls, value: Address | IPv4Address | IPv6Address | str) -> Address:
        """Return an address of text, of an ipaddress object, or of one of ours.

        Raises ValueError for what is none.
        """
        return value if isinstance(value, Address) else cls.parse(str(value))

    @classmethod
    def unspecified(cls, family: int) -> Address:
        """Return 0.0.0.0 or ``::``."""
        return cls(family, bytes(ADDRESS_BYTES.get(family, 16)))

    @property
    def bits(self) -> int:
        """The family's address length in bits: 32 or 128."""
        return ADDRESS_BITS.get(self.family, 128)

    @property
    def is_unspecified(self) -> bool:
        """Whether all bytes are zero."""
        return not any(self.packed)

    def is_within(self, prefix: Address, bits: int) -> bool:
        """Whether this address lies in a prefix of its own family."""
        if prefix.family != self.family:
            return False
        shift = self.bits - bits
        return (
            int.from_bytes(prefix.packed, "big") >> shift
            == int.from_bytes(self.packed, "big") >> shift
        )

    def __repr__(self) -> str:
        if len(self.packed) == ADDRESS_BYTES.get(self.family):
            return f"Address.of({str(self)!r})"
        return f"Address({self.family}, {self.packed!r})"

    def __str__(self) -> str:
        try:
            return socket.inet_ntop(self.family, self.packed)
        except ValueError:
            return socket.inet_ntop(AF_INET6, self.packed)


def protocol_name(number: int) -> str:
    """Return the /etc/protocols name of an IP protocol, or its number in decimal."""
    name = _PROTOCOLS_BY_NUMBER.get(number)
    if name is None:
        name = next((n for n, p in _read_protocols() if p == number), str(number))
        _PROTOCOLS_BY_NUMBER[number] = name
    return name


def protocol_number(name: str) -> int | None:
    """Return an IP protocol's number by its /etc/protocols name or alias; None when unknown."""
    try:
        return socket.getprotobyname(name)
    except OSError:
        return _WELL_KNOWN.get(name)


#: What a system without /etc/protocols still understands, with the names that file gives them.
_WELL_KNOWN = {
    "ip": 0,
    "icmp": 1,
    "igmp": 2,
    "ipencap": 4,
    "tcp": 6,
    "udp": 17,
    "dccp": 33,
    "ipv6": 41,
    "gre": 47,
    "esp": 50,
    "ah": 51,
    "ipv6-icmp": 58,
    "ospf": 89,
    "ipcomp": 108,
    "sctp": 132,
    "mobility-header": 135,
    "udplite": 136,
}
_PROTOCOLS_BY_NUMBER: dict[int, str] = {}


def _read_protocols() -> list[tuple[str, int]]:
    """Return (name, number) in the file's order; Python's socket module has no getprotobynumber."""
    rows = []
    try:
        with open("/etc/protocols", encoding="utf-8", errors="replace") as lines:
            for line in lines:
                words = line.partition("#")[0].split()
                if len(words) >= 2 and words[1].isdigit():
                    rows.append((words[0], int(words[1])))
    except OSError:
        pass
    return rows + list(_WELL_KNOWN.items())
