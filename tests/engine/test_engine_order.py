"""First match: by the priority as written, then by insertion, whatever happens in between."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kamexfrm.engine.requests import SpdAdd, SpdFlush
from kamexfrm.kernel.fake import FakeKernel
from kamexfrm.kernel.interface import Kernel
from kamexfrm.model.policy import (
    PRIORITY_DEFAULT,
    PRIORITY_HIGH,
    PRIORITY_LOW,
    Direction,
    SecurityPolicy,
)
from kamexfrm.translate.xfrm.marker import marker_policy
from kamexfrm.translate.xfrm.order import LAST
from kamexfrm.xfrm import Operation, XfrmMsg, encode_policy
from tests.engine.engine_samples import (
    FWD,
    IN,
    OUT,
    UNIQUE,
    A,
    Asker,
    B,
    Clock,
    assert_first_match,
    foreign,
    in_order,
    ipsec,
    lose_marker,
    marker_of,
    perform,
    request,
    selector,
    write,
)
from tests.examples_of_laws import examples

HIGHEST = 0xFFFFFFFF


def matching_order(asker: Asker) -> list[SecurityPolicy]:
    found = asker.entries()
    assert_first_match(found)
    return [e.policy for e in in_order(found) if not e.twin]


def test_without_priorities_the_first_written_is_matched_first(asker: Asker) -> None:
    policies = [ipsec(n) for n in (5, 2, 9, 1, 7)]
    asker.add(*policies)
    assert matching_order(asker) == policies


def test_the_order_goes_on_in_the_next_engine(asker: Asker) -> None:
    policies = [ipsec(n) for n in (5, 2, 9, 1, 7)]
    for policy in policies:
        Asker(asker.kernel).add(policy)
    assert matching_order(asker) == policies


def test_a_written_priority_comes_before_the_order_of_writing(asker: Asker) -> None:
    priorities = [PRIORITY_DEFAULT, PRIORITY_LOW, PRIORITY_HIGH, 0, HIGHEST, PRIORITY_DEFAULT]
    policies = [ipsec(n, OUT, priority=p) for n, p in enumerate(priorities)]
    asker.add(*policies)
    assert matching_order(asker) == [policies[n] for n in (3, 2, 0, 5, 1, 4)]
    assert {e.policy.priority for e in asker.entries()} == set(priorities)


def test_the_kernels_number_of_a_lone_entry_is_the_priority_as_written(asker: Asker) -> None:
    asker.add(ipsec(0, OUT, priority=12345))
    assert asker.entry(ipsec(0)).kernel_priority == 12345


def test_the_last_number_is_never_given_to_an_entry(asker: Asker) -> None:
    asker.add(*[ipsec(n, OUT, priority=HIGHEST) for n in range(50)])
    assert len(matching_order(asker)) == 50
    assert max(e.kernel_priority for e in asker.entries()) <= LAST


@pytest.mark.parametrize("priority", [0, 1, PRIORITY_DEFAULT, LAST, HIGHEST])
def test_entries_between_close_neighbours_make_all_move_apart(asker: Asker, priority: int) -> None:
    low, high = max(0, priority - 1), min(HIGHEST, priority + 1)
    asker.add(ipsec(0, OUT, priority=low), ipsec(1, IN, priority=high))
    policies = [ipsec(n, (OUT, IN)[n % 2], priority=priority) for n in range(2, 40)]
    for policy in policies:
        Asker(asker.kernel).add(policy)
    found = matching_order(asker)
    assert len(found) == 40
    assert [p for p in found if p in policies] == policies


def test_gaps_that_close_open_again(asker: Asker) -> None:
    asker.add(ipsec(0, OUT, priority=1000), ipsec(1, OUT, priority=1001))
    inner = [ipsec(n, OUT, priority=1000) for n in range(2, 200)]
    asker.add(*inner)
    assert matching_order(asker) == [
        ipsec(0, OUT, priority=1000),
        *inner,
        ipsec(1, OUT, priority=1001),
    ]


def test_ever_stronger_entries_find_room_at_the_head(asker: Asker) -> None:
    policies = [ipsec(n, OUT, priority=500 - n) for n in range(500)]
    asker.add(*policies)
    assert matching_order(asker) == policies[::-1]


def test_moving_apart_keeps_ids_lifetimes_and_ages(kernel: Kernel) -> None:
    clock = Clock()
    asker = Asker(kernel, clock)
    asker.add(ipsec(1, IN, priority=8), ipsec(0, OUT, priority=7, lifetime=1000))
    before = {e.id: (e.policy, e.created) for e in asker.entries()}
    numbers = {e.id: e.kernel_priority for e in asker.entries()}
    clock.now += 100
    asker.add(*[ipsec(n, OUT, priority=7) for n in range(2, 30)])
    after = {e.id: e for e in asker.entries() if e.id in before}
    assert {i: (e.policy, e.created) for i, e in after.items()} == before
    assert {i: e.kernel_priority for i, e in after.items()} != numbers
    assert asker.installed(ipsec(0)).lifetime.hard_add == 900


def test_moving_apart_leaves_foreign_entries_alone(asker: Asker) -> None:
    write(asker.kernel, foreign(50), foreign(51, 2, if_id=9))
    before = {p for p in asker.kernel.policies() if p.priority == 7}
    asker.add(ipsec(0, OUT, priority=7), ipsec(1, OUT, priority=8))
    asker.add(*[ipsec(n, OUT, priority=7) for n in range(2, 30)])
    assert {p for p in asker.kernel.policies() if p in before} == before


def test_the_order_survives_the_loss_of_the_marker(asker: Asker) -> None:
    policies = [ipsec(n, OUT, priority=p) for n, p in enumerate((9, 3, 9, 5, 3))]
    asker.add(*policies)
    lose_marker(asker.kernel)
    more = [ipsec(n, OUT, priority=p) for n, p in ((10, 3), (11, 9), (12, 100))]
    Asker(asker.kernel).add(*more)
    assert matching_order(asker) == [
        policies[1],
        policies[4],
        more[0],
        policies[3],
        policies[0],
        policies[2],
        more[1],
        more[2],
    ]


def test_the_order_survives_the_loss_of_the_marker_under_one_engine(asker: Asker) -> None:
    policies = [ipsec(n) for n in range(4)]
    asker.add(*policies[:2])
    lose_marker(asker.kernel)
    asker.add(*policies[2:])
    assert matching_order(asker) == policies


def test_two_engines_in_turns_keep_one_order(asker: Asker) -> None:
    other = Asker(asker.kernel)
    policies = [ipsec(n, OUT, priority=(n * 7) % 5) for n in range(30)]
    for number, policy in enumerate(policies):
        (asker, other)[number % 2].add(policy)
    assert matching_order(asker) == sorted(policies, key=lambda p: p.priority)


def test_a_foreign_flush_between_two_runs_begins_the_order_anew(asker: Asker) -> None:
    asker.add(ipsec(0, OUT, priority=9), ipsec(1, OUT, priority=3))
    perform(asker.kernel, XfrmMsg.FLUSHPOLICY)
    asker.add(ipsec(2, OUT, priority=5), ipsec(3, OUT, priority=4))
    assert matching_order(asker) == [ipsec(3, OUT, priority=4), ipsec(2, OUT, priority=5)]


def test_a_replacement_takes_its_place_by_the_new_priority(asker: Asker) -> None:
    policies = [ipsec(n, OUT, priority=n) for n in (1, 2, 3)]
    asker.add(*policies)
    asker.add(ipsec(2, OUT, priority=9), replace=True)
    assert matching_order(asker) == [policies[0], policies[2], ipsec(2, OUT, priority=9)]


def test_a_gap_left_by_a_deletion_is_used_in_order(asker: Asker) -> None:
    policies = [ipsec(n, OUT, priority=7) for n in range(3)]
    asker.add(*policies, ipsec(9, OUT, priority=8))
    asker.delete(policies[2])
    asker.add(policies[2])
    assert matching_order(asker) == [*policies, ipsec(9, OUT, priority=8)]


def test_a_deletion_of_the_last_entry_leaves_the_order_sound(asker: Asker) -> None:
    asker.add(ipsec(0, OUT, priority=5), ipsec(1, OUT, priority=9))
    asker.delete(ipsec(1))
    asker.add(ipsec(2, OUT, priority=7), ipsec(3, OUT, priority=6), ipsec(4, OUT, priority=9))
    assert [p.priority for p in matching_order(asker)] == [5, 6, 7, 9]


def tangle(kernel: Kernel) -> None:
    """Give all entries of ours one kernel priority, as writers without the lock might."""
    for policy in list(kernel.policies()):
        if not policy.if_id:
            perform(kernel, XfrmMsg.UPDPOLICY, encode_policy(policy._replace(priority=77)))


def test_a_writer_that_did_not_get_the_lock_makes_numbers_unique_again() -> None:
    kernel = FakeKernel()
    asker = Asker(kernel)
    policies = [ipsec(n) for n in range(4)]
    asker.add(*policies)
    tangle(kernel)
    kernel.lock_holder = "process 7 (other)"
    asker.add(ipsec(4))
    assert asker.lock_holder == "process 7 (other)"
    assert matching_order(asker) == [*policies, ipsec(4)]


def forge(kernel: Kernel, **fields: Any) -> None:
    forged = marker_policy(marker_of(kernel)._replace(**fields))
    perform(kernel, XfrmMsg.UPDPOLICY, encode_policy(forged))


@pytest.mark.parametrize(
    "fields",
    [
        {"order": (1 << 48) - 1},
        {"last_kernel_priority": HIGHEST},
        {"last_kernel_priority": 0},
        {"last_priority": HIGHEST},
        {"reqid": HIGHEST},
        {"reqid": 0},
    ],
    ids=str,
)
def test_a_forged_marker_never_stops_a_writer(asker: Asker, fields: dict[str, Any]) -> None:
    asker.add(ipsec(0), ipsec(1))
    forge(asker.kernel, **fields)
    asker.add(ipsec(2), ipsec(3, OUT, request(UNIQUE)))
    assert len(asker.written()) == 4


@given(
    st.lists(
        st.tuples(
            st.sampled_from([0, 5, 6, 7, PRIORITY_DEFAULT, LAST, HIGHEST])
            | st.integers(0, HIGHEST),
            st.sampled_from([IN, OUT, FWD]),
            st.booleans(),
        ),
        max_size=40,
    )
)
@settings(max_examples=examples(60), deadline=None)
def test_any_sequence_of_entries_is_matched_by_priority_and_then_by_insertion(
    steps: list[tuple[int, Direction, bool]],
) -> None:
    kernel = FakeKernel()
    asker = Asker(kernel)
    policies = []
    for number, (priority, direction, new_engine) in enumerate(steps):
        if new_engine:
            asker = Asker(kernel)
        policies.append(ipsec(number, direction, priority=priority))
        asker.add(policies[-1])
    assert matching_order(asker) == sorted(policies, key=lambda p: p.priority)


class Watched:
    """A kernel that holds first match after every single request."""

    def __init__(self) -> None:
        self.kernel = FakeKernel()
        self.asker = Asker(self)

    def apply(self, operations: list[Operation], ends: object = ()) -> list[object]:
        failures: list[object] = []
        for step in operations:
            failures += self.kernel.apply([step])
            ours = Asker(self.kernel).entries()
            for direction in Direction:
                found = [e for e in in_order(ours) if e.policy.direction is direction]
                ranks = [(e.policy.priority, e.order) for e in found]
                assert ranks == sorted(ranks)
        return failures

    def __getattr__(self, name: str) -> object:
        return getattr(self.kernel, name)


@given(st.lists(st.tuples(st.integers(5, 8), st.sampled_from([IN, OUT])), max_size=12))
@settings(max_examples=examples(40), deadline=None)
def test_at_no_moment_do_two_entries_change_places(steps: list[tuple[int, Direction]]) -> None:
    watched = Watched()
    for number, (priority, direction) in enumerate(steps):
        watched.asker.add(ipsec(number, direction, priority=priority))


def test_a_flush_forgets_the_order(asker: Asker) -> None:
    asker.add(*[ipsec(n, OUT, priority=HIGHEST) for n in range(3)])
    asker.must(SpdFlush())
    asker.add(ipsec(0, OUT, priority=5))
    assert asker.entry(ipsec(0)).kernel_priority == 5


def test_a_refused_entry_leaves_no_hole_that_matters(asker: Asker) -> None:
    asker.add(ipsec(0), ipsec(1))
    assert asker.ask(SpdAdd(ipsec(0)), SpdAdd(ipsec(2)), SpdAdd(ipsec(1))) == ["EEXIST", "EEXIST"]
    assert matching_order(asker) == [ipsec(0), ipsec(1), ipsec(2)]


def test_entries_with_sidecars_move_with_the_others(asker: Asker) -> None:
    held = ipsec(selector(0), OUT, request(ends=(A, B)), priority=7)
    more = [ipsec(n, OUT, priority=7) for n in range(2, 30)]
    asker.add(held, ipsec(1, OUT, priority=8), *more)
    assert matching_order(asker) == [held, *more, ipsec(1, OUT, priority=8)]
    assert asker.entry(held).policy == held
