"""Objects made of what is at hand: addresses as text or ipaddress objects, words, setkey's text."""

from ipaddress import IPv4Address, IPv6Address, ip_address

from kamexfrm.algorithms import Kind, by_name
from kamexfrm.errors import KamexfrmError, invalid
from kamexfrm.model.association import Key, SaId, SecurityAssociation
from kamexfrm.model.packet import Packet, Path, Protection
from kamexfrm.model.policy import ULPROTO_ANY, IpsecProtocol, Mode, SecurityPolicy
from kamexfrm.net import Address, protocol_number
from kamexfrm.setkey.parser import parse
from kamexfrm.setkey.statements import Add, SpdAdd

AddressLike = Address | IPv4Address | IPv6Address | str

_PROTOCOLS = {"esp": IpsecProtocol.ESP, "ah": IpsecProtocol.AH, "ipcomp": IpsecProtocol.IPCOMP}
_MODES = {"any": Mode.ANY, "transport": Mode.TRANSPORT, "tunnel": Mode.TUNNEL}
_PATHS = {"in": Path.IN, "out": Path.OUT, "fwd": Path.FORWARDED}


def address(value: AddressLike) -> Address:
    """Return an address of text, of an ipaddress object, or of one of ours; raises KamexfrmError.

    >>> address("10.0.0.1") == address(IPv4Address("10.0.0.1"))
    True
    >>> str(address(IPv6Address("2001:db8::1")))
    '2001:db8::1'
    """
    try:
        return Address.of(value)
    except ValueError as error:
        raise invalid(str(error)) from None


def to_ipaddress(value: Address) -> IPv4Address | IPv6Address:
    """Return an address as the standard library has it."""
    return ip_address(value.packed)


def key(algorithm: str, material: bytes = b"") -> Key:
    """Return a key of an algorithm by setkey's name for it; raises KamexfrmError (EINVAL).

    >>> key("aes-cbc", bytes(16))
    <Key aes-cbc, 128 bits>
    """
    for kind in Kind:
        found = by_name(kind, algorithm)
        if found is not None:
            return Key(found, material)
    raise invalid(f"no algorithm {algorithm!r}")


def sa(
    source: AddressLike,
    destination: AddressLike,
    protocol: str,
    spi: int,
    *,
    mode: str = "any",
    encryption: Key | None = None,
    authentication: Key | None = None,
    compression: Key | None = None,
    reqid: int = 0,
    replay_window: int = 0,
    esn: bool = False,
) -> SecurityAssociation:
    """Return an SA to add; ``protocol`` is esp, ah or ipcomp, ``mode`` any, transport or tunnel.

    ``replay_window`` is in packets. Raises KamexfrmError (EINVAL).

    >>> sa("10.0.0.1", "10.0.0.2", "esp", 0x100, encryption=key("aes-cbc", bytes(16))).spi
    256
    """
    if mode not in _MODES:
        raise invalid(f"an SA is of mode {', '.join(_MODES)}, not {mode!r}")
    return SecurityAssociation(
        address(source),
        address(destination),
        _protocol(protocol),
        spi,
        _MODES[mode],
        reqid,
        replay_window,
        encryption,
        authentication,
        compression,
        esn=esn,
    )


def sa_id(destination: AddressLike, protocol: str, spi: int) -> SaId:
    """Return the identity of an SA, to get or delete it; raises KamexfrmError (EINVAL).

    >>> print(sa_id("10.0.0.2", "esp", 0x100))
    10.0.0.2 esp 0x100
    """
    return SaId(address(destination), _protocol(protocol), spi)


def _protocol(word: str) -> IpsecProtocol:
    if word not in _PROTOCOLS:
        raise invalid(f"an SA is of {', '.join(_PROTOCOLS)}, not {word!r}")
    return _PROTOCOLS[word]


def policy(text: str) -> SecurityPolicy:
    """Return a policy of setkey's text, with or without ``spdadd`` and ``;``.

    Raises KamexfrmError for a mistake in it, and for text that is not one policy.

    >>> policy("10.0.0.1 10.0.0.2 any -P out ipsec esp/transport//require").direction
    <Direction.OUT: 2>
    """
    words = text.strip().rstrip(";")
    statements = list(parse(f"{'' if words.startswith('spdadd') else 'spdadd '}{words};"))
    if len(statements) != 1 or not isinstance(statements[0], SpdAdd):
        raise invalid("this is not one policy")
    return statements[0].policy


def sa_from_text(text: str) -> SecurityAssociation:
    """Return an SA of setkey's text, with or without ``add`` and ``;``; raises KamexfrmError.

    >>> sa_from_text("10.0.0.1 10.0.0.2 esp 0x100 -E null").spi
    256
    """
    words = text.strip().rstrip(";")
    statements = list(parse(f"{'' if words.startswith('add ') else 'add '}{words};"))
    if len(statements) != 1 or not isinstance(statements[0], Add):
        raise invalid("this is not one SA")
    [association] = statements[0].associations
    return association


def packet(
    path: str,
    source: AddressLike,
    destination: AddressLike,
    upper: str | int = "any",
    source_port: int | None = None,
    destination_port: int | None = None,
    *,
    protections: tuple[Protection, ...] = (),
) -> Packet:
    """Return a packet to decide about; ``path`` is in, out or fwd, ``upper`` a protocol.

    For ICMP the ports are type and code. ``protections`` belong to a packet that arrives. Raises
    KamexfrmError (EINVAL).

    >>> packet("out", "10.0.0.1", "10.0.0.2", "tcp", 1024, 80).upper
    6
    """
    if path not in _PATHS:
        raise invalid(f"a packet goes in, out or fwd, not {path!r}")
    number = upper if isinstance(upper, int) else protocol_number(upper)
    if upper == "any":
        number = ULPROTO_ANY
    if number is None:
        raise KamexfrmError(f"no protocol {upper!r}")
    ends = address(source), address(destination)
    return Packet(_PATHS[path], *ends, number, source_port, destination_port, protections)
