"""Addresses, ports and upper protocols of a statement, with setkey's errors about them."""

from __future__ import annotations

import _socket as socket  # the module socket takes as long to load as a command to run
from collections.abc import Callable, Sequence

from kamexfrm.errors import KamexfrmError
from kamexfrm.lazy import expression
from kamexfrm.model.policy import ULPROTO_ANY
from kamexfrm.model.policy_text import decimal, is_decimal
from kamexfrm.net import (
    AF_INET,
    AF_INET6,
    IPPROTO_AH,
    IPPROTO_COMP,
    IPPROTO_ESP,
    IPPROTO_ICMPV6,
    IPPROTO_IPIP,
    IPPROTO_MH,
    IPPROTO_TCP,
    IPPROTO_UDP,
    Address,
    protocol_number,
)
from kamexfrm.records import NamedTuple
from kamexfrm.setkey.lexer import KEYWORDS, Words, is_hexadecimal, is_name

TYPE_CHECKING = False  # typing takes long to load
if TYPE_CHECKING:
    from typing import Any

#: What resolves names: the signature and the answer of socket.getaddrinfo().
Resolver = Callable[..., Sequence["tuple[Any, ...]"]]

_inet_pton = socket.inet_pton

#: What looks like an IPv4 address, and inet_aton(3) may read otherwise: short, octal, hexadecimal.
_ODD_IPV4 = expression(r"(?:0[xX][0-9A-Fa-f]+|[0-9]+)(?:\.(?:0[xX][0-9A-Fa-f]+|[0-9]+)){1,3}")

#: Upper protocols that are not looked up in /etc/protocols, which names some otherwise.
_UPPERS = {
    "any": ULPROTO_ANY,
    "ip": ULPROTO_ANY,
    "tcp": 6,
    "udp": 17,
    "icmp": 1,
    "icmp6": IPPROTO_ICMPV6,
    "ip4": IPPROTO_IPIP,
    "ipv4": IPPROTO_IPIP,
    "mh": IPPROTO_MH,
    "esp": IPPROTO_ESP,
    "ah": IPPROTO_AH,
    "ipcomp": IPPROTO_COMP,
}


#: Names of the BSDs' /etc/protocols that Linux's may lack.
_BSD_UPPERS = {
    "st2": 5,
    "cbt": 7,
    "igp": 9,
    "bbn-rcc": 10,
    "nvp": 11,
    "argus": 13,
    "emcon": 14,
    "xnet": 15,
    "chaos": 16,
    "mux": 18,
    "dcn": 19,
    "prm": 21,
    "trunk-1": 23,
    "trunk-2": 24,
    "leaf-1": 25,
    "leaf-2": 26,
    "irtp": 28,
    "netblt": 30,
    "mfe-nsp": 31,
    "merit-inp": 32,
    "sep": 33,
    "3pc": 34,
    "idpr": 35,
    "il": 40,
    "sdrp": 42,
    "i-nlsp": 52,
    "swipe": 53,
    "narp": 54,
    "mobile": 55,
    "tlsp": 56,
    "cftp": 62,
    "sat-expak": 64,
    "kryptolan": 65,
    "rvd": 66,
    "ippc": 67,
    "sat-mon": 69,
    "visa": 70,
    "ipcv": 71,
    "cpnx": 72,
    "cphb": 73,
    "wsn": 74,
    "pvp": 75,
    "br-sat-mon": 76,
    "sun-nd": 77,
    "wb-mon": 78,
    "wb-expak": 79,
    "iso-ip": 80,
    "secure-vmtp": 82,
    "vines": 83,
    "ttp": 84,
    "nsfnet-igp": 85,
    "dgp": 86,
    "tcf": 87,
    "ospfigp": 89,
    "ospf": 89,
    "sprite-rpc": 90,
    "larp": 91,
    "mtp": 92,
    "micp": 95,
    "scc-sp": 96,
    "etherip": 97,
    "gmtp": 100,
    "ifmp": 101,
    "pnni": 102,
    "pim": 103,
    "aris": 104,
    "scps": 105,
    "qnx": 106,
    "snp": 109,
    "compaq-peer": 110,
    "ipx-in-ip": 111,
    "vrrp": 112,
    "carp": 112,
    "pgm": 113,
    "l2tp": 115,
    "ddx": 116,
    "iatp": 117,
    "stp": 118,
    "srp": 119,
    "uti": 120,
    "smp": 121,
    "ptp": 123,
    "fire": 125,
    "crtp": 126,
    "crudp": 127,
    "sscopmce": 128,
    "iplt": 129,
    "sps": 130,
    "pipe": 131,
    "sctp": 132,
    "fc": 133,
    "rsvp-e2e-ignore": 134,
    "udplite": 136,
    "mpls-in-ip": 137,
    "pfsync": 240,
    "icmpv6": IPPROTO_ICMPV6,
    "ipv6-icmp": IPPROTO_ICMPV6,
    "ipencap": IPPROTO_IPIP,
    "igmp": 2,
    "ggp": 3,
    "egp": 8,
    "ipv6": 41,
    "gre": 47,
    "dccp": 33,
    "ipv6-frag": 44,
}


class UnknownHostError(KamexfrmError):
    """A name or a service that the resolver does not find; the text is the resolver's.

    ``service`` is true where it was the service.
    """

    def __init__(self, text: str, *, service: bool = False) -> None:
        super().__init__(text)
        self.service = service

    def culprit(self, host: Host) -> int:
        """Return the index of the word that was not found."""
        return host.port_at if self.service else host.at

    def hints(self) -> tuple[str, ...]:
        """Return hints for people."""
        if self.service:
            return ("/etc/services has no such service of that protocol: write the port's number",)
        return ()


class Host(NamedTuple):
    """A host as written: ``at`` is the index of its word, ``port`` empty where none is."""

    at: int
    name: str
    port: str
    port_at: int


class Flags(NamedTuple):
    """What ``-4``, ``-6`` and ``-n`` mean to the resolver."""

    family: int = 0
    numeric: bool = False


_NO_FLAGS = Flags()


def read_flags(words: Words) -> Flags:
    """Step over the address flags; of 4 and 6 the last one holds."""
    word = words.words[words.at]
    if not word.startswith("-"):
        return _NO_FLAGS
    family, numeric = 0, False
    while len(word) > 1 and word[0] == "-" and word[1:].strip("46n") == "":
        for letter in word[1:]:
            if letter == "n":
                numeric = True
            else:
                family = AF_INET if letter == "4" else AF_INET6
        words.at += 1
        word = words.words[words.at]
    return Flags(family, numeric)


def read_name(words: Words) -> tuple[int, str]:
    """Step over a word that can be a host's name or address."""
    at = words.at
    word = words.words[at]
    if word in KEYWORDS or not is_name(word):
        words.unexpected()
    if is_decimal(word):
        words.unexpected("write an address with dots: 10.0.0.1, 0.0.0.0/0")
    if is_hexadecimal(word):
        words.unexpected()
    words.at = at + 1
    return at, word


def read_port(words: Words) -> tuple[str, int]:
    """Step over ``[port]`` if it is there; return its word and index."""
    at = words.at
    if words.words[at] != "[":
        return "", at
    words.at = at + 1
    port = words.words[words.at]
    if not (is_name(port) or "," in port) or (port in KEYWORDS and port != "any"):
        words.unexpected()
    if is_hexadecimal(port):
        words.unexpected()
    if is_decimal(port) and decimal(port, 0xFFFF) is None:
        words.fail("port too big", hints=("a port has 16 bits: at most 65535",))
    words.at += 1
    words.expect("]")
    return port, at + 1


def read_host(words: Words) -> Host:
    """Step over ``name[port]``, with or without the port."""
    at, name = read_name(words)
    port, port_at = read_port(words)
    return Host(at, name, port, port_at)


def numeric_address(word: str) -> Address | None:
    """Return the address that a word writes out, or None."""
    try:
        if ":" in word:
            return Address(AF_INET6, _inet_pton(AF_INET6, word))
        return Address(AF_INET, _inet_pton(AF_INET, word))
    except (OSError, ValueError):
        return None


def system_resolver(
    host: str, port: str | None, family: int, kind: int, protocol: int, flags: int
) -> Sequence[tuple[Any, ...]]:
    """Call getaddrinfo(3), with the name as bytes so that Python applies no IDNA rule."""
    return socket.getaddrinfo(host.encode(), port, family, kind, protocol, flags)


class Resolved(NamedTuple):
    """A host's addresses, its port (0 for any) and the index of the device in its scope, or 0."""

    addresses: tuple[Address, ...]
    port: int
    interface: int = 0


def interface_index(name: str, resolver: Resolver) -> int:
    """Return a device's index, 0 where there is none: what the resolver says of its scope."""
    try:
        found = resolver(
            f"fe80::%{name}",
            None,
            AF_INET6,
            socket.SOCK_DGRAM,
            socket.IPPROTO_UDP,
            socket.AI_NUMERICHOST,
        )
    except (OSError, UnicodeError, ValueError):
        return 0
    return int(found[0][4][3])


def checking_resolver(
    host: str, port: str | None, family: int, kind: int, protocol: int, flags: int
) -> Sequence[tuple[Any, ...]]:
    """Do as system_resolver(), and take any device for one of this machine."""
    try:
        return system_resolver(host, port, family, kind, protocol, flags)
    except OSError:
        address, percent, _ = host.partition("%")
        known = numeric_address(address)
        if not percent or known is None or known.family != AF_INET6:
            raise
        return [(AF_INET6, kind, protocol, "", (address, 0, 0, 1))]


def doubtful_address(name: str, address: Address) -> str:
    """Return a warning about an address that is read as another one than it may look like."""
    if not _ODD_IPV4.fullmatch(name) or str(address) == name:
        return ""
    return f"{name} is read as {address}"


def resolve(host: Host, flags: Flags, resolver: Resolver, upper: int = IPPROTO_UDP) -> Resolved:
    """Return what a host is; raises UnknownHostError.

    Services are looked up as UDP's, as setkey does for every protocol; those of TCP that UDP has
    not, such as smtp, are found where the ``upper`` protocol is TCP.
    """
    port = 0
    service: str | None = None
    if host.port and host.port != "any":
        if is_decimal(host.port):
            port = decimal(host.port, 0xFFFF) or 0
        else:
            service = host.port
    address = numeric_address(host.name)
    if address is not None and service is None and flags.family in (0, address.family):
        return Resolved((address,), port)
    found = _look_up(host.name, service, flags, resolver, upper)
    addresses = []
    interface = 0
    for family, _, _, _, sockaddr in found:
        known = numeric_address(str(sockaddr[0]).partition("%")[0])
        if known is not None and known.family == family and known not in addresses:
            addresses.append(known)
        port = sockaddr[1] if service is not None else port
        interface = sockaddr[3] if len(sockaddr) > 3 and sockaddr[3] else interface
    if not addresses:
        raise UnknownHostError("Name or service not known")
    return Resolved(tuple(addresses), port, interface)


def _look_up(
    name: str, service: str | None, flags: Flags, resolver: Resolver, upper: int
) -> Sequence[tuple[Any, ...]]:
    mode = socket.AI_NUMERICHOST if flags.numeric else 0
    try:
        try:
            return resolver(name, service, flags.family, socket.SOCK_DGRAM, IPPROTO_UDP, mode)
        except socket.gaierror as error:
            if error.errno != socket.EAI_SERVICE or upper != IPPROTO_TCP:
                raise
            return resolver(name, service, flags.family, socket.SOCK_STREAM, IPPROTO_TCP, mode)
    except socket.gaierror as error:
        raise UnknownHostError(
            error.strerror or str(error), service=error.errno == socket.EAI_SERVICE
        ) from None
    except (OSError, UnicodeError, ValueError):
        raise UnknownHostError("Name or service not known") from None


def is_local(address: Address) -> bool:
    """Whether an address is one of this host's."""
    from socket import SOCK_DGRAM, AddressFamily, socket  # rarely needed

    with socket(AddressFamily(address.family), SOCK_DGRAM) as trial:
        try:
            trial.bind((str(address), 0))
        except OSError:
            return False
    return True


def upper_protocol(word: str) -> int | None:
    """Return the number of an upper protocol (255 for any), or None; ``0`` and ``ip`` are any."""
    number = _UPPERS.get(word)
    if number is not None:
        return number
    number = decimal(word, 255) if is_decimal(word) else protocol_number(word)
    if number is None:
        number = _BSD_UPPERS.get(word)
    if number is not None:
        number = number or ULPROTO_ANY
        if len(_UPPERS) < 1000:
            _UPPERS[word] = number
    return number
