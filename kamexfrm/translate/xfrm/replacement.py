"""From one SPD to the next without a gap: which kernel priority each new entry takes. Pure.

The entries of the new SPD are written in the order of matching; the rest of the old SPD is then
deleted from its end. A new entry is kept where the old one of its name stands, or it is placed
ahead of the old entries from there on. So at every moment a packet meets either what it met before
or what it is to meet afterwards. Let k entries be written or kept, and f be what a packet met
before:

* Where f is still to be written, or to go, no other old entry that the packet matches is ahead of
  it. Of the first k, the packet matches the first one of the new SPD, if any: it meets that or f.
* Where f is one of the first k, the packet meets the first of these that it matches, unless an old
  entry is ahead of that. Such a one was behind f. So f went back, past it: place() wants room made
  before that, and all old entries are moved behind the first k.
* Deleting from the end takes away, for each packet without a match in the new SPD, what it meets
  only after everything else that it would match.

The kernel holds one policy of a selector in each direction. A new entry with the selector of an old
one replaces it, and keeps its number where that is in order already.
"""

from array import array
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from operator import eq, gt

from kamexfrm.records import NamedTuple
from kamexfrm.translate.xfrm.name_index import NameIndex
from kamexfrm.translate.xfrm.old_policies import OldPolicies, OldPolicy
from kamexfrm.translate.xfrm.order import FIRST, GAP, LAST, after_last
from kamexfrm.translate.xfrm.tag import ORDER_MAX

#: Old policies that are skipped at once: an entry that goes, and its twin. Behind each entry that
#: was placed and stood right behind the one before, it is 16 times as many.
_SKIPPED_AT_ONCE, _SKIPPED_MORE = 2, 16

#: Of little room, the share that is left free ahead of each entry: others may come there later.
_SHARE = 64

#: Numbers that room has: so many, and so many for each entry that is moved for it.
_ROOM, _ROOM_EACH = 128, 8

#: In place of the direction of a policy that is replaced.
_GONE = 0xFF


class Move(NamedTuple):
    """An old policy gets another kernel priority, to make room; ``id`` is its kernel index."""

    name: int
    direction: int
    number: int
    id: int


class Kept(NamedTuple):
    """An old entry that a new one finds in its place: its number and its insertion order.

    ``is_same`` is whether it says the same already.
    """

    number: int
    order: int
    is_same: bool


class Replacement:
    """Places the entries of a new SPD ahead of what is left of the old one.

    ``old`` are the policies that are there; they are sorted, and used up. ``todo`` is how many
    entries are going to be placed, which decides how much room each one takes.
    """

    def __init__(self, old: OldPolicies, todo: int) -> None:
        old.sort()
        self._old = old
        self._todo = max(1, todo)
        self._last = FIRST - 1
        self._left = len(old)
        self._names = old.names
        self._numbers = old.numbers
        #: The directions of what is left, _GONE for the others.
        self._directions = old.directions
        self._heads = [0, 0, 0]
        #: Made when it is needed: an SPD that has not changed does without.
        self._index: NameIndex | None = None
        #: Where an entry may be that is kept next; -1 where none is.
        self._kept = 0
        #: Up to there, what is left is ahead of the last new entry: it was skipped.
        self._ahead = 0
        self._moved = 0
        #: How many of the last new entries were placed that stood one behind the other, and where
        #: the next one of these would be.
        self._row, self._behind_row = 0, -1
        #: Priority as written and insertion number of the last new entry.
        self._last_priority, self._last_order = -1, 0

    def __contains__(self, name: tuple[int, int]) -> bool:
        """Whether an old policy of this name and direction is still there."""
        return self._find(*name) >= 0

    def _find(self, name: int, direction: int) -> int:
        """Return where an old policy is that is left, or -1."""
        if self._index is None:
            self._index = NameIndex(self._names)
        return self._index.find(name, direction, self._directions)

    def keep(
        self, name: int, directions: Sequence[int], contents: Sequence[int], priority: int
    ) -> Kept | None:
        """Return the next entry where it is already, and all before it were; else it is placed.

        ``contents`` are those of its policies, ``priority`` is the one as written. Old entries in
        between are skipped: they come later or go. What a packet meets first is one of these, as
        before, or this one.
        """
        first = self._next(name, directions)
        if first < 0:
            return None
        count = len(directions)
        end = first + count
        number, order = self._numbers[first], self._old.orders[first]
        # Of one priority, entries are inserted in the order of matching.
        if not order or self._old.priorities[first] != priority or self._is_early(priority, order):
            return None
        if not self._last < number <= self._highest(self._todo, self._left - count):
            return None
        if self._numbers[first:end].count(number) < count:
            return None
        self._keep_up_to(first, end, 1)
        there = self._old.contents[first:end]
        is_same = all(map(eq, there, contents)) and 0 not in there
        return Kept(number, order, is_same)

    def _is_early(self, priority: int, order: int) -> bool:
        """Whether an entry was inserted before the last new one of its priority."""
        return priority == self._last_priority and order < self._last_order

    def _keep_up_to(self, first: int, end: int, entries: int) -> None:
        """Count some policies, which are so many entries, as new ones that are in their place."""
        self._directions[first:end] = bytes((_GONE,)) * (end - first)
        self._kept = self._ahead = end
        self._row, self._behind_row = 0, -1
        self._left -= end - first
        self._todo = max(1, self._todo - entries)
        self._last = self._numbers[end - 1]
        self._last_priority = self._old.priorities[end - 1]
        self._last_order = self._old.orders[end - 1]

    def _next(self, name: int, directions: Sequence[int]) -> int:
        """Return where an entry is that may be kept as it is, or be written in its place; or -1."""
        count = len(directions)
        if self._kept < 0:
            return -1
        first = self._first_left()
        for at in self._candidates(first, name, directions[0]):
            names = self._names[at : at + count]
            if at >= 0 and names.count(name) == count:
                is_it = self._directions[at : at + count] == bytes(directions)
                return at if is_it and self._may_skip(first, at) else -1
        return -1

    def _candidates(self, first: int, name: int, direction: int) -> Iterator[int]:
        """Yield where an entry may be: mostly it is at the first place, and the index not made."""
        yield first
        yield self._find(name, direction)

    def _may_skip(self, first: int, at: int) -> bool:
        """Whether an entry is to be kept though old policies are ahead of it, from ``first`` on.

        These seem to go. Where many are, it may also be that the entry comes forward, past them.
        """
        row = self._row if at == self._behind_row else 0
        left = at - first - self._directions.count(_GONE, first, at)
        return first <= at and left <= _SKIPPED_AT_ONCE * _SKIPPED_MORE**row

    def _first_left(self) -> int:
        """Return where the first old policy is that may be kept, or the end."""
        at, directions = self._kept, self._directions
        while at < len(directions) and directions[at] == _GONE:
            at += 1
        self._kept = at
        return at

    def keep_run(
        self, names: Sequence[int], directions: bytes, contents: "array[int]", sizes: Sequence[int]
    ) -> int:
        """Return how many of many next entries are where they were, and say what they are to.

        ``names``, ``directions`` and ``contents`` are those of the policies of all entries, and
        ``sizes`` how many policies each entry has.
        """
        if self._kept < 0:
            return 0
        first = self._first_left()
        end = first + len(names)
        same = _common(
            zip(names, directions, contents, strict=True),
            zip(
                self._names[first:end],
                self._directions[first:end],
                self._old.contents[first:end],
                strict=True,
            ),
        )
        if not same or self._is_early(self._old.priorities[first], self._old.orders[first]):
            return 0
        kept, last, at = 0, self._last, first
        numbers = self._numbers
        for size in sizes:
            if at + size > first + same:
                break
            number = numbers[at]
            highest = self._highest(self._todo - kept, self._left - (at - first) - size)
            if not last < number <= highest or number != numbers[at + size - 1]:
                break
            last = number
            at += size
            kept += 1
        if kept:
            self._keep_up_to(first, at, kept)
        return kept

    @property
    def last(self) -> int:
        """The number of the last entry that was placed or kept."""
        return self._last

    def place(self, name: int, directions: Sequence[int], priority: int = 0) -> int | None:
        """Return the number for the next entry, None where there is no room: see make_room().

        ``directions`` are those of the policies that the entry is made of, ``priority`` is the one
        as written: behind all old policies the number is near it. Old policies of that name count
        as replaced from now on.
        """
        found = [self._find(name, direction) for direction in directions]
        mine = [at for at in found if at >= 0]
        if self._uncovers(mine):
            return None
        bound = self._bound(directions, mine)
        numbers = {self._numbers[at] for at in mine}
        number = numbers.pop() if len(numbers) == 1 else 0
        highest = self._highest(self._todo, self._left - len(mine))
        if bound > LAST and not number:
            # Nothing is ahead of which it must be. Those that follow may have to be.
            bound = self._bound((0, 1, 2), mine)
            if not self._last + self._todo < bound <= LAST:
                number, bound = after_last(priority, self._last) or 0, LAST + 1
        if not self._last < number < min(bound, highest + 1):
            before = self._before(min(bound, highest + self._todo))
            if before is None:
                return None
            number = before
        for at in mine:
            self._directions[at] = _GONE
        self._row = self._row + 1 if mine and mine[0] == self._behind_row else len(mine[:1])
        self._behind_row = max(mine) + 1 if mine else -1
        self._left -= len(mine)
        self._last = number
        self._todo = max(1, self._todo - 1)
        return number

    def order(self, priority: int) -> int:
        """Return the insertion number for the entry that was placed last, 0 for the next free one.

        It is that of the one before, or of the first behind it that may be kept: of one number,
        entries are matched by their kernel priorities.
        """
        if priority != self._last_priority:
            self._last_priority = priority
            self._last_order = self._first_order(priority) or ORDER_MAX
        return self._last_order if self._last_order < ORDER_MAX else 0

    def _first_order(self, priority: int) -> int:
        if self._kept < 0:
            return 0
        priorities = self._old.priorities
        at = bisect_left(priorities, priority, self._first_left())
        is_there = at < len(priorities) and priorities[at] == priority
        return self._old.orders[at] if is_there else 0

    def _uncovers(self, mine: Sequence[int]) -> bool:
        """Whether an old entry that goes back leaves old ones ahead that were behind it."""
        first, end = min(mine, default=self._ahead), self._ahead
        if first >= end:
            return False
        left = end - first - self._directions.count(_GONE, first, end)
        return left > sum(at < end for at in mine)

    def _highest(self, todo: int, left: int) -> int:
        """Return the highest number for the next of some entries to be placed.

        Those that follow need a number each behind it, and so does what is left.
        """
        return LAST - (max(1, todo) - 1) - left

    def _bound(self, directions: Iterable[int], mine: Sequence[int]) -> int:
        """Return the lowest number that is left of some directions, besides an entry's own."""
        bound = LAST + 1
        for direction in directions:
            at = self._head(direction)
            while at in mine:
                at = self._directions.find(direction, at + 1)
            if at >= 0:
                bound = min(bound, self._numbers[at])
        return bound

    def _head(self, direction: int) -> int:
        """Return where the first policy of a direction is that was not skipped, or -1."""
        start = max(self._heads[direction], self._ahead)
        at = self._directions.find(direction, start)
        self._heads[direction] = at if at >= 0 else len(self._directions)
        return at

    def _before(self, bound: int) -> int | None:
        room = bound - self._last - 1
        if room < 1:
            return None
        if room < self._todo:
            return self._last + (room // _SHARE or (room + 1) // 2)
        step = min(GAP, room // self._todo)
        return max(self._last + 1, min(bound - step * self._todo, bound - 1))

    def make_room(self) -> Iterator[Move]:
        """Move old policies behind the last new entry, with room ahead of them.

        What was skipped is moved, and of the others as few as give room. The moves are in order:
        the old policies keep theirs at every moment. Where one number is not enough for each,
        there is no room to be made, and no move.
        """
        left = self._all_left()
        found = self._near(left)
        if found is None:
            total = LAST - self._last
            if not left or total < self._todo + len(left):
                return iter(())
            room = min(GAP * self._todo, total - len(left))
            step = max(1, min(GAP, (total - room) // len(left)))
        else:
            left, total = found
            room = total // 2
            step = (total - room) // len(left)
        numbers = array("I")
        number = self._last + room
        previous = None
        for at in left:
            # Policies of one entry share a number, before and after.
            if self._numbers[at] != previous:
                number += step
            previous = self._numbers[at]
            numbers.append(number)
        self._ahead, self._heads = 0, [0, 0, 0]
        self._moved += len(left)
        if self._moved > len(self._names):
            self._kept = -1  # the orders differ too much
        rise = bytes(map(gt, numbers, map(self._numbers.__getitem__, left)))
        for at, number in zip(left, numbers, strict=True):
            self._numbers[at] = number
        return self._moves(left, rise)

    def _moves(self, places: Sequence[int], rise: bytes) -> Iterator[Move]:
        """Yield those first that get a higher number, the last one first, then the others."""
        old = self._old
        up = (places[i] for i in range(len(places) - 1, -1, -1) if rise[i])
        down = (places[i] for i in range(len(places)) if not rise[i])
        for at in chain(up, down):
            yield Move(old.names[at], old.directions[at], old.numbers[at], old.ids[at])

    def _all_left(self) -> "array[int]":
        directions = self._directions
        return array("I", (at for at, direction in enumerate(directions) if direction != _GONE))

    def _near(self, left: "array[int]") -> "tuple[array[int], int] | None":
        """Return the policies to move, and how many numbers there are for them; None for all."""
        numbers = self._numbers
        skipped = bisect_left(left, self._ahead)
        size = max(1, skipped)
        while size < len(left):
            while size < len(left) and numbers[left[size]] == numbers[left[size - 1]]:
                size += 1  # policies of one entry
            total = numbers[left[size]] - self._last - 1 if size < len(left) else 0
            if total >= _ROOM + _ROOM_EACH * size:
                return left[:size], total
            size += max(1, size - skipped)
        return None

    def left(self) -> Iterator[OldPolicy]:
        """Yield the old policies that nothing has replaced, the last one first."""
        directions = self._directions
        for at in range(len(directions) - 1, -1, -1):
            if directions[at] != _GONE:
                yield self._old[at]


def _common(new: Iterable[tuple[int, ...]], old: Iterable[tuple[int, ...]]) -> int:
    """Return how many of two series are equal, up to the first that differs."""
    count = 0
    for count, pair in enumerate(zip(new, old), 1):  # noqa: B905  (one may be shorter)
        if pair[0] != pair[1] or not pair[0][2]:
            return count - 1
    return count
