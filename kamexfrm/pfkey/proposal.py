"""Extensions that are lists: what a kernel proposes, and what it supports.

Sources: RFC 2367 sections 2.3.7 and 2.3.8.
"""

from dataclasses import dataclass
from typing import ClassVar, Self

from kamexfrm.pfkey.cursor import Cursor
from kamexfrm.pfkey.extension import Dialect, Extension
from kamexfrm.pfkey.layout import FieldError, Layout, array, u8, u16, u32, u64


@dataclass(frozen=True, slots=True)
class Comb:
    """One combination of algorithms that the kernel would accept, with key sizes in bits.

    Lifetimes as in ``Lifetime``: packets or connections, bytes, seconds, seconds.
    """

    LAYOUT: ClassVar[Layout] = Layout(
        "sadb_comb",
        72,
        u8("auth"),
        u8("encrypt"),
        u16("flags"),
        u16("auth_minbits"),
        u16("auth_maxbits"),
        u16("encrypt_minbits"),
        u16("encrypt_maxbits"),
        u32("reserved"),
        u32("soft_allocations"),
        u32("hard_allocations"),
        u64("soft_bytes"),
        u64("hard_bytes"),
        u64("soft_addtime"),
        u64("hard_addtime"),
        u64("soft_usetime"),
        u64("hard_usetime"),
        head=0,
    )
    auth: int = 0
    encrypt: int = 0
    flags: int = 0
    auth_minbits: int = 0
    auth_maxbits: int = 0
    encrypt_minbits: int = 0
    encrypt_maxbits: int = 0
    reserved: int = 0
    soft_allocations: int = 0
    hard_allocations: int = 0
    soft_bytes: int = 0
    hard_bytes: int = 0
    soft_addtime: int = 0
    hard_addtime: int = 0
    soft_usetime: int = 0
    hard_usetime: int = 0

    def __post_init__(self) -> None:
        self.LAYOUT.validate(self)


_PROP = Layout("sadb_prop", 8, u8("replay"), array("reserved", 3))


@dataclass(frozen=True, slots=True)
class Proposal(Extension):
    """SADB_EXT_PROPOSAL: the combinations the kernel would accept, in order of preference."""

    NAME: ClassVar[str] = "SADB_EXT_PROPOSAL"
    replay: int = 0
    combs: tuple[Comb, ...] = ()
    reserved: bytes = bytes(3)

    def __post_init__(self) -> None:
        _PROP.validate(self)
        combs = tuple(self.combs)
        if not all(isinstance(comb, Comb) for comb in combs):
            raise FieldError("a proposal consists of Combs")
        object.__setattr__(self, "combs", combs)

    @classmethod
    def read(cls, cursor: Cursor, dialect: Dialect) -> Self:
        """Read head and combinations; raises WireError when the last one is cut off."""
        values = _PROP.unpack(cursor)
        combs = []
        while cursor.remaining:
            combs.append(Comb(**Comb.LAYOUT.unpack(cursor)))
        return cls(combs=tuple(combs), **values)

    def body(self, dialect: Dialect) -> bytes:
        """Return head and combinations."""
        order = dialect.byte_order
        return _PROP.pack(self, order) + b"".join(c.LAYOUT.pack(c, order) for c in self.combs)


@dataclass(frozen=True, slots=True)
class Algorithm:
    """One algorithm the kernel has: ``ivlen`` in bytes, key sizes in bits."""

    LAYOUT: ClassVar[Layout] = Layout(
        "sadb_alg",
        8,
        u8("id"),
        u8("ivlen"),
        u16("minbits"),
        u16("maxbits"),
        u16("reserved"),
        head=0,
    )
    id: int
    ivlen: int = 0
    minbits: int = 0
    maxbits: int = 0
    reserved: int = 0

    def __post_init__(self) -> None:
        self.LAYOUT.validate(self)


_SUPPORTED = Layout("sadb_supported", 8, u32("reserved"))


@dataclass(frozen=True, slots=True)
class Supported(Extension):
    """The algorithms of one kind."""

    algorithms: tuple[Algorithm, ...] = ()
    reserved: int = 0

    def __post_init__(self) -> None:
        _SUPPORTED.validate(self)
        algorithms = tuple(self.algorithms)
        if not all(isinstance(algorithm, Algorithm) for algorithm in algorithms):
            raise FieldError(f"{self.NAME} consists of Algorithms")
        object.__setattr__(self, "algorithms", algorithms)

    @classmethod
    def read(cls, cursor: Cursor, dialect: Dialect) -> Self:
        """Read head and algorithms."""
        values = _SUPPORTED.unpack(cursor)
        algorithms = []
        while cursor.remaining:
            algorithms.append(Algorithm(**Algorithm.LAYOUT.unpack(cursor)))
        return cls(tuple(algorithms), values["reserved"])

    def body(self, dialect: Dialect) -> bytes:
        """Return head and algorithms."""
        order = dialect.byte_order
        packed = (a.LAYOUT.pack(a, order) for a in self.algorithms)
        return _SUPPORTED.pack(self, order) + b"".join(packed)


class SupportedAuth(Supported):
    """SADB_EXT_SUPPORTED_AUTH: the authentication algorithms."""

    __slots__ = ()
    NAME = "SADB_EXT_SUPPORTED_AUTH"


class SupportedEncrypt(Supported):
    """SADB_EXT_SUPPORTED_ENCRYPT: the encryption algorithms; Linux adds none for IPComp."""

    __slots__ = ()
    NAME = "SADB_EXT_SUPPORTED_ENCRYPT"
