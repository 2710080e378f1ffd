"""From one SPD to the next: at every moment a packet meets what it met before or what it will."""

from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st

from kamexfrm.translate.xfrm.order import LAST
from kamexfrm.translate.xfrm.replacement import OldEntry, Replacement

IN, OUT, FWD = 0, 1, 2
BITS = 3

#: A selector is a prefix of an address of three bits: (value, length).
Selector = tuple[int, int]
prefixes = st.integers(0, BITS).flatmap(
    lambda length: st.tuples(st.integers(0, (1 << length) - 1), st.just(length))
)


def matches(selector: Selector, address: int) -> bool:
    value, length = selector
    return address >> (BITS - length) == value


class Kernel:
    """Policies by selector and direction, each with its number and its verdict."""

    def __init__(self) -> None:
        self.policies: dict[tuple[Selector, int], tuple[int, str]] = {}

    def verdict(self, address: int, direction: int) -> str:
        found = [
            (number, verdict)
            for (selector, of), (number, verdict) in self.policies.items()
            if of == direction and matches(selector, address)
        ]
        return min(found)[1] if found else "none"

    def verdicts(self) -> dict[tuple[int, int], str]:
        packets = [(a, d) for a in range(1 << BITS) for d in (IN, OUT, FWD)]
        return {packet: self.verdict(*packet) for packet in packets}


#: Of an entry: its selector, and the directions of its policies.
entries = st.lists(
    st.tuples(prefixes, st.sampled_from([(IN, FWD), (OUT,), (IN,), (FWD,)])),
    max_size=12,
    unique_by=lambda entry: entry[0],
)


@given(
    entries,
    entries,
    st.lists(st.integers(1, 40) | st.integers(LAST - 40, LAST), min_size=12, max_size=12),
)
@settings(max_examples=300, deadline=None)
def test_no_packet_meets_anything_but_the_old_or_the_new(
    old: list[tuple[Selector, tuple[int, ...]]],
    new: list[tuple[Selector, tuple[int, ...]]],
    numbers: list[int],
) -> None:
    kernel = Kernel()
    for (selector, directions), number in zip(old, sorted(set(numbers)), strict=False):
        for direction in directions:
            kernel.policies[selector, direction] = number, f"old {selector}"
    before = kernel.verdicts()
    wanted = Kernel()
    for at, (selector, directions) in enumerate(new):
        for direction in directions:
            wanted.policies[selector, direction] = at, f"new {selector}"
    after = wanted.verdicts()

    def check() -> None:
        for packet, verdict in kernel.verdicts().items():
            assert verdict in (before[packet], after[packet]), packet

    replacement = Replacement(
        [OldEntry(s, d, number) for (s, d), (number, _) in kernel.policies.items()], len(new)
    )
    placed = []
    for selector, directions in new:
        place = replacement.place(selector, directions)
        if place is None:
            for move in replacement.make_room():
                assert isinstance(move.name, tuple)
                name = (move.name, move.direction)
                kernel.policies[name] = move.number, kernel.policies[name][1]
                check()
            place = replacement.place(selector, directions)
        assert place is not None
        placed.append(place)
        for direction in directions:
            kernel.policies[selector, direction] = place, f"new {selector}"
            check()
    for entry in replacement.left():
        assert isinstance(entry.name, tuple)
        del kernel.policies[entry.name, entry.direction]
        check()
    assert kernel.verdicts() == after
    assert all(a < b for a, b in pairwise(placed))
    assert all(1 <= number <= LAST for number in placed)
    assert kernel.policies.keys() == wanted.policies.keys()


def test_entries_that_stay_in_order_keep_their_numbers() -> None:
    old = [OldEntry(name, OUT, 4096 * at) for at, name in enumerate("abcdef", 1)]
    same = Replacement(old, 6)
    assert [same.place(name, (OUT,)) for name in "abcdef"] == [e.number for e in old]
    assert same.left() == []

    with_one_more = Replacement(old, 7)
    placed = [with_one_more.place(name, (OUT,)) for name in "abXcdef"]
    assert placed[:2] == [4096, 8192]
    assert placed[3:] == [e.number for e in old[2:]]
    assert placed[2] is not None
    assert 8192 < placed[2] < 12288


def test_what_is_left_goes_from_the_end() -> None:
    old = [OldEntry(name, OUT, at) for at, name in enumerate("abcdef", 10)]
    replacement = Replacement(old, 2)
    replacement.place("c", (OUT,))
    replacement.place("new", (OUT,))
    assert [entry.name for entry in replacement.left()] == ["f", "e", "d", "b", "a"]


def test_a_whole_new_spd_stays_near_the_old_one() -> None:
    old = [OldEntry(at, OUT, 0x80000000 + at * 0x1000) for at in range(100)]
    replacement = Replacement(old, 100)
    numbers = [replacement.place(("new", at), (OUT,)) for at in range(100)]
    assert all(n is not None and 0x80000000 - 100 * 0x1000 <= n < 0x80000000 for n in numbers)


def test_without_room_the_old_ones_move_up() -> None:
    old = [OldEntry(at, OUT, 1 + at) for at in range(5)]
    replacement = Replacement(old, 3)
    assert replacement.place("new", (OUT,)) is None
    moves = replacement.make_room()
    assert [move.name for move in moves] == [4, 3, 2, 1, 0]
    assert replacement.place("new", (OUT,)) is not None


def test_where_there_is_no_room_at_all_none_is_made() -> None:
    replacement = Replacement([OldEntry("old", OUT, LAST - 1), OldEntry("other", IN, LAST)], 0)
    assert replacement.place("old", (OUT,)) == LAST - 1
    assert replacement.place("new", (IN,)) is None
    assert replacement.make_room() == []
