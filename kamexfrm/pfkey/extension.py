"""What every extension is, and what makes one system's PF_KEY differ from another's.

An :class:`Extension` is a class with a C name that reads and writes its own body: what follows
``sadb_ext_len`` and ``sadb_ext_type``. The number is not part of an extension: the
:class:`Dialect` gives each class its number, since 25 alone has three meanings. The codec asks a
dialect and never the name of a system. The four that exist are in ``kamexfrm.pfkey.dialects``; a
fifth is another value.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import ClassVar, Self

from kamexfrm.pfkey.cursor import ByteOrder, Cursor
from kamexfrm.pfkey.layout import FieldError, Layout, check_bytes, fill

#: Size of ``struct sadb_ext``: length in words of 8 bytes, and type.
EXTENSION_HEAD = 4


class Extension(ABC):
    """One extension of a message; immutable, and valid from construction on."""

    __slots__ = ()
    NAME: ClassVar[str] = "sadb_ext"

    @classmethod
    @abstractmethod
    def read(cls, cursor: Cursor, dialect: "Dialect") -> Self:
        """Read the body, whose end is the cursor's; raises WireError."""

    @abstractmethod
    def body(self, dialect: "Dialect") -> bytes:
        """Return the body, padded; raises FieldError for what the dialect cannot express."""


@dataclass(frozen=True, slots=True, eq=False)
class Dialect:
    """One system's numbers and struct layouts.

    ``families`` gives kamexfrm's (Linux's) address family for the wire's; ``has_sa_len`` says
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


class FixedExtension(Extension):
    """An extension that is one C struct and nothing else."""

    __slots__ = ()
    LAYOUT: ClassVar[Layout]

    def __post_init__(self) -> None:
        self.LAYOUT.validate(self)

    @classmethod
    def read(cls, cursor: Cursor, dialect: Dialect) -> Self:
        """Read the struct; raises WireError when the extension is longer or shorter than it."""
        values = cls.LAYOUT.unpack(cursor)
        cursor.finish(cls.LAYOUT.name)
        return cls(**values)

    def body(self, dialect: Dialect) -> bytes:
        """Return the packed struct."""
        return self.LAYOUT.pack(self, dialect.byte_order)


@dataclass(frozen=True, slots=True, repr=False)
class UnknownExtension(Extension):
    """An extension whose number the dialect does not know, kept byte for byte.

    ``data`` is the body, filled up with zeros to whole words. Its repr does not show the bytes:
    they may be a key.
    """

    NAME: ClassVar[str] = "unknown"
    number: int
    data: bytes = b""

    def __post_init__(self) -> None:
        if not isinstance(self.number, int) or not 0 < self.number <= 0xFFFF:
            raise FieldError("an extension's number must be 1 to 65535")
        object.__setattr__(self, "data", fill(check_bytes(self.data, "an extension's body")))

    def __repr__(self) -> str:
        return f"UnknownExtension(number={self.number}, data=<{len(self.data)} bytes>)"

    @classmethod
    def read(cls, cursor: Cursor, dialect: Dialect) -> Self:
        """Never called: without its number an unknown extension cannot be read."""
        raise NotImplementedError

    def body(self, dialect: Dialect) -> bytes:
        """Return the body as it was."""
        return self.data
