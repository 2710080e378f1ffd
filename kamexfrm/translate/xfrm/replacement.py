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
the old one does, nothing need be written: keep().
"""

from array import array
from collections.abc import Hashable, Iterable, Sequence

from kamexfrm.records import NamedTuple
from kamexfrm.translate.xfrm.order import FIRST, GAP, LAST, after_last


class OldEntry(NamedTuple):
    """A policy that is to go, or to be replaced: its name, kernel direction and priority.

    ``id`` is its index in the kernel. ``content`` is a hash of what it says, 0 where it has to be
    written again in any case.
    """

    name: Hashable
    direction: int
    number: int
    id: int = 0
    content: int = 0


class Move(NamedTuple):
    """An old policy gets another kernel priority, to make room."""

    name: Hashable
    direction: int
    number: int


class Replacement:
    """Places the entries of a new SPD ahead of what is left of the old one.

    ``old`` are the policies that are there, in any order. ``todo`` is how many entries are going to
    be placed, which decides how much room each one takes. What is kept of an old policy takes some
    200 bytes.
    """

    def __init__(self, old: Iterable[OldEntry], todo: int) -> None:
        rows = sorted(old, key=lambda entry: entry[2])
        self._todo = max(1, todo)
        self._last = FIRST - 1
        self._left = len(rows)
        self._names = [row[0] for row in rows]
        self._directions = bytearray(row[1] for row in rows)
        self._numbers = array("I", [row[2] for row in rows])
        self._ids = array("I", [row[3] for row in rows])
        self._contents = array("q", [row[4] for row in rows])
        self._gone = bytearray(len(rows))
        self._at: tuple[dict[Hashable, int], ...] = ({}, {}, {})
        self._heads = [0, 0, 0]
        for at, row in enumerate(rows):
            self._at[row[1]][row[0]] = at
        #: How many old policies the new SPD has begun with; -1 once something is placed.
        self._kept = 0

    def __contains__(self, name: tuple[Hashable, int]) -> bool:
        """Whether an old policy of this name and direction is still there."""
        at = self._at[name[1]].get(name[0])
        return at is not None and not self._gone[at]

    def keep(self, name: Hashable, directions: Sequence[int], contents: Sequence[int]) -> int:
        """Return the number of the next entry where it and all before it are there already.

        ``contents`` are those of its policies. Return 0 where it has to be placed.
        """
        first = self._kept
        if first < 0:
            return 0
        count = len(directions)
        for direction, content in zip(directions, contents, strict=True):
            at = self._at[direction].get(name, -1)
            if not first <= at < first + count or self._contents[at] != content or not content:
                return 0
        number = self._numbers[first]
        if number != self._numbers[first + count - 1] or number == self._last:
            return 0
        self._gone[first : first + count] = b"\1" * count
        self._kept += count
        self._left -= count
        self._last = number
        self._todo = max(1, self._todo - 1)
        return number

    def place(self, name: Hashable, directions: Sequence[int], priority: int = 0) -> int | None:
        """Return the number for the next entry, None where there is no room: see make_room().

        ``directions`` are those of the policies that the entry is made of, ``priority`` is the one
        as written: behind all old policies the number is near it. Old policies of that name count
        as replaced from now on.
        """
        self._kept = -1
        found = [self._at[direction].get(name, -1) for direction in directions]
        mine = [at for at in found if at >= 0 and not self._gone[at]]
        bound = self._bound(directions, mine)
        numbers = {self._numbers[at] for at in mine}
        number = numbers.pop() if len(numbers) == 1 else 0
        # Those that follow need a number each behind this one, and so does what is left.
        highest = LAST - (self._todo - 1) - (self._left - len(mine))
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

    def left(self) -> list[OldEntry]:
        """Return the old policies that nothing has replaced, the last one first."""
        return [
            OldEntry(
                self._names[at],
                self._directions[at],
                self._numbers[at],
                self._ids[at],
                self._contents[at],
            )
            for at in range(len(self._names) - 1, -1, -1)
            if not self._gone[at]
        ]
