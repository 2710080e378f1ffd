"""What PF_KEY messages about SAs and about policies have in common: satypes, addresses, headers.

Its users are ``sa_to_message`` and ``sa_from_message``, ``policy`` and ``spd``. All
are pure functions between KAME's model and the messages of the Linux dialect. A function that makes
a message leaves ``seq`` and ``pid`` zero: ``stamped`` and ``answering`` fill them in. One that
reads a message raises KamexfrmError with the errno that its sender gets.
"""

import errno
from collections.abc import Sequence
from dataclasses import replace
from typing import TypeVar

from kamexfrm.errors import invalid
from kamexfrm.model.policy import IpsecProtocol, SecurityContext
from kamexfrm.net import ADDRESS_BITS, Address
from kamexfrm.pfkey import (
    AddressDst,
    AddressExtension,
    AddressSrc,
    AnySockaddr,
    Extension,
    SadbMsg,
    SadbSatype,
    SadbType,
    SecCtx,
    Sockaddr,
)

#: The satype of each protocol that XFRM has.
SATYPES = {
    IpsecProtocol.AH: SadbSatype.SADB_SATYPE_AH,
    IpsecProtocol.ESP: SadbSatype.SADB_SATYPE_ESP,
    IpsecProtocol.IPCOMP: SadbSatype.SADB_X_SATYPE_IPCOMP,
}
_PROTOCOLS = {satype: protocol for protocol, satype in SATYPES.items()}

_MAKES = (SadbType.SADB_ADD, SadbType.SADB_UPDATE)
_NAMES = (SadbType.SADB_GET, SadbType.SADB_DELETE)

A = TypeVar("A", bound=AddressExtension)


# Headers


def message(
    type: SadbType, extensions: Sequence[Extension] = (), protocol: IpsecProtocol | None = None
) -> SadbMsg:
    """Return a message about a protocol, or about none or all of them (satype 0)."""
    satype = SATYPES[protocol] if protocol else SadbSatype.SADB_SATYPE_UNSPEC
    return SadbMsg(type, satype, extensions=tuple(extensions))


def stamped(message: SadbMsg, *, seq: int = 0, pid: int = 0) -> SadbMsg:
    """Return a message with a sequence number and a process id."""
    return replace(message, seq=seq, pid=pid)


def answering(request: SadbMsg, reply: SadbMsg) -> SadbMsg:
    """Return a reply with its request's sequence number and process id."""
    return replace(reply, seq=request.seq, pid=request.pid)


def error_reply(request: SadbMsg, number: int) -> SadbMsg:
    """Return the reply to a request that failed: its header and the errno (RFC 2367 2.1)."""
    return SadbMsg(request.type, request.satype, request.seq, request.pid, number)


def echo(request: SadbMsg) -> SadbMsg:
    """Return the reply to a flush that succeeded: the request's own header."""
    return error_reply(request, 0)


def protocol_from_message(message: SadbMsg) -> IpsecProtocol:
    """Return the protocol of a message about one SA; raises KamexfrmError.

    Without one that XFRM has, GET and DELETE fail with ESRCH, ADD and UPDATE without a satype with
    EPROTONOSUPPORT, and others with EINVAL (Linux af_key.c).
    """
    protocol = _PROTOCOLS.get(message.satype)
    if protocol is not None:
        return protocol
    unnamed = message.satype == SadbSatype.SADB_SATYPE_UNSPEC
    text = "the message names no protocol" if unnamed else f"Linux has no {message.satype.name}"
    if message.type in _NAMES:
        raise invalid(text, errno.ESRCH)
    makes = unnamed and message.type in _MAKES
    raise invalid(text, errno.EPROTONOSUPPORT if makes else errno.EINVAL)


def protocol_or_all(message: SadbMsg) -> IpsecProtocol | None:
    """Return what a FLUSH, DUMP or REGISTER is about, None for all; raises KamexfrmError."""
    if message.satype == SadbSatype.SADB_SATYPE_UNSPEC:
        return None
    return protocol_from_message(message)


# Messages without extensions


def flush(protocol: IpsecProtocol | None = None) -> SadbMsg:
    """Return a FLUSH of one protocol or of all; read it with ``protocol_or_all``."""
    return message(SadbType.SADB_FLUSH, protocol=protocol)


def dump(protocol: IpsecProtocol | None = None) -> SadbMsg:
    """Return a DUMP of one protocol or of all; read it with ``protocol_or_all``."""
    return message(SadbType.SADB_DUMP, protocol=protocol)


def spd_flush() -> SadbMsg:
    """Return an X_SPDFLUSH."""
    return message(SadbType.SADB_X_SPDFLUSH)


def spd_dump() -> SadbMsg:
    """Return an X_SPDDUMP."""
    return message(SadbType.SADB_X_SPDDUMP)


# Addresses


def address_to_extension(
    kind: type[A],
    address: Address,
    *,
    prefix: int | None = None,
    upper: int = 0,
    port: int | None = None,
) -> A:
    """Return an address extension; ``prefix`` in bits, by default the whole address.

    Raises KamexfrmError (EINVAL) for a family that is not IP's.
    """
    if address.family not in ADDRESS_BITS:
        raise invalid("an address that is neither IPv4 nor IPv6")
    length = address.bits if prefix is None else prefix
    return kind(Sockaddr(address, port or 0), length, upper)


def address_from_sockaddr(sockaddr: AnySockaddr | None) -> Address:
    """Return the address in a sockaddr; raises KamexfrmError for a family that is not IP's."""
    if not isinstance(sockaddr, Sockaddr):
        raise invalid("an address that is neither IPv4 nor IPv6")
    return sockaddr.address


def port_from_sockaddr(sockaddr: AnySockaddr) -> int | None:
    """Return the port in a sockaddr; 0, PF_KEY's wildcard, gives None."""
    return (sockaddr.port or None) if isinstance(sockaddr, Sockaddr) else None


def ends_from_message(message: SadbMsg) -> tuple[AddressSrc, AddressDst]:
    """Return both address extensions; raises KamexfrmError (EINVAL).

    Both must be there, of one family, with prefixes that fit (af_key.c verify_address_len(),
    pfkey_get() and others).
    """
    source, destination = message.require(AddressSrc), message.require(AddressDst)
    for extension in (source, destination):
        if extension.prefixlen > address_from_sockaddr(extension.sockaddr).bits:
            raise invalid(f"a prefix of {extension.prefixlen} bits")
    if (
        address_from_sockaddr(source.sockaddr).family
        != address_from_sockaddr(destination.sockaddr).family
    ):
        raise invalid("addresses of two families")
    return source, destination


# Security contexts


def label_to_extensions(label: SecurityContext | None) -> tuple[SecCtx, ...]:
    """Return the extension for a label, with the NUL at its end that Linux requires; or nothing."""
    if label is None:
        return ()
    doi, algorithm, text = label
    return (SecCtx(algorithm, doi, text if text.endswith(b"\0") else text + b"\0"),)


def label_from_message(message: SadbMsg) -> SecurityContext | None:
    """Return a message's label without its NUL, None if it has none."""
    extension = message.get(SecCtx)
    if extension is None:
        return None
    return SecurityContext(extension.doi, extension.alg, extension.context.removesuffix(b"\0"))
