"""From one SPD to the next: at every moment a packet meets what it met before or what it will."""

from array import array
from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st

from kamexfrm.translate.xfrm.old_policies import OldPolicies, OldPolicy
from kamexfrm.translate.xfrm.order import LAST
from kamexfrm.translate.xfrm.replacement import Replacement

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
    st.sets(st.integers(0, 11)),
)
@settings(max_examples=300, deadline=None)
def test_no_packet_meets_anything_but_the_old_or_the_new(
    old: list[tuple[Selector, tuple[int, ...]]],
    new: list[tuple[Selector, tuple[int, ...]]],
    numbers: list[int],
    unchanged: set[int],
) -> None:
    kernel = Kernel()
    said = {selector: f"old {selector}" for selector, _ in old}
    for (selector, directions), number in zip(old, sorted(set(numbers)), strict=False):
        for direction in directions:
            kernel.policies[selector, direction] = number, said[selector]
    before = kernel.verdicts()
    wanted = Kernel()
    for at, (selector, directions) in enumerate(new):
        for direction in directions:
            same = at in unchanged and selector in said
            verdict = said[selector] if same else f"new {selector}"
            wanted.policies[selector, direction] = at, verdict
    after = wanted.verdicts()

    def check() -> None:
        for packet, verdict in kernel.verdicts().items():
            assert verdict in (before[packet], after[packet]), packet

    names = {hash(selector): selector for selector, _ in old + new}
    replacement = Replacement(
        OldPolicies(
            OldPolicy(hash(s), d, number, content=hash(verdict), order=number)
            for (s, d), (number, verdict) in kernel.policies.items()
        ),
        len(new),
    )
    placed = []
    for selector, directions in new:
        verdicts = [wanted.policies[selector, direction][1] for direction in directions]
        kept = replacement.keep(hash(selector), directions, list(map(hash, verdicts)), 0)
        place = kept.number if kept else replacement.place(hash(selector), directions)
        if place is None:
            for move in replacement.make_room():
                name = (names[move.name], move.direction)
                kernel.policies[name] = move.number, kernel.policies[name][1]
                check()
            place = replacement.place(hash(selector), directions)
        assert place is not None
        placed.append(place)
        for direction, verdict in zip(directions, verdicts, strict=True):
            if kept and kept.is_same:
                assert kernel.policies[selector, direction] == (place, verdict)
            kernel.policies[selector, direction] = place, verdict
            check()
    for entry in replacement.left():
        del kernel.policies[names[entry.name], entry.direction]
        check()
    assert kernel.verdicts() == after
    assert all(a < b for a, b in pairwise(placed))
    assert all(1 <= number <= LAST for number in placed)
    assert kernel.policies.keys() == wanted.policies.keys()


@given(entries, st.data())
@settings(max_examples=200, deadline=None)
def test_many_entries_are_kept_as_one_by_one(
    old: list[tuple[Selector, tuple[int, ...]]], data: st.DataObject
) -> None:
    policies = [
        OldPolicy(hash(selector), direction, 10 * at, content=at, order=at)
        for at, (selector, directions) in enumerate(old, 1)
        for direction in directions
    ]
    new = [(hash(selector), directions, at) for at, (selector, directions) in enumerate(old, 1)]
    if data.draw(st.booleans()) and new:
        at = data.draw(st.integers(0, len(new) - 1))
        new[at] = data.draw(
            st.sampled_from([(7, (OUT,), 1), (*new[at][:2], 99), (new[at][0], (IN, OUT), at)])
        )
    one_by_one = Replacement(OldPolicies(policies), len(new))
    wanted = 0
    for name, directions, content in new:
        kept = one_by_one.keep(name, directions, [content] * len(directions), 0)
        if kept is None or not kept.is_same:
            break
        wanted += 1
    at_once = Replacement(OldPolicies(policies[::-1]), len(new))
    rows = [(name, d, content) for name, directions, content in new for d in directions]
    columns = list(zip(*rows, strict=True)) or [(), (), ()]
    sizes = [len(directions) for _, directions, _ in new]
    kept_at_once = at_once.keep_run(columns[0], bytes(columns[1]), array("q", columns[2]), sizes)
    assert kept_at_once == wanted
    assert len(list(at_once.left())) == len(policies) - sum(sizes[:wanted])


def olds(names: str, step: int = 4096) -> OldPolicies:
    found = [OldPolicy(ord(name), OUT, step * at) for at, name in enumerate(names, 1)]
    return OldPolicies(found)


def test_what_is_changed_or_missing_leaves_the_others_where_they_are() -> None:
    policies = [
        OldPolicy(at, OUT, 10 * at, id=at, content=at, order=at, priority=5) for at in range(1, 7)
    ]
    replacement = Replacement(OldPolicies(policies), 4)
    assert replacement.keep(1, (OUT,), [1], 5) == (10, 1, True)
    assert replacement.keep(2, (OUT,), [9], 5) == (20, 2, False)
    assert replacement.keep(4, (OUT,), [4], 5) == (40, 4, True)
    assert replacement.keep(5, (OUT,), [5], 6) is None
    assert [old.id for old in replacement.left()] == [6, 5, 3]


def test_entries_that_stay_in_order_keep_their_numbers() -> None:
    same = Replacement(olds("abcdef"), 6)
    assert [same.place(ord(name), (OUT,)) for name in "abcdef"] == list(olds("abcdef").numbers)
    assert list(same.left()) == []

    with_one_more = Replacement(olds("abcdef"), 7)
    placed = [with_one_more.place(ord(name), (OUT,)) for name in "abXcdef"]
    assert placed[:2] == [4096, 8192]
    assert placed[3:] == list(olds("abcdef").numbers)[2:]
    assert placed[2] is not None
    assert 8192 < placed[2] < 12288


def test_what_is_left_goes_from_the_end() -> None:
    replacement = Replacement(olds("abcdef", 10), 2)
    replacement.place(ord("c"), (OUT,))
    replacement.place(ord("X"), (OUT,))
    assert [chr(entry.name) for entry in replacement.left()] == ["f", "e", "d", "b", "a"]


def test_a_whole_new_spd_stays_near_the_old_one() -> None:
    old = OldPolicies(OldPolicy(at, OUT, 0x80000000 + at * 0x1000) for at in range(100))
    replacement = Replacement(old, 100)
    numbers = [replacement.place(1000 + at, (OUT,)) for at in range(100)]
    assert all(n is not None and 0x80000000 - 100 * 0x1000 <= n < 0x80000000 for n in numbers)


def test_without_room_the_old_ones_move_up() -> None:
    replacement = Replacement(OldPolicies(OldPolicy(at, OUT, 1 + at) for at in range(5)), 3)
    assert replacement.place(7, (OUT,)) is None
    moves = replacement.make_room()
    assert [move.name for move in moves] == [4, 3, 2, 1, 0]
    assert replacement.place(7, (OUT,)) is not None


def test_where_there_is_no_room_at_all_none_is_made() -> None:
    old = OldPolicies([OldPolicy(1, OUT, LAST - 1), OldPolicy(2, IN, LAST)])
    replacement = Replacement(old, 0)
    assert replacement.place(1, (OUT,)) == LAST - 1
    assert replacement.place(7, (IN,)) is None
    assert list(replacement.make_room()) == []
