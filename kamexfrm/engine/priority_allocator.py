"""Where a new entry goes among those that are there, remembered from one flush to the next."""

import errno
from collections.abc import Callable

from kamexfrm.errors import KamexfrmError
from kamexfrm.translate.xfrm.marker import Marker
from kamexfrm.translate.xfrm.order import Order, Position, after_last
from kamexfrm.translate.xfrm.tag import ORDER_MAX


class PriorityAllocator:
    """Gives out kernel priorities and insertion numbers.

    An entry that goes behind the last one needs nothing but the marker's counters; the order of
    all the entries is read only when one goes between them. ``read`` reads it from the kernel,
    ``renumber`` gives all entries new numbers when two neighbours leave no room.
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

    def note(self, marker: Marker) -> Marker:
        """Return a marker with the counters as they are now."""
        return marker._replace(
            order=self._newest,
            last_priority=self._last_priority,
            last_kernel_priority=self._last_number,
        )

    def recover(self) -> None:
        """Read the counters from the entries: the marker is lost."""
        self.order = order = self._read()
        self._newest = order.newest()
        self._note_last(order)

    def forget(self) -> None:
        """Begin again: there are no entries."""
        self.order = None
        self._newest = self._last_priority = self._last_number = 0

    def place(self, priority: int) -> tuple[int, int]:
        """Return a new entry's kernel priority and insertion number.

        Raises KamexfrmError (ENOSPC) when all numbers are taken.
        """
        newest = self._newest + 1
        if newest > ORDER_MAX:  # somebody forged the marker
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

    def _between(self, priority: int, newest: int) -> int:
        if self.order is None:
            self.order = self._read()
        number = self.order.place(priority, newest)
        if number is None:
            self._renumber(self.order)
            number = self.order.place(priority, newest)
            if number is None:
                raise KamexfrmError("no kernel priority is left", errno=errno.ENOSPC)
        self._note_last(self.order)
        return number

    def resolve_ties(self) -> bool:
        """Give entries numbers of their own again if some have the same; return whether so."""
        self.recover()
        assert self.order is not None  # noqa: S101  (just read)
        if not self.order.has_ties():
            return False
        self._renumber(self.order)
        self._note_last(self.order)
        return True

    def _note_last(self, order: Order) -> None:
        last = order.last()
        self._last_priority = last.priority if last else 0
        self._last_number = last.kernel_priority if last else 0
