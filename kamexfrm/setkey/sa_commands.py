"""The commands about SAs: add, update, getspi, get, delete, deleteall, flush, dump."""

from collections.abc import Callable

from kamexfrm.errors import Place
from kamexfrm.model.association import LinuxParts, NatTraversal, SaId, SecurityAssociation
from kamexfrm.model.policy import IpsecProtocol, Mode
from kamexfrm.model.policy_text import is_decimal
from kamexfrm.net import Address
from kamexfrm.pfkey.saflags import SADB_X_EXT_OLD
from kamexfrm.records import NamedTuple
from kamexfrm.setkey.hosts import Flags, Host, Resolver, read_flags, read_host, read_name
from kamexfrm.setkey.lexer import Words, is_hexadecimal, is_name
from kamexfrm.setkey.sa_algorithms import read_algorithms
from kamexfrm.setkey.sa_options import SaOptions, read_sa_options, resolve_named
from kamexfrm.setkey.statements import (
    PROTOCOL_WORDS,
    Add,
    Delete,
    DeleteAll,
    Dump,
    Flush,
    Get,
    GetSpi,
    Statement,
    Update,
)

_UINT32 = 0xFFFFFFFF

#: UDP port of NAT traversal where none is written.
NATT_PORT = 4500


class _Ends(NamedTuple):
    """Both addresses of a command, resolved, their ports, and the indexes of their words."""

    sources: tuple[Address, ...]
    destinations: tuple[Address, ...]
    source_port: int
    destination_port: int
    source_at: int
    at: int

    def pairs(self) -> list[tuple[Address, Address]]:
        """Return the pairs of equal family, source by source."""
        return [
            (source, destination)
            for source in self.sources
            for destination in self.destinations
            if source.family == destination.family
        ]


def read_add(words: Words, resolver: Resolver) -> Add | Update:
    """Read ``add [-46n] source destination [protocol] spi {option} algorithms;``, or ``update``."""
    command = Add if words.words[0] == "add" else Update
    words.at = 1
    ends = _read_ends(words, resolver)
    word, original = _read_protocol(words, resolver)
    spi = _read_spi(words)
    options = SaOptions()
    if word.endswith("-old"):
        options.sadb_flags |= SADB_X_EXT_OLD
    read_sa_options(words, options, resolver)
    read_algorithms(words, options, word)
    if options.mode is Mode.BEET and options.linux.selector is None:
        words.warn("an SA of mode beet needs sel with the inner addresses", words.at)
    words.expect(";")
    return command(
        Place(words.file, words.line, words.column),
        words.end_line,
        word,
        _associations(words, ends, word, spi, options, original),
        options.sadb_flags,
        options.natt_mtu,
        words.warnings,
        options.refusal,
    )


def read_getspi(words: Words, resolver: Resolver) -> GetSpi:
    """Read ``getspi [-46n] source destination [protocol] spi {option};``."""
    ends, word, original, spi, options = _read_named(words, resolver)
    return GetSpi(
        words.place(),
        words.end_line,
        word,
        _associations(words, ends, word, spi, options, original),
        words.warnings,
    )


def read_get(words: Words, resolver: Resolver) -> Get:
    """Read ``get [-46n] source destination [protocol] spi {option};``."""
    ends, word, _, spi, options = _read_named(words, resolver)
    pairs = _pairs(words, ends)
    protocol = _protocol_of(word)
    mark = options.linux.mark
    ids = () if protocol is None else tuple(SaId(pair[1], protocol, spi, mark) for pair in pairs)
    return Get(words.place(), words.end_line, word, pairs[0][0], ids, words.warnings)


def read_delete(words: Words, resolver: Resolver) -> Delete:
    """Read ``delete [-46n] source destination [protocol] spi {option};``."""
    ends, word, _, spi, options = _read_named(words, resolver)
    if len(ends.sources) > 1 or len(ends.destinations) > 1:
        at = ends.source_at if len(ends.sources) > 1 else ends.at
        token, hints = words.words[words.at - 1], ("use a numeric address",)
        words.fail("multiple address specified", at=at, token=token, hints=hints)
    [(source, destination)] = _pairs(words, ends)
    protocol = _protocol_of(word)
    name = None if protocol is None else SaId(destination, protocol, spi, options.linux.mark)
    return Delete(words.place(), words.end_line, word, source, name, words.warnings)


def read_deleteall(words: Words, resolver: Resolver) -> DeleteAll:
    """Read ``deleteall [-46n] source destination [protocol];``."""
    words.at = 1
    flags = read_flags(words)
    source = Host(*read_name(words), "", 0)
    sources = resolve_named(words, source, flags, resolver)[0]
    destination = Host(*read_name(words), "", 0)
    destinations = resolve_named(words, destination, flags, resolver)[0]
    word, _ = _read_protocol(words, resolver)
    words.expect(";")
    pairs = _pairs(words, _Ends(sources, destinations, 0, 0, source.at, destination.at))
    return DeleteAll(words.place(), words.end_line, tuple(pairs), PROTOCOL_WORDS[word])


def read_flush(words: Words, resolver: Resolver) -> Flush | Dump:
    """Read ``flush [protocol];``, or ``dump``."""
    command = Flush if words.words[0] == "flush" else Dump
    words.at = 1
    word, _ = _read_protocol(words, resolver)
    words.expect(";")
    return command(words.place(), words.end_line, PROTOCOL_WORDS[word])


def _read_named(
    words: Words, resolver: Resolver
) -> tuple[_Ends, str, Address | None, int, SaOptions]:
    """Read what getspi, get and delete have in common, up to the semicolon."""
    words.at = 1
    ends = _read_ends(words, resolver)
    word, original = _read_protocol(words, resolver)
    spi = _read_spi(words)
    options = SaOptions()
    read_sa_options(words, options, resolver)
    if options.mode is not Mode.ANY:
        words.warn("WARNING: mode is obsolete", words.at)
    words.expect(";")
    return ends, word, original, spi, options


def _protocol_of(word: str) -> IpsecProtocol | None:
    """Return the protocol to address one SA by; None for no word and for tcp."""
    protocols = PROTOCOL_WORDS[word]
    return protocols[0] if len(protocols) == 1 else None


def _read_ends(words: Words, resolver: Resolver) -> _Ends:
    flags = read_flags(words)
    source_at = words.at
    sources, source_port = resolve_named(words, read_host(words), flags, resolver)
    at = words.at
    destinations, destination_port = resolve_named(words, read_host(words), flags, resolver)
    return _Ends(sources, destinations, source_port, destination_port, source_at, at)


def _pairs(words: Words, ends: _Ends) -> list[tuple[Address, Address]]:
    """Return the pairs of equal family; raises setkey's silent failure where there is none."""
    pairs = ends.pairs()
    if not pairs:
        hint = "one address is IPv4 and the other one IPv6"
        words.fail("", at=ends.at, hints=(hint,))
    return pairs


def _read_protocol(words: Words, resolver: Resolver) -> tuple[str, Address | None]:
    """Return the protocol word, empty where none is, and the address after ``esp-udp``."""
    word = words.words[words.at]
    if not word or word not in PROTOCOL_WORDS:
        return "", None
    words.at += 1
    following = words.words[words.at]
    if (
        word != "esp-udp"
        or not is_name(following)
        or is_decimal(following)
        or is_hexadecimal(following)
    ):
        return word, None
    host = Host(*read_name(words), "", 0)
    return word, resolve_named(words, host, Flags(), resolver)[0][0]


def _read_spi(words: Words) -> int:
    while words.words[words.at].startswith("mode="):  # as setkey -D prints it
        words.at += 1
    word = words.words[words.at]
    if word.startswith("spi="):
        word = word[4:].partition("(")[0]
    if is_hexadecimal(word):
        spi = int(word, 16) if len(word) < 1000 else _UINT32 + 1
    elif is_decimal(word):
        spi = int(word) if len(word) < 1000 else _UINT32 + 1
    else:
        known = words.words[words.at - 1] in PROTOCOL_WORDS
        words.unexpected(
            "after the protocol comes the SPI, a number" if known else "an SPI is a number",
            among=() if known else tuple(PROTOCOL_WORDS),
        )
    if spi > _UINT32:
        words.fail("SPI too big.", hints=("an SPI has 32 bits",))
    words.at += 1
    while words.words[words.at].startswith("reqid="):  # not part of an SA's name
        words.at += 1
    return spi


def _associations(
    words: Words,
    ends: _Ends,
    word: str,
    spi: int,
    options: SaOptions,
    original: Address | None,
) -> tuple[SecurityAssociation, ...]:
    pairs = _pairs(words, ends)
    protocol = _protocol_of(word)
    if protocol is None:
        return ()
    nat = options.nat
    if word == "esp-udp":
        nat = NatTraversal(
            ends.source_port or NATT_PORT, ends.destination_port or NATT_PORT, original
        )
    hard, soft = options.lifetimes()
    linux = None if options.linux == LinuxParts() else options.linux
    return tuple(
        SecurityAssociation(
            source,
            destination,
            protocol,
            spi,
            options.mode,
            options.reqid,
            options.replay,
            options.encryption,
            options.authentication,
            options.compression,
            hard,
            soft,
            nat,
            options.context,
            options.esn,
            linux=linux,
        )
        for source, destination in pairs
    )


#: Reader of each command.
READERS: dict[str, Callable[[Words, Resolver], Statement]] = {
    "add": read_add,
    "update": read_add,
    "getspi": read_getspi,
    "get": read_get,
    "delete": read_delete,
    "deleteall": read_deleteall,
    "flush": read_flush,
    "dump": read_flush,
}
