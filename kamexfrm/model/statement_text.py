"""Policies and SAs written as the statements of setkey that make them.

What the language has no words for, such as a limit of packets, raises InexpressibleError: no
statement that is printed here means less than what it stands for.
"""

import errno
from collections.abc import Callable

from kamexfrm.algorithms import Kind, by_name, written_icv
from kamexfrm.errors import KamexfrmError
from kamexfrm.model.association import (
    Key,
    Lifetime,
    LinuxParts,
    SaId,
    SecurityAssociation,
    key_name,
)
from kamexfrm.model.policy import (
    TYPED_UPPERS,
    ULPROTO_ANY,
    Direction,
    IpsecProtocol,
    Mode,
    PolicyType,
    SecurityContext,
    SecurityPolicy,
    Selector,
)
from kamexfrm.model.policy_text import (
    LEVELS,
    MODES,
    PROTOCOLS,
    SA_MODES,
    PolicyText,
    format_policy,
)
from kamexfrm.model.scope_text import format_mark, linux_words, scope_words
from kamexfrm.net import IPPROTO_GRE, Address

#: Words for upper protocols; any other one is written as its number.
_UPPERS = {
    ULPROTO_ANY: "any",
    1: "icmp",
    4: "ip4",
    6: "tcp",
    17: "udp",
    50: "esp",
    51: "ah",
    58: "icmp6",
    108: "ipcomp",
}
_SA_MODE_WORDS = {mode: word for word, mode in SA_MODES.items()}
_REQUEST_MODES = frozenset(MODES.values())
_PROTOCOL_WORDS = {protocol: word for word, protocol in PROTOCOLS.items()}


class InexpressibleError(KamexfrmError):
    """Something that exists, and that no statement of setkey can make."""

    errno = errno.EOPNOTSUPP


def policy_statement(policy: SecurityPolicy, *, command: str = "spdadd") -> str:
    """Return ``spdadd ... ;``; raises InexpressibleError.

    >>> from kamexfrm.setkey.parser import parse
    >>> line = "spdadd 10.0.0.1[80] 10.0.0.0/8 tcp -P in prio low ipsec esp/transport//use;"
    >>> policy_statement(next(parse(line)).policy) == line
    True
    """
    if policy.lifetime or policy.validtime:
        raise InexpressibleError("a policy with a lifetime")
    if policy.type in (PolicyType.ENTRUST, PolicyType.BYPASS):
        raise InexpressibleError(f"a policy of type {policy.type.name.lower()}")
    for request in policy.requests:
        known = request.protocol in _PROTOCOL_WORDS and request.level in LEVELS.values()
        if not known or request.mode not in _REQUEST_MODES:
            raise InexpressibleError("a request of another protocol or mode")
    text = PolicyText(policy.direction, policy.priority, policy.type, policy.requests)
    return f"{command} {_named(policy.selector, policy.label)} -P {format_policy(text)};"


def policy_deletion(
    selector: Selector, direction: Direction, label: SecurityContext | None = None
) -> str:
    """Return ``spddelete ... ;``; raises InexpressibleError."""
    return f"spddelete {_named(selector, label)} -P {direction.name.lower()};"


def _named(selector: Selector, label: SecurityContext | None) -> str:
    words = [_selector(selector)]
    if selector.scope:
        words.append(scope_words(selector.scope).strip())
    if label is not None:
        words.append(_context(label))
    return " ".join(words)


def _selector(selector: Selector) -> str:
    source, source_bits, destination, destination_bits, upper, first, second, _ = selector
    word = _UPPERS.get(upper, str(upper))
    if upper in TYPED_UPPERS:
        ends = (_range(source, source_bits), _range(destination, destination_bits))
        return " ".join((*ends, word, *_misc(upper, first, second)))
    if 0 in (first, second):
        raise InexpressibleError("a policy for port 0 alone")
    return (
        f"{_range(source, source_bits, first)} {_range(destination, destination_bits, second)}"
        f" {word}"
    )


def _range(address: Address, bits: int, port: int | None = None) -> str:
    prefix = "" if bits == address.bits else f"/{bits}"
    return f"{address}{prefix}" + ("" if port is None else f"[{port}]")


def _misc(upper: int, first: int | None, second: int | None) -> tuple[str, ...]:
    """Return type and code, or a GRE key, as the word after the protocol."""
    if first is None and second is None:
        return ()
    if upper == IPPROTO_GRE:
        if first is None or second is None:
            raise InexpressibleError("a policy for half of a GRE key")
        return (str(first << 16 | second),)
    if max(first or 0, second or 0) > 0xFF:
        raise InexpressibleError("a policy for a type or code of over 8 bits")
    if second is None:
        return (str(first),)
    if second == 0 or first == 0:
        raise InexpressibleError("a policy for type or code 0 alone")
    return (f"{first or 0},{second}",)


def _context(label: SecurityContext) -> str:
    try:
        text = label.label.rstrip(b"\0").decode("utf-8", "surrogateescape")
    except UnicodeError:  # pragma: no cover - surrogateescape takes all bytes
        raise InexpressibleError("a security context that is no text") from None
    if '"' in text or not text.isprintable():
        raise InexpressibleError("a security context that is no text")
    return f'-ctx {label.doi} {label.algorithm} "{text}"'


def sa_statement(
    sa: SecurityAssociation, *, keys: bool = True, extra: tuple[str, ...] = (), command: str = "add"
) -> str:
    """Return ``add ... ;``; raises InexpressibleError.

    Without ``keys`` each key is three dots, and the text is for people. ``extra`` are further
    options as they are written.
    """
    protocol = _PROTOCOL_WORDS.get(sa.protocol)
    mode = _SA_MODE_WORDS.get(sa.mode)
    if protocol is None or mode is None:
        raise InexpressibleError("an SA of another protocol or mode")
    words = [command, *_ends(sa), f"0x{sa.spi:x}"]
    if sa.mode is not Mode.ANY:
        words += ("-m", mode)
    if sa.reqid:
        words += ("-u", str(sa.reqid))
    if sa.replay_window:
        words += ("-r", str(sa.replay_window))
    if sa.esn:
        words.append("-esn")
    words += _lifetimes(sa.hard, "h") + _lifetimes(sa.soft, "s")
    if sa.label is not None:
        words.append(_context(sa.label))
    if sa.linux is not None:
        words += _linux_words(sa.linux)
    words += (*extra, *_algorithms(sa, _shown if keys else _hidden))
    return " ".join(words) + ";"


def shown_sa(sa: SecurityAssociation) -> str:
    """Return an SA as a statement for people, without its keys; what has no words is left out."""
    try:
        return sa_statement(sa, keys=False)
    except InexpressibleError as error:
        name = _PROTOCOL_WORDS.get(sa.protocol, str(int(sa.protocol)))
        return f"add {sa.source} {sa.destination} {name} 0x{sa.spi:x} ...;  # {error.text}"


def shown_policy(policy: SecurityPolicy) -> str:
    """Return a policy as a statement for people; what has no words is left out."""
    try:
        return policy_statement(policy)
    except InexpressibleError as error:
        ends = _ends_of(policy.selector)
        direction, type_ = policy.direction.name.lower(), policy.type.name.lower()
        return f"spdadd {ends} ... -P {direction} {type_} ...;  # {error.text}"


def shown_selector(selector: Selector) -> str:
    """Return a selector for people, as the words of a statement."""
    try:
        return _named(selector, None)
    except InexpressibleError as error:
        return f"{_ends_of(selector)} ...  # {error.text}"


def _ends_of(selector: Selector) -> str:
    source = _range(selector.source, selector.source_prefix)
    return f"{source} {_range(selector.destination, selector.destination_prefix)}"


def shown_sa_id(id: SaId) -> str:
    """Return an SA's identity for people, as the words of a statement."""
    protocol = _PROTOCOL_WORDS.get(id.protocol, str(int(id.protocol)))
    mark = f" mark {format_mark(id.mark)}" if id.mark else ""
    return f"{id.destination} {protocol} 0x{id.spi:x}{mark}"


def _linux_words(linux: LinuxParts) -> list[str]:
    words = [] if linux.selector is None else [f"sel {_selector(linux.selector)}"]
    return words + linux_words(linux)


def sa_deletion(sa: SecurityAssociation) -> str:
    """Return ``delete ... ;``; raises InexpressibleError."""
    protocol = _PROTOCOL_WORDS.get(sa.protocol)
    if protocol is None:
        raise InexpressibleError("an SA of another protocol")
    mark = f" mark {format_mark(sa.linux.mark)}" if sa.linux and sa.linux.mark else ""
    return f"delete {sa.source} {sa.destination} {protocol} 0x{sa.spi:x}{mark};"


def _ends(sa: SecurityAssociation) -> tuple[str, ...]:
    nat = sa.nat_traversal
    if nat is None:
        return str(sa.source), str(sa.destination), _PROTOCOL_WORDS[sa.protocol]
    if not (nat.source_port and nat.destination_port):
        raise InexpressibleError("an SA in UDP with port 0")
    original = () if nat.original_address is None else (str(nat.original_address),)
    return (
        f"{sa.source}[{nat.source_port}]",
        f"{sa.destination}[{nat.destination_port}]",
        "esp-udp",
        *original,
    )


def _lifetimes(limit: Lifetime, letter: str) -> list[str]:
    if limit.allocations or limit.usetime:
        raise InexpressibleError("an SA with a limit of packets or of seconds of use")
    words = ["-l" + letter, str(limit.addtime)] if limit.addtime else []
    return words + (["-b" + letter, str(limit.bytes)] if limit.bytes else [])


def _algorithms(sa: SecurityAssociation, write: Callable[[bytes], str]) -> list[str]:
    words: list[str] = []
    for option, key, kinds in (
        ("-E", sa.encryption, (Kind.ENCRYPTION, Kind.AEAD)),
        ("-A", sa.authentication, (Kind.AUTHENTICATION,)),
        ("-C", sa.compression, (Kind.COMPRESSION,)),
    ):
        if key is None:
            continue
        words += (option, _algorithm(key, kinds))
        if key.material:
            words.append(write(key.material))
    if sa.compression and sa.protocol is not IpsecProtocol.IPCOMP:
        raise InexpressibleError("an SA that compresses and does more")
    return words


def _algorithm(key: Key, kinds: tuple[Kind, ...]) -> str:
    """Return an algorithm's name, with which setkey makes the same key and ICV."""
    name = key_name(key)
    if key.algorithm is not None and key.algorithm.kernel == "hmac(sha256)":
        name = f"hmac-sha256-{key.icv_bits}" if key.icv_bits else "hmac-sha256"
    found = next(filter(None, (by_name(kind, name) for kind in kinds)), None)
    if found is None or not found.kernel:
        raise InexpressibleError(f"the algorithm {name}")
    if key.icv_bits and key.icv_bits != (written_icv(found) or key.icv_bits):
        raise InexpressibleError(f"{name} with an ICV of {key.icv_bits} bits")
    return name


def _shown(material: bytes) -> str:
    return f"0x{material.hex()}"


def _hidden(material: bytes) -> str:
    return "..."
