"""First match: which kernel priority an entry gets among those that exist.

Entries are matched by the priority as written (lower first), then by insertion, oldest first. The
kernel sorts by one 32-bit number, and equal ones are not first-match on every kernel (6.1 lets a
prefix pass before an exact host), so each entry gets its own. Numbers stay near the priority as
written: what `ip xfrm policy` shows is about what AF_KEY would have chosen.
"""

from bisect import bisect_right
from itertools import pairwise

from kamexfrm.records import NamedTuple
from kamexfrm.translate.xfrm.tag import CATCH_ALL_PRIORITY

#: Gap after the last entry: 524,288 entries of one priority fit.
GAP = 0x1000

#: Gap between entries of one priority that get new numbers: none is ever put between them.
STEP = 0x10

#: The share of the gap between two priorities that the next entry of the lower one takes.
SHARE = 1024

#: The lowest number an entry gets: 0 in the marker means that there is no entry.
FIRST = 1

#: The highest number an entry gets; the one above it is def_policy's.
LAST = CATCH_ALL_PRIORITY - 1


class Position(NamedTuple):
    """An entry's place in the order of matching; tuples compare as entries are matched."""

    priority: int
    order: int
    kernel_priority: int


def after_last(priority: int, last_kernel_priority: int) -> int | None:
    """Return a number after the last entry's; None when there is no room."""
    if not last_kernel_priority:
        return max(FIRST, min(priority, LAST))
    # Near the highest number a written priority leaves no room after it: then one gap.
    number = max(priority, last_kernel_priority + GAP)
    if number > LAST:
        number = last_kernel_priority + GAP
    return number if number <= LAST else None


def between(priority: int, before: Position | None, after: int) -> int | None:
    """Return a number between two neighbours (None: no entry before); None without room.

    An entry goes after all of its priority: close to the last of them, which leaves room for those
    that follow. Where the one before has another priority, it gets its own number or the middle.
    """
    low = FIRST if before is None else before.kernel_priority + 1
    if low >= after:
        return None
    if before is not None and before.priority == priority:
        return low - 1 + max(1, min(GAP, (after - low) // SHARE))
    if low <= priority < after:
        return priority
    return low + (after - low) // 2


class Order:
    """The entries of a namespace in matching order, for inserts that are not at the end."""

    def __init__(self, positions: list[Position]) -> None:
        self._positions = sorted(positions)

    def __len__(self) -> int:
        return len(self._positions)

    def place(self, priority: int, order: int) -> int | None:
        """Return a number for a new entry and add it; None when its neighbours leave no room."""
        positions = self._positions
        at = bisect_right(positions, (priority, order, LAST + 1))
        before = positions[at - 1] if at else None
        if at == len(positions):
            number = after_last(priority, before.kernel_priority if before else 0)
        else:
            number = between(priority, before, positions[at].kernel_priority)
        if number is not None:
            positions.insert(at, Position(priority, order, number))
        return number

    def add(self, position: Position) -> None:
        """Add an entry that already has its number."""
        at = bisect_right(self._positions, position)
        self._positions.insert(at, position)

    def last(self) -> Position | None:
        """Return the entry that is matched last."""
        return self._positions[-1] if self._positions else None

    def newest(self) -> int:
        """Return the highest insertion order of all, 0 when there is none."""
        return max((position.order for position in self._positions), default=0)

    def has_ties(self) -> bool:
        """Whether two entries have the same kernel priority, or one that is against the order."""
        numbers = [position.kernel_priority for position in self._positions]
        return any(a >= b for a, b in pairwise(numbers))

    def renumber(self) -> list[tuple[Position, int]]:
        """Give all entries new numbers; return the moves in a safe sequence.

        The gaps are where entries are added, after each priority. Applied one by one, no two
        entries ever change places: first those that move up, from the last one down, then those
        that move down, from the first one up.
        """
        numbers = self._spread_numbers()
        moves = [
            (position, number)
            for position, number in zip(self._positions, numbers, strict=True)
            if position.kernel_priority != number
        ]
        self._positions = [
            position._replace(kernel_priority=number)
            for position, number in zip(self._positions, numbers, strict=True)
        ]
        up = [move for move in moves if move[1] > move[0].kernel_priority]
        down = [move for move in moves if move[1] < move[0].kernel_priority]
        return up[::-1] + down

    def _spread_numbers(self) -> list[int]:
        """Return numbers for all entries, with the largest possible gap after each priority."""
        positions = self._positions
        step = max(1, min(STEP, LAST // (len(positions) + 1)))
        priorities = len({position.priority for position in positions})
        room = max(0, LAST - step * len(positions)) // (priorities + 1)
        number, numbers = 0, []
        last: int | None = None
        for position in positions:
            number += step if position.priority == last else step + room
            last = position.priority
            numbers.append(number)
        return numbers
