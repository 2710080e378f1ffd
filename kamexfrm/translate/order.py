"""First match: which kernel priority an entry gets among those that are there.

Entries are matched by the priority as written (lower first), then by insertion, oldest first. The
kernel sorts by one 32-bit number, and equal ones are not first-match on every kernel (6.1 lets a
prefix pass before an exact host), so each entry gets its own. Numbers stay near the priority as
written: what `ip xfrm policy` shows is about what AF_KEY would have chosen.
"""

from bisect import bisect_right
from itertools import pairwise
from typing import NamedTuple

from kamexfrm.translate.tag import CATCH_ALL_PRIORITY

#: Room left between two neighbours: 524,288 entries of one priority, 12 halvings between two.
GAP = 0x1000

#: The lowest number an entry gets: 0 says in the marker that there is no entry.
FIRST = 1

#: The highest number an entry gets; the one above it is def_policy's.
LAST = CATCH_ALL_PRIORITY - 1


class Position(NamedTuple):
    """An entry's place in the order of matching; tuples compare as entries are matched."""

    priority: int
    order: int
    kernel_priority: int


def after_last(priority: int, last_kernel_priority: int) -> int | None:
    """Return a number behind the last entry's; None when there is no room."""
    if not last_kernel_priority:
        return max(FIRST, min(priority, LAST))
    # Near the end of the numbers a written priority leaves no room behind it: then a plain step.
    number = max(priority, last_kernel_priority + GAP)
    if number > LAST:
        number = last_kernel_priority + GAP
    return number if number <= LAST else None


def between(priority: int, before: int | None, behind: int) -> int | None:
    """Return a number between two neighbours (None: no entry before); None without room."""
    low = FIRST if before is None else before + 1
    if low >= behind:
        return None
    wished = priority if before is None else max(priority, before + GAP)
    if low <= wished < behind:
        return wished
    stepped = low if before is None else before + GAP
    if before is not None and stepped < behind:
        return stepped
    return low + (behind - low) // 2 if behind - low > 1 else low


class Order:
    """The entries of a namespace in matching order, for inserts that are not at the end."""

    def __init__(self, positions: list[Position]) -> None:
        self._positions = sorted(positions)

    def __len__(self) -> int:
        return len(self._positions)

    def place(self, priority: int, order: int) -> int | None:
        """Return a number for a new entry and remember it; None when its neighbours touch."""
        positions = self._positions
        at = bisect_right(positions, (priority, order, LAST + 1))
        before = positions[at - 1].kernel_priority if at else None
        if at == len(positions):
            number = after_last(priority, before or 0)
        else:
            number = between(priority, before, positions[at].kernel_priority)
        if number is not None:
            positions.insert(at, Position(priority, order, number))
        return number

    def add(self, position: Position) -> None:
        """Remember an entry that got its number without being looked for here."""
        at = bisect_right(self._positions, position)
        self._positions.insert(at, position)

    def last(self) -> Position | None:
        """Return the entry that is matched last."""
        return self._positions[-1] if self._positions else None

    def newest(self) -> int:
        """Return the highest insertion order of all, 0 when there is none."""
        return max((position.order for position in self._positions), default=0)

    def has_ties(self) -> bool:
        """Whether two entries have one kernel priority, or stand against the order."""
        numbers = [position.kernel_priority for position in self._positions]
        return any(a >= b for a, b in pairwise(numbers))

    def spread(self) -> list[tuple[Position, int]]:
        """Give all entries new numbers, evenly spaced; return the moves in a safe sequence.

        Applied one by one, no two entries ever change places: entries that move up go first from
        the last one down, then those that move down from the first one up.
        """
        count = len(self._positions)
        step = min(GAP, LAST // (count + 1))
        first = max(step, min(0x80000000, LAST - step * (count + 1)))
        moves = [
            (position, first + step * at)
            for at, position in enumerate(self._positions)
            if position.kernel_priority != first + step * at
        ]
        self._positions = [
            position._replace(kernel_priority=first + step * at)
            for at, position in enumerate(self._positions)
        ]
        up = [move for move in moves if move[1] > move[0].kernel_priority]
        down = [move for move in moves if move[1] < move[0].kernel_priority]
        return up[::-1] + down
