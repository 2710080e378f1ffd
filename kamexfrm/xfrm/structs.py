"""The C structs of netlink XFRM, each with its size asserted: layouts are written here only.

Source: Linux include/uapi/linux/xfrm.h. Integers are host-order but for SPIs and ports, which
are big-endian in C and so stand here as ``4s``, ``2s`` or ``8s``, packed by ``SPI`` and ``PORTS``.
``x`` is C padding. An address is 16 bytes: ``16s`` pads an IPv4 one with zeros.
"""

import struct
from struct import Struct
from typing import NoReturn

from kamexfrm.errors import KamexfrmError, WireError
from kamexfrm.net import ADDRESS_BYTES, Address

Buffer = bytes | bytearray | memoryview


def _checked(layout: str, size: int) -> Struct:
    compiled = Struct("=" + layout)
    if compiled.size != size:
        raise AssertionError(f"struct {layout!r} has {compiled.size} bytes, not {size}")
    return compiled


SPI = Struct(">I")
PORT = Struct(">H")
#: Destination port and mask, source port and mask.
PORTS = Struct(">HHHH")

# Destination, source, PORTS, family, prefix lengths (destination, source), protocol, interface
# index, user.
_SELECTOR = "16s16s8sHBBB3xiI"
_LIFETIME = "8Q4Q"  # xfrm_lifetime_cfg, xfrm_lifetime_cur
_ID = "16s4sB3x"  # destination, SPI, protocol

SELECTOR = _checked(_SELECTOR, 56)
LIFETIME_CURRENT = _checked("4Q", 32)
#: Selector, lifetimes, priority, index, direction, action, flags, share.
USERPOLICY_INFO = _checked(_SELECTOR + _LIFETIME + "IIBBBB4x", 168)
#: Selector, index, direction.
USERPOLICY_ID = _checked(_SELECTOR + "IB3x", 64)
#: Id, family, source, reqid, mode, share, optional, aalgos, ealgos, calgos.
USER_TMPL = _checked(_ID + "H2x16sIBBBxIII", 64)
#: Selector, id, source, lifetimes, statistics (3), sequence, reqid, family, mode, replay window,
#: flags.
USERSA_INFO = _checked(_SELECTOR + _ID + "16s" + _LIFETIME + "IIIIIHBBB7x", 224)
#: Of a USERSA_INFO the reqid and the mode alone.
USERSA_BRIEF = _checked("208xI2xB9x", 224)
#: Of a USERPOLICY_INFO the priority and the direction alone.
USERPOLICY_BRIEF = _checked("152xI4xB7x", 168)
#: Destination, SPI, family, protocol.
USERSA_ID = _checked("16s4sHBx", 24)
#: Minimum and maximum SPI, host order, after a USERSA_INFO.
USERSPI_RANGE = _checked("II", 8)
#: Id, source, selector; then comes a USERPOLICY_INFO and ACQUIRE_TAIL.
ACQUIRE_HEAD = _checked(_ID + "16s" + _SELECTOR, 96)
#: aalgos, ealgos, calgos, sequence.
ACQUIRE_TAIL = _checked("IIII", 16)
#: The hard flag after a USERSA_INFO or USERPOLICY_INFO.
HARD = _checked("B7x", 8)
#: Id as in USERSA_ID, source, flags, reqid.
AEVENT_ID = _checked("16s4sHBx16sII", 48)
#: Protocol, selector.
USER_REPORT = _checked("B3x" + _SELECTOR, 60)
#: Id as in USERSA_ID, reqid, old source, new source, old and new source port.
USER_MAPPING = _checked("16s4sHBxI16s16s2s2s", 64)
#: Old destination and source, new destination and source, protocol, mode, reserved, reqid, old
#: and new family.
USER_MIGRATE = _checked("16s16s16s16sBBHIHH", 76)
#: Local, remote, reserved, family.
USER_KMADDRESS = _checked("16s16sIH2x", 40)
#: Source, destination, family, source prefix, destination prefix.
ADDRESS_FILTER = _checked("16s16sHBB", 36)
#: Interface index, flags.
USER_OFFLOAD = _checked("iB3x", 8)
#: Type, source port, destination port, original address.
ENCAP_TMPL = _checked("H2s2s2x16s", 24)
#: Output sequence, input sequence, bitmap.
REPLAY_STATE = _checked("III", 12)
#: Number of bitmap words, oseq, seq, oseq_hi, seq_hi, window; the bitmap follows.
REPLAY_STATE_ESN = _checked("IIIIII", 24)
#: Name, key bits; the key follows.
ALGO = _checked("64sI", 68)
#: Name, key bits, truncation or ICV bits; the key follows.
ALGO_WITH_ICV = _checked("64sII", 72)
#: Value, mask.
MARK = _checked("II", 8)
#: Policy type; 16 and 8 reserved bits.
USERPOLICY_TYPE = _checked("BxHBx", 6)
#: Length with the context, XFRMA_SEC_CTX, algorithm, DOI, context length; the context follows.
USER_SEC_CTX = _checked("HHBBH", 8)
#: In, fwd, out.
USERPOLICY_DEFAULT = _checked("BBB", 3)
#: Counts in, out, fwd, then the same of socket policies.
SPDINFO = _checked("6I", 24)
#: Hash buckets now and at most.
HASH_INFO = _checked("II", 8)
#: Prefix bits, local and remote, from which on the hash is used.
HASH_THRESHOLD = _checked("BB", 2)
U8 = _checked("B", 1)
U32 = _checked("I", 4)
U64 = _checked("Q", 8)


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
    return Address(family, field[:4] if family == 2 else field)


def short(what: str, have: int, need: int, offset: int) -> NoReturn:
    """Raise WireError: there are ``have`` bytes where ``need`` are needed."""
    raise WireError(f"{what}: {max(have, 0)} bytes where {need} are needed", offset)
