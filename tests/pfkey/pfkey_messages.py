"""Generators of PF_KEY messages for the property tests, one dialect at a time."""

from collections.abc import Callable
from typing import Any, TypeVar

from hypothesis import strategies as st

from kamexfrm import pfkey
from kamexfrm.net import AF_INET, AF_INET6, Address
from kamexfrm.pfkey.extension import FixedExtension
from kamexfrm.pfkey.layout import Layout
from kamexfrm.pfkey.sockaddr import AnySockaddr

E = TypeVar("E", bound=pfkey.Extension)

DIALECTS = [
    pfkey.LINUX.with_byte_order("little"),
    pfkey.LINUX.with_byte_order("big"),
    pfkey.KAME.with_byte_order("little"),
    pfkey.FREEBSD.with_byte_order("little"),
    pfkey.NETBSD.with_byte_order("big"),
]


def number(bits: int) -> st.SearchStrategy[int]:
    return st.one_of(st.integers(0, 3), st.integers(0, (1 << bits) - 1))


def padding(length: int, extra: int = 0) -> st.SearchStrategy[bytes]:
    """Zeros, or other bytes that reach the next multiple of eight, perhaps some words more."""
    missing = -length % 8
    sizes = st.integers(0, extra).map(lambda words: missing + 8 * words)
    return st.one_of(st.just(b""), sizes.flatmap(lambda n: st.binary(min_size=n, max_size=n)))


def members(layout: Layout) -> dict[str, st.SearchStrategy[Any]]:
    """Return a strategy for each member: bytes for an array, a number for all others."""
    return {
        member.name: st.binary(min_size=member.size, max_size=member.size)
        if member.is_bytes
        else number(8 * member.size)
        for member in layout.members
    }


addresses = st.one_of(
    st.builds(Address, st.just(AF_INET), st.binary(min_size=4, max_size=4)),
    st.builds(Address, st.just(AF_INET6), st.binary(min_size=16, max_size=16)),
)


@st.composite
def known_sockaddrs(draw: st.DrawFn) -> pfkey.Sockaddr:
    address = draw(addresses)
    if address.family == AF_INET:
        zero = draw(st.sampled_from([b"", b"12345678"]))
        return pfkey.Sockaddr(address, draw(number(16)), zero=zero)
    return pfkey.Sockaddr(address, draw(number(16)), draw(number(32)), draw(number(32)))


@st.composite
def raw_sockaddrs(draw: st.DrawFn, dialect: pfkey.Dialect) -> pfkey.RawSockaddr:
    """Draw a sockaddr of a family nobody knows, a whole number of words long."""
    body = draw(
        st.integers(0, 4).flatmap(lambda n: st.binary(min_size=8 * n + 6, max_size=8 * n + 6))
    )
    if dialect.has_sa_len:
        return pfkey.RawSockaddr(bytes((len(body) + 2, 77)) + body)
    return pfkey.RawSockaddr((77).to_bytes(2, dialect.byte_order) + body)


@st.composite
def pairs(
    draw: st.DrawFn, dialect: pfkey.Dialect
) -> tuple[AnySockaddr | None, AnySockaddr | None, bytes]:
    """Source, destination and what follows them, as far as the dialect can tell them apart."""
    form = draw(st.sampled_from(["nothing", "known", "raw"]))
    if form == "nothing":
        return None, None, b""
    if form == "raw":
        raw = draw(raw_sockaddrs(dialect))
        if not dialect.has_sa_len:
            return raw, None, b""
        return raw, draw(known_sockaddrs()), draw(st.binary(max_size=9))
    return draw(known_sockaddrs()), draw(known_sockaddrs()), draw(st.binary(max_size=9))


@st.composite
def requests(draw: st.DrawFn, dialect: pfkey.Dialect) -> pfkey.IpsecRequest:
    source, destination, trailing = draw(pairs(dialect))
    values: dict[str, Any] = {
        m.name: draw(number(8 * m.size)) for m in dialect.ipsecrequest.members
    }
    return pfkey.IpsecRequest(source=source, destination=destination, trailing=trailing, **values)


@st.composite
def policies(draw: st.DrawFn, dialect: pfkey.Dialect) -> pfkey.Policy:
    direction = pfkey.IpsecDirection(draw(number(8)))
    id, priority = draw(number(32)), draw(number(32))
    kind = pfkey.IpsecPolicy(draw(number(16)))
    if kind != pfkey.IpsecPolicy.IPSEC_POLICY_IPSEC:
        return pfkey.Policy(kind, direction, id, priority, padding=draw(padding(0, 4)))
    listed = tuple(draw(st.lists(requests(dialect), max_size=4)))
    return pfkey.Policy(kind, direction, id, priority, requests=listed, reserved=draw(number(8)))


@st.composite
def keys(draw: st.DrawFn, kind: type[pfkey.KeyExtension]) -> pfkey.KeyExtension:
    data = draw(st.binary(max_size=80))
    bits = max(0, 8 * len(data) - draw(st.integers(0, 7)))
    tail = draw(padding(8 + len(data), 2))
    return kind(pfkey.Key(data, bits), draw(number(16)), tail)


@st.composite
def address_extensions(
    draw: st.DrawFn, kind: type[pfkey.AddressExtension], dialect: pfkey.Dialect
) -> pfkey.AddressExtension:
    sockaddr = draw(st.one_of(known_sockaddrs(), raw_sockaddrs(dialect)))
    tail = draw(padding(8 + sockaddr.size))
    return kind(sockaddr, draw(number(8)), draw(number(8)), draw(number(16)), tail)


@st.composite
def kmaddresses(draw: st.DrawFn, dialect: pfkey.Dialect) -> pfkey.KmAddress:
    local, remote, _ = draw(pairs(dialect))
    if local is None or remote is None:
        return pfkey.KmAddress(local, None, draw(number(32)))
    tail = draw(padding(8 + local.size + remote.size, 2))
    return pfkey.KmAddress(local, remote, draw(number(32)), tail)


def words() -> st.SearchStrategy[list[int]]:
    return st.lists(number(64), max_size=5)


def labelled(kind: Callable[[bytes, bytes], E], limit: int = 40) -> st.SearchStrategy[E]:
    """Draw an extension of some bytes and a padding up to the next word."""
    return st.binary(max_size=limit).flatmap(
        lambda data: st.builds(kind, st.just(data), padding(8 + len(data)))
    )


def extension(
    kind: type[pfkey.Extension], dialect: pfkey.Dialect
) -> st.SearchStrategy[pfkey.Extension]:
    """Return the strategy for one class of extensions."""
    if issubclass(kind, pfkey.AddressExtension):
        return address_extensions(kind, dialect)
    if issubclass(kind, pfkey.KeyExtension):
        return keys(kind)
    if issubclass(kind, pfkey.Supported):
        algorithm = st.builds(pfkey.Algorithm, **members(pfkey.Algorithm.LAYOUT))
        return st.builds(kind, st.lists(algorithm, max_size=6), number(32))
    if issubclass(kind, pfkey.Identity):
        return st.builds(kind, number(16), st.binary(max_size=40), number(64), number(16))
    if kind is pfkey.Proposal:
        comb = st.builds(pfkey.Comb, **members(pfkey.Comb.LAYOUT))
        reserved = st.binary(min_size=3, max_size=3)
        return st.builds(kind, number(8), st.lists(comb, max_size=3), reserved)
    if kind is pfkey.Policy:
        return policies(dialect)
    if kind is pfkey.Sensitivity:
        return st.builds(kind, number(32), number(8), words(), number(8), words(), number(32))
    if kind is pfkey.KmPrivate:
        return st.builds(kind, number(32), st.binary(max_size=20))
    if kind is pfkey.KmAddress:
        return kmaddresses(dialect)
    if kind is pfkey.SecCtx:
        return labelled(lambda data, tail: pfkey.SecCtx(1, 2, data, tail))
    if kind is pfkey.Packet:
        return labelled(pfkey.Packet)
    assert issubclass(kind, FixedExtension)
    return st.builds(kind, **members(kind.LAYOUT))


def unknown(dialect: pfkey.Dialect) -> st.SearchStrategy[pfkey.UnknownExtension]:
    numbers = st.integers(1, 0xFFFF).filter(lambda n: n not in dialect.extensions)
    return st.builds(pfkey.UnknownExtension, numbers, st.binary(max_size=30))


@st.composite
def messages(draw: st.DrawFn, dialect: pfkey.Dialect) -> pfkey.SadbMsg:
    base: dict[str, Any] = {
        "satype": draw(number(8)),
        "seq": draw(number(32)),
        "pid": draw(number(32)),
        "errno": draw(number(8)),
        "reserved": draw(number(16)),
    }
    if draw(st.integers(0, 9)) == 0:
        inner = draw(st.one_of(st.none(), messages(dialect)))
        if inner is None or inner.inner is None:
            return pfkey.SadbMsg(pfkey.SadbType.SADB_X_PROMISC, inner=inner, **base)
    kinds = draw(st.lists(st.sampled_from(sorted(dialect.extensions)), max_size=6, unique=True))
    listed = [draw(extension(dialect.extensions[number], dialect)) for number in kinds]
    if draw(st.booleans()):
        listed.insert(draw(st.integers(0, len(listed))), draw(unknown(dialect)))
    kind = draw(number(8).filter(lambda n: n != pfkey.SadbType.SADB_X_PROMISC))
    return pfkey.SadbMsg(pfkey.SadbType(kind), extensions=tuple(listed), **base)
