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
one replaces it, and keeps its number where that is in order already.
"""

from collections.abc import Hashable, Iterable, Sequence
from typing import NamedTuple

from kamexfrm.translate.xfrm.order import FIRST, GAP, LAST, after_last


class OldEntry(NamedTuple):
    """A policy that is to go, or to be replaced: its name, kernel direction and priority."""

    name: Hashable
    direction: int
    number: int


class Move(NamedTuple):
    """An old policy gets another kernel priority, to make room."""

    name: Hashable
    direction: int
    number: int


class Replacement:
    """Places the entries of a new SPD ahead of what is left of the old one.

    ``old`` are the policies that are there, in any order. ``todo`` is how many entries are going to
    be placed, which decides how much room each one takes.
    """

    def __init__(self, old: Iterable[OldEntry], todo: int) -> None:
        self._old = sorted(old, key=lambda entry: entry.number)
        self._todo = max(1, todo)
        self._last = FIRST - 1
        self._at = {(entry.name, entry.direction): at for at, entry in enumerate(self._old)}
        directions = {entry.direction for entry in self._old}
        self._queues = {
            direction: [at for at, e in enumerate(self._old) if e.direction == direction][::-1]
            for direction in directions
        }
        self._gone = bytearray(len(self._old))
        self._left = len(self._old)

    @property
    def last(self) -> int:
        """The kernel priority of the entry that was placed last, 0 before the first one."""
        return self._last

    def __contains__(self, name: tuple[Hashable, int]) -> bool:
        """Whether an old policy of this name and direction is still there."""
        at = self._at.get(name)
        return at is not None and not self._gone[at]

    def place(self, name: Hashable, directions: Sequence[int], priority: int = 0) -> int | None:
        """Return the number for the next entry, None where there is no room: see make_room().

        ``directions`` are those of the policies that the entry is made of, ``priority`` is the one
        as written: behind all old policies the number is near it. Old policies of that name count
        as replaced from now on.
        """
        mine = [self._at[name, d] for d in directions if (name, d) in self]
        bound = self._bound(directions, mine)
        numbers = {self._old[at].number for at in mine}
        number = numbers.pop() if len(numbers) == 1 else 0
        # Those that follow need a number each behind this one, and so does what is left.
        highest = LAST - (self._todo - 1) - (self._left - len(mine))
        if bound > LAST and not number:
            number = after_last(priority, self._last) or 0
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
            queue = self._queues.get(direction, [])
            while queue and self._gone[queue[-1]]:
                queue.pop()
            for at in reversed(queue):
                if not self._gone[at] and at not in mine:
                    bound = min(bound, self._old[at].number)
                    break
        return bound

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
            if self._old[at].number != previous:
                number += step
            previous = self._old[at].number
            moves.append((at, number))
        up = [move for move in moves if move[1] > self._old[move[0]].number]
        down = [move for move in moves if move[1] < self._old[move[0]].number]
        result = [
            Move(self._old[at].name, self._old[at].direction, new) for at, new in (*up[::-1], *down)
        ]
        for at, new in moves:
            self._old[at] = self._old[at]._replace(number=new)
        return result

    def left(self) -> list[OldEntry]:
        """Return the old policies that nothing has replaced, the last one first."""
        return [entry for entry, gone in zip(self._old, self._gone, strict=True) if not gone][::-1]
