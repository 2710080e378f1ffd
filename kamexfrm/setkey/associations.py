"""The commands about SAs: add, update, getspi, get, delete, deleteall, flush, dump."""

from collections.abc import Callable
from typing import NamedTuple

from kamexfrm.algorithms import Algorithm, Kind, by_name, spellings
from kamexfrm.errors import Place
from kamexfrm.model.association import Key, Lifetime, NatTraversal, SaId, SecurityAssociation
from kamexfrm.model.policy import IpsecProtocol, Mode, SecurityContext
from kamexfrm.net import Address
from kamexfrm.setkey.hosts import (
    Flags,
    Host,
    Resolver,
    UnknownHostError,
    read_flags,
    read_host,
    read_name,
    resolve,
)
from kamexfrm.setkey.lexer import Words, is_decimal, is_hexadecimal
from kamexfrm.setkey.statements import (
    PROTOCOL_WORDS,
    SADB_X_EXT_CYCSEQ,
    SADB_X_EXT_DERIV,
    SADB_X_EXT_IV4B,
    SADB_X_EXT_OLD,
    SADB_X_EXT_PRAND,
    SADB_X_EXT_PZERO,
    SADB_X_EXT_RAWCPI,
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
_UINT64 = 0xFFFFFFFFFFFFFFFF

#: UDP port of NAT traversal where none is written.
NATT_PORT = 4500

_MODES = {"transport": Mode.TRANSPORT, "tunnel": Mode.TUNNEL, "any": Mode.ANY}

#: Words after -f: the flags that they set and clear; seq-pad is the absence of the other two.
_PADS = {
    "zero-pad": (SADB_X_EXT_PZERO, 0),
    "random-pad": (SADB_X_EXT_PRAND, 0),
    "seq-pad": (0, 0),
    "nocyclic-seq": (0, SADB_X_EXT_CYCSEQ),
}

#: Flavours of DES that are flags for the kernel: word, flag, whether it wants esp-old.
_DES_FLAVOURS = {"des-deriv": (SADB_X_EXT_DERIV, False), "des-32iv": (SADB_X_EXT_IV4B, True)}

#: TCP-MD5 is the one algorithm of the protocol word ``tcp``.
_TCP_MD5 = "tcp-md5"


class _Ends(NamedTuple):
    """Both addresses of a command, resolved, their ports, and the index of the second one."""

    sources: tuple[Address, ...]
    destinations: tuple[Address, ...]
    source_port: int
    destination_port: int
    at: int

    def pairs(self) -> list[tuple[Address, Address]]:
        """Return the pairs of equal family, source by source."""
        return [
            (source, destination)
            for source in self.sources
            for destination in self.destinations
            if source.family == destination.family
        ]


class _Options:
    """What the options of a command say, while they are read."""

    __slots__ = (
        "authentication",
        "compression",
        "context",
        "encryption",
        "esn",
        "hard",
        "hard_bytes",
        "interface",
        "mode",
        "nat",
        "natt_mtu",
        "replay",
        "reqid",
        "sadb_flags",
        "soft",
        "soft_bytes",
    )

    def __init__(self) -> None:
        self.mode = Mode.ANY
        self.reqid = self.replay = 0
        self.hard = self.soft = self.hard_bytes = self.soft_bytes = 0
        self.sadb_flags = SADB_X_EXT_CYCSEQ
        self.context: SecurityContext | None = None
        self.nat: NatTraversal | None = None
        self.natt_mtu = 0
        self.esn = False
        self.interface = ""
        self.encryption: Key | None = None
        self.authentication: Key | None = None
        self.compression: Key | None = None


def read_add(words: Words, ask: Resolver) -> Add | Update:
    """add|update [flags] source destination [protocol] spi {option} algorithms ;"""
    command = Add if words.words[0] == "add" else Update
    words.at = 1
    ends = _read_ends(words, ask)
    word, original = _read_protocol(words, ask)
    spi = _read_spi(words)
    options = _Options()
    if word.endswith("-old"):
        options.sadb_flags |= SADB_X_EXT_OLD
    _read_options(words, options, ask)
    _read_algorithms(words, options, word)
    words.expect(";")
    return command(
        Place(words.file, words.line, words.column),
        words.end_line,
        word,
        _associations(words, ends, word, spi, options, original),
        options.sadb_flags,
        options.natt_mtu,
        options.interface,
        words.warnings,
    )


def read_getspi(words: Words, ask: Resolver) -> GetSpi:
    """Getspi [flags] source destination [protocol] spi {option} ;"""
    ends, word, original, spi, options = _read_named(words, ask)
    return GetSpi(
        words.place(),
        words.end_line,
        word,
        _associations(words, ends, word, spi, options, original),
        words.warnings,
    )


def read_get(words: Words, ask: Resolver) -> Get:
    """Get [flags] source destination [protocol] spi {option} ;"""
    ends, word, _, spi, _ = _read_named(words, ask)
    pairs = _pairs(words, ends)
    protocol = _protocol_of(word)
    ids = () if protocol is None else tuple(SaId(pair[1], protocol, spi) for pair in pairs)
    return Get(words.place(), words.end_line, word, pairs[0][0], ids, words.warnings)


def read_delete(words: Words, ask: Resolver) -> Delete:
    """Delete [flags] source destination [protocol] spi {option} ;"""
    ends, word, _, spi, _ = _read_named(words, ask)
    if len(ends.sources) > 1 or len(ends.destinations) > 1:
        words.fail("multiple address specified", at=words.at - 1, hints=("use a numeric address",))
    [(source, destination)] = _pairs(words, ends)
    protocol = _protocol_of(word)
    name = None if protocol is None else SaId(destination, protocol, spi)
    return Delete(words.place(), words.end_line, word, source, name, words.warnings)


def read_deleteall(words: Words, ask: Resolver) -> DeleteAll:
    """Deleteall [flags] source destination [protocol] ;"""
    words.at = 1
    flags = read_flags(words)
    source = Host(*read_name(words), "", 0)
    sources = _resolve(words, source, flags, ask)[0]
    destination = Host(*read_name(words), "", 0)
    destinations = _resolve(words, destination, flags, ask)[0]
    word, _ = _read_protocol(words, ask)
    words.expect(";")
    pairs = _pairs(words, _Ends(sources, destinations, 0, 0, destination.at))
    return DeleteAll(words.place(), words.end_line, tuple(pairs), PROTOCOL_WORDS[word])


def read_flush(words: Words, ask: Resolver) -> Flush:
    """Flush [protocol] ;"""
    words.at = 1
    word, _ = _read_protocol(words, ask)
    words.expect(";")
    return Flush(words.place(), words.end_line, PROTOCOL_WORDS[word])


def read_dump(words: Words, ask: Resolver) -> Dump:
    """Dump [protocol] ;"""
    words.at = 1
    word, _ = _read_protocol(words, ask)
    words.expect(";")
    return Dump(words.place(), words.end_line, PROTOCOL_WORDS[word])


def _read_named(words: Words, ask: Resolver) -> tuple[_Ends, str, Address | None, int, _Options]:
    """Read what getspi, get and delete have in common, up to the semicolon."""
    words.at = 1
    ends = _read_ends(words, ask)
    word, original = _read_protocol(words, ask)
    spi = _read_spi(words)
    options = _Options()
    _read_options(words, options, ask)
    if options.mode is not Mode.ANY:
        words.warn("WARNING: mode is obsolete", words.at)
    words.expect(";")
    return ends, word, original, spi, options


def _protocol_of(word: str) -> IpsecProtocol | None:
    """Return the protocol to address one SA by; None for no word and for tcp."""
    protocols = PROTOCOL_WORDS[word]
    return protocols[0] if len(protocols) == 1 else None


def _read_ends(words: Words, ask: Resolver) -> _Ends:
    flags = read_flags(words)
    sources, source_port = _resolve(words, read_host(words), flags, ask)
    at = words.at
    destinations, destination_port = _resolve(words, read_host(words), flags, ask)
    return _Ends(sources, destinations, source_port, destination_port, at)


def _resolve(
    words: Words, host: Host, flags: Flags, ask: Resolver
) -> tuple[tuple[Address, ...], int]:
    """Resolve a host that was just read; setkey names the word that its grammar looks at then."""
    try:
        return resolve(host, flags, ask)
    except UnknownHostError as error:
        token = "]" if host.port else words.shown(words.at)
        at = host.port_at if "ervname" in error.text else host.at
        words.fail(error.text, at=at, token=token)


def _pairs(words: Words, ends: _Ends) -> list[tuple[Address, Address]]:
    """Return the pairs of equal family; raises setkey's silent failure where there is none."""
    pairs = ends.pairs()
    if not pairs:
        hint = "one address is IPv4 and the other one IPv6"
        words.fail("", at=ends.at, token=";", hints=(hint,))
    return pairs


def _read_protocol(words: Words, ask: Resolver) -> tuple[str, Address | None]:
    """Return the protocol word, empty where none is, and the address after ``esp-udp``."""
    word = words.words[words.at]
    if not word or word not in PROTOCOL_WORDS:
        return "", None
    words.at += 1
    following = words.words[words.at]
    if (
        word != "esp-udp"
        or not (following[:1].isalnum() or following[:1] == ":")
        or following.isdigit()
        or is_hexadecimal(following)
    ):
        return word, None
    host = Host(*read_name(words), "", 0)
    return word, _resolve(words, host, Flags(), ask)[0][0]


def _read_spi(words: Words) -> int:
    word = words.words[words.at]
    if is_hexadecimal(word):
        spi = int(word, 16) if len(word) < 1000 else _UINT32 + 1
    elif word.isdigit():
        spi = int(word) if len(word) < 1000 else _UINT32 + 1
    else:
        words.unexpected(
            "an SPI is a number",
            among=tuple(filter(None, PROTOCOL_WORDS)) if words.words[words.at - 1] != "esp" else (),
        )
    if spi > _UINT32:
        words.fail("SPI too big.", hints=("an SPI has 32 bits",))
    words.at += 1
    return spi


def _read_options(words: Words, options: _Options, ask: Resolver) -> None:
    texts = words.words
    while (option := _OPTIONS.get(texts[words.at])) is not None:
        words.at += 1
        option(words, options, ask)


def _mode(words: Words, options: _Options, ask: Resolver) -> None:
    mode = _MODES.get(words.words[words.at])
    if mode is None:
        words.unexpected("a mode is transport, tunnel or any", among=tuple(_MODES))
    words.at += 1
    options.mode = mode


def _flag(words: Words, options: _Options, ask: Resolver) -> None:
    found = _PADS.get(words.words[words.at])
    if found is None:
        words.unexpected(among=tuple(_PADS))
    words.at += 1
    options.sadb_flags = (options.sadb_flags | found[0]) & ~found[1]


def _reqid(words: Words, options: _Options, ask: Resolver) -> None:
    options.reqid = words.number(_UINT32, "reqid")


def _replay(words: Words, options: _Options, ask: Resolver) -> None:
    options.replay = words.number(_UINT32, "replay window")
    if options.sadb_flags & SADB_X_EXT_OLD and options.replay:
        words.fail("replay prevention cannot be used with ah/esp-old", at=words.at - 1)


def _hard(words: Words, options: _Options, ask: Resolver) -> None:
    options.hard = words.number(_UINT64, "lifetime")


def _soft(words: Words, options: _Options, ask: Resolver) -> None:
    options.soft = words.number(_UINT64, "lifetime")


def _hard_bytes(words: Words, options: _Options, ask: Resolver) -> None:
    options.hard_bytes = words.number(_UINT64, "lifetime")


def _soft_bytes(words: Words, options: _Options, ask: Resolver) -> None:
    options.soft_bytes = words.number(_UINT64, "lifetime")


def _context(words: Words, options: _Options, ask: Resolver) -> None:
    options.context = read_context(words)


def read_context(words: Words) -> SecurityContext:
    """Read what follows ``-ctx``: DOI, algorithm and label."""
    doi = words.number(255, "doi")
    algorithm = words.number(255, "algorithm")
    label = words.words[words.at]
    if len(label) < 2 or label[0] != '"':
        words.unexpected("a label stands in quotation marks")
    words.at += 1
    return SecurityContext(doi, algorithm, _bytes(label[1:-1]))


def _natt(words: Words, options: _Options, ask: Resolver) -> None:
    """FreeBSD's ``-natt ADDRESS [PORT] ADDRESS [PORT]``: initiator and requester."""
    addresses = []
    ports = []
    for _ in range(2):
        host = read_host(words)
        if not is_decimal(host.port):
            words.at -= 1 if host.port else 0
            words.unexpected("-natt wants a port in brackets after each address")
        found, port = _resolve(words, host, Flags(), ask)
        addresses.append(found[0])
        ports.append(port)
    options.nat = NatTraversal(ports[0], ports[1], addresses[0])


def _natt_mtu(words: Words, options: _Options, ask: Resolver) -> None:
    options.natt_mtu = words.number(0xFFFF, "MTU")


def _esn(words: Words, options: _Options, ask: Resolver) -> None:
    options.esn = True


def _hwif(words: Words, options: _Options, ask: Resolver) -> None:
    options.interface = read_name(words)[1]


_OPTIONS: dict[str, Callable[[Words, _Options, Resolver], None]] = {
    "-m": _mode,
    "-f": _flag,
    "-u": _reqid,
    "-r": _replay,
    "-lh": _hard,
    "-ls": _soft,
    "-bh": _hard_bytes,
    "-bs": _soft_bytes,
    "-ctx": _context,
    "-natt": _natt,
    "-natt_mtu": _natt_mtu,
    "-esn": _esn,
    "-hwif": _hwif,
}


def _read_algorithms(words: Words, options: _Options, word: str) -> None:
    """-E encryption [-A authentication] | -A authentication | -C compression [-R]."""
    if words.skip("-E"):
        options.encryption = _encryption(words, options)
        if words.skip("-A"):
            options.authentication = _authentication(words, word)
    elif words.skip("-A"):
        options.authentication = _authentication(words, word)
    elif words.skip("-C"):
        algorithm = by_name(Kind.COMPRESSION, words.words[words.at])
        if algorithm is None:
            words.unexpected(among=spellings(Kind.COMPRESSION))
        words.at += 1
        options.compression = Key(algorithm, b"")
        if words.skip("-R"):
            options.sadb_flags |= SADB_X_EXT_RAWCPI
    else:
        words.unexpected("the algorithm comes last: -E, -A or -C")
    if words.words[words.at] in _OPTIONS:
        words.unexpected("options come before the algorithms")


def _encryption(words: Words, options: _Options) -> Key:
    at = words.at
    name = words.words[at]
    algorithm = by_name(Kind.ENCRYPTION, name) or by_name(Kind.AEAD, name)
    flavour = _DES_FLAVOURS.get(name)
    if flavour is not None:
        algorithm = by_name(Kind.ENCRYPTION, "des-cbc")
        if bool(options.sadb_flags & SADB_X_EXT_OLD) is not flavour[1]:
            words.at += 1
            if words.words[words.at][:1] not in ('"', "0"):
                words.unexpected()
            hint = f"{name} goes with {'esp-old' if flavour[1] else 'esp'} only"
            words.fail("algorithm mismatched", hints=(hint,))
        options.sadb_flags |= flavour[0]
    elif name == "simple":
        algorithm = by_name(Kind.ENCRYPTION, "null")
        words.warn("WARNING: obsolete algorithm", at)
    if algorithm is None:
        words.unexpected(among=(*spellings(Kind.ENCRYPTION), *spellings(Kind.AEAD), *_DES_FLAVOURS))
    words.at = at + 1
    return _key(words, algorithm)


def _authentication(words: Words, word: str) -> Key:
    name = words.words[words.at]
    algorithm = by_name(Kind.AUTHENTICATION, name)
    if algorithm is None:
        words.unexpected(among=spellings(Kind.AUTHENTICATION))
    if (name == _TCP_MD5) != (word == "tcp"):
        words.fail("algorithm mismatched", hints=("tcp-md5 and the protocol tcp go together",))
    words.at += 1
    return _key(words, algorithm)


def _key(words: Words, algorithm: Algorithm) -> Key:
    """Step over the key of an algorithm, which must be of a length that the kernel registers."""
    text = words.words[words.at]
    if not algorithm.takes_key:
        if text == '""':  # FreeBSD's manual writes an empty key here
            words.at += 1
        return Key(algorithm, b"", algorithm.icv_bits)
    if len(text) > 1 and text[0] == '"':
        material = _bytes(text[1:-1])
    elif is_hexadecimal(text):
        material = bytes.fromhex(("0" if len(text) % 2 else "") + text[2:])
    else:
        words.unexpected(f'{algorithm.name} wants a key: 0x and hexadecimal digits, or "text"')
    bits = len(material) * 8
    if not algorithm.kernel and algorithm.name != _TCP_MD5:
        words.fail("Not supported", hints=(f"Linux has no {algorithm.name}",))
    if not algorithm.accepts(bits):
        low, high, _ = algorithm.key_bits
        words.fail(
            "Invalid key length" if algorithm.name != _TCP_MD5 else "",
            before=(f"{bits} {low} {high}",) if algorithm.name != _TCP_MD5 else (),
            hints=(key_length_hint(algorithm, bits),),
        )
    words.at += 1
    return Key(algorithm, material, algorithm.icv_bits)


def key_length_hint(algorithm: Algorithm, bits: int) -> str:
    """Return a sentence with the key lengths that an algorithm takes."""
    sizes = algorithm.key_sizes
    if len(sizes) > 4:
        wanted = f"{sizes[0]} to {sizes[-1]} bits"
    else:
        wanted = " or ".join(", ".join(map(str, sizes)).rsplit(", ", 1)) + " bits"
    return f"{algorithm.name} takes a key of {wanted}; this one has {bits}"


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")


_NO_LIFETIME = Lifetime()


def _associations(
    words: Words,
    ends: _Ends,
    word: str,
    spi: int,
    options: _Options,
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
    hard = soft = _NO_LIFETIME
    if options.hard or options.hard_bytes:
        hard = Lifetime(0, options.hard_bytes, options.hard, 0)
    if options.soft or options.soft_bytes:
        soft = Lifetime(0, options.soft_bytes, options.soft, 0)
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
    "dump": read_dump,
}
