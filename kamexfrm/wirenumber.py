"""Numbers of a protocol by name, open to numbers without a name here.

Floor 0. A foreign number becomes a member ``UNKNOWN_n``, so that it crashes no decoder and is
written again as it was.
"""

from __future__ import annotations

from enum import IntEnum

TYPE_CHECKING = False  # typing takes long to load
if TYPE_CHECKING:
    from typing import Self


class WireNumber(IntEnum):
    """An IntEnum of unsigned 16-bit numbers; ``WireNumber(n)`` never fails in their range."""

    @classmethod
    def _missing_(cls, value: object) -> Self | None:
        if not isinstance(value, int) or not 0 <= value <= 0xFFFF:
            return None
        member = int.__new__(cls, value)
        member._name_ = f"UNKNOWN_{value}"
        member._value_ = value
        return member
