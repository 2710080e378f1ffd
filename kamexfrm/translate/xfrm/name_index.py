"""Hashes of policies' names in few bytes each: where each is in a column, and a set of them."""

from array import array
from collections.abc import Iterable, Sequence


class NameIndex:
    """Finds names, which are 64-bit hashes; two policies may share one in different directions.

    It takes 6 to 12 bytes for each, where a dictionary takes 100. The lowest bits of a name are
    where it is looked for first: it is hashed with a secret key, so nobody can make many collide.
    """

    def __init__(self, names: Sequence[int]) -> None:
        self._names = names
        self._mask = mask = (1 << (len(names) * 3 // 2).bit_length()) - 1
        #: Places in the column, from 1.
        self._slots = slots = array("I", (0,)) * (mask + 1)
        for at, name in enumerate(names, 1):
            slot = name & mask
            while slots[slot]:
                slot = slot + 1 & mask
            slots[slot] = at

    def find(self, name: int, direction: int, directions: Sequence[int]) -> int:
        """Return the place of a name that has a direction in a column of these, or -1."""
        names, slots, mask = self._names, self._slots, self._mask
        slot = name & mask
        while at := slots[slot]:
            if names[at - 1] == name and directions[at - 1] == direction:
                return at - 1
            slot = slot + 1 & mask
        return -1


class NameSet:
    """A set of about so many names: 11 to 21 bytes each, where a Python set takes 90."""

    def __init__(self, most: int) -> None:
        self._size = 1 << (most * 4 // 3 + 1).bit_length()
        self._count = 0
        self._slots: array[int] | None = None

    def add_new(self, names: Iterable[int]) -> bool:
        """Add names, which differ, unless one is there: return whether none was."""
        found = [name or 1 for name in names]
        slots = self._table(len(found))
        if any(slots[_slot(slots, name)] for name in found):
            return False
        for name in found:
            slots[_slot(slots, name)] = name
        self._count += len(found)
        return True

    def clear(self) -> None:
        """Take all names away."""
        self._slots, self._count = None, 0

    def _table(self, more: int) -> "array[int]":
        """Return the table, with room for more names."""
        slots = self._slots
        while (self._count + more) * 4 > self._size * 3:
            self._size *= 2
        if slots is None or len(slots) < self._size:
            self._slots = array("q", (0,)) * self._size
            for name in slots or ():
                if name:
                    self._slots[_slot(self._slots, name)] = name
        assert self._slots is not None  # noqa: S101
        return self._slots


def _slot(slots: "array[int]", name: int) -> int:
    """Return where a name is, or where it would be."""
    mask = len(slots) - 1
    slot = name & mask
    while (there := slots[slot]) and there != name:
        slot = slot + 1 & mask
    return slot
