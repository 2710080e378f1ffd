"""Kernel priorities for new entries, so that the SPD is matched in KAME's order."""

from __future__ import annotations

import errno

from kamexfrm.errors import KamexfrmError
from kamexfrm.translate.xfrm.marker import Marker
from kamexfrm.translate.xfrm.order import GAP, LAST, Order, Position, after_last
from kamexfrm.translate.xfrm.tag import ORDER_MAX

TYPE_CHECKING = False
if TYPE_CHECKING:
    from array import array
    from collections.abc import Callable, Sequence


class PriorityAllocator:
    """Gives out kernel priorities and insertion numbers.

    A new last entry needs nothing but the marker's counters; the order of all entries is read only
    for one that goes between others. ``read`` reads it from the kernel, ``renumber`` gives all
    entries new numbers when two neighbours leave no room.
    """

    def __init__(
        self,
        marker: Marker,
        order: Order | None,
        read: Callable[[], Order],
        renumber: Callable[[Order], None],
    ) -> None:
        self.order = order
        self._read = read
        self._renumber = renumber
        self._newest = marker.order
        self._last_priority = marker.last_priority
        self._last_number = marker.last_kernel_priority

    def with_counters(self, marker: Marker) -> Marker:
        """Return a marker with the counters as they are now."""
        return marker._replace(
            order=self._newest,
            last_priority=self._last_priority,
            last_kernel_priority=self._last_number,
        )

    def recover(self) -> None:
        """Read the counters from the entries: the marker is lost or wrong."""
        self.order = order = self._read()
        self._newest = order.newest()
        self._set_last(order)

    def reset(self) -> None:
        """Start again: there are no entries."""
        self.order = None
        self._newest = self._last_priority = self._last_number = 0

    def place(self, priority: int) -> tuple[int, int]:
        """Return a new entry's kernel priority and insertion number.

        Raises KamexfrmError (ENOSPC) when all numbers are taken.
        """
        newest = self._newest + 1
        if newest > ORDER_MAX:  # a forged marker
            self.recover()
            newest = self._newest + 1
            if newest > ORDER_MAX:
                raise KamexfrmError("no insertion number is left", errno=errno.ENOSPC)
        number = None
        if priority >= self._last_priority:
            number = after_last(priority, self._last_number)
        if number is None:
            number = self._between(priority, newest)
        else:
            if self.order is not None:
                self.order.add(Position(priority, newest, number))
            self._last_priority, self._last_number = priority, number
        self._newest = newest
        return number, newest

    def place_run(self, priorities: Sequence[int]) -> tuple[array[int], array[int]] | None:
        """Return the kernel priorities and insertion numbers of entries in a row.

        They are those that place() would give one by one. None, and nothing is given out, where
        the order of all entries has to be known for them or to be changed.
        """
        from array import array

        first = self._newest + 1
        count = len(priorities)
        numbers = self._numbers(priorities)
        if numbers is None or self._newest + count > ORDER_MAX:
            return None
        orders = array("Q", range(first, first + count))
        if self.order is not None:
            for position in zip(priorities, orders, numbers, strict=True):
                self.order.add(Position(*position))
        self._last_priority, self._last_number = priorities[-1], numbers[-1]
        self._newest += count
        return numbers, orders

    def _numbers(self, priorities: Sequence[int]) -> array[int] | None:
        """Return the kernel priorities of entries that all go to the end, else None."""
        from array import array

        last_priority, last = self._last_priority, self._last_number
        first = priorities[0]
        if priorities.count(first) == len(priorities):
            number = after_last(first, last) if first >= last_priority else None
            if number is None or number + (len(priorities) - 1) * GAP > LAST:
                return None
            return array("I", range(number, number + len(priorities) * GAP, GAP))
        numbers = array("I")
        for priority in priorities:
            found = after_last(priority, last) if priority >= last_priority else None
            if found is None:
                return None
            numbers.append(found)
            last_priority, last = priority, found
        return numbers

    def next_order(self) -> int:
        """Return an insertion number for an entry whose kernel priority a load has chosen.

        Raises KamexfrmError (ENOSPC) when all numbers are taken.
        """
        if self._newest >= ORDER_MAX:
            raise KamexfrmError("no insertion number is left", errno=errno.ENOSPC)
        self._newest += 1
        self.order = None
        return self._newest

    def reserve(self, newest: int, priority: int, number: int) -> None:
        """Count numbers as given out that a difference has chosen for its entries."""
        self.order = None
        self._newest = max(self._newest, newest)
        if number > self._last_number:
            self._last_priority, self._last_number = priority, number

    def set_last(self, priority: int, number: int) -> None:
        """Set which entry is matched last: a load has replaced all."""
        self.order = None
        self._last_priority, self._last_number = priority, number

    def _between(self, priority: int, newest: int) -> int:
        if self.order is None:
            self.order = self._read()
        number = self.order.place(priority, newest)
        if number is None:
            self._renumber(self.order)
            number = self.order.place(priority, newest)
            if number is None:
                raise KamexfrmError("no kernel priority is left", errno=errno.ENOSPC)
        self._set_last(self.order)
        return number

    def resolve_ties(self) -> bool:
        """Renumber all entries if two have the same kernel priority; return whether so."""
        self.recover()
        assert self.order is not None  # noqa: S101  (just read)
        if not self.order.has_ties():
            return False
        self._renumber(self.order)
        self._set_last(self.order)
        return True

    def _set_last(self, order: Order) -> None:
        last = order.last()
        self._last_priority = last.priority if last else 0
        self._last_number = last.kernel_priority if last else 0
