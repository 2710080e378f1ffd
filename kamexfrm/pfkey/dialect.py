"""What makes one system's PF_KEY differ from another's, as one immutable value.

The codec asks a :class:`Dialect` and never the name of a system. The four that exist are in
``kamexfrm.pfkey.dialects``; a fifth is another value.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType

from kamexfrm.pfkey.cursor import ByteOrder
from kamexfrm.pfkey.extension import Extension
from kamexfrm.pfkey.layout import FieldError, Layout


@dataclass(frozen=True, slots=True, eq=False)
class Dialect:
    """One system's numbers and struct layouts.

    ``families`` gives kamexfrm's (Linux's) address family for the wire's; ``has_sa_len`` tells
    whether a sockaddr begins with its length in one byte (BSD) or with a 16-bit family (Linux);
    ``ipsecrequest`` is the layout of ``struct sadb_x_ipsecrequest``; ``policy_members`` are the C
    names of the members of ``struct sadb_x_policy``, in order.
    """

    name: str
    byte_order: ByteOrder
    has_sa_len: bool
    families: Mapping[int, int]
    ipsecrequest: Layout
    policy_members: tuple[str, ...]
    message_types: Mapping[int, str]
    extensions: Mapping[int, type[Extension]]
    _numbers: Mapping[type[Extension], int] = field(init=False, repr=False)
    _wire_families: Mapping[int, int] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        for name in ("families", "message_types", "extensions"):
            object.__setattr__(self, name, MappingProxyType(dict(getattr(self, name))))
        numbers = {kind: number for number, kind in self.extensions.items()}
        object.__setattr__(self, "_numbers", MappingProxyType(numbers))
        wire = {family: number for number, family in self.families.items()}
        object.__setattr__(self, "_wire_families", MappingProxyType(wire))

    def with_byte_order(self, byte_order: ByteOrder) -> "Dialect":
        """Return the same dialect as spoken by a machine of the given byte order."""
        return self if byte_order == self.byte_order else replace(self, byte_order=byte_order)

    def number_of(self, kind: type[Extension]) -> int:
        """Return an extension's number; raises FieldError if the dialect does not have it."""
        number = self._numbers.get(kind)
        if number is None:
            raise FieldError(f"{self.name} has no extension {kind.NAME}")
        return number

    def extension_name(self, number: int) -> str:
        """Return the C name of an extension number, or ``UNKNOWN_n``."""
        kind = self.extensions.get(number)
        return f"UNKNOWN_{number}" if kind is None else kind.NAME

    def message_name(self, number: int) -> str:
        """Return the C name of a message type, or ``UNKNOWN_n``."""
        return self.message_types.get(number, f"UNKNOWN_{number}")

    def wire_family(self, family: int) -> int:
        """Return the wire's number for kamexfrm's; raises FieldError if it has none."""
        number = self._wire_families.get(family)
        if number is None:
            raise FieldError(f"{self.name} has no number for address family {family}")
        return number
