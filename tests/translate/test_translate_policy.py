"""Policies to the kernel and back: what was written comes back, not what is installed for it."""

from typing import Any

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from kamexfrm.model.knobs import Knobs, effective_level
from kamexfrm.model.policy import (
    Direction,
    IpsecProtocol,
    IpsecRequest,
    Level,
    Mode,
    Owner,
    PolicyType,
    Scope,
    SecurityPolicy,
    Selector,
    SpdEntry,
)
from kamexfrm.net import Address
from kamexfrm.translate.xfrm.catch_all import catch_all, is_catch_all
from kamexfrm.translate.xfrm.fast_path import encode_plain, encode_twin, fast_path_template
from kamexfrm.translate.xfrm.marker import Marker, marker_policy
from kamexfrm.translate.xfrm.policy_from_kernel import (
    has_sidecar,
    is_ordinary,
    is_sidecar,
    read_tag,
    selector_from_kernel,
    sidecars_of,
    spd_entries_from_kernel,
    spd_entry_from_kernel,
)
from kamexfrm.translate.xfrm.policy_name import policy_id, selector_to_kernel, sidecar_selector
from kamexfrm.translate.xfrm.policy_to_kernel import (
    TRIGGER_REQID,
    Installed,
    Placement,
    policy_to_kernel,
    tunnel_uses,
)
from kamexfrm.translate.xfrm.tag import PolicyTag, ShareTag, policy_words, share_of
from kamexfrm.xfrm import (
    LifetimeConfig,
    LifetimeCurrent,
    Mark,
    Policy,
    Template,
    decode_policy,
    encode_policy,
)
from kamexfrm.xfrm import Selector as XfrmSelector
from tests.translate.translate_samples import (
    kernel_policies,
    knobs,
    policy_tags,
    scopes,
    security_policies,
    selectors,
    share_tags,
    u8,
    u32,
)

placements = st.builds(Placement, u32, st.integers(0, (1 << 48) - 1))
created = st.integers(0, (1 << 40) - 1)
booleans = st.booleans()
slow = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])


def dumped(installed: Installed) -> list[Policy]:
    """Return what the kernel would show, newest first."""
    return [decode_policy(encode_policy(p)) for p in installed if p][::-1]


def no_sidecar(selector: XfrmSelector) -> None:
    return None


def read(installed: Installed) -> SpdEntry:
    policies = dumped(installed)
    (entry,) = spd_entries_from_kernel(policies, sidecars_of(policies).get)
    return entry


@given(selectors())
def test_a_selector_comes_back(selector: Selector) -> None:
    name = policy_id(selector, Direction.OUT)
    assert name.selector == selector_to_kernel(selector)
    assert selector_from_kernel(name.selector, name.mark, name.if_id) == selector


@given(selectors(), scopes, scopes)
def test_entries_that_differ_in_their_scope_have_sidecars_of_their_own(
    selector: Selector, one: Scope, other: Scope
) -> None:
    names = [policy_id(selector._replace(scope=scope), Direction.OUT) for scope in (one, other)]
    assert (names[0] == names[1]) == (one == other)
    selectors = {sidecar_selector(name) for name in names}
    assert len(selectors) == 2 or names[0] == names[1]


@given(security_policies(), knobs, placements, created, booleans, booleans)
@slow
def test_what_was_written_comes_back_with_any_knobs_and_sas(
    policy: SecurityPolicy,
    in_force: Knobs,
    placement: Placement,
    at: int,
    served: bool,
    twin: bool,
) -> None:
    without_sa = () if served else tunnel_uses(policy, in_force)
    entry = read(
        policy_to_kernel(policy, in_force, placement, at, twin=twin, without_sa=without_sa)
    )
    assert entry.policy == policy
    assert (entry.owner, entry.twin, entry.created) == (Owner.OURS, twin, at)
    assert (entry.kernel_priority, entry.order) == placement
    assert not entry.socket


@given(security_policies(), knobs, placements, created)
@slow
def test_levels_are_what_the_kernel_gets(
    policy: SecurityPolicy, in_force: Knobs, placement: Placement, at: int
) -> None:
    installed = policy_to_kernel(policy, in_force, placement, at).policy
    if policy.type is not PolicyType.IPSEC:
        return
    assert len(installed.templates) == len(policy.requests)
    family = policy.selector.family
    for wanted, template in zip(policy.requests, installed.templates, strict=True):
        use = effective_level(wanted, family, in_force) is Level.USE
        outbound = policy.direction is Direction.OUT
        assert (template.protocol, template.mode) == (wanted.protocol, wanted.mode - 1)
        assert template.aalgos == 0xFFFFFFFF
        if outbound:
            assert template.reqid == wanted.reqid
            assert template.optional == (use and wanted.mode is Mode.TRANSPORT)
        else:
            assert template.reqid == 0
            assert template.optional == (use or wanted.protocol is IpsecProtocol.IPCOMP)


@given(security_policies(), knobs, placements, created)
@slow
def test_what_linux_refuses_is_never_installed(
    policy: SecurityPolicy, in_force: Knobs, placement: Placement, at: int
) -> None:
    without_sa = tunnel_uses(policy, in_force)
    for installed in policy_to_kernel(policy, in_force, placement, at, without_sa=without_sa):
        for template in installed.templates if installed else ():
            assert not (
                installed and installed.direction == 1 and template.mode and template.optional
            )


@given(security_policies(), knobs, placements, created)
@slow
def test_outbound_transport_templates_have_no_addresses(
    policy: SecurityPolicy, in_force: Knobs, placement: Placement, at: int
) -> None:
    assume(policy.direction is Direction.OUT)
    without_sa = tunnel_uses(policy, in_force)
    installed = policy_to_kernel(policy, in_force, placement, at, without_sa=without_sa).policy
    for template in installed.templates:
        if template.mode == 0:
            assert template.source.is_unspecified
            assert template.destination.is_unspecified


@given(security_policies(), knobs, placements, created)
@slow
def test_a_trigger_stands_for_each_request_without_an_sa(
    policy: SecurityPolicy, in_force: Knobs, placement: Placement, at: int
) -> None:
    without_sa = tunnel_uses(policy, in_force)
    installed = policy_to_kernel(policy, in_force, placement, at, without_sa=without_sa)
    triggers = [t for t in installed.policy.templates if t.reqid == TRIGGER_REQID and t.mode == 0]
    assert len(triggers) >= len([r for r in policy.requests if r in without_sa and without_sa])
    assert bool(installed.sidecar) == has_sidecar(installed.policy)


@given(security_policies(), knobs, placements, created)
@slow
def test_a_sidecar_is_never_shown_and_has_the_entrys_selector(
    policy: SecurityPolicy, in_force: Knobs, placement: Placement, at: int
) -> None:
    without_sa = tunnel_uses(policy, in_force)
    entry, sidecar = policy_to_kernel(policy, in_force, placement, at, without_sa=without_sa)
    if sidecar:
        assert is_sidecar(sidecar)
        assert not is_ordinary(sidecar)
        assert sidecar.selector == sidecar_selector(entry)
        assert sidecar.selector._replace(user=0) == entry.selector
        assert (sidecar.direction, sidecar.lifetime.hard_add) == (2, policy.lifetime)


@given(security_policies(), knobs, placements, created)
@slow
def test_the_short_way_to_bytes_is_the_long_one(
    policy: SecurityPolicy, in_force: Knobs, placement: Placement, at: int
) -> None:
    selector, direction, type_, wanted = policy[:4]
    selector = selector._replace(scope=None)
    policy = policy._replace(selector=selector)
    family = selector.family
    shape = fast_path_template(type_, wanted, direction, family, in_force.of(family))
    installed = policy_to_kernel(policy, in_force, placement, at)
    assert shape.plain == (installed.sidecar is None and not tunnel_uses(policy, in_force))
    if not shape.plain:
        return
    number, order = placement
    assert encode_plain(policy, shape, number, order, at) == encode_policy(installed.policy)
    forward = policy._replace(direction=Direction.FWD)
    twin = policy_to_kernel(forward, in_force, placement, at, twin=True).policy
    if direction is Direction.IN:
        assert encode_twin(policy, shape, number, order, at) == encode_policy(twin)


def test_a_unique_request_without_a_reqid_is_not_plain() -> None:
    any_reqid = (IpsecRequest(IpsecProtocol.ESP, Mode.TRANSPORT, Level.UNIQUE),)
    for direction in Direction:
        shape = fast_path_template(PolicyType.IPSEC, any_reqid, direction, 2, Knobs().inet)
        assert not shape.plain


@pytest.mark.parametrize("family", [2, 10])
@pytest.mark.parametrize("direction", [0, 1, 2])
def test_a_catch_all_is_no_entry(family: int, direction: int) -> None:
    block = decode_policy(encode_policy(catch_all(family, direction)))
    assert is_catch_all(block)
    assert not is_ordinary(block)
    assert list(spd_entries_from_kernel([block], no_sidecar)) == []


NOWHERE = Address.unspecified(2)


@pytest.mark.parametrize(
    "fields",
    [
        {"action": 0},
        {"priority": 0xFFFFFFFE},
        {"flags": 1},
        {"share": 1},
        {"lifetime": LifetimeConfig()},
        {"templates": (Template(NOWHERE, NOWHERE, protocol=50, mode=0, family=2, share=0x82),)},
        {"if_id": 7},
        {"mark": Mark(1, 1)},
        {"direction": 3},
        {"selector": catch_all(2, 1).selector._replace(source_prefix=1)},
        {"selector": catch_all(2, 1).selector._replace(protocol=17)},
    ],
)
def test_what_differs_from_a_catch_all_in_anything_is_an_entry_that_is_forged(
    fields: dict[str, Any],
) -> None:
    block = decode_policy(encode_policy(catch_all(2, 1)._replace(**fields)))
    assert not is_catch_all(block)
    assert is_ordinary(block)
    assert read_tag(block).tag is None
    (entry,) = spd_entries_from_kernel([block], no_sidecar)
    assert entry.owner is Owner.FORGED


def test_id_and_counters_do_not_matter_to_a_catch_all() -> None:
    counted = catch_all(2, 1)._replace(index=9, current=LifetimeCurrent(1, 2, 3, 4))
    assert is_catch_all(counted)


def test_the_marker_is_no_entry() -> None:
    assert list(spd_entries_from_kernel([marker_policy(Marker())], no_sidecar)) == []


# Forgeries


@given(st.lists(kernel_policies(), max_size=4))
@slow
def test_any_dump_is_read_without_an_error(policies: list[Policy]) -> None:
    for entry in spd_entries_from_kernel(policies, sidecars_of(policies).get):
        assert entry.owner in (Owner.OURS, Owner.FOREIGN)


tagged = policy_tags.map(policy_words)
our_shares = share_tags.map(share_of)


@given(st.lists(kernel_policies(tagged, our_shares), max_size=4))
@slow
def test_a_forged_tag_over_anything_is_read_without_an_error(policies: list[Policy]) -> None:
    for entry in spd_entries_from_kernel(policies, sidecars_of(policies).get):
        assert entry.owner in (Owner.OURS, Owner.FOREIGN, Owner.FORGED)
        assert entry.policy.direction in Direction


@given(kernel_policies(tagged, our_shares), u8.filter(lambda share: share < 0x80))
@slow
def test_one_template_without_our_byte_makes_the_entry_foreign(policy: Policy, share: int) -> None:
    assume(policy.templates and policy.direction < 3 and is_ordinary(policy))
    spoiled = policy._replace(
        templates=(*policy.templates[:-1], policy.templates[-1]._replace(share=share))
    )
    assert spd_entry_from_kernel(spoiled).owner is Owner.FOREIGN
    assert read_tag(spoiled).tag is None


@given(security_policies(), st.integers(0, 3), st.integers(0, 63), placements, created)
@slow
def test_a_flipped_bit_in_the_tag_is_another_entry_or_a_foreign_one_and_no_error(
    policy: SecurityPolicy, word: int, bit: int, placement: Placement, at: int
) -> None:
    installed = policy_to_kernel(policy, Knobs(), placement, at).policy
    life = list(installed.lifetime)
    life[word] ^= 1 << bit
    forged = installed._replace(lifetime=LifetimeConfig(*life))
    entry = spd_entry_from_kernel(forged)
    assert entry.policy.selector == policy.selector
    assert entry.owner in (Owner.OURS, Owner.FOREIGN, Owner.NEWER)


@given(security_policies(), st.integers(2, 255), placements, created)
@slow
def test_a_newer_tag_shows_a_newer_entry(
    policy: SecurityPolicy, version: int, placement: Placement, at: int
) -> None:
    installed = policy_to_kernel(policy, Knobs(), placement, at).policy
    first = installed.lifetime.soft_bytes & ~(0xFF << 32) | version << 32
    newer = installed._replace(lifetime=installed.lifetime._replace(soft_bytes=first))
    entry = spd_entry_from_kernel(newer)
    assert entry.owner is Owner.NEWER
    assert entry.policy.selector == policy.selector


@given(kernel_policies(tagged, our_shares), st.integers(3, 4))
@slow
def test_a_sockets_policy_is_shown_as_one_in_its_direction(policy: Policy, direction: int) -> None:
    assume(not policy.if_id)
    entry = spd_entry_from_kernel(policy._replace(direction=direction))
    assert entry.socket
    assert entry.policy.direction is (Direction.IN if direction == 3 else Direction.OUT)


def test_a_foreign_block_for_everything_is_not_taken_for_a_catch_all() -> None:
    nowhere = Address.unspecified(2)
    block = Policy(XfrmSelector(nowhere, nowhere, family=2), 1, 1, 0xFFFFFFFF)
    assert is_ordinary(block)
    other = block._replace(selector=block.selector._replace(user=7))
    assert is_ordinary(other)


def test_a_sidecar_that_is_missing_shows_what_is_installed() -> None:
    ends = Address.parse("10.0.0.1"), Address.parse("10.0.0.2")
    wanted = IpsecRequest(IpsecProtocol.ESP, Mode.TRANSPORT, Level.USE, 0, *ends)
    selector = Selector(ends[0], 32, ends[1], 32)
    policy = SecurityPolicy(selector, Direction.OUT, PolicyType.IPSEC, (wanted,))
    installed = policy_to_kernel(policy, Knobs(), Placement(1, 1), 0)
    entry = spd_entry_from_kernel(installed.policy)
    assert entry.policy.requests == (wanted._replace(source=None, destination=None),)


def test_a_share_byte_carries_each_level() -> None:
    assert {share_of(ShareTag(level)) for level in Level} == {0x80, 0x81, 0x82, 0x83}


def test_a_tag_keeps_the_widest_numbers() -> None:
    tag = PolicyTag(0xFFFFFFFF, (1 << 48) - 1, 0x1F, (1 << 40) - 1, 0xFFFFFFFF, 0xFFFFFFFF)
    assert all(word < 1 << 64 for word in policy_words(tag))
