"""The commands about policies: spdadd, spdupdate, spddelete, spdget, spddump, spdflush."""

import re
from collections.abc import Callable

from kamexfrm.model.language import parse_policy
from kamexfrm.model.policy import TYPED_UPPERS, SecurityContext, SecurityPolicy, Selector
from kamexfrm.model.policy_text import PolicyError, PolicyText, decimal, is_decimal
from kamexfrm.net import (
    IPPROTO_GRE,
)
from kamexfrm.records import NamedTuple
from kamexfrm.setkey.hosts import (
    Flags,
    Host,
    Resolver,
    UnknownHostError,
    numeric_address,
    read_flags,
    read_name,
    read_port,
    resolve,
    upper_protocol,
)
from kamexfrm.setkey.lexer import KEYWORDS, Words, is_name
from kamexfrm.setkey.sa_options import read_context
from kamexfrm.setkey.statements import (
    SpdAdd,
    SpdDelete,
    SpdDump,
    SpdFlush,
    SpdGet,
    SpdUpdate,
    Statement,
    Tagged,
)

#: Keywords that name an upper protocol too; ipsec-tools knows the first two only.
UPPER_KEYWORDS = frozenset(("any", "tcp", "esp", "ah", "ipcomp"))

_HWIF = re.compile(r"(.*\s)-hwif\s+([A-Za-z0-9:][A-Za-z0-9:%.-]*)\s*", re.DOTALL)


class _Range(NamedTuple):
    """One side of a selector as written; ``prefix`` is None for a single address."""

    host: Host
    prefix: int | None


class _Written(NamedTuple):
    """A selector as written, before names are resolved."""

    flags: Flags
    source: _Range
    destination: _Range
    upper: int
    misc: str
    misc_at: int


def read_spdadd(words: Words, resolver: Resolver) -> SpdAdd | SpdUpdate | Tagged:
    """Read ``spdadd selector [context] policy;`` or with ``tagged "TAG"``, or ``spdupdate``."""
    command = SpdAdd if words.words[0] == "spdadd" else SpdUpdate
    words.at = 1
    if words.skip("tagged"):
        return _read_tagged(words)
    written = _read_selector(words)
    label = _read_context(words)
    policy, interface = _read_policy(words)
    at = words.at - 1
    words.expect(";")
    selector = _resolve_selector(words, written, resolver)
    if policy.type is None:
        words.fail(
            "Too few arguments",
            token=words.words[at][2:],
            at=at,
            hints=(f"{words.words[0]} needs an action: discard, none or ipsec",),
        )
    return command(
        words.place(),
        words.end_line,
        SecurityPolicy(
            selector,
            policy.direction,
            policy.type,
            policy.requests,
            policy.priority,
            label=label,
        ),
        interface,
    )


def read_spddelete(words: Words, resolver: Resolver) -> SpdDelete | SpdGet:
    """Read ``spddelete selector [context] policy;``, or ``spdget``."""
    command = SpdDelete if words.words[0] == "spddelete" else SpdGet
    words.at = 1
    written = _read_selector(words)
    label = _read_context(words)
    policy, _ = _read_policy(words)
    words.expect(";")
    selector = _resolve_selector(words, written, resolver)
    return command(words.place(), words.end_line, selector, policy.direction, label)


def read_spdflush(words: Words, resolver: Resolver) -> SpdFlush | SpdDump:
    """Read ``spdflush;``, or ``spddump``."""
    command = SpdFlush if words.words[0] == "spdflush" else SpdDump
    words.at = 1
    words.expect(";")
    return command(words.place(), words.end_line)


def _read_tagged(words: Words) -> Tagged:
    tag = words.quoted("a tag stands in quotation marks")
    _read_policy(words)
    words.expect(";")
    return Tagged(words.place(), words.end_line, tag, words.words[0] == "spdupdate")


def _read_selector(words: Words) -> _Written:
    """Read ``[-46n] range range upper [type,code]``."""
    flags = read_flags(words)
    source = _read_range(words)
    destination = _read_range(words)
    at = words.at
    word = words.words[at]
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
    if misc[:1] in ("-", ""):
        return _Written(flags, source, destination, upper, "", 0)
    if not (is_name(misc) or "," in misc) or misc in KEYWORDS:
        words.unexpected()
    words.at += 1
    return _Written(flags, source, destination, upper, misc, words.at - 1)


def _read_range(words: Words) -> _Range:
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
    return _Range(Host(at, name, port, port_at), prefix)


def _read_context(words: Words) -> SecurityContext | None:
    return read_context(words) if words.skip("-ctx") else None


def _read_policy(words: Words) -> tuple[PolicyText, str]:
    """Read ``-P`` and its text; return the policy and the device after FreeBSD's -hwif."""
    word = words.words[words.at]
    if not word.startswith("-P"):
        words.unexpected("a policy is missing: -P out ...")
    text, interface = word[2:], ""
    hwif = _HWIF.fullmatch(text)
    if hwif:
        text, interface = hwif[1], hwif[2]
    try:
        policy = parse_policy(text)
    except PolicyError as error:
        words.fail(
            error.text,
            token=word[2:],
            offset=words.offset(words.at) + 2 + error.offset,
            before=(error.detail,) if error.detail else (),
            hints=error.hints,
        )
    words.at += 1
    return policy, interface


def _resolve_selector(words: Words, written: _Written, resolver: Resolver) -> Selector:
    """Resolve the names once the statement is read: setkey's errors then name the policy text."""
    token = words.words[words.at - 2][2:] + ";"
    found = []
    for side in (written.source, written.destination):
        try:
            addresses, port = resolve(side.host, written.flags, resolver)
        except UnknownHostError as error:
            at = error.culprit(side.host)
            words.fail(error.text, at=at, token=token, hints=error.hints())
        address, *others = addresses
        if others:
            hints = ("use a numeric address",)
            words.fail("multiple address specified", at=side.host.at, token=token, hints=hints)
        found.append((address, port or None))
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
    )


def _typed(
    words: Words, written: _Written, first: int | None, second: int | None, token: str
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


#: Reader of each command.
READERS: dict[str, Callable[[Words, Resolver], Statement]] = {
    "spdadd": read_spdadd,
    "spdupdate": read_spdadd,
    "spddelete": read_spddelete,
    "spdget": read_spddelete,
    "spddump": read_spdflush,
    "spdflush": read_spdflush,
}
