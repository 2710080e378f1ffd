"""What every extension is: a class with a C name that reads and writes its own body.

A body is what follows ``sadb_ext_len`` and ``sadb_ext_type``. The number is not part of an
extension: it is the dialect that gives each class its number, since 25 alone has three meanings.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Self

from kamexfrm.pfkey.cursor import Cursor
from kamexfrm.pfkey.layout import FieldError, Layout, check_bytes, fill

if TYPE_CHECKING:
    from kamexfrm.pfkey.dialect import Dialect

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


class FixedExtension(Extension):
    """An extension that is one C struct and nothing else."""

    __slots__ = ()
    LAYOUT: ClassVar[Layout]

    def __post_init__(self) -> None:
        self.LAYOUT.validate(self)

    @classmethod
    def read(cls, cursor: Cursor, dialect: "Dialect") -> Self:
        """Read the struct; raises WireError when the extension is longer or shorter than it."""
        values = cls.LAYOUT.unpack(cursor)
        cursor.finish(cls.LAYOUT.name)
        return cls(**values)

    def body(self, dialect: "Dialect") -> bytes:
        """Return the packed struct."""
        return self.LAYOUT.pack(self, dialect.byte_order)


@dataclass(frozen=True, slots=True, repr=False)
class UnknownExtension(Extension):
    """An extension whose number the dialect does not know, kept byte for byte.

    ``data`` is the body, filled up with zeros to whole words. Its repr does not show the bytes:
    for all we know they are a key.
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
    def read(cls, cursor: Cursor, dialect: "Dialect") -> Self:
        """Never called: without its number an unknown extension cannot be read."""
        raise NotImplementedError

    def body(self, dialect: "Dialect") -> bytes:
        """Return the body as it was."""
        return self.data
