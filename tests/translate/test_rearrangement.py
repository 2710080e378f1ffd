"""From one SPD to another in few writes: at each of them, each packet meets the old or the new."""

from collections.abc import Iterable
from typing import NamedTuple

from hypothesis import example, given, settings
from hypothesis import strategies as st

from kamexfrm.translate.xfrm.order import GAP, LAST
from kamexfrm.translate.xfrm.rearrangement import Coming, Rearrangement, Standing, rearrange

#: Names of entries, and the packets that each matches: some overlap, some do not.
PACKETS = {name: frozenset(range(name % 4, 8, 1 + name % 3)) for name in range(10)}


class Entry(NamedTuple):
    name: int
    priority: int
    content: int = 0


entries = st.builds(Entry, st.integers(0, 9), st.integers(5, 7), st.integers(0, 1))


def unique(found: Iterable[Entry]) -> list[Entry]:
    """Return entries in the order of matching, one of each name."""
    kept = {entry.name: entry for entry in found}
    return sorted(kept.values(), key=lambda entry: entry.priority)


class Spd:
    """An SPD as the kernel matches it: an entry of a name has one number."""

    def __init__(self) -> None:
        self.numbers: dict[int, int] = {}
        self.entries: dict[int, Entry] = {}

    def write(self, entry: Entry, number: int) -> None:
        assert number not in [n for name, n in self.numbers.items() if name != entry.name]
        assert 0 < number <= LAST
        self.numbers[entry.name], self.entries[entry.name] = number, entry

    def delete(self, entry: Entry) -> None:
        del self.numbers[entry.name], self.entries[entry.name]

    def met(self) -> list[object]:
        """Return what each packet meets first, None for nothing."""
        found: list[object] = []
        for packet in range(8):
            there = [
                (self.numbers[name], name, entry.content)
                for name, entry in self.entries.items()
                if packet in PACKETS[name]
            ]
            found.append(min(there)[1:] if there else None)
        return found


def numbered(old: list[Entry], gap: int) -> list[Standing]:
    return [Standing(1 + at * gap, entry.priority, at + 1) for at, entry in enumerate(old)]


def rearranged(old: list[Entry], new: list[Entry], gap: int) -> Rearrangement:
    index = {entry.name: at for at, entry in enumerate(old)}
    coming = [Coming(e.priority, index.get(e.name, -1)) for e in new]
    return rearrange(
        numbered(old, gap),
        coming,
        len(old),
        lambda one, other: bool(PACKETS[old[one].name] & PACKETS[old[other].name]),
    )


@settings(max_examples=100, deadline=None)
@example([Entry(0, 5), Entry(4, 5), Entry(8, 5)], [Entry(4, 5), Entry(8, 5), Entry(0, 5)], 1)
@given(st.lists(entries, max_size=9), st.lists(entries, max_size=9), st.sampled_from([1, 2, GAP]))
def test_each_packet_meets_the_old_or_the_new_at_every_write(
    first: list[Entry], second: list[Entry], gap: int
) -> None:
    old, new = unique(first), unique(second)
    found = rearranged(old, new, gap)
    spd, wanted = Spd(), Spd()
    for entry, (number, *_) in zip(old, numbered(old, gap), strict=True):
        spd.write(entry, number)
    for at, entry in enumerate(new):
        wanted.write(entry, at + 1)
    before, after = spd.met(), wanted.met()

    def check() -> None:
        for met, old_one, new_one in zip(spd.met(), before, after, strict=True):
            assert met in (old_one, new_one)

    for index, number in found.moves:
        spd.write(old[index], number)
        check()
    names = {entry.name: entry for entry in old}
    for at in found.sequence:
        entry = new[at]
        if not found.stays[at] or names[entry.name] != entry:
            spd.write(entry, found.places[at][0])
            check()
    gone = [e for e in old if e.name not in {n.name for n in new}]
    for entry in sorted(gone, key=lambda e: -spd.numbers[e.name]):
        spd.delete(entry)
        check()
    assert spd.met() == after
    tags = [(entry.priority, *found.places[at][::-1]) for at, entry in enumerate(new)]
    ranked = sorted(range(len(new)), key=lambda at: tags[at])
    assert [found.places[at][0] for at in ranked] == sorted(place[0] for place in found.places)


@settings(deadline=None)
@given(st.lists(entries, max_size=9), st.sampled_from([1, GAP]))
def test_what_is_there_stays(found: list[Entry], gap: int) -> None:
    old = unique(found)
    same = rearranged(old, old, gap)
    assert all(same.stays)
    assert not same.moves


def test_one_entry_more_moves_no_other() -> None:
    old = [Entry(name, 5) for name in range(5)]
    new = [*old[:2], Entry(9, 5), *old[2:]]
    found = rearranged(old, new, GAP)
    assert list(found.stays) == [1, 1, 0, 1, 1, 1]
    assert not found.moves
    assert 1 + GAP < found.places[2][0] < 1 + 2 * GAP


def test_room_is_made_where_there_is_none() -> None:
    old = [Entry(name, 5) for name in range(5)]
    new = [*old[:2], Entry(9, 5), *old[2:]]
    found = rearranged(old, new, 1)
    assert len(found.moves) == len(old)
    assert sum(found.stays) == len(old)
