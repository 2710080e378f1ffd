"""PF_KEY version 2 as bytes and as objects, without I/O.

PF_KEY is how a key manager and a kernel speak of security associations and, since KAME, of
policies: datagrams of a 16-byte base header and a list of extensions, each with a length in words
of eight bytes and a number. ``decode`` turns one datagram into a ``SadbMsg``, ``encode`` turns it
back into the same bytes; what is not a message raises ``WireError`` with the offset of the
fault, and what a field cannot hold raises ``FieldError`` when the object is made.

The extensions are classes: ``Sa``, ``AddressSrc``, ``KeyAuth``, ``Policy``. Which number each has,
how a sockaddr begins and how long a request's head is depend on the system. Those are values: a
``Dialect`` says it all, and ``LINUX``, ``KAME``, ``FREEBSD`` and ``NETBSD`` are four of them. What
a dialect does not know is kept, as an ``UnknownExtension``, a ``RawSockaddr``, or a number that
calls itself ``UNKNOWN_n``.

    >>> from kamexfrm.net import Address
    >>> here, there = (Sockaddr(Address.parse(a)) for a in ("10.0.0.1", "10.0.0.2"))
    >>> get = SadbMsg(SadbType.SADB_GET, SadbSatype.SADB_SATYPE_ESP, seq=1, extensions=(
    ...     Sa(spi=0x1000), AddressSrc(here, 32), AddressDst(there, 32)))
    >>> decode(encode(get)) == get
    True
    >>> decode(encode(get, KAME), KAME).require(AddressDst).sockaddr == there
    True

Read on in this order: ``cursor`` and ``layout`` (how bytes are read and structs described),
``constants`` (every number under its C name), ``extension``, ``sockaddr``, the extensions by theme
(``association``, ``address``, ``policy``, ``identity``, ``proposal``, ``selection``),
``dialects``, and at last ``message``.
"""

from kamexfrm.errors import WireError
from kamexfrm.lazy import exports

TYPE_CHECKING = False  # typing takes long to load
if TYPE_CHECKING:
    from kamexfrm.pfkey.address import (
        AddressDst,
        AddressExtension,
        AddressProxy,
        AddressSrc,
        NatTDport,
        NatTFrag,
        NatTOa,
        NatTOai,
        NatTOar,
        NatTPort,
        NatTSport,
        NatTType,
        NewAddressDst,
        NewAddressSrc,
    )
    from kamexfrm.pfkey.association import (
        Key,
        KeyAuth,
        KeyEncrypt,
        KeyExtension,
        Lifetime,
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
    from kamexfrm.pfkey.constants import (
        PF_KEY_V2,
        IpsecDirection,
        IpsecLevel,
        IpsecMode,
        IpsecPolicy,
        SadbAalg,
        SadbCalg,
        SadbEalg,
        SadbExt,
        SadbIdenttype,
        SadbSaflags,
        SadbSastate,
        SadbSatype,
        SadbType,
    )
    from kamexfrm.pfkey.dialects import FREEBSD, KAME, LINUX, NETBSD
    from kamexfrm.pfkey.extension import Dialect, Extension, UnknownExtension
    from kamexfrm.pfkey.identity import (
        Identity,
        IdentityDst,
        IdentitySrc,
        KmPrivate,
        SecCtx,
        Sensitivity,
    )
    from kamexfrm.pfkey.layout import FieldError
    from kamexfrm.pfkey.message import (
        SadbMsg,
        addressed,
        decode,
        decode_base,
        decode_extension,
        decode_policy,
        encode,
        encode_extension,
        split,
    )
    from kamexfrm.pfkey.policy import IpsecRequest, KmAddress, Policy
    from kamexfrm.pfkey.proposal import (
        Algorithm,
        Comb,
        Proposal,
        Supported,
        SupportedAuth,
        SupportedEncrypt,
    )
    from kamexfrm.pfkey.selection import Filter, IfHwOffl, Packet, Tag
    from kamexfrm.pfkey.sockaddr import AnySockaddr, RawSockaddr, Sockaddr
else:
    __getattr__, __dir__ = exports(
        __name__,
        {
            "address": (
                "AddressDst AddressExtension AddressProxy AddressSrc NatTDport NatTFrag NatTOa "
                "NatTOai NatTOar NatTPort NatTSport NatTType NewAddressDst NewAddressSrc"
            ),
            "association": (
                "Key KeyAuth KeyEncrypt KeyExtension Lifetime LifetimeCurrent "
                "LifetimeCurrentHardware LifetimeCurrentSoftware LifetimeHard LifetimeSoft Sa Sa2 "
                "SaReplay SpiRange"
            ),
            "constants": (
                "PF_KEY_V2 IpsecDirection IpsecLevel IpsecMode IpsecPolicy SadbAalg SadbCalg "
                "SadbEalg SadbExt SadbIdenttype SadbSaflags SadbSastate SadbSatype SadbType"
            ),
            "cursor": "",
            "dialects": "FREEBSD KAME LINUX NETBSD",
            "extension": "Dialect Extension UnknownExtension",
            "identity": "Identity IdentityDst IdentitySrc KmPrivate SecCtx Sensitivity",
            "layout": "FieldError",
            "message": (
                "SadbMsg addressed decode decode_base decode_extension decode_policy encode "
                "encode_extension split"
            ),
            "policy": "IpsecRequest KmAddress Policy",
            "proposal": "Algorithm Comb Proposal Supported SupportedAuth SupportedEncrypt",
            "saflags": "",
            "selection": "Filter IfHwOffl Packet Tag",
            "sockaddr": "AnySockaddr RawSockaddr Sockaddr",
        },
    )

__all__ = [
    "FREEBSD",
    "KAME",
    "LINUX",
    "NETBSD",
    "PF_KEY_V2",
    "AddressDst",
    "AddressExtension",
    "AddressProxy",
    "AddressSrc",
    "Algorithm",
    "AnySockaddr",
    "Comb",
    "Dialect",
    "Extension",
    "FieldError",
    "Filter",
    "Identity",
    "IdentityDst",
    "IdentitySrc",
    "IfHwOffl",
    "IpsecDirection",
    "IpsecLevel",
    "IpsecMode",
    "IpsecPolicy",
    "IpsecRequest",
    "Key",
    "KeyAuth",
    "KeyEncrypt",
    "KeyExtension",
    "KmAddress",
    "KmPrivate",
    "Lifetime",
    "LifetimeCurrent",
    "LifetimeCurrentHardware",
    "LifetimeCurrentSoftware",
    "LifetimeHard",
    "LifetimeSoft",
    "NatTDport",
    "NatTFrag",
    "NatTOa",
    "NatTOai",
    "NatTOar",
    "NatTPort",
    "NatTSport",
    "NatTType",
    "NewAddressDst",
    "NewAddressSrc",
    "Packet",
    "Policy",
    "Proposal",
    "RawSockaddr",
    "Sa",
    "Sa2",
    "SaReplay",
    "SadbAalg",
    "SadbCalg",
    "SadbEalg",
    "SadbExt",
    "SadbIdenttype",
    "SadbMsg",
    "SadbSaflags",
    "SadbSastate",
    "SadbSatype",
    "SadbType",
    "SecCtx",
    "Sensitivity",
    "Sockaddr",
    "SpiRange",
    "Supported",
    "SupportedAuth",
    "SupportedEncrypt",
    "Tag",
    "UnknownExtension",
    "WireError",
    "addressed",
    "decode",
    "decode_base",
    "decode_extension",
    "decode_policy",
    "encode",
    "encode_extension",
    "split",
]
