"""The options of the commands about SAs: ``-m tunnel -u 100 -lh 3600`` and the like."""

from collections.abc import Callable

from kamexfrm.model.association import (
    Key,
    Lifetime,
    LinuxParts,
    NatTraversal,
    Offload,
    SecurityAssociation,
    SequenceNumbers,
)
from kamexfrm.model.policy import Direction, Mode, SecurityContext
from kamexfrm.model.policy_text import SA_MODES, is_decimal
from kamexfrm.net import Address
from kamexfrm.pfkey.saflags import (
    SADB_X_EXT_CYCSEQ,
    SADB_X_EXT_OLD,
    SADB_X_EXT_PRAND,
    SADB_X_EXT_PZERO,
)
from kamexfrm.setkey.hosts import (
    Flags,
    Host,
    Resolver,
    UnknownHostError,
    doubtful_address,
    is_local,
    read_host,
    resolve,
)
from kamexfrm.setkey.lexer import Words, is_hexadecimal
from kamexfrm.setkey.selectors import (
    ScopeWords,
    find_device,
    read_device,
    read_mark,
    read_number,
    read_selector,
    resolve_selector,
)
from kamexfrm.setkey.statements import LanguageWarning

_UINT32 = 0xFFFFFFFF
_UINT64 = 0xFFFFFFFFFFFFFFFF

#: Words after -f: the flags that they set and clear; seq-pad is the absence of the other two.
_PADS = {
    "zero-pad": (SADB_X_EXT_PZERO, 0),
    "random-pad": (SADB_X_EXT_PRAND, 0),
    "seq-pad": (0, 0),
    "nocyclic-seq": (0, SADB_X_EXT_CYCSEQ),
}

_DIRECTIONS = {"in": Direction.IN, "out": Direction.OUT}

_NO_LIFETIME = Lifetime()


class SaOptions:
    """The options of a command about SAs, while they are read."""

    __slots__ = (
        "authentication",
        "compression",
        "context",
        "encryption",
        "esn",
        "hard",
        "hard_bytes",
        "linux",
        "mode",
        "nat",
        "natt_mtu",
        "refusal",
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
        self.linux = LinuxParts()
        self.refusal: LanguageWarning | None = None
        self.encryption: Key | None = None
        self.authentication: Key | None = None
        self.compression: Key | None = None

    def lifetimes(self) -> tuple[Lifetime, Lifetime]:
        """Return the hard and the soft limits."""
        hard = soft = _NO_LIFETIME
        if self.hard or self.hard_bytes:
            hard = Lifetime(0, self.hard_bytes, self.hard, 0)
        if self.soft or self.soft_bytes:
            soft = Lifetime(0, self.soft_bytes, self.soft, 0)
        return hard, soft


#: Reads one option behind its word.
Reader = Callable[[Words, SaOptions, Resolver], None]


def resolve_named(
    words: Words, host: Host, flags: Flags, resolver: Resolver
) -> tuple[tuple[Address, ...], int]:
    """Resolve a host that was just read; an error names the word at which setkey's grammar is."""
    try:
        addresses, port, interface = resolve(host, flags, resolver)
        if interface:
            words.warn("an SA has no device: the scope is left out (dev NAME sets one)", host.at)
        doubt = doubtful_address(host.name, addresses[0])
        if doubt:
            words.warn(doubt, host.at)
        return addresses, port
    except UnknownHostError as error:
        token = "]" if host.port else words.shown(words.at)
        words.fail(error.text, at=error.culprit(host), token=token, hints=error.hints())


def with_offload_direction(sa: SecurityAssociation) -> SecurityAssociation:
    """Return an SA with the direction that its offload is for: in, where it ends at this host."""
    linux = sa.linux
    if linux is None or linux.offload is None:
        return sa
    if linux.direction is None:
        inbound = is_local(sa.destination)
    else:
        inbound = linux.direction is Direction.IN
    return sa._replace(linux=linux._replace(offload=linux.offload._replace(inbound=inbound)))


def read_sa_options(words: Words, options: SaOptions, resolver: Resolver) -> None:
    """Step over the options; of a repeated one the last holds, pads add up."""
    texts = words.words
    while (option := SA_OPTIONS.get(texts[words.at])) is not None:
        words.at += 1
        option(words, options, resolver)


def _number(attribute: str, limit: int, what: str) -> Reader:
    """Return what reads an option with a number; ``what`` names it where it is too big."""

    def read(words: Words, options: SaOptions, resolver: Resolver) -> None:
        setattr(options, attribute, words.number(limit, what))

    return read


def _mode(words: Words, options: SaOptions, resolver: Resolver) -> None:
    mode = SA_MODES.get(words.words[words.at])
    if mode is None:
        words.unexpected("a mode is transport, tunnel, beet or any", among=tuple(SA_MODES))
    words.at += 1
    options.mode = mode


def _flag(words: Words, options: SaOptions, resolver: Resolver) -> None:
    found = _PADS.get(words.words[words.at])
    if found is None:
        words.unexpected(among=tuple(_PADS))
    words.at += 1
    options.sadb_flags = (options.sadb_flags | found[0]) & ~found[1]


def _replay(words: Words, options: SaOptions, resolver: Resolver) -> None:
    options.replay = words.number(_UINT32, "replay window")
    if options.sadb_flags & SADB_X_EXT_OLD and options.replay:
        words.fail("replay prevention cannot be used with ah/esp-old", at=words.at - 1)


def _context(words: Words, options: SaOptions, resolver: Resolver) -> None:
    options.context = read_context(words)


def read_context(words: Words) -> SecurityContext:
    """Read what follows ``-ctx``: DOI, algorithm and label."""
    doi = words.number(255, "doi")
    algorithm = words.number(255, "algorithm")
    label = words.quoted("a label stands in quotation marks")
    return SecurityContext(doi, algorithm, label)


def _natt(words: Words, options: SaOptions, resolver: Resolver) -> None:
    """FreeBSD's ``-natt ADDRESS [PORT] ADDRESS [PORT]``: initiator and requester."""
    addresses = []
    ports = []
    for _ in range(2):
        host = read_host(words)
        if not is_decimal(host.port):
            words.at -= 1 if host.port else 0
            words.unexpected("-natt wants a port in brackets after each address")
        found, port = resolve_named(words, host, Flags(), resolver)
        addresses.append(found[0])
        ports.append(port)
    options.nat = NatTraversal(ports[0], ports[1], addresses[0])


def _esn(words: Words, options: SaOptions, resolver: Resolver) -> None:
    options.esn = True


def _hwif(words: Words, options: SaOptions, resolver: Resolver) -> None:
    at = words.at
    name = read_device(words)
    offload = Offload(find_device(words, name, at, resolver))
    options.linux = options.linux._replace(offload=offload)


def _device(words: Words, options: SaOptions, resolver: Resolver) -> None:
    at = words.at
    name = read_device(words)
    options.linux = options.linux._replace(interface=find_device(words, name, at, resolver))


def _mark(words: Words, options: SaOptions, resolver: Resolver) -> None:
    options.linux = options.linux._replace(mark=read_mark(words))


def _output_mark(words: Words, options: SaOptions, resolver: Resolver) -> None:
    options.linux = options.linux._replace(output_mark=read_mark(words))


def _if_id(words: Words, options: SaOptions, resolver: Resolver) -> None:
    options.linux = options.linux._replace(if_id=read_number(words, "if_id"))


def _direction(words: Words, options: SaOptions, resolver: Resolver) -> None:
    direction = _DIRECTIONS.get(words.words[words.at])
    if direction is None:
        words.unexpected("the direction of an SA is in or out", among=tuple(_DIRECTIONS))
    words.at += 1
    options.linux = options.linux._replace(direction=direction)


def _keepalive(words: Words, options: SaOptions, resolver: Resolver) -> None:
    seconds = words.number(_UINT32, "interval")
    options.linux = options.linux._replace(nat_keepalive=seconds)


def _processor(words: Words, options: SaOptions, resolver: Resolver) -> None:
    options.linux = options.linux._replace(processor=words.number(_UINT32 - 1, "processor"))


def _sequence(field: str) -> Reader:
    """Return what reads a sequence number, or as ``seen`` a bitmap of them."""

    def read(words: Words, options: SaOptions, resolver: Resolver) -> None:
        if field == "seen":
            word = words.words[words.at]
            if not is_hexadecimal(word) or len(word) > _LONGEST_BITMAP:
                words.unexpected("a bitmap is 0x and at most 1024 hexadecimal digits")
            words.at += 1
            value = int(word, 16)
        else:
            value = words.number(_UINT64, "sequence number")
        numbers = (options.linux.numbers or SequenceNumbers())._replace(**{field: value})
        options.linux = options.linux._replace(numbers=numbers)

    return read


#: Characters of a bitmap of the widest replay window.
_LONGEST_BITMAP = 2 + 4096 // 4


def _selector(words: Words, options: SaOptions, resolver: Resolver) -> None:
    """Read ``sel SOURCE DESTINATION [PROTOCOL [TYPE,CODE]]``: the packets that an SA is for."""
    written = read_selector(words, ends=SA_OPTIONS.keys() | {"-E", "-A", "-C", ";", ""})
    selector = resolve_selector(words, written, ScopeWords(), resolver)
    linux = options.linux
    if selector.scope:
        linux = linux._replace(interface=selector.scope.interface)
    options.linux = linux._replace(selector=selector._replace(scope=None))


#: What reads each option.
SA_OPTIONS: dict[str, Reader] = {
    "-m": _mode,
    "-f": _flag,
    "-u": _number("reqid", _UINT32, "reqid"),
    "-r": _replay,
    "-lh": _number("hard", _UINT64, "lifetime"),
    "-ls": _number("soft", _UINT64, "lifetime"),
    "-bh": _number("hard_bytes", _UINT64, "lifetime"),
    "-bs": _number("soft_bytes", _UINT64, "lifetime"),
    "-ctx": _context,
    "-natt": _natt,
    "-natt_mtu": _number("natt_mtu", 0xFFFF, "MTU"),
    "-esn": _esn,
    "-hwif": _hwif,
}

#: Options that Linux alone has; each may be written without its dash.
_LINUX_OPTIONS: dict[str, Reader] = {
    "dev": _device,
    "mark": _mark,
    "output-mark": _output_mark,
    "if_id": _if_id,
    "dir": _direction,
    "nat-keepalive-interval": _keepalive,
    "pcpu-num": _processor,
    "sel": _selector,
    "replay": _replay,
    "oseq": _sequence("sent"),
    "iseq": _sequence("received"),
    "ibits": _sequence("seen"),
}
for _word, _reader in _LINUX_OPTIONS.items():
    SA_OPTIONS[_word] = SA_OPTIONS[f"-{_word}"] = _reader
