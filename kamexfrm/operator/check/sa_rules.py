"""Findings about single SAs: algorithms, keys, SPIs, lifetimes, replay windows."""

from collections.abc import Iterator
from itertools import pairwise

from kamexfrm.algorithms import Kind
from kamexfrm.model.association import Key, SaId, SecurityAssociation
from kamexfrm.model.policy import Direction, IpsecProtocol, Mode
from kamexfrm.operator.check.codes import Finding
from kamexfrm.operator.check.reading import Configuration
from kamexfrm.setkey import statements as s

#: Ciphers and hashes that no longer protect, and ciphers whose blocks are too small for much data.
_BROKEN = {"des-cbc": "its key of 56 bits can be tried out", "hmac-md5": "MD5 is broken"}
_OLD = ("3des-cbc", "blowfish-cbc", "cast128-cbc")
_COUNTERS = ("aes-ctr", "aes-gcm-16", "chacha20-poly1305")
_FIRST_SPI = 256

#: Keys shorter than this say nothing by repetition.
_SHORTEST = 4


def sa_findings(configuration: Configuration) -> Iterator[Finding]:
    """Yield findings about each SA, and about keys and SPIs of several."""
    outbound = _outbound(configuration)
    sas = configuration.state.sa_statements
    with_ah = {(sa.source, sa.destination) for sa, _ in sas if sa.protocol is IpsecProtocol.AH}
    for sa, statement in sas:
        for code, message, cure in _of_one(sa, sa.id in outbound):
            if code == "KX013" and (sa.source, sa.destination) in with_ah:
                continue  # the AH around it authenticates
            yield Finding(code, statement.place, statement.end_line, message, cure)
    yield from _simple(configuration)
    yield from _repeated_keys(configuration)
    yield from _repeated_spis(configuration)


def _outbound(configuration: Configuration) -> set[SaId]:
    """Return the SAs that only outbound policies use: their own replay window does nothing."""
    ways: dict[Direction, set[tuple[object, ...]]] = {d: set() for d in Direction}
    for policy in configuration.state.policies:
        selector = policy.selector
        ends: tuple[object, ...] = (selector.source, selector.destination)
        for request in policy.requests:
            if request.source is not None and request.mode is Mode.TUNNEL:
                ends = (request.source, request.destination)
            ways[policy.direction].add((request.protocol, *ends))
    return {
        sa.id
        for sa, _ in configuration.state.sa_statements
        if (name := (sa.protocol, sa.source, sa.destination)) in ways[Direction.OUT]
        and name not in ways[Direction.IN]
    }


def _of_one(sa: SecurityAssociation, is_outbound: bool) -> Iterator[tuple[str, str, str]]:
    name = sa.encryption.algorithm if sa.encryption else None
    hash_ = sa.authentication.algorithm if sa.authentication else None
    for row in (name, hash_):
        if row and row.name in _BROKEN:
            cure = "use aes-gcm-16" if row.kind is Kind.ENCRYPTION else "use hmac-sha256-128"
            yield "KX012", f"{row.name}: {_BROKEN[row.name]}", cure
        if row and row.name in _OLD:
            message = f"{row.name} has blocks of 64 bits: too much data under one key shows some"
            yield "KX030", message, "use aes-gcm-16, or change the key after some gigabytes"
    authenticates = hash_ is not None and hash_.name != "null"
    if name and name.kind is Kind.ENCRYPTION and not authenticates:
        message = f"{name.name} without authentication: packets can be changed on their way"
        yield "KX013", message, "add -A hmac-sha256-128, or use aes-gcm-16"
    if name and name.name in _COUNTERS and not sa.replay_window and not is_outbound:
        message = f"{name.name} with a replay window of 0: old packets are accepted again"
        yield "KX014", message, "add -r 64"
    for key in (sa.encryption, sa.authentication):
        if key is not None and (pattern := _pattern(key.material)):
            row = key.algorithm
            message = f"the key of {row.name if row else key.kernel} is made of {pattern} bytes"
            yield "KX016", message, f"kamexfrm keygen {row.name if row else ''}".rstrip()
    if sa.spi < _FIRST_SPI and sa.protocol is not IpsecProtocol.IPCOMP:
        yield "KX017", f"SPI {sa.spi} is reserved", "choose one from 256 (0x100) up"
    if hash_ and hash_.name == "hmac-sha256" and (sa.authentication or _NONE).icv_bits in (0, 96):
        message = "hmac-sha256 has an ICV of 96 bits here; RFC 4868 and most peers use 128"
        yield "KX019", message, "write hmac-sha256-128, or -96 if the peer has that"
    yield from _lifetimes(sa)


_NONE = Key(None, b"")


def _lifetimes(sa: SecurityAssociation) -> Iterator[tuple[str, str, str]]:
    for field, unit, options in (
        ("addtime", "seconds", "-ls and -lh"),
        ("bytes", "bytes", "-bs and -bh"),
    ):
        soft, hard = getattr(sa.soft, field), getattr(sa.hard, field)
        if soft and hard and soft >= hard:
            message = f"the soft limit of {soft} {unit} is not below the hard one of {hard}"
            cure = f"with {options} the soft one comes first, at about 80 % of the hard one"
            yield "KX022", message, cure


def _pattern(material: bytes) -> str:
    """Return what a key is made of that is not random, or an empty text."""
    if len(material) < _SHORTEST:
        return ""
    steps = {(after - before) % 256 for before, after in pairwise(material)}
    if steps == {0}:
        return "equal"
    if len(steps) == 1 and steps <= {1, 255, 17, 16}:
        return "counted"
    half = len(material) // 2
    for size in range(2, half + 1):
        if len(material) % size == 0 and material[:size] * (len(material) // size) == material:
            return "repeated"
    digits = material.hex()
    if digits in "0123456789abcdef" * 8 or digits in "1234567890" * 12:
        return "counted"
    text = material.decode("latin-1").lower()
    if text in "1234567890" * 8 or text in "abcdefghijklmnopqrstuvwxyz" * 2:
        return "counted"
    return ""


def _simple(configuration: Configuration) -> Iterator[Finding]:
    """Find ``-E simple``, which is null, by the warning that the reader gives."""
    for statement in configuration.statements():
        for text, _, place in getattr(statement, "warnings", ()):
            if "obsolete algorithm" in text:
                message = "simple is no encryption: it is another word for null"
                cure = "use aes-gcm-16"
                yield Finding("KX012", place, statement.end_line, message, cure)


def _repeated_keys(configuration: Configuration) -> Iterator[Finding]:
    first: dict[tuple[str, bytes], tuple[SecurityAssociation, s.Add]] = {}
    for sa, statement in configuration.state.sa_statements:
        for key in (sa.encryption, sa.authentication):
            if key is None or not key.material:
                continue
            name = key.algorithm.name if key.algorithm else key.kernel
            there = first.setdefault((name, key.material), (sa, statement))
            if there[0] is sa:
                continue
            place = statement.place
            at = f"{there[1].place.file}:{there[1].place.line}"
            cure = f"give each SA a key of its own: kamexfrm keygen {name}"
            if name in _COUNTERS:
                message = (
                    f"the {name} key of the SA at {at} again: in a counter mode two SAs of one key"
                    " show what they encrypt"
                )
                yield Finding("KX015", place, statement.end_line, message, cure)
            else:
                message = f"the {name} key of the SA at {at} again"
                yield Finding("KX029", place, statement.end_line, message, cure)


def _repeated_spis(configuration: Configuration) -> Iterator[Finding]:
    first: dict[tuple[IpsecProtocol, int], s.Add] = {}
    for sa, statement in configuration.state.sa_statements:
        there = first.setdefault((sa.protocol, sa.spi), statement)
        if there is statement:
            continue
        at = f"{there.place.file}:{there.place.line}"
        message = f"SPI {sa.spi:#x} of the SA at {at} again, to another destination"
        cure = "allowed, but another SPI is easier to tell apart"
        yield Finding("KX018", statement.place, statement.end_line, message, cure)
