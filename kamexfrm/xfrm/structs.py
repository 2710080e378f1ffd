"""The C structs of netlink XFRM, each with its size asserted: layouts are written here only.

Source: Linux include/uapi/linux/xfrm.h. Integers are host-order but for SPIs and ports, which
are big-endian in C and so stand here as ``4s``, ``2s`` or ``8s``, packed by ``SPI`` and ``PORTS``.
``x`` is C padding. An address is 16 bytes: ``16s`` pads an IPv4 one with zeros.
"""

from __future__ import annotations

import struct

from kamexfrm.errors import KamexfrmError, WireError
from kamexfrm.net import ADDRESS_BYTES, AF_INET, Address

TYPE_CHECKING = False  # typing takes long to load
if TYPE_CHECKING:
    from typing import NoReturn

Buffer = bytes | bytearray | memoryview


class Layout:
    """A C struct: its name, its size in bytes, and its members in order.

    ``members`` is ``struct`` code and name of each, padding without a name; members of an
    embedded struct are called ``selector.family``. ``pack``, ``unpack``, ``unpack_from`` and
    ``iter_unpack`` are those of ``struct.Struct``.
    """

    __slots__ = (
        "format",
        "iter_unpack",
        "members",
        "name",
        "pack",
        "size",
        "unpack",
        "unpack_from",
    )

    def __init__(self, name: str, size: int, members: str) -> None:
        codes = [member.partition(" ")[0] for member in members.split(", ")]
        compiled = struct.Struct("=" + "".join(codes))
        if compiled.size != size:
            raise AssertionError(f"struct {name} has {compiled.size} bytes, not {size}")
        self.name = name
        self.size = size
        self.members = members
        self.format = compiled.format
        self.pack = compiled.pack
        self.unpack = compiled.unpack
        self.unpack_from = compiled.unpack_from
        self.iter_unpack = compiled.iter_unpack

    def offset(self, field: str) -> int:
        """Return where a member begins, in bytes; raises KeyError for an unknown one.

        >>> USERPOLICY_INFO.offset("priority"), USERPOLICY_INFO.offset("selector")
        (152, 0)
        """
        before = "="
        for code, name in _split(self.members):
            if name == field or name.startswith(f"{field}."):
                return struct.calcsize(before)
            before += code
        raise KeyError(field)

    def only(self, *fields: str) -> Layout:
        """Return the same struct with all other members as padding."""
        members = [
            f"{code} {name}" if name in fields else f"{struct.calcsize('=' + code)}x"
            for code, name in _split(self.members)
        ]
        return Layout(self.name, self.size, ", ".join(members))


def _split(members: str) -> list[tuple[str, str]]:
    """Return the code and the name of each member, the name of padding empty."""
    found = (member.partition(" ") for member in members.split(", "))
    return [(code, name) for code, _, name in found]


def _embedded(name: str, members: str) -> str:
    """Return the members of an embedded struct."""
    return ", ".join(f"{code} {name}.{m}" if m else code for code, m in _split(members))


# Ports are PORTS: destination port and mask, source port and mask. Prefixes are bits.
_SELECTOR = (
    "16s destination, 16s source, 8s ports, H family, B destination_prefix, B source_prefix, "
    "B protocol, 3x, i interface, I user"
)
_LIMITS = (
    "Q soft_bytes, Q hard_bytes, Q soft_packets, Q hard_packets, "
    "Q soft_add, Q hard_add, Q soft_use, Q hard_use"
)
_COUNTERS = "Q bytes, Q packets, Q add_time, Q use_time"
_LIFETIMES = f"{_embedded('lifetime', _LIMITS)}, {_embedded('current', _COUNTERS)}"
_ID = "16s destination, 4s spi, B protocol, 3x"  # xfrm_id
_ANY_SELECTOR = _embedded("selector", _SELECTOR)
_USERSA_ID = "16s destination, 4s spi, H family, B protocol, x"

SELECTOR = Layout("xfrm_selector", 56, _SELECTOR)
LIFETIME_CURRENT = Layout("xfrm_lifetime_cur", 32, _COUNTERS)
USERPOLICY_INFO = Layout(
    "xfrm_userpolicy_info",
    168,
    f"{_ANY_SELECTOR}, {_LIFETIMES}, "
    "I priority, I index, B direction, B action, B flags, B share, 4x",
)
USERPOLICY_ID = Layout("xfrm_userpolicy_id", 64, f"{_ANY_SELECTOR}, I index, B direction, 3x")
USER_TMPL = Layout(
    "xfrm_user_tmpl",
    64,
    f"{_ID}, H family, 2x, 16s source, I reqid, B mode, B share, B optional, x, "
    "I aalgos, I ealgos, I calgos",
)
USERSA_INFO = Layout(
    "xfrm_usersa_info",
    224,
    f"{_ANY_SELECTOR}, {_ID}, 16s source, {_LIFETIMES}, "
    "I replay_window_errors, I replay_errors, I integrity_errors, I sequence, I reqid, H family, "
    "B mode, B replay_window, B flags, 7x",
)
USERSA_BRIEF = USERSA_INFO.only("reqid", "mode")
USERPOLICY_BRIEF = USERPOLICY_INFO.only("priority", "direction")
USERSA_ID = Layout("xfrm_usersa_id", 24, _USERSA_ID)
#: Of xfrm_userspi_info what follows its USERSA_INFO; the SPIs are in host order.
USERSPI_RANGE = Layout("xfrm_userspi_info", 8, "I minimum, I maximum")
#: Of xfrm_user_acquire what precedes its USERPOLICY_INFO, and what follows it.
ACQUIRE_HEAD = Layout("xfrm_user_acquire", 96, f"{_ID}, 16s source, {_ANY_SELECTOR}")
ACQUIRE_TAIL = Layout("xfrm_user_acquire", 16, "I aalgos, I ealgos, I calgos, I sequence")
#: Of xfrm_user_expire and xfrm_user_polexpire what follows the USERSA_INFO or USERPOLICY_INFO.
HARD = Layout("xfrm_user_expire", 8, "B hard, 7x")
AEVENT_ID = Layout("xfrm_aevent_id", 48, f"{_USERSA_ID}, 16s source, I flags, I reqid")
USER_REPORT = Layout("xfrm_user_report", 60, f"B protocol, 3x, {_ANY_SELECTOR}")
USER_MAPPING = Layout(
    "xfrm_user_mapping",
    64,
    f"{_USERSA_ID}, I reqid, 16s old_source, 16s new_source, 2s old_port, 2s new_port",
)
USER_MIGRATE = Layout(
    "xfrm_user_migrate",
    76,
    "16s old_destination, 16s old_source, 16s new_destination, 16s new_source, "
    "B protocol, B mode, H reserved, I reqid, H old_family, H new_family",
)
USER_KMADDRESS = Layout(
    "xfrm_user_kmaddress", 40, "16s local, 16s remote, I reserved, H family, 2x"
)
ADDRESS_FILTER = Layout(
    "xfrm_address_filter",
    36,
    "16s source, 16s destination, H family, B source_prefix, B destination_prefix",
)
USER_OFFLOAD = Layout("xfrm_user_offload", 8, "i interface, B flags, 3x")
ENCAP_TMPL = Layout(
    "xfrm_encap_tmpl", 24, "H type, 2s source_port, 2s destination_port, 2x, 16s original_address"
)
REPLAY_STATE = Layout("xfrm_replay_state", 12, "I oseq, I seq, I bitmap")
#: The bitmap follows, ``words`` of 32 bits.
REPLAY_STATE_ESN = Layout(
    "xfrm_replay_state_esn",
    24,
    "I words, I oseq, I seq, I oseq_hi, I seq_hi, I replay_window",
)
#: The key follows; the kernel sets the last byte of the name to NUL.
ALGO = Layout("xfrm_algo", 68, "64s name, I key_bits")
#: Also xfrm_algo_aead. The ICV's bits are those sent: its truncation.
ALGO_WITH_ICV = Layout("xfrm_algo_auth", 72, "64s name, I key_bits, I icv_bits")
MARK = Layout("xfrm_mark", 8, "I value, I mask")
USERPOLICY_TYPE = Layout("xfrm_userpolicy_type", 6, "B type, x, H reserved1, B reserved2, x")
#: ``length`` is that of the struct with the context, which follows.
USER_SEC_CTX = Layout(
    "xfrm_user_sec_ctx", 8, "H length, H type, B algorithm, B doi, H context_length"
)
USERPOLICY_DEFAULT = Layout("xfrm_userpolicy_default", 3, "B in, B fwd, B out")
SPDINFO = Layout(
    "xfrmu_spdinfo",
    24,
    "I in_count, I out_count, I fwd_count, I socket_in_count, I socket_out_count, "
    "I socket_fwd_count",
)
#: Also xfrmu_sadhinfo.
HASH_INFO = Layout("xfrmu_spdhinfo", 8, "I buckets, I buckets_maximum")
#: Prefix bits from which on the hash is used.
HASH_THRESHOLD = Layout("xfrmu_spdhthresh", 2, "B local, B remote")
U8 = Layout("__u8", 1, "B value")
U32 = Layout("__u32", 4, "I value")
U64 = Layout("__u64", 8, "Q value")
#: An address that is an attribute.
ADDRESS = Layout("xfrm_address_t", 16, "16s address")

# Big-endian, so not among the structs: host integers into their fields and back.
SPI = struct.Struct(">I")
PORT = struct.Struct(">H")
PORTS = struct.Struct(">HHHH")


def misfit(what: str, error: struct.error) -> KamexfrmError:
    """Return the error for a number that its field cannot hold; no values are shown."""
    return KamexfrmError(f"{what} does not fit its struct: {error}")


def check_address(address: Address, family: int, what: str) -> bytes:
    """Return the address's bytes; raises KamexfrmError unless it is one of ``family``."""
    if address[0] != family or len(address[1]) != ADDRESS_BYTES.get(family, 16):
        raise KamexfrmError(
            f"{what}: an address of family {address[0]} and {len(address[1])} bytes "
            f"where family {family} is declared"
        )
    return address[1]


def read_address(family: int, field: bytes) -> Address:
    """Return the address in a 16-byte field; of a family other than IPv4 all 16 bytes."""
    return Address(family, field[:4] if family == AF_INET else field)


def short(what: str, have: int, need: int, offset: int) -> NoReturn:
    """Raise WireError: there are ``have`` bytes where ``need`` are needed."""
    raise WireError(f"{what}: {max(have, 0)} bytes where {need} are needed", offset)
