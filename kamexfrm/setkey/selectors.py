"""Selectors: what packets a policy or an SA is for, in spdadd and behind an SA's ``sel``."""

from collections.abc import Set

from kamexfrm.lazy import expression
from kamexfrm.model.policy import TYPED_UPPERS, ULPROTO_ANY, Mark, Scope, Selector
from kamexfrm.model.policy_text import decimal, is_decimal
from kamexfrm.net import (
    IPPROTO_GRE,
)
from kamexfrm.records import NamedTuple
from kamexfrm.setkey.hosts import (
    Flags,
    Host,
    Resolver,
    UnknownHostError,
    doubtful_address,
    interface_index,
    numeric_address,
    read_flags,
    read_name,
    read_port,
    resolve,
    upper_protocol,
)
from kamexfrm.setkey.lexer import KEYWORDS, UPPER_KEYWORDS, Words, is_hexadecimal, is_name

#: Words that narrow a selector further on Linux; each may have a dash before it.
SCOPE_WORDS = frozenset(("dev", "mark", "if_id"))

#: The name of a device, as the kernel allows it but for odd characters.
DEVICE = expression(r"[A-Za-z0-9_.:%-]{1,15}")

_UINT32 = 0xFFFFFFFF


class Range(NamedTuple):
    """One side of a selector as written; ``prefix`` is None for a single address."""

    host: Host
    prefix: int | None


class Written(NamedTuple):
    """A selector as written, before names are resolved."""

    flags: Flags
    source: Range
    destination: Range
    upper: int
    misc: str
    misc_at: int


class ScopeWords(NamedTuple):
    """What ``dev``, ``mark`` and ``if_id`` said: the device's word is resolved later."""

    device: str = ""
    device_at: int = 0
    mark: Mark | None = None
    if_id: int = 0


def read_selector(words: Words, ends: Set[str] = frozenset()) -> Written:
    """Read ``[-46n] range range upper [type,code]``; before one of ``ends`` the upper is any."""
    flags = read_flags(words)
    source = _read_range(words)
    destination = _read_range(words)
    at = words.at
    word = words.words[at]
    if word in ends:
        return Written(flags, source, destination, ULPROTO_ANY, "", 0)
    known = word not in KEYWORDS or word in UPPER_KEYWORDS
    if not is_name(word) or not known:
        words.unexpected("after the addresses comes an upper protocol: any, tcp, udp, icmp6, 50")
    upper = upper_protocol(word)
    if upper is None:
        words.fail(
            "invalid upper layer protocol",
            hints=("a protocol is a number up to 255 or a name of /etc/protocols",),
        )
    words.at = at + 1
    misc = words.words[words.at]
    if misc[:1] in ("-", ";", "") or misc in SCOPE_WORDS or misc in ends:
        return Written(flags, source, destination, upper, "", 0)
    if not (is_name(misc) or "," in misc) or misc in KEYWORDS:
        words.unexpected()
    words.at += 1
    return Written(flags, source, destination, upper, misc, words.at - 1)


def _read_range(words: Words) -> Range:
    """Read ``address[/prefix][port]``."""
    at, name = read_name(words)
    prefix = None
    if words.skip("/"):
        if "." in words.words[words.at]:
            words.unexpected("a prefix is a number of bits, not a mask")
        prefix = words.number(255, "prefix length")
    port, port_at = read_port(words)
    if port and words.words[words.at] == "/":
        words.unexpected("the prefix comes before the port: 10.0.0.0/8[80]")
    return Range(Host(at, name, port, port_at), prefix)


def resolve_selector(
    words: Words,
    written: Written,
    scope: ScopeWords,
    resolver: Resolver,
    token: str | None = None,
) -> Selector:
    """Return a selector once its statement is read; ``token`` is what setkey's errors name.

    A scope in an address, as in ``fe80::1%eth0``, is the selector's device.
    """
    found = []
    interface = 0
    for side in (written.source, written.destination):
        try:
            addresses, port, index = resolve(side.host, written.flags, resolver, written.upper)
        except UnknownHostError as error:
            at = error.culprit(side.host)
            words.fail(error.text, at=at, token=token, hints=error.hints())
        address, *others = addresses
        doubt = doubtful_address(side.host.name, address)
        if doubt:
            words.warn(doubt, side.host.at)
        if others:
            hints = ("use a numeric address",)
            words.fail("multiple address specified", at=side.host.at, token=token, hints=hints)
        found.append((address, port or None))
        if index and interface not in (0, index):
            hints = ("both addresses have a scope: it must be the same",)
            words.fail("Invalid argument", at=side.host.at, token=token, hints=hints)
        interface = index or interface
    (source, source_port), (destination, destination_port) = found
    if source.family != destination.family:
        hint = "one address is IPv4 and the other one IPv6"
        words.fail("", at=written.source.host.at, token=token, hints=(hint,))
    if written.upper in TYPED_UPPERS or written.misc:
        source_port, destination_port = _typed(words, written, source_port, destination_port, token)
    return Selector(
        source,
        source.bits if written.source.prefix is None else written.source.prefix,
        destination,
        destination.bits if written.destination.prefix is None else written.destination.prefix,
        written.upper,
        source_port,
        destination_port,
        _resolve_scope(words, scope, interface, resolver),
    )


def _resolve_scope(
    words: Words, scope: ScopeWords, interface: int, resolver: Resolver
) -> Scope | None:
    if scope.device:
        interface = find_device(words, scope.device, scope.device_at, resolver)
    found = Scope(interface, scope.mark, scope.if_id)
    return found if any(found) else None


def find_device(words: Words, name: str, at: int, resolver: Resolver) -> int:
    """Return a device's index; raises ScriptError where there is none."""
    index = interface_index(name, resolver)
    if not index:
        words.fail("No such device", at=at, hints=("ip link shows the devices",))
    return index


def is_scope_word(word: str) -> bool:
    """Whether a word, or what follows its dash, narrows a selector."""
    return word.removeprefix("-") in SCOPE_WORDS


def read_scope(words: Words, scope: ScopeWords) -> ScopeWords:
    """Step over one of ``dev NAME``, ``mark VALUE[/MASK]`` and ``if_id NUMBER``."""
    match words.take().removeprefix("-"):
        case "dev":
            at, name = words.at, read_device(words)
            return scope._replace(device=name, device_at=at)
        case "mark":
            return scope._replace(mark=read_mark(words))
        case _:
            return scope._replace(if_id=read_number(words, "if_id"))


def read_device(words: Words) -> str:
    """Step over the name of a device."""
    name = words.words[words.at]
    if not DEVICE.fullmatch(name):
        words.unexpected("the name of a device is missing, such as eth0")
    words.at += 1
    return name


def read_mark(words: Words) -> Mark:
    """Step over ``VALUE`` or ``VALUE/MASK``, decimal or hexadecimal numbers of 32 bits."""
    at = words.at
    value = read_number(words, "mark")
    mask = read_number(words, "mask of a mark") if words.skip("/") else _UINT32
    if value & ~mask:
        words.fail("Invalid argument", at=at, hints=("no mark is this value under this mask",))
    return Mark(value, mask)


def read_number(words: Words, what: str) -> int:
    """Step over a number of 32 bits, decimal or hexadecimal."""
    word = words.words[words.at]
    if not is_hexadecimal(word):
        return words.number(_UINT32, what)
    if len(word) > 1000 or int(word, 16) > _UINT32:
        words.fail(f"{what} too big", hints=(f"the limit is {_UINT32}",))
    words.at += 1
    return int(word, 16)


def _typed(
    words: Words, written: Written, first: int | None, second: int | None, token: str | None
) -> tuple[int | None, int | None]:
    """Return type and code, or the halves of a GRE key: from ``misc``, else from the ports."""
    reason = "invalid an upper layer protocol spec"
    if not written.misc:
        limit = 0xFFFF if written.upper == IPPROTO_GRE else 0xFF
        for side, number in ((written.source, first), (written.destination, second)):
            if (number or 0) > limit:
                hint = "a type and a code have 8 bits: at most 255"
                words.fail(reason, at=side.host.port_at, token=token, hints=(hint,))
        return first, second
    if first or second:
        hint = "there are ports already, and they are kept in the same place"
        words.fail(reason, at=written.misc_at, token=token, hints=(hint,))
    numbers = _read_misc(written.upper, written.misc)
    if numbers is None:
        hint = _misc_hint(written.upper)
        words.fail(reason, at=written.misc_at, token=token, hints=(hint,))
    return numbers


def _read_misc(upper: int, misc: str) -> tuple[int | None, int | None] | None:
    """Return type and code, or the halves of a GRE key; None for a text that is neither.

    In ``type,code`` a 0 is a wildcard, as PF_KEY has it. A type alone means just that type, 0
    included, with any code.
    """
    if upper == IPPROTO_GRE:
        address = numeric_address(misc) if "." in misc else None
        if address is not None:
            key: int | None = int.from_bytes(address.packed, "big")
        else:
            key = decimal(misc, 0xFFFFFFFF) if is_decimal(misc) else None
        return None if key is None else (key >> 16, key & 0xFFFF)
    if upper not in TYPED_UPPERS:
        return None
    kind, comma, code = misc.partition(",")
    if not is_decimal(kind) or (comma and not is_decimal(code)):
        return None
    numbers = (decimal(kind, 255), decimal(code, 255) if comma else 0)
    if numbers[0] is None or numbers[1] is None:
        return None
    return (numbers[0] or None, numbers[1] or None) if comma else (numbers[0], None)


def _misc_hint(upper: int) -> str:
    if upper == IPPROTO_GRE:
        return "after gre comes a key: 1234 or 1.2.3.4"
    if upper in TYPED_UPPERS:
        return "after icmp, icmp6 and mh come a type and a code of at most 255: 8 or 135,0"
    return "only icmp, icmp6, mh and gre have something after the protocol"
