"""From one SPD to the next without a gap: which kernel priority each new entry takes. Pure.

The entries of the new SPD are written in the order of matching, each one ahead of all entries of
the old SPD that are still to go. The rest of the old SPD is then deleted from its end. So at every
moment a packet meets either what it met before or what it is to meet afterwards:

* While entry k of the new SPD is the last one written, a packet whose first match is among the
  first k meets it, since all of these are ahead of the old SPD.
* Any other packet matches none of the first k. It meets what it met before: an old entry is gone
  only where one of the k has its selector, and that one would match the packet.
* Deleting from the end takes away, for each packet without a match in the new SPD, what it meets
  only after everything else that it would match.

The kernel holds one policy of a selector in each direction. A new entry with the selector of an old
one replaces it, and keeps its number where that is in order already. Where the new SPD begins as
the old one does, but for entries that say something else or are missing, the others need not be
written: keep().
"""

from array import array
from collections.abc import Iterable, Sequence
from operator import eq

from kamexfrm.records import NamedTuple
from kamexfrm.translate.xfrm.old_policies import OldPolicies, OldPolicy
from kamexfrm.translate.xfrm.order import FIRST, GAP, LAST, after_last

#: Of more old entries that were skipped, it is no use to leave what comes next where it is.
_MOST_SKIPPED = 256


class Move(NamedTuple):
    """An old policy gets another kernel priority, to make room."""

    name: int
    direction: int
    number: int


class Kept(NamedTuple):
    """An old entry that a new one finds in its place: its number and its insertion order.

    ``is_same`` is whether it says the same already.
    """

    number: int
    order: int
    is_same: bool


class Replacement:
    """Places the entries of a new SPD ahead of what is left of the old one.

    ``old`` are the policies that are there; they are sorted. ``todo`` is how many entries are going
    to be placed, which decides how much room each one takes.
    """

    def __init__(self, old: OldPolicies, todo: int) -> None:
        old.sort()
        self._old = old
        self._todo = max(1, todo)
        self._last = FIRST - 1
        self._left = len(old)
        self._names = old.names
        self._directions = old.directions
        self._numbers = old.numbers
        self._gone = bytearray(len(old))
        self._heads = [0, 0, 0]
        #: Where the old policies are by name, made when it is needed: a hash table of 8 to 16 bytes
        #: each, where a dictionary takes 100.
        self._index: array[int] | None = None
        #: How many old policies the new SPD has begun with; -1 once something is placed.
        self._kept = 0

    def __contains__(self, name: tuple[int, int]) -> bool:
        """Whether an old policy of this name and direction is still there."""
        at = self._find(*name)
        return at >= 0 and not self._gone[at]

    def _find(self, name: int, direction: int) -> int:
        """Return where an old policy is, -1 if there never was one."""
        if self._index is None:
            self._index = self._make_index()
        index = self._index
        mask = len(index) - 1
        slot = name & mask
        while at := index[slot]:
            if self._names[at - 1] == name and self._directions[at - 1] == direction:
                return at - 1
            slot = slot + 1 & mask
        return -1

    def _make_index(self) -> "array[int]":
        """Return the places of the old policies, from 1, by the lowest bits of their names."""
        names = self._names
        mask = (1 << (2 * len(names)).bit_length()) - 1
        index = array("I", bytes(4 * (mask + 1)))
        for at, name in enumerate(names, 1):
            slot = name & mask
            while index[slot]:
                slot = slot + 1 & mask
            index[slot] = at
        return index

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
        if not order or self._old.priorities[first] != priority:
            return None
        if not self._last < number <= self._highest(self._todo, self._left - count):
            return None
        if self._numbers[first:end].count(number) < count:
            return None
        self._gone[first:end] = b"\1" * count
        self._kept = end
        self._left -= count
        self._last = number
        self._todo = max(1, self._todo - 1)
        there = self._old.contents[first:end]
        is_same = all(map(eq, there, contents)) and 0 not in there
        return Kept(number, order, is_same)

    def _next(self, name: int, directions: Sequence[int]) -> int:
        """Return where an entry is that may be kept as it is, or be written in its place; or -1."""
        first, count = self._kept, len(directions)
        if first < 0:
            return -1
        wanted = bytes(directions)
        for at in (first, self._find(name, directions[0])):
            names = self._names[at : at + count]
            if at >= 0 and names.count(name) == count:
                is_near = first <= at <= first + _MOST_SKIPPED
                return at if is_near and self._directions[at : at + count] == wanted else -1
        return -1

    def keep_run(
        self, names: Sequence[int], directions: bytes, contents: "array[int]", sizes: Sequence[int]
    ) -> int:
        """Return how many of many next entries are where they were, and say what they are to.

        ``names``, ``directions`` and ``contents`` are those of the policies of all entries, and
        ``sizes`` how many policies each entry has.
        """
        first = self._kept
        if first < 0:
            return 0
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
        self._gone[first:at] = b"\1" * (at - first)
        self._left -= at - first
        self._kept, self._last = at, last
        self._todo = max(1, self._todo - kept)
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
        self._kept = -1
        found = [self._find(name, direction) for direction in directions]
        mine = [at for at in found if at >= 0 and not self._gone[at]]
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
            self._gone[at] = True
        self._left -= len(mine)
        self._last = number
        self._todo = max(1, self._todo - 1)
        return number

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
            while at < len(self._names) and (
                self._gone[at] or at in mine or self._directions[at] != direction
            ):
                at += 1
            if at < len(self._names):
                bound = min(bound, self._numbers[at])
        return bound

    def _head(self, direction: int) -> int:
        """Return where the first old policy of a direction is that is left, or the end."""
        at = self._heads[direction]
        while at < len(self._names) and (self._gone[at] or self._directions[at] != direction):
            at += 1
        self._heads[direction] = at
        return at

    def _before(self, bound: int) -> int | None:
        room = bound - self._last - 1
        if room < 1:
            return None
        step = max(1, min(GAP, room // self._todo))
        return max(self._last + 1, min(bound - step * self._todo, bound - 1))

    def make_room(self) -> list[Move]:
        """Spread what is left of the old SPD behind the last new entry; return the moves in order.

        They keep the order of the old policies at every moment. Where one number is not enough
        for each, there is no room to be made, and the list is empty.
        """
        left = [at for at, gone in enumerate(self._gone) if not gone]
        total = LAST - self._last
        if not left or total < self._todo + len(left):
            return []
        room = min(GAP * self._todo, total - len(left))
        step = max(1, min(GAP, (total - room) // len(left)))
        moves = []
        number = self._last + room
        previous = None
        for at in left:
            # Policies of one entry share a number, before and after.
            if self._numbers[at] != previous:
                number += step
            previous = self._numbers[at]
            moves.append((at, number))
        up = [move for move in moves if move[1] > self._numbers[move[0]]]
        down = [move for move in moves if move[1] < self._numbers[move[0]]]
        for at, new in moves:
            self._numbers[at] = new
        return [Move(self._names[at], self._directions[at], new) for at, new in (*up[::-1], *down)]

    def left(self) -> list[OldPolicy]:
        """Return the old policies that nothing has replaced, the last one first."""
        gone = self._gone
        return [self._old[at] for at in range(len(gone) - 1, -1, -1) if not gone[at]]


def _common(new: Iterable[tuple[int, ...]], old: Iterable[tuple[int, ...]]) -> int:
    """Return how many of two series are equal, up to the first that differs."""
    count = 0
    for count, pair in enumerate(zip(new, old), 1):  # noqa: B905  (one may be shorter)
        if pair[0] != pair[1] or not pair[0][2]:
            return count - 1
    return count
