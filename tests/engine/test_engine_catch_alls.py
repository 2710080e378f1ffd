"""def_policy's catch-alls where other programs have flushed, deleted or forged them."""

from collections.abc import Callable

import pytest

from kamexfrm.engine.load import LoadPlan
from kamexfrm.engine.requests import SetKnob, SpdAdd, SpdFlush
from kamexfrm.kernel.interface import Kernel
from kamexfrm.model.knobs import knob
from kamexfrm.model.policy import Owner, PolicyType
from kamexfrm.net import AF_INET, AF_INET6
from kamexfrm.translate.xfrm.catch_all import catch_all, is_catch_all
from kamexfrm.translate.xfrm.marker import Marker, MarkerFlag
from kamexfrm.xfrm import (
    XFRM_POLICY_ALLOW,
    Default,
    LifetimeConfig,
    Policy,
    XfrmMsg,
    encode_default,
    encode_policy,
    encode_policy_id,
)
from tests.engine.engine_samples import (
    Asker,
    blocks,
    foreign_template,
    lose_marker,
    marker_of,
    named,
    perform,
    selector,
    verdict,
)

BOTH = [(family, direction) for family in (AF_INET, AF_INET6) for direction in range(3)]

Change = Callable[[Policy], Policy]

#: What another program can make of a catch-all without another name for it.
CHANGES: dict[str, Change] = {
    "allow": lambda p: p._replace(action=XFRM_POLICY_ALLOW),
    "priority": lambda p: p._replace(priority=7),
    "template": lambda p: p._replace(action=XFRM_POLICY_ALLOW, templates=(foreign_template(),)),
    "untagged": lambda p: p._replace(lifetime=LifetimeConfig()),
    "ends": lambda p: p._replace(lifetime=p.lifetime._replace(hard_add=3600)),
}


def right(kernel: Kernel) -> list[tuple[int, int]]:
    """Return family and direction of the catch-alls that are exactly ours."""
    return sorted((p.selector.family, p.direction) for p in kernel.policies() if is_catch_all(p))


def forge(kernel: Kernel, change: Change, family: int = AF_INET, direction: int = 1) -> None:
    forged = change(catch_all(family, direction))
    perform(kernel, XfrmMsg.UPDPOLICY, encode_policy(forged))
    assert (family, direction) not in right(kernel)


# After a flush by another program, while the namespace's own default still blocks


@pytest.fixture
def flushed(asker: Asker) -> Asker:
    asker.turn("def_policy", 0)
    asker.turn("6.def_policy", 0)
    perform(asker.kernel, XfrmMsg.FLUSHPOLICY)
    assert asker.kernel.default() == Default(1, 1, 1)
    return asker


@pytest.mark.parametrize(("name", "closed"), [("def_policy", AF_INET6), ("6.def_policy", AF_INET)])
def test_opening_one_family_leaves_the_other_closed(flushed: Asker, name: str, closed: int) -> None:
    flushed.turn(name, 1)
    assert right(flushed.kernel) == [(closed, direction) for direction in range(3)]
    assert flushed.kernel.default() == Default(2, 2, 2)
    knobs = marker_of(flushed.kernel).knobs
    assert (knobs.of(closed).def_policy, knobs.inet.def_policy + knobs.inet6.def_policy) == (0, 1)


def test_both_families_can_be_opened(flushed: Asker) -> None:
    flushed.turn("def_policy", 1)
    flushed.turn("6.def_policy", 1)
    assert right(flushed.kernel) == []
    assert flushed.kernel.default() == Default(2, 2, 2)


@pytest.mark.parametrize("name", ["esp_trans_deflev", "6.ah_net_deflev"])
def test_another_variable_leaves_both_closed_and_the_marker_says_so(
    flushed: Asker, name: str
) -> None:
    flushed.turn(name, 2)
    assert right(flushed.kernel) == BOTH
    flushed.turn("def_policy", 1)
    assert right(flushed.kernel) == BOTH[3:]


def test_a_policy_leaves_both_closed_and_the_marker_says_so(flushed: Asker) -> None:
    flushed.add(verdict(PolicyType.NONE, 1))
    assert right(flushed.kernel) == BOTH
    assert not marker_of(flushed.kernel).flags & MarkerFlag.UNFINISHED
    flushed.turn("6.def_policy", 1)
    assert right(flushed.kernel) == BOTH[:3]


def test_a_reconciliation_restores_both(flushed: Asker) -> None:
    found = Asker(flushed.kernel).engine.reconcile(None)
    assert found.restored
    assert right(flushed.kernel) == BOTH


def test_an_admins_own_default_is_left_to_an_admin_whose_variables_are_known(asker: Asker) -> None:
    perform(asker.kernel, XfrmMsg.SETDEFAULT, encode_default(Default(1, 1, 1)))
    assert not asker.engine.reconcile(Marker()).restored
    assert right(asker.kernel) == []


def test_a_default_that_blocks_in_part_is_another_programs(asker: Asker) -> None:
    perform(asker.kernel, XfrmMsg.SETDEFAULT, encode_default(Default(1, 2, 2)))
    asker.turn("esp_trans_deflev", 2)
    assert right(asker.kernel) == []


# Forged ones


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_a_forged_one_is_shown_and_mended_by_the_next_write_of_a_knob(
    asker: Asker, change: Change
) -> None:
    asker.turn("def_policy", 0)
    forge(asker.kernel, change)
    (entry,) = asker.entries()
    assert entry.owner is Owner.FORGED
    asker.turn("esp_trans_deflev", 1)  # which it is already
    assert right(asker.kernel) == BOTH[:3]
    assert asker.entries() == []
    assert len(blocks(asker.kernel)) == 3


@pytest.mark.parametrize("name", ["def_policy", "6.esp_net_deflev"])
def test_each_knob_mends(asker: Asker, name: str) -> None:
    asker.turn("def_policy", 0)
    forge(asker.kernel, CHANGES["allow"])
    asker.turn(name, 0 if name == "def_policy" else 2)
    assert right(asker.kernel) == BOTH[:3]


@pytest.mark.parametrize("value", [2, 0])
def test_a_further_knob_mends(asker: Asker, value: int) -> None:
    asker.turn("def_policy", 0)
    forge(asker.kernel, CHANGES["allow"])
    asker.must(SetKnob(knob("net.inet.ipsec.dfbit"), value))
    assert right(asker.kernel) == BOTH[:3]


def test_a_missing_one_is_mended_by_a_knob_that_does_not_change(asker: Asker) -> None:
    asker.turn("def_policy", 0)
    (block,) = [p for p in blocks(asker.kernel) if p.direction == 1]
    perform(asker.kernel, XfrmMsg.DELPOLICY, encode_policy_id(named(block)))
    asker.turn("esp_trans_deflev", 1)
    assert right(asker.kernel) == BOTH[:3]


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_a_forged_one_is_mended_by_a_reconciliation(asker: Asker, change: Change) -> None:
    asker.turn("def_policy", 0)
    assert not asker.engine.reconcile(None).mended
    forge(asker.kernel, change)
    assert asker.engine.reconcile(None).mended
    assert right(asker.kernel) == BOTH[:3]
    assert not asker.engine.reconcile(None).mended


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_one_that_stands_where_none_should_be_is_removed(asker: Asker, change: Change) -> None:
    forge(asker.kernel, change)
    asker.turn("def_policy", 1)
    assert blocks(asker.kernel) == []


def test_one_with_another_selector_is_another_programs_entry(asker: Asker) -> None:
    asker.turn("def_policy", 0)
    block = catch_all(AF_INET, 1)
    ten = block.selector._replace(destination_prefix=8)
    other = block._replace(selector=ten, action=XFRM_POLICY_ALLOW)
    perform(asker.kernel, XfrmMsg.UPDPOLICY, encode_policy(other))
    asker.turn("def_policy", 0)
    (entry,) = asker.entries()
    assert entry.owner is Owner.FORGED
    assert right(asker.kernel) == BOTH[:3]
    asker.turn("def_policy", 1)
    assert len(blocks(asker.kernel)) == 1


def test_a_forged_one_has_no_place_in_the_order(asker: Asker) -> None:
    asker.add(verdict(PolicyType.NONE, 1))
    forge(asker.kernel, CHANGES["allow"])
    lose_marker(asker.kernel)
    Asker(asker.kernel).add(verdict(PolicyType.NONE, 2))
    placed = [e for e in asker.entries() if e.owner is Owner.OURS]
    assert len({e.kernel_priority for e in placed}) == 2
    assert max(e.kernel_priority for e in placed) < 0xFFFFFFFF


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
@pytest.mark.parametrize("is_load", [False, True])
def test_a_flush_puts_a_forged_one_right(asker: Asker, change: Change, is_load: bool) -> None:
    asker.turn("def_policy", 0)
    asker.add(verdict(PolicyType.NONE, 1))
    forge(asker.kernel, change)
    if is_load:
        asker.engine.begin_load(LoadPlan())
        asker.engine.submit(SpdFlush())
        asker.engine.submit(SpdAdd(verdict(PolicyType.NONE, 2)))
        assert asker.engine.end_load().rejected == ()
    else:
        asker.must(SpdFlush())
    assert right(asker.kernel) == BOTH[:3]
    shown = [entry.policy.selector for entry in asker.entries()]
    assert shown == ([selector(2)] if is_load else [])
