"""The law of the codec: what is encoded decodes to itself."""

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kamexfrm import xfrm
from kamexfrm.net import Address
from tests.examples_of_laws import examples

u8 = st.integers(0, 0xFF)
u16 = st.integers(0, 0xFFFF)
u32 = st.integers(0, 2**32 - 1)
u64 = st.integers(0, 2**64 - 1)
families = st.sampled_from([0, 2, 10, 99])


def addresses(family: int) -> st.SearchStrategy[Address]:
    """Addresses of a family: 4 bytes for IPv4, 16 for every other one."""
    size = 4 if family == 2 else 16
    return st.binary(min_size=size, max_size=size).map(lambda packed: Address(family, packed))


#: Attributes beyond those that any message knows.
unknown = st.lists(
    st.tuples(st.sampled_from([0, 36, 38, 60, 0x3FFF, 0x8000 | 50]), st.binary(max_size=9)),
    max_size=2,
).map(tuple)
marks = st.none() | st.builds(xfrm.Mark, u32, u32)
contexts = st.none() | st.builds(xfrm.SecurityContext, u8, u8, st.binary(max_size=40))
lifetimes = st.builds(xfrm.LifetimeConfig, *[u64] * 8)
currents = st.builds(xfrm.LifetimeCurrent, *[u64] * 4)


@st.composite
def selectors(draw: st.DrawFn) -> xfrm.Selector:
    family = draw(families)
    of_family = addresses(family)
    interface = draw(st.integers(-(2**31), 2**31 - 1))
    return xfrm.Selector(
        draw(of_family), draw(of_family), draw(u16), draw(u16), draw(u16), draw(u16), family,
        draw(u8), draw(u8), draw(u8), interface, draw(u32),
    )  # fmt: skip


@st.composite
def templates(draw: st.DrawFn) -> xfrm.Template:
    family = draw(families)
    of_family = addresses(family)
    return xfrm.Template(
        draw(of_family), draw(of_family), draw(u8), draw(u8), draw(u32), draw(u32), family,
        draw(u8), draw(u8), draw(u32), draw(u32), draw(u32),
    )  # fmt: skip


policies = st.builds(
    xfrm.Policy,
    selectors(),
    direction=u8,
    action=u8,
    priority=u32,
    index=u32,
    flags=u8,
    share=u8,
    lifetime=lifetimes,
    current=currents,
    templates=st.lists(templates(), max_size=7).map(tuple),
    if_id=u32,
    mark=marks,
    policy_type=u8,
    security_context=contexts,
    attributes=unknown,
)

names = st.text(st.characters(min_codepoint=1, max_codepoint=255), max_size=63)


@st.composite
def algorithms(draw: st.DrawFn, make: Callable[..., Any], numbers: int) -> Any:
    bits = draw(st.integers(0, 600))
    size = (bits + 7) // 8
    key = draw(st.binary(min_size=size, max_size=size))
    return make(draw(names), key, bits, *[draw(u32) for _ in range(numbers)])


plain_algorithms = st.none() | algorithms(xfrm.Algorithm, 0)
replays = st.none() | st.builds(xfrm.ReplayState, u32, u32, u32)
esn_replays = st.none() | st.builds(
    xfrm.ReplayStateEsn, st.lists(u32, max_size=5).map(tuple), *[u32] * 5
)
optional_numbers = st.none() | u32


@st.composite
def states(draw: st.DrawFn) -> xfrm.State:
    family = draw(families)
    of_family = addresses(family)
    return xfrm.State(
        draw(selectors()),
        draw(of_family),
        draw(u32),
        draw(u8),
        draw(of_family),
        draw(lifetimes),
        draw(currents),
        draw(st.builds(xfrm.Statistics, u32, u32, u32)),
        draw(u32),
        draw(u32),
        family,
        draw(u8),
        draw(u8),
        draw(u8),
        authentication=draw(st.none() | algorithms(xfrm.AuthAlgorithm, 1)),
        encryption=draw(plain_algorithms),
        compression=draw(plain_algorithms),
        aead=draw(st.none() | algorithms(xfrm.AeadAlgorithm, 1)),
        encap=draw(st.none() | st.builds(xfrm.Encap, u16, u16, u16, of_family)),
        replay=draw(replays),
        replay_esn=draw(esn_replays),
        mark=draw(marks),
        output_mark=draw(marks),
        care_of_address=draw(st.none() | of_family),
        security_context=draw(contexts),
        offload=draw(st.none() | st.builds(xfrm.OffloadDevice, st.integers(-9, 9), u8)),
        last_used=draw(u64),
        if_id=draw(u32),
        extra_flags=draw(u32),
        tfc_pad=draw(u32),
        event_timer=draw(optional_numbers),
        replay_threshold=draw(optional_numbers),
        mapping_timer=draw(u32),
        direction=draw(u8),
        nat_keepalive_interval=draw(u32),
        pcpu=draw(optional_numbers),
        attributes=draw(unknown),
    )


policy_ids = st.builds(xfrm.PolicyId, selectors(), u32, u8, u32, marks, u8, contexts, unknown)
bare_policy_ids = st.tuples(selectors(), u32, u8).map(lambda fields: xfrm.PolicyId(*fields))


@st.composite
def state_ids(draw: st.DrawFn, bare: bool = False) -> xfrm.StateId:
    family = draw(families)
    identity = xfrm.StateId(draw(addresses(family)), draw(u32), draw(u8), family)
    if bare:
        return identity
    source = draw(st.none() | addresses(family))
    return identity._replace(source=source, mark=draw(marks), attributes=draw(unknown))


@st.composite
def acquires(draw: st.DrawFn) -> xfrm.Acquire:
    """Acquires whose family can be read back: that of the only template of their protocol."""
    template = draw(templates())
    policy = draw(policies)._replace(templates=(template,))
    selector = draw(selectors())
    family = template.family or selector.family
    of_family = addresses(family)
    return xfrm.Acquire(
        draw(of_family), draw(of_family), draw(u32), template.protocol, family, selector, policy,
        draw(u32), draw(u32), draw(u32), draw(u32),
    )  # fmt: skip


@st.composite
def moves(draw: st.DrawFn) -> xfrm.Move:
    old, new = draw(families), draw(families)
    before = draw(addresses(old)), draw(addresses(old))
    after = draw(addresses(new)), draw(addresses(new))
    return xfrm.Move(*before, *after, draw(u8), draw(u8), draw(u32), old, new)


@st.composite
def km_addresses(draw: st.DrawFn) -> xfrm.KmAddress:
    family = draw(families)
    return xfrm.KmAddress(draw(addresses(family)), draw(addresses(family)), family)


@st.composite
def mappings(draw: st.DrawFn) -> xfrm.Mapping:
    identity = draw(state_ids(bare=True))
    of_family = addresses(identity.family)
    ends = draw(of_family), draw(of_family)
    return xfrm.Mapping(identity, draw(u32), *ends, draw(u16), draw(u16), draw(unknown))


@st.composite
def reports(draw: st.DrawFn) -> xfrm.Report:
    selector = draw(selectors())
    care_of = draw(st.none() | addresses(selector.family))
    return xfrm.Report(draw(u8), selector, care_of, draw(unknown))


@st.composite
def async_events(draw: st.DrawFn) -> xfrm.AsyncEvent:
    identity = draw(state_ids(bare=True))._replace(mark=draw(marks))
    return xfrm.AsyncEvent(
        identity,
        draw(addresses(identity.family)),
        draw(u32),
        draw(u32),
        draw(replays),
        draw(esn_replays),
        draw(st.none() | currents),
        draw(optional_numbers),
        draw(optional_numbers),
        draw(u32),
        draw(unknown),
    )


@st.composite
def filters(draw: st.DrawFn) -> xfrm.AddressFilter:
    family = draw(families)
    ends = draw(addresses(family)), draw(addresses(family))
    return xfrm.AddressFilter(*ends, family, draw(u8), draw(u8))


pairs = st.none() | st.tuples(u8, u8)
LAWS: dict[str, tuple[st.SearchStrategy[Any], Callable[[Any], bytes], Callable[[bytes], Any]]] = {
    "policy": (policies, xfrm.encode_policy, xfrm.decode_policy),
    "state": (states(), xfrm.encode_state, xfrm.decode_state),
    "policy id": (policy_ids, xfrm.encode_policy_id, xfrm.decode_policy_id),
    "state id": (state_ids(), xfrm.encode_state_id, xfrm.decode_state_id),
    "acquire": (acquires(), xfrm.encode_acquire, xfrm.decode_acquire),
    "expire": (
        st.builds(xfrm.Expire, states(), u8), xfrm.encode_expire, xfrm.decode_expire,
    ),
    "policy expire": (
        st.builds(xfrm.PolicyExpire, policies, u8),
        xfrm.encode_policy_expire,
        xfrm.decode_policy_expire,
    ),
    "deleted state": (
        st.builds(xfrm.DeletedState, state_ids(bare=True), states()),
        xfrm.encode_deleted_state,
        xfrm.decode_deleted_state,
    ),
    "deleted policy": (
        st.builds(xfrm.DeletedPolicy, bare_policy_ids, policies),
        xfrm.encode_deleted_policy,
        xfrm.decode_deleted_policy,
    ),
    "mapping": (mappings(), xfrm.encode_mapping, xfrm.decode_mapping),
    "report": (reports(), xfrm.encode_report, xfrm.decode_report),
    "async event": (async_events(), xfrm.encode_async_event, xfrm.decode_async_event),
    "migrate": (
        st.builds(
            xfrm.Migrate,
            policy_ids,
            st.lists(moves(), max_size=3).map(tuple),
            st.none() | km_addresses(),
        ),
        xfrm.encode_migrate,
        xfrm.decode_migrate,
    ),
    "default": (st.builds(xfrm.Default, u8, u8, u8), xfrm.encode_default, xfrm.decode_default),
    "alloc spi": (
        st.builds(xfrm.AllocSpi, states(), u32, u32), xfrm.encode_alloc_spi, xfrm.decode_alloc_spi,
    ),
    "state dump": (
        st.builds(xfrm.StateDump, u8, st.none() | filters()),
        xfrm.encode_state_dump,
        xfrm.decode_state_dump,
    ),
    "spd info": (
        st.builds(xfrm.SpdInfo, *[u32] * 8, pairs, pairs, u32, unknown),
        xfrm.encode_spd_info,
        xfrm.decode_spd_info,
    ),
    "sad info": (
        st.builds(xfrm.SadInfo, u32, u32, u32, u32, unknown),
        xfrm.encode_sad_info,
        xfrm.decode_sad_info,
    ),
    "state flush": (
        st.builds(xfrm.StateFlush, u8),
        lambda flush: xfrm.encode_state_flush(flush.protocol),
        xfrm.decode_state_flush,
    ),
    "policy flush": (
        st.builds(xfrm.PolicyFlush, st.none() | u8),
        lambda flush: xfrm.encode_policy_flush(flush.policy_type),
        xfrm.decode_policy_flush,
    ),
}  # fmt: skip


@pytest.mark.parametrize("law", LAWS)
@given(data=st.data())
@settings(max_examples=examples(60), deadline=None)
def test_what_is_encoded_decodes_to_itself(law: str, data: st.DataObject) -> None:
    strategy, encode, decode = LAWS[law]
    value = data.draw(strategy)
    payload = encode(value)
    assert decode(payload) == value
    assert decode(memoryview(payload)) == value  # type: ignore[arg-type]


@given(policies, st.binary(max_size=40))
@settings(max_examples=examples(60), deadline=None)
def test_a_policy_is_decoded_from_the_middle_of_a_buffer(
    policy: xfrm.Policy, before: bytes
) -> None:
    before += bytes(-len(before) % 4)
    assert xfrm.decode_policy(before + xfrm.encode_policy(policy), len(before)) == policy
