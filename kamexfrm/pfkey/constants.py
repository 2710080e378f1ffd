"""The numbers of PF_KEY under their C names, for all systems that speak it.

Sources: RFC 2367 section 3.5 and appendix D; KAME net/pfkeyv2.h and netinet6/ipsec.h; Linux
linux/pfkeyv2.h and linux/ipsec.h; FreeBSD and NetBSD net/pfkeyv2.h and netipsec/ipsec.h. Where
two systems gave one number two meanings, both names stand here, the second as an alias of the
first; which one is meant is a matter of the dialect (see ``kamexfrm.pfkey.dialects``).
"""

from enum import IntFlag

from kamexfrm.pfkey import saflags
from kamexfrm.wirenumber import WireNumber

PF_KEY_V2 = 2


class SadbType(WireNumber):
    """Message types (RFC 2367 section 3.1, KAME's SPD messages from 13 on)."""

    SADB_RESERVED = 0
    SADB_GETSPI = 1
    SADB_UPDATE = 2
    SADB_ADD = 3
    SADB_DELETE = 4
    SADB_GET = 5
    SADB_ACQUIRE = 6
    SADB_REGISTER = 7
    SADB_EXPIRE = 8
    SADB_FLUSH = 9
    SADB_DUMP = 10
    SADB_X_PROMISC = 11
    SADB_X_PCHANGE = 12
    SADB_X_SPDUPDATE = 13
    SADB_X_SPDADD = 14
    SADB_X_SPDDELETE = 15
    SADB_X_SPDGET = 16
    SADB_X_SPDACQUIRE = 17
    SADB_X_SPDDUMP = 18
    SADB_X_SPDFLUSH = 19
    SADB_X_SPDSETIDX = 20
    SADB_X_SPDEXPIRE = 21
    SADB_X_SPDDELETE2 = 22
    SADB_X_NAT_T_NEW_MAPPING = 23
    SADB_X_MIGRATE = 24


class SadbSatype(WireNumber):
    """Security association types."""

    SADB_SATYPE_UNSPEC = 0
    SADB_SATYPE_AH = 2
    SADB_SATYPE_ESP = 3
    SADB_SATYPE_RSVP = 5
    SADB_SATYPE_OSPFV2 = 6
    SADB_SATYPE_RIPV2 = 7
    SADB_SATYPE_MIP = 8
    SADB_X_SATYPE_IPCOMP = 9
    SADB_X_SATYPE_POLICY = 10
    SADB_X_SATYPE_TCPSIGNATURE = 11


class SadbSastate(WireNumber):
    """States of a security association."""

    SADB_SASTATE_LARVAL = 0
    SADB_SASTATE_MATURE = 1
    SADB_SASTATE_DYING = 2
    SADB_SASTATE_DEAD = 3


class SadbExt(WireNumber):
    """Extension numbers; from 23 on a number's name depends on the dialect."""

    SADB_EXT_RESERVED = 0
    SADB_EXT_SA = 1
    SADB_EXT_LIFETIME_CURRENT = 2
    SADB_EXT_LIFETIME_HARD = 3
    SADB_EXT_LIFETIME_SOFT = 4
    SADB_EXT_ADDRESS_SRC = 5
    SADB_EXT_ADDRESS_DST = 6
    SADB_EXT_ADDRESS_PROXY = 7
    SADB_EXT_KEY_AUTH = 8
    SADB_EXT_KEY_ENCRYPT = 9
    SADB_EXT_IDENTITY_SRC = 10
    SADB_EXT_IDENTITY_DST = 11
    SADB_EXT_SENSITIVITY = 12
    SADB_EXT_PROPOSAL = 13
    SADB_EXT_SUPPORTED_AUTH = 14
    SADB_EXT_SUPPORTED_ENCRYPT = 15
    SADB_EXT_SPIRANGE = 16
    SADB_X_EXT_KMPRIVATE = 17
    SADB_X_EXT_POLICY = 18
    SADB_X_EXT_SA2 = 19
    SADB_X_EXT_NAT_T_TYPE = 20
    SADB_X_EXT_NAT_T_SPORT = 21
    SADB_X_EXT_NAT_T_DPORT = 22
    SADB_X_EXT_NAT_T_OA = 23  # Linux
    SADB_X_EXT_NAT_T_OAI = 23  # FreeBSD, NetBSD
    SADB_X_EXT_SEC_CTX = 24  # Linux
    SADB_X_EXT_NAT_T_OAR = 24  # FreeBSD, NetBSD
    SADB_X_EXT_KMADDRESS = 25  # Linux
    SADB_X_EXT_NAT_T_FRAG = 25  # FreeBSD, NetBSD
    SADB_X_EXT_TAG = 25  # KAME
    SADB_X_EXT_FILTER = 26  # Linux
    SADB_X_EXT_SA_REPLAY = 26  # FreeBSD
    SADB_X_EXT_SA3 = 26  # KAME: never finished, refused by its kernel
    SADB_X_EXT_NEW_ADDRESS_SRC = 27  # FreeBSD
    SADB_X_EXT_PACKET = 27  # KAME
    SADB_X_EXT_NEW_ADDRESS_DST = 28  # FreeBSD, as all below
    SADB_X_EXT_LFT_CUR_SW_OFFL = 29
    SADB_X_EXT_LFT_CUR_HW_OFFL = 30
    SADB_X_EXT_IF_HW_OFFL = 31


class SadbAalg(WireNumber):
    """Authentication algorithms (``SADB_AALG_``)."""

    SADB_AALG_NONE = 0
    SADB_AALG_MD5HMAC = 2
    SADB_AALG_SHA1HMAC = 3
    SADB_X_AALG_SHA2_256HMAC = 5
    SADB_X_AALG_SHA2_384HMAC = 6
    SADB_X_AALG_SHA2_512HMAC = 7
    SADB_X_AALG_SHA2_256 = 5  # KAME and its heirs, as the next two
    SADB_X_AALG_SHA2_384 = 6
    SADB_X_AALG_SHA2_512 = 7
    SADB_X_AALG_RIPEMD160HMAC = 8
    SADB_X_AALG_AES_XCBC_MAC = 9
    SADB_X_AALG_SM3_256HMAC = 10  # Linux
    SADB_X_AALG_AES128GMAC = 11  # FreeBSD, NetBSD, as the next two
    SADB_X_AALG_AES192GMAC = 12
    SADB_X_AALG_AES256GMAC = 13
    SADB_X_AALG_CHACHA20POLY1305 = 14  # FreeBSD
    SADB_X_AALG_MD5 = 249
    SADB_X_AALG_SHA = 250
    SADB_X_AALG_NULL = 251
    SADB_X_AALG_TCP_MD5 = 252


class SadbEalg(WireNumber):
    """Encryption algorithms (``SADB_EALG_``)."""

    SADB_EALG_NONE = 0
    SADB_EALG_DESCBC = 2
    SADB_EALG_3DESCBC = 3
    SADB_X_EALG_CASTCBC = 6
    SADB_X_EALG_CAST128CBC = 6  # KAME and its heirs
    SADB_X_EALG_BLOWFISHCBC = 7
    SADB_EALG_NULL = 11
    SADB_X_EALG_AESCBC = 12
    SADB_X_EALG_AES = 12  # KAME and its heirs, as the next
    SADB_X_EALG_RIJNDAELCBC = 12
    SADB_X_EALG_AESCTR = 13
    SADB_X_EALG_AES_CCM_ICV8 = 14
    SADB_X_EALG_AES_CCM_ICV12 = 15  # Linux
    SADB_X_EALG_CHACHA20POLY1305 = 15  # FreeBSD
    SADB_X_EALG_AES_CCM_ICV16 = 16
    SADB_X_EALG_AES_GCM_ICV8 = 18
    SADB_X_EALG_AES_GCM_ICV12 = 19
    SADB_X_EALG_AES_GCM_ICV16 = 20
    SADB_X_EALG_AESGCM8 = 18  # FreeBSD, NetBSD, as the next two
    SADB_X_EALG_AESGCM12 = 19
    SADB_X_EALG_AESGCM16 = 20
    SADB_X_EALG_CAMELLIACBC = 22
    SADB_X_EALG_NULL_AES_GMAC = 23
    SADB_X_EALG_AESGMAC = 23  # FreeBSD, NetBSD
    SADB_X_EALG_SM4CBC = 24
    SADB_X_EALG_SKIPJACK = 249
    SADB_X_EALG_SERPENTCBC = 252
    SADB_X_EALG_TWOFISHCBC = 253


class SadbCalg(WireNumber):
    """Compression algorithms; they stand in ``sadb_sa_encrypt`` of an IPComp association."""

    SADB_X_CALG_NONE = 0
    SADB_X_CALG_OUI = 1
    SADB_X_CALG_DEFLATE = 2
    SADB_X_CALG_LZS = 3
    SADB_X_CALG_LZJH = 4


class SadbIdenttype(WireNumber):
    """Identity types."""

    SADB_IDENTTYPE_RESERVED = 0
    SADB_IDENTTYPE_PREFIX = 1
    SADB_IDENTTYPE_FQDN = 2
    SADB_IDENTTYPE_USERFQDN = 3
    SADB_X_IDENTTYPE_ADDR = 4


class SadbSaflags(IntFlag):
    """Bits of ``sadb_sa_flags``."""

    SADB_SAFLAGS_PFS = 0x1
    SADB_X_EXT_OLD = saflags.SADB_X_EXT_OLD  # KAME and its heirs give this bit their own meaning
    SADB_X_EXT_IV4B = saflags.SADB_X_EXT_IV4B
    SADB_X_EXT_DERIV = saflags.SADB_X_EXT_DERIV
    SADB_X_EXT_CYCSEQ = saflags.SADB_X_EXT_CYCSEQ
    SADB_X_EXT_RAWCPI = saflags.SADB_X_EXT_RAWCPI
    SADB_X_EXT_PRAND = saflags.SADB_X_EXT_PRAND
    SADB_X_EXT_PZERO = saflags.SADB_X_EXT_PZERO
    SADB_X_SAFLAGS_ESN = 0x400  # FreeBSD
    SADB_SAFLAGS_NOPMTUDISC = 0x20000000  # Linux, as the next two
    SADB_SAFLAGS_DECAP_DSCP = 0x40000000
    SADB_SAFLAGS_NOECN = 0x80000000


class IpsecPolicy(WireNumber):
    """What a policy does with a packet (``sadb_x_policy_type``)."""

    IPSEC_POLICY_DISCARD = 0
    IPSEC_POLICY_NONE = 1
    IPSEC_POLICY_IPSEC = 2
    IPSEC_POLICY_ENTRUST = 3
    IPSEC_POLICY_BYPASS = 4
    IPSEC_POLICY_TCP = 5


class IpsecDirection(WireNumber):
    """Which packets a policy is for; ``IPSEC_DIR_FWD`` is Linux's."""

    IPSEC_DIR_ANY = 0
    IPSEC_DIR_INBOUND = 1
    IPSEC_DIR_OUTBOUND = 2
    IPSEC_DIR_FWD = 3


class IpsecMode(WireNumber):
    """Modes of a security association."""

    IPSEC_MODE_ANY = 0
    IPSEC_MODE_TRANSPORT = 1
    IPSEC_MODE_TUNNEL = 2
    IPSEC_MODE_BEET = 3  # Linux
    IPSEC_MODE_TCPMD5 = 3  # KAME and its heirs


class IpsecLevel(WireNumber):
    """How much a request insists."""

    IPSEC_LEVEL_DEFAULT = 0
    IPSEC_LEVEL_USE = 1
    IPSEC_LEVEL_REQUIRE = 2
    IPSEC_LEVEL_UNIQUE = 3
