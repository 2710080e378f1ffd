"""One reader that knows where it is, so that nothing is ever read past the end.

Everything the codec reads passes through a :class:`Cursor`. What does not fit raises
:class:`kamexfrm.errors.WireError` with the offset, counted in bytes from the start of the buffer
that was given to the decoder, whatever part of it the cursor is confined to.
"""

import struct
from typing import Literal

from kamexfrm.errors import WireError

ByteOrder = Literal["little", "big"]


class Cursor:
    """A position in a buffer, with an end that it never passes."""

    __slots__ = ("_data", "_end", "byte_order", "offset")

    def __init__(
        self, data: bytes, byte_order: ByteOrder, offset: int = 0, end: int | None = None
    ) -> None:
        self._data = data
        self._end = len(data) if end is None else end
        self.offset = offset
        self.byte_order: ByteOrder = byte_order

    @property
    def remaining(self) -> int:
        """How many bytes are left before the end."""
        return self._end - self.offset

    def _advance(self, count: int, what: str) -> int:
        """Move by ``count`` bytes and return where they began; raises WireError when too few."""
        start = self.offset
        if count > self._end - start:
            raise WireError(f"{what} needs {count} bytes, {self._end - start} are left", start)
        self.offset = start + count
        return start

    def unpack(self, layout: struct.Struct, what: str) -> tuple[int | bytes, ...]:
        """Read one C struct; raises WireError when it does not fit."""
        return layout.unpack_from(self._data, self._advance(layout.size, what))

    def u16(self, what: str) -> int:
        """Read a 16-bit number in the buffer's byte order."""
        start = self._advance(2, what)
        return int.from_bytes(self._data[start : start + 2], self.byte_order)

    def raw(self, count: int, what: str) -> bytes:
        """Read ``count`` bytes as they are."""
        start = self._advance(count, what)
        return self._data[start : start + count]

    def rest(self) -> bytes:
        """Read everything up to the end."""
        start, self.offset = self.offset, self._end
        return self._data[start : self._end]

    def peek(self) -> bytes:
        """Return everything up to the end without moving."""
        return self._data[self.offset : self._end]

    def take(self, count: int, what: str) -> "Cursor":
        """Return a cursor confined to the next ``count`` bytes and move past them."""
        start = self._advance(count, what)
        return Cursor(self._data, self.byte_order, start, start + count)

    def finish(self, what: str) -> None:
        """Raise WireError if anything is left, at the first byte that is too many."""
        if self.remaining:
            raise WireError(f"{what} is followed by {self.remaining} bytes too many", self.offset)
