"""First match in one number per entry: adding, renumbering, and every step in between."""

from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kamexfrm.translate.xfrm.order import GAP, LAST, STEP, Order, Position, after_last, between
from tests.examples_of_laws import examples
from tests.translate.translate_samples import u32

HIGHEST = 0xFFFFFFFF
priorities = st.sampled_from([0, 1, 2, 5, 0x80000000, LAST - 1, LAST, HIGHEST]) | u32


class Entries:
    """What the kernel would hold: positions, placed through an Order."""

    def __init__(self) -> None:
        self.order = Order([])
        self.positions: list[Position] = []

    def add(self, priority: int) -> None:
        number = len(self.positions) + 1
        place = self.order.place(priority, number)
        if place is None:
            self.renumber()
            place = self.order.place(priority, number)
        assert place is not None
        self.positions.append(Position(priority, number, place))
        self.check()

    def renumber(self) -> None:
        self.check()
        for position, number in self.order.renumber():
            at = self.positions.index(position)
            self.positions[at] = position._replace(kernel_priority=number)
            self.check()

    def check(self) -> None:
        """Hold first match, without ties, within the numbers there are."""
        numbers = [p.kernel_priority for p in sorted(self.positions)]
        assert all(a < b for a, b in pairwise(numbers))
        assert not numbers or (numbers[0] >= 1 and numbers[-1] <= LAST)


@given(st.lists(priorities, max_size=60))
@settings(max_examples=examples(200), deadline=None)
def test_entries_are_matched_by_priority_and_then_by_insertion_at_every_moment(
    wanted: list[int],
) -> None:
    entries = Entries()
    for priority in wanted:
        entries.add(priority)
    entries.renumber()
    assert not entries.order.has_ties()


@given(st.lists(st.tuples(priorities, st.integers(1, LAST)), min_size=1, max_size=40))
@settings(max_examples=examples(200), deadline=None)
def test_spreading_gives_order_to_any_entries_and_changes_no_two_that_were_in_order(
    given_: list[tuple[int, int]],
) -> None:
    numbers = sorted({number for _, number in given_})
    ranks = sorted(priority for priority, _ in given_)[: len(numbers)]
    positions = [
        Position(priority, at, number)
        for at, (priority, number) in enumerate(zip(ranks, numbers, strict=True), 1)
    ]
    entries = Entries()
    entries.order, entries.positions = Order(positions), list(positions)
    entries.renumber()
    rooms = {
        b.kernel_priority - a.kernel_priority
        for a, b in pairwise(sorted(entries.positions))
        if a.priority != b.priority
    }
    assert len(rooms) <= 1  # behind each priority there is as much
    last = max(entries.positions)
    assert all(room <= LAST - last.kernel_priority + STEP for room in rooms)


@pytest.mark.parametrize("wanted", [(5, 6), (6, 5), (0, HIGHEST), (7, 5, 6, 5), (6, 6, 5)])
def test_priorities_that_take_turns_move_all_entries_a_few_times_only(
    wanted: tuple[int, ...],
) -> None:
    order, spreads = Order([]), 0
    for number in range(20_000):
        priority = wanted[number % len(wanted)]
        if order.place(priority, number) is None:
            spreads += 1
            order.renumber()
            assert order.place(priority, number) is not None
    assert spreads <= 3
    assert not order.has_ties()


def test_spreading_twice_moves_nothing() -> None:
    entries = Entries()
    for priority in (7, 7, 3, 9):
        entries.add(priority)
    entries.order.renumber()
    assert entries.order.renumber() == []


@given(st.lists(st.tuples(priorities, st.integers(1, 9)), min_size=2, max_size=20))
def test_ties_and_inversions_are_seen_and_spreading_ends_them(
    given_: list[tuple[int, int]],
) -> None:
    positions = [Position(p, at, number) for at, (p, number) in enumerate(given_, 1)]
    order = Order(positions)
    numbers = [p.kernel_priority for p in sorted(positions)]
    assert order.has_ties() == any(a >= b for a, b in pairwise(numbers))
    order.renumber()
    assert not order.has_ties()
    assert len(order) == len(positions)


@given(priorities, st.integers(0, LAST))
def test_behind_the_last_one_is_behind_it_or_nowhere(priority: int, last: int) -> None:
    number = after_last(priority, last)
    if number is None:
        assert last + GAP > LAST
    else:
        assert last < number <= LAST


@given(
    priorities,
    st.none() | st.builds(Position, priorities, st.just(1), st.integers(1, LAST)),
    st.integers(1, LAST),
)
def test_between_two_is_between_them_or_nowhere(
    priority: int, before: Position | None, behind: int
) -> None:
    number = between(priority, before, behind)
    low = 0 if before is None else before.kernel_priority
    if number is None:
        assert behind - low <= 1
    else:
        assert low < number < behind


def test_a_single_entry_has_about_the_number_that_was_written() -> None:
    assert [after_last(p, 0) for p in (0, 5, 0x80000000, HIGHEST)] == [1, 5, 0x80000000, LAST]


@pytest.mark.not_unit("takes seconds")
def test_a_million_entries_find_room() -> None:
    order = Order([Position(0x80000000, n, n) for n in range(1, 1_000_001)])
    moves = order.renumber()
    numbers = [number for _, number in moves]
    assert len(set(numbers)) == len(numbers)
    assert max(numbers) <= LAST
    assert not order.has_ties()


@given(st.lists(priorities, min_size=1, max_size=20))
def test_the_last_and_the_newest_are_known(wanted: list[int]) -> None:
    entries = Entries()
    for priority in wanted:
        entries.add(priority)
    last = entries.order.last()
    assert last == max(entries.positions)
    assert entries.order.newest() == len(wanted)
