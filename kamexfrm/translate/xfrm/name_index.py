"""Where policies are in a column of the hashes of their names: a hash table of few bytes each."""

from array import array
from collections.abc import Sequence


class NameIndex:
    """Finds names, which are 64-bit hashes; two policies may share one in different directions.

    It takes 6 to 12 bytes for each, where a dictionary takes 100. The lowest bits of a name are
    where it is looked for first: it is hashed with a secret key, so nobody can make many collide.
    """

    def __init__(self, names: Sequence[int]) -> None:
        self._names = names
        self._mask = mask = (1 << (len(names) * 3 // 2).bit_length()) - 1
        #: Places in the column, from 1.
        self._slots = slots = array("I", bytes(4 * (mask + 1)))
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
