"""Extensions of names and labels: identities, sensitivity, security contexts.

Sources: RFC 2367 sections 2.3.5 and 2.3.6; KAME net/pfkeyv2.h (sadb_x_kmprivate); Linux
linux/pfkeyv2.h (sadb_x_sec_ctx).
"""

from dataclasses import dataclass, field
from typing import ClassVar, Self

from kamexfrm.errors import WireError
from kamexfrm.pfkey.constants import SadbIdenttype
from kamexfrm.pfkey.cursor import Cursor
from kamexfrm.pfkey.extension import EXTENSION_HEAD, Dialect, Extension
from kamexfrm.pfkey.layout import (
    WORD,
    FieldError,
    Layout,
    check_bytes,
    checked_padding,
    fill,
    u8,
    u16,
    u32,
    u64,
)

_IDENT = Layout("sadb_ident", 16, u16("type", SadbIdenttype), u16("reserved"), u64("id"))


@dataclass(frozen=True, slots=True)
class Identity(Extension):
    """An identity; ``data`` is its text with a zero byte at its end, filled up to whole words."""

    type: SadbIdenttype
    data: bytes = b""
    id: int = 0
    reserved: int = 0

    def __post_init__(self) -> None:
        _IDENT.validate(self)
        object.__setattr__(self, "data", fill(check_bytes(self.data, "an identity"), 0))

    @property
    def text(self) -> str:
        """The identity up to its first zero byte; bytes that are not UTF-8 become surrogates."""
        return self.data.partition(b"\0")[0].decode("utf-8", "surrogateescape")

    @classmethod
    def named(cls, kind: SadbIdenttype, text: str) -> Self:
        """Return the identity for a text, with the zero byte the kernel wants."""
        return cls(kind, text.encode("utf-8", "surrogateescape") + b"\0")

    @classmethod
    def read(cls, cursor: Cursor, dialect: Dialect) -> Self:
        """Read the head; all that follows is the identity."""
        values = _IDENT.unpack(cursor)
        return cls(data=cursor.rest(), **values)

    def body(self, dialect: Dialect) -> bytes:
        """Return head and identity."""
        return _IDENT.pack(self, dialect.byte_order) + self.data


class IdentitySrc(Identity):
    """SADB_EXT_IDENTITY_SRC: who the source is."""

    __slots__ = ()
    NAME = "SADB_EXT_IDENTITY_SRC"


class IdentityDst(Identity):
    """SADB_EXT_IDENTITY_DST: who the destination is."""

    __slots__ = ()
    NAME = "SADB_EXT_IDENTITY_DST"


_SENS = Layout(
    "sadb_sens",
    16,
    u32("dpd"),
    u8("sens_level"),
    u8("sens_len"),
    u8("integ_level"),
    u8("integ_len"),
    u32("reserved"),
)


@dataclass(frozen=True, slots=True)
class Sensitivity(Extension):
    """SADB_EXT_SENSITIVITY: two levels and two bitmaps, each a tuple of 64-bit words."""

    NAME: ClassVar[str] = "SADB_EXT_SENSITIVITY"
    dpd: int
    sens_level: int = 0
    sens_bitmap: tuple[int, ...] = ()
    integ_level: int = 0
    integ_bitmap: tuple[int, ...] = ()
    reserved: int = 0

    def __post_init__(self) -> None:
        for name in ("sens_bitmap", "integ_bitmap"):
            words = tuple(getattr(self, name))
            if len(words) > 0xFF or not all(
                isinstance(word, int) and 0 <= word < 1 << 64 for word in words
            ):
                raise FieldError(f"{name} must be at most 255 words of 64 bits")
            object.__setattr__(self, name, words)
        _SENS.pack_values(self._head(), "big")

    def _head(self) -> dict[str, int]:
        """Return the struct's members, the lengths of the bitmaps among them."""
        return {
            "dpd": self.dpd,
            "sens_level": self.sens_level,
            "sens_len": len(self.sens_bitmap),
            "integ_level": self.integ_level,
            "integ_len": len(self.integ_bitmap),
            "reserved": self.reserved,
        }

    @classmethod
    def read(cls, cursor: Cursor, dialect: Dialect) -> Self:
        """Read levels and bitmaps; raises WireError when the lengths do not add up."""
        values = _SENS.unpack(cursor)
        for name in ("sens", "integ"):
            count = values.pop(f"{name}_len")
            raw = cursor.raw(count * WORD, f"{name}_bitmap")
            values[f"{name}_bitmap"] = tuple(
                int.from_bytes(raw[at : at + WORD], dialect.byte_order)
                for at in range(0, len(raw), WORD)
            )
        cursor.finish("sadb_sens")
        return cls(**values)

    def body(self, dialect: Dialect) -> bytes:
        """Return levels and bitmaps."""
        words = self.sens_bitmap + self.integ_bitmap
        return _SENS.pack_values(self._head(), dialect.byte_order) + b"".join(
            word.to_bytes(WORD, dialect.byte_order) for word in words
        )


_SEC_CTX = Layout("sadb_x_sec_ctx", 8, u8("alg"), u8("doi"), u16("len"))


@dataclass(frozen=True, slots=True)
class SecCtx(Extension):
    """SADB_X_EXT_SEC_CTX (Linux): a security module's context, SELinux having ``alg`` 1."""

    NAME: ClassVar[str] = "SADB_X_EXT_SEC_CTX"
    alg: int
    doi: int
    context: bytes = b""
    padding: bytes = b""

    def __post_init__(self) -> None:
        length = _SEC_CTX.size + len(check_bytes(self.context, "a security context"))
        _SEC_CTX.pack_values(self._head(), "big")
        padding = checked_padding(self.padding, length, self.NAME)
        object.__setattr__(self, "padding", padding)

    def _head(self) -> dict[str, int]:
        """Return the struct's members, the context's length among them."""
        return {"alg": self.alg, "doi": self.doi, "len": len(self.context)}

    @classmethod
    def read(cls, cursor: Cursor, dialect: Dialect) -> Self:
        """Read the context; raises WireError when its length is not the extension's."""
        values = _SEC_CTX.unpack(cursor)
        context = cursor.raw(values["len"], "a security context")
        if cursor.remaining >= WORD:
            raise WireError(f"{cursor.remaining} bytes after a security context", cursor.offset)
        return cls(values["alg"], values["doi"], context, cursor.rest())

    def body(self, dialect: Dialect) -> bytes:
        """Return head, context and padding."""
        head = _SEC_CTX.pack_values(self._head(), dialect.byte_order)
        return fill(head + self.context + self.padding, EXTENSION_HEAD)


_KMPRIVATE = Layout("sadb_x_kmprivate", 8, u32("reserved"))


@dataclass(frozen=True, slots=True)
class KmPrivate(Extension):
    """SADB_X_EXT_KMPRIVATE: a key manager's own data, filled up to whole words, never shown."""

    NAME: ClassVar[str] = "SADB_X_EXT_KMPRIVATE"
    reserved: int = 0
    data: bytes = field(default=b"", repr=False)

    def __post_init__(self) -> None:
        _KMPRIVATE.validate(self)
        object.__setattr__(self, "data", fill(check_bytes(self.data, self.NAME), 0))

    @classmethod
    def read(cls, cursor: Cursor, dialect: Dialect) -> Self:
        """Read the head; all that follows is private."""
        values = _KMPRIVATE.unpack(cursor)
        return cls(values["reserved"], cursor.rest())

    def body(self, dialect: Dialect) -> bytes:
        """Return head and data."""
        return _KMPRIVATE.pack(self, dialect.byte_order) + self.data
