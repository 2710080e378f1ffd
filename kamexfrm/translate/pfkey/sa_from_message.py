"""SAs from PF_KEY messages to KAME's model. Pure; ``sa_to_message`` is the other direction.

Requests are checked as by KAME's kernel (key.c key_add(), key_setsaval(), key_mature()), with
Linux's errno where XFRM lacks an algorithm. Replies are not checked.
"""

import errno
from collections.abc import Callable

from kamexfrm.algorithms import Algorithm, Kind, by_number, written_icv
from kamexfrm.errors import invalid
from kamexfrm.model.association import (
    Key,
    Lifetime,
    NatTraversal,
    SadEntry,
    SaFlag,
    SaId,
    SaState,
    SecurityAssociation,
)
from kamexfrm.model.policy import IpsecProtocol, Mode
from kamexfrm.net import ADDRESS_BITS, Address
from kamexfrm.pfkey import (
    Filter,
    IpsecMode,
    KeyAuth,
    KeyEncrypt,
    LifetimeCurrent,
    LifetimeHard,
    LifetimeSoft,
    NatTDport,
    NatTOa,
    NatTSport,
    NatTType,
    Sa,
    Sa2,
    SadbMsg,
    SadbSaflags,
    SpiRange,
)
from kamexfrm.translate.pfkey.parts import (
    address_from_sockaddr,
    ends_from_message,
    label_from_message,
    protocol_from_message,
)
from kamexfrm.translate.pfkey.policy import mode_from_message
from kamexfrm.translate.pfkey.sa_to_message import AEAD_NUMBERS, FLAGS
from kamexfrm.xfrm import UDP_ENCAP_ESPINUDP

#: Filters have room for addresses of this size.
_ADDRESS_BITS = 128

#: Linux's SADB_AALG_MAX, SADB_EALG_MAX and SADB_X_CALG_MAX: no algorithm has a higher number.
_HIGHEST = {Kind.AUTHENTICATION: 251, Kind.ENCRYPTION: 253, Kind.COMPRESSION: 4}

#: A CPI has 16 bits, except with SADB_X_EXT_RAWCPI.
_CPI_MAX = 0xFFFF


# Requests


def _row(kind: Kind, number: int) -> Algorithm | None:
    row = by_number(kind, number)
    if row is None and kind is Kind.ENCRYPTION and number in AEAD_NUMBERS:
        row = by_number(Kind.AEAD, number)
    return row


def _algorithm(kind: Kind, number: int) -> Algorithm | None:
    """Return the algorithm of a number, None for 0; raises KamexfrmError."""
    if not number:
        return None
    in_range = number <= _HIGHEST[kind]
    row = _row(kind, number) if in_range else None
    if row is None:
        text = f"no {kind.name.lower()} algorithm {number}"
        raise invalid(text, errno.ENOSYS if in_range else errno.EINVAL)
    return row


def _key_from(row: Algorithm, extension: KeyAuth | KeyEncrypt | None) -> Key:
    """Return an algorithm with its key; raises KamexfrmError for a wrong length."""
    bits = extension.key.bits if extension is not None else 0
    if bits % 8 or not row.accepts(bits):
        raise invalid(f"a key of {bits} bits for {row.name}")
    return Key(row, extension.key.data if extension is not None else b"", written_icv(row))


def _keys_from(
    message: SadbMsg, protocol: IpsecProtocol, sa: Sa
) -> tuple[Key | None, Key | None, Key | None]:
    """Return the keys for encryption, authentication and compression (KAME key_mature())."""
    # Differs from KAME: as in AF_KEY, a cipher for AH (iked sends one) and an authentication
    # algorithm for IPComp are ignored, but must be known ones.
    compresses = protocol is IpsecProtocol.IPCOMP
    authentication_key, encryption_key = message.get(KeyAuth), message.get(KeyEncrypt)
    if protocol is IpsecProtocol.ESP and encryption_key is None:
        raise invalid("ESP needs a key for its encryption algorithm, if only an empty one")
    if protocol is IpsecProtocol.AH and authentication_key is None:
        raise invalid("AH needs an authentication key")
    authenticator = _algorithm(Kind.AUTHENTICATION, sa.auth)
    cipher = _algorithm(Kind.COMPRESSION if compresses else Kind.ENCRYPTION, sa.encrypt)
    if compresses:
        if cipher is None:
            raise invalid("IPComp needs a compression algorithm")
        return None, None, Key(cipher, b"")
    authentication = None
    if authenticator is not None:
        authentication = _key_from(authenticator, authentication_key)
    if protocol is IpsecProtocol.AH:
        if authentication is None or not authentication.material:
            raise invalid("AH needs an authentication key")
        return None, authentication, None
    if cipher is None:
        raise invalid("ESP needs an encryption algorithm, if only null")
    encryption = _key_from(cipher, encryption_key)
    if encryption.algorithm and encryption.algorithm.kind is Kind.AEAD:
        if authentication is not None and authentication.material:
            raise invalid(f"{encryption.algorithm.name} authenticates by itself")
        authentication = None
    return encryption, authentication, None


def _lifetime_from(extension: LifetimeHard | LifetimeSoft | None) -> Lifetime:
    if extension is None:
        return Lifetime()
    return Lifetime(extension.allocations, extension.bytes, extension.addtime, extension.usetime)


def _nat_from(message: SadbMsg) -> NatTraversal | None:
    type = message.get(NatTType)
    if type is None or not type.type:
        return None
    source, destination = message.get(NatTSport), message.get(NatTDport)
    original = message.get(NatTOa)
    return NatTraversal(
        source.port if source else 0,
        destination.port if destination else 0,
        address_from_sockaddr(original.sockaddr) if original else None,
    )


def _flags_from(flags: int) -> SaFlag:
    return SaFlag(sum(flag for wire, flag in FLAGS.items() if flags & wire))


def sa_from_message(message: SadbMsg) -> SecurityAssociation:
    """Return the SA of an ADD or UPDATE; raises KamexfrmError.

    EINVAL where something is missing or does not go together, ENOSYS for an algorithm that Linux
    does not have, EPROTONOSUPPORT without a satype. Without X_SA2 the mode is any.
    """
    # Differs from KAME: one lifetime without the other is accepted.
    sa, sa2 = message.require(Sa), message.get(Sa2) or Sa2()
    source, destination = ends_from_message(message)
    protocol = protocol_from_message(message)
    raw_cpi = sa.flags & SadbSaflags.SADB_X_EXT_RAWCPI
    if protocol is IpsecProtocol.IPCOMP and sa.spi > _CPI_MAX and not raw_cpi:
        raise invalid("a CPI has 16 bits")
    if sa2.mode > IpsecMode.IPSEC_MODE_TUNNEL:
        raise invalid(f"an SA of mode {int(sa2.mode)}")
    natt = message.get(NatTType)
    if natt is not None and natt.type not in (0, UDP_ENCAP_ESPINUDP):
        raise invalid(f"UDP encapsulation of type {natt.type}")
    encryption, authentication, compression = _keys_from(message, protocol, sa)
    return SecurityAssociation(
        address_from_sockaddr(source.sockaddr),
        address_from_sockaddr(destination.sockaddr),
        protocol,
        sa.spi,
        Mode(int(sa2.mode)),
        sa2.reqid,
        sa.replay,
        encryption,
        authentication,
        compression,
        _lifetime_from(message.get(LifetimeHard)),
        _lifetime_from(message.get(LifetimeSoft)),
        _nat_from(message),
        label_from_message(message),
        bool(sa.flags & SadbSaflags.SADB_X_SAFLAGS_ESN),
        _flags_from(sa.flags),
    )


def sa_id_from_message(message: SadbMsg) -> tuple[Address, SaId]:
    """Return the source and the identity of the SA in a GET or DELETE; raises KamexfrmError.

    EINVAL where SA or an address is missing, ESRCH without a satype. For a DELETE
    without the SA extension see ``sa_ends_from_message``.
    """
    sa = message.require(Sa)
    source, destination = ends_from_message(message)
    name = SaId(address_from_sockaddr(destination.sockaddr), protocol_from_message(message), sa.spi)
    return address_from_sockaddr(source.sockaddr), name


def sa_ends_from_message(message: SadbMsg) -> tuple[Address, Address]:
    """Return source and destination of a DELETE for all SAs between them; raises KamexfrmError."""
    source, destination = ends_from_message(message)
    return address_from_sockaddr(source.sockaddr), address_from_sockaddr(destination.sockaddr)


def larval_from_message(message: SadbMsg) -> tuple[SecurityAssociation, int, int]:
    """Return the larval SA of a GETSPI and the SPIs to choose from, 0 and 0 for any.

    Raises KamexfrmError (EINVAL).
    """
    protocol = protocol_from_message(message)
    source, destination = sa_ends_from_message(message)
    span = message.get(SpiRange) or SpiRange(0, 0)
    if span.min > span.max:
        raise invalid(f"an SPI from {span.min} to {span.max}")
    sa2 = message.get(Sa2) or Sa2()
    if sa2.mode > IpsecMode.IPSEC_MODE_TUNNEL:
        raise invalid(f"an SA of mode {int(sa2.mode)}")
    larval = SecurityAssociation(source, destination, protocol, 0, Mode(int(sa2.mode)), sa2.reqid)
    return larval, span.min, span.max


def filter_from_message(message: SadbMsg) -> Callable[[SadEntry], bool]:
    """Return the test of which SAs a DUMP asks for; raises KamexfrmError (EINVAL).

    Linux's X_FILTER gives prefixes of source and destination (xfrm_state.c
    __xfrm_state_filter_match()).
    """
    extension = message.get(Filter)
    if extension is None:
        return lambda _: True
    wanted, *prefixes = extension, extension.source_prefixlen, extension.destination_prefixlen
    if max(prefixes) > _ADDRESS_BITS:
        raise invalid(f"a prefix of {max(prefixes)} bits")

    def shows(entry: SadEntry) -> bool:
        source, destination = entry.association.source, entry.association.destination
        if wanted.family in ADDRESS_BITS and destination.family != wanted.family:
            return False
        ends = ((source, wanted.source), (destination, wanted.destination))
        return all(
            _agree(address.packed.ljust(16, b"\0"), prefix, bits)
            for (address, prefix), bits in zip(ends, prefixes, strict=True)
        )

    return shows


def _agree(address: bytes, prefix: bytes, bits: int) -> bool:
    drop = _ADDRESS_BITS - bits
    return int.from_bytes(address) >> drop == int.from_bytes(prefix) >> drop


# Replies


def _shown_key_from(kind: Kind, number: int, extension: KeyAuth | KeyEncrypt | None) -> Key | None:
    row = _row(kind, number)
    if row is None and extension is None:
        return None
    data = extension.key.data if extension is not None else b""
    return Key(row, data, row.icv_bits if row else 0, "" if row else str(number or "none"))


def sad_entry_from_message(message: SadbMsg) -> SadEntry:
    """Return what a kernel's reply says of an SA; raises KamexfrmError where an end is missing.

    Nothing else is rejected: what PF_KEY has no name for is shown as its number.
    """
    protocol = protocol_from_message(message)
    sa, sa2 = message.require(Sa), message.get(Sa2) or Sa2()
    source, destination = sa_ends_from_message(message)
    current = message.get(LifetimeCurrent) or LifetimeCurrent()
    compresses = protocol is IpsecProtocol.IPCOMP
    foreign = sa2.mode > IpsecMode.IPSEC_MODE_BEET
    mode = Mode.ANY if foreign else mode_from_message(sa2.mode)
    encryption = None
    if not compresses:
        encryption = _shown_key_from(Kind.ENCRYPTION, sa.encrypt, message.get(KeyEncrypt))
    association = SecurityAssociation(
        source,
        destination,
        protocol,
        sa.spi,
        mode,
        sa2.reqid,
        sa.replay,
        encryption,
        _shown_key_from(Kind.AUTHENTICATION, sa.auth, message.get(KeyAuth)),
        _shown_key_from(Kind.COMPRESSION, sa.encrypt, None) if compresses else None,
        _lifetime_from(message.get(LifetimeHard)),
        _lifetime_from(message.get(LifetimeSoft)),
        _nat_from(message),
        label_from_message(message),
        bool(sa.flags & SadbSaflags.SADB_X_SAFLAGS_ESN),
        _flags_from(sa.flags),
    )
    return SadEntry(
        association,
        SaState(min(int(sa.state), SaState.DEAD)),
        current.addtime,
        current.usetime,
        current.bytes,
        current.allocations,
        Mode.TRANSPORT if mode is Mode.ANY else mode,
        int(sa2.mode) + 1 if foreign else None,
        sa2.sequence,
    )
