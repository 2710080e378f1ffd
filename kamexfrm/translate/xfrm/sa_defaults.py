"""What an SA that is added gets from the knobs. Pure.

SAs that exist stay as they are: the kernel cannot change their flags or their ICV.
"""

from kamexfrm.model.association import NO_FLAGS, SaFlag, SecurityAssociation
from kamexfrm.model.knobs import Knobs
from kamexfrm.model.policy import IpsecProtocol, Mode
from kamexfrm.net import AF_INET

#: A CPI has 16 bits (RFC 3173 section 3.3).
_CPI_MAX = 0xFFFF


def tunnel_flags(family: int, knobs: Knobs) -> SaFlag:
    """Return the flags for a tunnel whose outer headers are of a family.

    NOPMTUDISC clears DF in the outer header, without it DF is that of an IPv4 packet inside and set
    around IPv6; NOECN clears both ECN bits (Linux xfrm_output.c xfrm4_tunnel_encap_add()).
    """
    flags = NO_FLAGS
    if family == AF_INET and knobs.dfbit == 0:
        flags = SaFlag.NOPMTUDISC
    if not (knobs.ecn if family == AF_INET else knobs.ecn6):
        flags |= SaFlag.NOECN
    return flags


def with_sysctls(association: SecurityAssociation, knobs: Knobs) -> SecurityAssociation:
    """Return an SA with what the sysctls dfbit, ecn and sha256_icv decide.

    One of mode any may become a tunnel at any time and keeps the flags; in transport mode they have
    no effect.
    """
    if association.mode is not Mode.TRANSPORT:
        flags = tunnel_flags(association.destination.family, knobs)
        if flags:
            association = association._replace(flags=association.flags | flags)
    key = association.authentication
    if key and not key.icv_bits and key.algorithm and key.algorithm.name == "hmac-sha256":
        key = key._replace(icv_bits=knobs.sha256_icv)
        association = association._replace(authentication=key)
    return association


def spi_range(protocol: IpsecProtocol, knobs: Knobs) -> tuple[int, int]:
    """Return the least and the greatest SPI to choose from.

    IPComp's is cut to 16 bits (KAME key.c key_do_getnewspi()). The two sysctls are written one by
    one, so either may be the greater for a while.
    """
    ends = sorted((knobs.spi_minval, knobs.spi_maxval))
    if protocol is IpsecProtocol.IPCOMP:
        ends = [min(end, _CPI_MAX) for end in ends]
    return ends[0], ends[1]
