"""Strategies for what the translation is given: policies, templates, associations, forgeries."""

from hypothesis import strategies as st

from kamexfrm.algorithms import TABLE, Kind
from kamexfrm.model.association import (
    Key,
    Lifetime,
    LinuxParts,
    NatTraversal,
    Offload,
    SecurityAssociation,
)
from kamexfrm.model.knobs import FamilyKnobs, Knobs
from kamexfrm.model.policy import (
    TUNNEL_MODES,
    ULPROTO_ANY,
    Direction,
    IpsecProtocol,
    IpsecRequest,
    Level,
    Mark,
    Mode,
    PolicyType,
    Scope,
    SecurityPolicy,
    Selector,
)
from kamexfrm.net import AF_INET, AF_INET6, Address
from kamexfrm.translate.xfrm.tag import PolicyTag, ShareTag
from kamexfrm.xfrm import LifetimeConfig, LifetimeCurrent, Policy, Template
from kamexfrm.xfrm import Selector as XfrmSelector

u8, u16, u32 = st.integers(0, 0xFF), st.integers(0, 0xFFFF), st.integers(0, 0xFFFFFFFF)
u64 = st.integers(0, (1 << 64) - 1)
families = st.sampled_from([AF_INET, AF_INET6])
levels = st.sampled_from(list(Level))


def addresses(family: int) -> st.SearchStrategy[Address]:
    size = 4 if family == AF_INET else 16
    return st.binary(min_size=size, max_size=size).map(lambda packed: Address(family, packed))


policy_tags = st.builds(
    PolicyTag,
    u32,
    st.integers(0, (1 << 48) - 1),
    st.integers(0, 0x7F),
    st.integers(0, (1 << 40) - 1),
    u32,
    u32,
)
share_tags = st.builds(ShareTag, levels, st.booleans(), st.booleans(), st.booleans())
words = st.tuples(u64, u64, u64, u64)


@st.composite
def selectors(draw: st.DrawFn, families: st.SearchStrategy[int] = families) -> Selector:
    family = draw(families)
    bits = 32 if family == AF_INET else 128
    ports = st.none() | u16
    return Selector(
        draw(addresses(family)),
        draw(st.integers(0, bits)),
        draw(addresses(family)),
        draw(st.integers(0, bits)),
        draw(st.just(ULPROTO_ANY) | st.integers(1, 254)),
        draw(ports),
        draw(ports),
        draw(st.none() | scopes),
    )


marks = st.builds(Mark, u32, u32).map(lambda mark: mark._replace(value=mark.value & mark.mask))
scopes = st.builds(
    Scope,
    st.integers(0, 0x7FFFFFFF),
    st.none() | marks.filter(any),
    st.integers(0, 0x4B000000),
).filter(any)


@st.composite
def requests(draw: st.DrawFn, family: int) -> IpsecRequest:
    """Return a request that can be installed: unique ones have their reqid."""
    mode = draw(st.sampled_from([Mode.TRANSPORT, Mode.TUNNEL, Mode.BEET]))
    level = draw(levels)
    reqid = draw(st.integers(1, 0xFFFFFFFF)) if level is Level.UNIQUE else 0
    ends = draw(families) if mode in TUNNEL_MODES else family
    written = mode in TUNNEL_MODES or draw(st.booleans())
    return IpsecRequest(
        draw(st.sampled_from(list(IpsecProtocol))),
        mode,
        level,
        reqid,
        draw(addresses(ends)) if written else None,
        draw(addresses(ends)) if written else None,
    )


@st.composite
def bundles(draw: st.DrawFn, family: int) -> tuple[IpsecRequest, ...]:
    """Return requests each of which fits the packet that the ones before it make."""
    found = []
    for _ in range(draw(st.integers(1, 6))):
        found.append(draw(requests(family)))
        if found[-1].mode in TUNNEL_MODES and found[-1].source:
            family = found[-1].source.family
    return tuple(found)


@st.composite
def security_policies(draw: st.DrawFn) -> SecurityPolicy:
    selector = draw(selectors())
    type_ = draw(st.sampled_from([PolicyType.DISCARD, PolicyType.NONE] + [PolicyType.IPSEC] * 4))
    return SecurityPolicy(
        selector,
        draw(st.sampled_from(list(Direction))),
        type_,
        draw(bundles(selector.family)) if type_ is PolicyType.IPSEC else (),
        draw(u32),
        draw(u32),
        draw(u32),
    )


family_knobs = st.builds(
    FamilyKnobs,
    st.integers(0, 1),
    *[st.integers(1, 2)] * 4,
)
spis = st.integers(0x100, 0xFFFFFFFF)
knobs = st.tuples(family_knobs, family_knobs).map(lambda pair: Knobs(*pair))
further_knobs = st.builds(
    Knobs,
    family_knobs,
    family_knobs,
    st.sampled_from([0, 2]),
    st.integers(0, 1),
    st.integers(0, 1),
    st.just(Knobs().larval_lifetime),
    spis,
    spis,
    st.sampled_from([96, 128]),
    st.integers(0, 1),
)


@st.composite
def templates(draw: st.DrawFn, share: st.SearchStrategy[int] = u8) -> Template:
    """Return any template that the kernel's dump could show."""
    family = draw(families)
    return Template(
        draw(addresses(family)),
        draw(addresses(family)),
        draw(st.sampled_from([50, 51, 108, 43, 60]) | u8),
        draw(u8),
        draw(u32),
        draw(u32),
        family,
        draw(share),
        draw(u8),
        draw(u32),
        draw(u32),
        draw(u32),
    )


@st.composite
def kernel_policies(
    draw: st.DrawFn,
    lifetimes: st.SearchStrategy[tuple[int, int, int, int]] = words,
    share: st.SearchStrategy[int] = u8,
) -> Policy:
    """Return any policy that a dump could show, with these words of a tag."""
    family = draw(families)
    selector = XfrmSelector(
        draw(addresses(family)),
        draw(addresses(family)),
        draw(u16),
        draw(u16),
        draw(u16),
        draw(u16),
        family,
        draw(u8),
        draw(u8),
        draw(u8),
        draw(st.integers(0, 0x7FFFFFFF)),
        draw(u32),
    )
    return Policy(
        selector,
        draw(st.integers(0, 4)),
        draw(st.integers(0, 1)),
        draw(u32),
        draw(u32),
        draw(u8),
        0,
        LifetimeConfig(*draw(lifetimes), *draw(st.tuples(u32, u32, u32, u32))),
        LifetimeCurrent(0, 0, draw(u32), draw(u32)),
        draw(st.lists(templates(share), max_size=6).map(tuple)),
        draw(st.just(0) | st.sampled_from([0x4B584D01, 0x4B584D02]) | u32),
    )


def rows(kind: Kind) -> list[object]:
    return [row for row in TABLE if row.kind is kind and row.kernel]


@st.composite
def keys(draw: st.DrawFn, kind: Kind) -> Key:
    row = draw(st.sampled_from([r for r in TABLE if r.kind is kind and r.kernel]))
    size = draw(st.sampled_from(row.key_sizes)) // 8
    icv = row.icv_bits if kind in (Kind.AUTHENTICATION, Kind.AEAD) else 0
    return Key(row, bytes(range(size)), icv, row.kernel)


lifetimes = st.builds(Lifetime, *[st.integers(0, (1 << 63))] * 4)


def linux_parts(family: int) -> st.SearchStrategy[LinuxParts]:
    """Return what an SA has on Linux alone; a kernel tells it from nothing by one of its parts."""
    index = st.integers(0, 0x7FFFFFFF)
    some_mark = st.none() | marks.filter(any)
    narrow = selectors(st.just(family)).filter(lambda s: s.source_prefix > 0)
    return st.builds(
        LinuxParts,
        st.none() | narrow.map(lambda s: s._replace(scope=None)),
        index,
        some_mark,
        some_mark,
        u32,
        st.sampled_from([None, Direction.IN, Direction.OUT]),
        st.none() | st.builds(Offload, st.integers(1, 0x7FFFFFFF), st.booleans()),
        u32,
        st.none() | st.integers(0, 0xFFFFFFFE),
        st.none(),  # numbers are written, and not read
    ).filter(lambda parts: parts != LinuxParts())


@st.composite
def associations(draw: st.DrawFn) -> SecurityAssociation:
    family = draw(families)
    protocol = draw(st.sampled_from(list(IpsecProtocol)))
    esp, comp = protocol is IpsecProtocol.ESP, protocol is IpsecProtocol.IPCOMP
    aead = esp and draw(st.booleans())
    encryption = draw(keys(Kind.AEAD if aead else Kind.ENCRYPTION)) if esp else None
    signs = not comp and not aead
    nat = st.builds(NatTraversal, u16, u16, st.none())
    esn = not comp and draw(st.booleans())
    return SecurityAssociation(
        draw(addresses(family)),
        draw(addresses(family)),
        protocol,
        draw(st.integers(1, 0xFFFFFFFF)),
        draw(st.sampled_from(list(Mode))),
        draw(u32),
        draw(st.integers(1 if esn else 0, 32 if comp else 4096)),
        encryption,
        draw(keys(Kind.AUTHENTICATION)) if signs else None,
        draw(keys(Kind.COMPRESSION)) if comp else None,
        draw(lifetimes),
        draw(lifetimes),
        draw(st.none() | nat) if esp else None,
        esn=esn,
        linux=draw(st.none() | linux_parts(family)),
    )
