"""The four dialects: which numbers Linux, KAME, FreeBSD and NetBSD give to which extension.

KAME means its last state of 2008. Sources: linux/pfkeyv2.h; KAME, FreeBSD and NetBSD
net/pfkeyv2.h (NetBSD leaves TAG, SA3, PACKET and MIGRATE of KAME out). The number of AF_INET6
comes from each system's sys/socket.h, KAME's being that of NetBSD and OpenBSD.
"""

import sys

from kamexfrm.net import AF_INET, AF_INET6
from kamexfrm.pfkey.address import (
    AddressDst,
    AddressProxy,
    AddressSrc,
    NatTDport,
    NatTFrag,
    NatTOa,
    NatTOai,
    NatTOar,
    NatTSport,
    NatTType,
    NewAddressDst,
    NewAddressSrc,
)
from kamexfrm.pfkey.association import (
    KeyAuth,
    KeyEncrypt,
    LifetimeCurrent,
    LifetimeCurrentHardware,
    LifetimeCurrentSoftware,
    LifetimeHard,
    LifetimeSoft,
    Sa,
    Sa2,
    SaReplay,
    SpiRange,
)
from kamexfrm.pfkey.constants import SadbExt, SadbType
from kamexfrm.pfkey.cursor import ByteOrder
from kamexfrm.pfkey.extension import Dialect, Extension
from kamexfrm.pfkey.identity import IdentityDst, IdentitySrc, KmPrivate, SecCtx, Sensitivity
from kamexfrm.pfkey.policy import IPSECREQUEST_KAME, IPSECREQUEST_LINUX, KmAddress, Policy
from kamexfrm.pfkey.proposal import Proposal, SupportedAuth, SupportedEncrypt
from kamexfrm.pfkey.selection import Filter, IfHwOffl, Packet, Tag

_HOST: ByteOrder = "little" if sys.byteorder == "little" else "big"


def _numbered(*kinds: type[Extension]) -> dict[int, type[Extension]]:
    """Return extensions by the numbers that their C names have."""
    return {SadbExt[kind.NAME].value: kind for kind in kinds}


_COMMON = _numbered(
    Sa,
    LifetimeCurrent,
    LifetimeHard,
    LifetimeSoft,
    AddressSrc,
    AddressDst,
    AddressProxy,
    KeyAuth,
    KeyEncrypt,
    IdentitySrc,
    IdentityDst,
    Sensitivity,
    Proposal,
    SupportedAuth,
    SupportedEncrypt,
    SpiRange,
    KmPrivate,
    Policy,
    Sa2,
)
_NAT_T = _numbered(NatTType, NatTSport, NatTDport)
_NAT_T_BSD = _NAT_T | _numbered(NatTOai, NatTOar, NatTFrag)


def _types(last: int, *left_out: int) -> dict[int, str]:
    """Return the names of the message types up to ``last`` but for those left out."""
    return {t.value: t.name for t in SadbType if t <= last and t not in left_out}


def _policy_members(reserved: str, priority: str) -> tuple[str, ...]:
    """Return the C names of the members of sadb_x_policy."""
    names = ("len", "exttype", "type", "dir", reserved, "id", priority)
    return tuple(f"sadb_x_policy_{name}" for name in names)


LINUX = Dialect(
    name="Linux",
    byte_order=_HOST,
    has_sa_len=False,
    families={2: AF_INET, 10: AF_INET6},
    ipsecrequest=IPSECREQUEST_LINUX,
    policy_members=_policy_members("reserved", "priority"),
    message_types=_types(24),
    extensions=_COMMON | _NAT_T | _numbered(NatTOa, SecCtx, KmAddress, Filter),
)

KAME = Dialect(
    name="KAME",
    byte_order=_HOST,
    has_sa_len=True,
    families={2: AF_INET, 24: AF_INET6},
    ipsecrequest=IPSECREQUEST_KAME,
    policy_members=_policy_members("reserved", "reserved2"),
    message_types=_types(24, SadbType.SADB_X_NAT_T_NEW_MAPPING),
    extensions=_COMMON | _numbered(Tag, Packet),
)

FREEBSD = Dialect(
    name="FreeBSD",
    byte_order=_HOST,
    has_sa_len=True,
    families={2: AF_INET, 28: AF_INET6},
    ipsecrequest=IPSECREQUEST_KAME,
    policy_members=_policy_members("scope", "priority"),
    message_types=_types(22),
    extensions=_COMMON
    | _NAT_T_BSD
    | _numbered(
        SaReplay,
        NewAddressSrc,
        NewAddressDst,
        LifetimeCurrentSoftware,
        LifetimeCurrentHardware,
        IfHwOffl,
    ),
)

NETBSD = Dialect(
    name="NetBSD",
    byte_order=_HOST,
    has_sa_len=True,
    families={2: AF_INET, 24: AF_INET6},
    ipsecrequest=IPSECREQUEST_KAME,
    policy_members=_policy_members("reserved", "reserved2"),
    message_types=_types(23),
    extensions=_COMMON | _NAT_T_BSD,
)
