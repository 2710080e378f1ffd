"""Addresses, ports and upper protocols of a statement, with setkey's errors about them."""

from __future__ import annotations

import _socket as socket  # the module socket takes as long to load as a command to run
from collections.abc import Callable, Sequence

from kamexfrm.errors import KamexfrmError
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

#: Upper protocols that are not looked up in /etc/protocols, which names some otherwise.
_UPPERS = {
    "any": ULPROTO_ANY,
    "ip": ULPROTO_ANY,
    "tcp": 6,
    "udp": 17,
    "icmp": 1,
    "icmp6": IPPROTO_ICMPV6,
    "ip4": IPPROTO_IPIP,
    "esp": IPPROTO_ESP,
    "ah": IPPROTO_AH,
    "ipcomp": IPPROTO_COMP,
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
            return ("services are looked up as those of udp: write the port's number",)
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


def resolve(host: Host, flags: Flags, resolver: Resolver) -> Resolved:
    """Return what a host is; raises UnknownHostError.

    Services are looked up as UDP's, as setkey does for every protocol.
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
    mode = socket.AI_NUMERICHOST if flags.numeric else 0
    try:
        found = resolver(
            host.name, service, flags.family, socket.SOCK_DGRAM, socket.IPPROTO_UDP, mode
        )
    except socket.gaierror as error:
        raise UnknownHostError(
            error.strerror or str(error), service=error.errno == socket.EAI_SERVICE
        ) from None
    except (OSError, UnicodeError, ValueError):
        raise UnknownHostError("Name or service not known") from None
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
    if number is not None:
        number = number or ULPROTO_ANY
        if len(_UPPERS) < 1000:
            _UPPERS[word] = number
    return number
