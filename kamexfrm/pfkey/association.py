"""Extensions that describe a security association: its parameters, lifetimes, keys and SPI range.

Sources: RFC 2367 sections 2.3.1, 2.3.2, 2.3.4 and 2.3.9; KAME net/pfkeyv2.h (sadb_x_sa2); FreeBSD
net/pfkeyv2.h (sadb_x_sa_replay and the counters of hardware offload).
"""

from dataclasses import dataclass, field
from typing import ClassVar, Self

from kamexfrm.errors import WireError
from kamexfrm.pfkey.constants import IpsecMode, SadbSastate
from kamexfrm.pfkey.cursor import Cursor
from kamexfrm.pfkey.extension import EXTENSION_HEAD, Dialect, Extension, FixedExtension
from kamexfrm.pfkey.layout import (
    FieldError,
    Layout,
    be32,
    check_bytes,
    checked_padding,
    fill,
    u8,
    u16,
    u32,
    u64,
)


@dataclass(frozen=True, slots=True)
class Sa(FixedExtension):
    """SADB_EXT_SA. ``replay`` is the window in packets on Linux, in bytes of bitmap on BSD.

    ``encrypt`` is a compression algorithm when the message's satype is IPComp; an IPComp CPI
    travels as the SPI. ``flags`` are bits of SadbSaflags.
    """

    NAME: ClassVar[str] = "SADB_EXT_SA"
    LAYOUT: ClassVar[Layout] = Layout(
        "sadb_sa",
        16,
        be32("spi"),
        u8("replay"),
        u8("state", SadbSastate),
        u8("auth"),
        u8("encrypt"),
        u32("flags"),
    )
    spi: int
    replay: int = 0
    state: SadbSastate = SadbSastate.SADB_SASTATE_LARVAL
    auth: int = 0
    encrypt: int = 0
    flags: int = 0


@dataclass(frozen=True, slots=True)
class Lifetime(FixedExtension):
    """Limits or counters: ``allocations`` in packets or connections, the times in seconds.

    In the CURRENT extension the times are seconds since 1970, 0 for never.
    """

    LAYOUT: ClassVar[Layout] = Layout(
        "sadb_lifetime", 32, u32("allocations"), u64("bytes"), u64("addtime"), u64("usetime")
    )
    allocations: int = 0
    bytes: int = 0
    addtime: int = 0
    usetime: int = 0


class LifetimeCurrent(Lifetime):
    """SADB_EXT_LIFETIME_CURRENT: what has been used so far."""

    __slots__ = ()
    NAME = "SADB_EXT_LIFETIME_CURRENT"


class LifetimeHard(Lifetime):
    """SADB_EXT_LIFETIME_HARD: beyond this the association is gone; 0 is no limit."""

    __slots__ = ()
    NAME = "SADB_EXT_LIFETIME_HARD"


class LifetimeSoft(Lifetime):
    """SADB_EXT_LIFETIME_SOFT: beyond this an EXPIRE is sent; 0 is no limit."""

    __slots__ = ()
    NAME = "SADB_EXT_LIFETIME_SOFT"


class LifetimeCurrentSoftware(Lifetime):
    """SADB_X_EXT_LFT_CUR_SW_OFFL (FreeBSD): the part of CURRENT handled by software."""

    __slots__ = ()
    NAME = "SADB_X_EXT_LFT_CUR_SW_OFFL"


class LifetimeCurrentHardware(Lifetime):
    """SADB_X_EXT_LFT_CUR_HW_OFFL (FreeBSD): the part of CURRENT handled by a network card."""

    __slots__ = ()
    NAME = "SADB_X_EXT_LFT_CUR_HW_OFFL"


@dataclass(frozen=True, slots=True, repr=False)
class Key:
    """Key material and its length in bits; its repr shows the length only.

    Without ``bits`` all of ``data`` counts. ``data`` holds exactly as many bytes as the bits need.
    """

    data: bytes
    bits: int = 0

    def __post_init__(self) -> None:
        size = len(check_bytes(self.data, "a key"))
        bits = self.bits or 8 * size
        if not isinstance(bits, int) or not 0 <= bits <= 0xFFFF or (bits + 7) // 8 != size:
            raise FieldError(f"a key of {size} bytes cannot have {bits} bits")
        object.__setattr__(self, "bits", bits)

    def __repr__(self) -> str:
        return f"Key(bits={self.bits})"


_KEY = Layout("sadb_key", 8, u16("bits"), u16("reserved"))


@dataclass(frozen=True, slots=True)
class KeyExtension(Extension):
    """A key; ``padding`` is what follows it if that is not just zeros, and may be long.

    Linux accepts more room than the bits need, so a decoder must not refuse it.
    """

    key: Key
    reserved: int = 0
    padding: bytes = field(default=b"", repr=False)

    def __post_init__(self) -> None:
        if not isinstance(self.key, Key):
            raise FieldError(f"{self.NAME} needs a Key")
        _KEY.pack_values({"bits": self.key.bits, "reserved": self.reserved}, "big")
        length = _KEY.size + len(self.key.data)
        padding = checked_padding(self.padding, length, self.NAME, most=None)
        object.__setattr__(self, "padding", padding)

    @classmethod
    def read(cls, cursor: Cursor, dialect: Dialect) -> Self:
        """Read bits and key; raises WireError at the bits if the key is not all there."""
        start = cursor.offset
        head = _KEY.unpack(cursor)
        size = (head["bits"] + 7) // 8
        if size > cursor.remaining:
            raise WireError(f"{head['bits']} key bits in {cursor.remaining} bytes", start)
        key = Key(cursor.raw(size, "key"), head["bits"])
        return cls(key, head["reserved"], cursor.rest())

    def body(self, dialect: Dialect) -> bytes:
        """Return bits, key and padding."""
        values = {"bits": self.key.bits, "reserved": self.reserved}
        content = _KEY.pack_values(values, dialect.byte_order) + self.key.data + self.padding
        return fill(content, EXTENSION_HEAD)


class KeyAuth(KeyExtension):
    """SADB_EXT_KEY_AUTH: the authentication key."""

    __slots__ = ()
    NAME = "SADB_EXT_KEY_AUTH"


class KeyEncrypt(KeyExtension):
    """SADB_EXT_KEY_ENCRYPT: the encryption key, an AEAD's or counter mode's salt at its end."""

    __slots__ = ()
    NAME = "SADB_EXT_KEY_ENCRYPT"


@dataclass(frozen=True, slots=True)
class SpiRange(FixedExtension):
    """SADB_EXT_SPIRANGE: the SPIs a GETSPI may choose from, in host byte order on the wire."""

    NAME: ClassVar[str] = "SADB_EXT_SPIRANGE"
    LAYOUT: ClassVar[Layout] = Layout("sadb_spirange", 16, u32("min"), u32("max"), u32("reserved"))
    min: int
    max: int
    reserved: int = 0


@dataclass(frozen=True, slots=True)
class Sa2(FixedExtension):
    """SADB_X_EXT_SA2: mode, reqid, and the low half of the sequence number."""

    NAME: ClassVar[str] = "SADB_X_EXT_SA2"
    LAYOUT: ClassVar[Layout] = Layout(
        "sadb_x_sa2",
        16,
        u8("mode", IpsecMode),
        u8("reserved1"),
        u16("reserved2"),
        u32("sequence"),
        u32("reqid"),
    )
    mode: IpsecMode = IpsecMode.IPSEC_MODE_ANY
    reqid: int = 0
    sequence: int = 0
    reserved1: int = 0
    reserved2: int = 0


@dataclass(frozen=True, slots=True)
class SaReplay(FixedExtension):
    """SADB_X_EXT_SA_REPLAY (FreeBSD): a replay window above 255 bytes, in packets."""

    NAME: ClassVar[str] = "SADB_X_EXT_SA_REPLAY"
    LAYOUT: ClassVar[Layout] = Layout("sadb_x_sa_replay", 8, u32("replay"))
    replay: int
