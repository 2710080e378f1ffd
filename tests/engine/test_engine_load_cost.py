"""What a load writes: one change among many is one write, wherever it is."""

from collections.abc import Sequence
from typing import Any

import pytest

from kamexfrm.engine.requests import SpdAdd, SpdAddRun, SpdFlush
from kamexfrm.kernel.fake import FakeKernel
from kamexfrm.model.policy import SecurityPolicy
from kamexfrm.model.policy_run import PolicyGroup, PolicyRun
from kamexfrm.xfrm import XfrmMsg
from tests.engine.engine_samples import IN, OUT, Asker, assert_first_match, in_order, ipsec
from tests.engine.test_engine_load import Writes, load

NUMBER = 60
OLD = [ipsec(number, IN if number % 3 else OUT) for number in range(NUMBER)]
#: An entry that is new, one that covers others, and one of another priority as written.
NEW = ipsec(1000), ipsec(1001, IN), ipsec(1002, priority=5)


def filled() -> FakeKernel:
    kernel = FakeKernel()
    Asker(kernel).add(*OLD)
    return kernel


def policies_of(kernel: FakeKernel) -> list[SecurityPolicy]:
    entries = [entry for entry in Asker(kernel).entries() if not entry.twin]
    assert_first_match(entries)
    return [entry.policy for entry in in_order(entries)]


def reload(kernel: FakeKernel, wanted: Sequence[SecurityPolicy]) -> list[int]:
    """Load a file with a flush; return the writes, without those of the marker."""
    counted = Writes(kernel)
    asker = Asker(counted)
    assert load(asker, SpdFlush(), *map(SpdAdd, wanted)) == []
    assert policies_of(kernel) == sorted(wanted, key=lambda policy: policy.priority)
    return [kind for kind in counted.operations if kind != XfrmMsg.SETDEFAULT]


def changes(kernel: FakeKernel, wanted: Sequence[SecurityPolicy]) -> int:
    """Return how many policies, but for the marker, a load of a file changes."""
    before = {policy.index: policy for policy in kernel.policies() if not policy.if_id}
    reload(kernel, wanted)
    after = {policy.index: policy for policy in kernel.policies() if not policy.if_id}
    return sum(before.get(index) != after.get(index) for index in before.keys() | after.keys())


def moved(start: int, to: int) -> list[SecurityPolicy]:
    found = list(OLD)
    found.insert(to, found.pop(start))
    return found


@pytest.mark.parametrize(
    ("wanted", "most"),
    [
        ([*OLD[:30], NEW[0], *OLD[30:]], 1),
        ([*OLD[:30], NEW[1], *OLD[30:]], 2),
        ([NEW[0], *OLD], 1),
        ([*OLD, NEW[0]], 1),
        ([*OLD[:20], NEW[2], *OLD[20:]], 1),
        ([*OLD[:30], *OLD[31:]], 1),
        ([*OLD[:9], NEW[0], *OLD[10:]], 2),
        (moved(10, 40), 2),
        (moved(40, 10), 2),
        ([*OLD[:9], *OLD[10:40], NEW[0], *OLD[40:]], 2),
        ([*moved(10, 40)[1:]], 6),
    ],
    ids=[
        "one more in the middle",
        "one more with a twin",
        "one more at the head",
        "one more at the end",
        "one of another priority",
        "one less",
        "one in place of another",
        "one that goes back",
        "one that comes forward",
        "one less, and one more behind it",
        "one less, and one that goes back past it",
    ],
)
def test_one_change_among_many_costs_one(wanted: list[SecurityPolicy], most: int) -> None:
    assert changes(filled(), wanted) <= most


def test_entries_come_to_one_place_again_and_again_and_few_others_move() -> None:
    kernel = filled()
    wanted = list(OLD)
    counts = []
    for number in range(200):
        wanted.insert(30, ipsec(1000 + number))
        counts.append(changes(kernel, wanted))
    assert sum(counts) < 8 * 200


def test_a_block_of_new_entries_moves_few_old_ones() -> None:
    block = [ipsec(1000 + number) for number in range(500)]
    assert changes(filled(), [*OLD[:30], *block, *OLD[30:]]) < 530


def test_what_a_run_has_besides_one_change_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    kernel = FakeKernel()
    old = [ipsec(number) for number in range(NUMBER)]
    Asker(kernel).add(*old)
    written = Writes(kernel)
    asker: Any = Asker(written)
    asker.engine.begin_load(plan_for(NUMBER + 1))
    asker._take(asker.engine.try_submit(SpdFlush()))
    wanted = [*old[:30], NEW[0], *old[30:]]
    for part in (wanted[:25], wanted[25:45], wanted[45:]):
        asker._take(asker.engine.try_submit_run(SpdAddRun(run_of(part), True, lambda _: None)))
    asker._take(asker.engine.end_load())
    assert asker.rejected == []
    assert written.operations.count(XfrmMsg.NEWPOLICY) == 1
    assert written.operations.count(XfrmMsg.UPDPOLICY) <= 1  # the marker
    assert policies_of(kernel) == wanted


def plan_for(count: int) -> Any:
    from kamexfrm.engine.load import LoadPlan

    return LoadPlan(count)


def run_of(policies: Sequence[SecurityPolicy]) -> PolicyRun:
    selectors = [policy.selector for policy in policies]
    group = PolicyGroup(
        policies[0],
        range(len(policies)),
        b"".join(one.source.packed for one in selectors),
        b"".join(one.destination.packed for one in selectors),
    )
    return PolicyRun((group,), len(policies))
