"""Reads the language of ipsec_set_policy(3): ``out prio high ipsec esp/tunnel/A-B/require``.

The usual spelling is read here, quickly; ``grammar`` reads all of the language and reports errors.
"""

from _socket import inet_pton
from functools import lru_cache

from kamexfrm.model.policy import PRIORITY_DEFAULT, IpsecRequest, Level, PolicyType
from kamexfrm.model.policy_text import (
    ACTIONS,
    BASES,
    DIRECTIONS,
    LEVELS,
    MODES,
    PROTOCOLS,
    PolicyText,
    decimal,
    is_decimal,
)
from kamexfrm.net import AF_INET, AF_INET6, Address


@lru_cache(maxsize=1024)
def parse_policy(text: str) -> PolicyText:
    """Read a policy text; raises PolicyError with the words of ipsec_strerror(3).

    >>> request = parse_policy("in ipsec esp/tunnel/192.0.2.1-192.0.2.2/unique:5").requests[0]
    >>> request.mode.name, request.level.name, request.reqid, str(request.source)
    ('TUNNEL', 'UNIQUE', 5, '192.0.2.1')
    >>> parse_policy("out prio def - 1 discard").priority - PRIORITY_DEFAULT
    1
    >>> parse_policy("out ipsec esp/tunnel//require")
    Traceback (most recent call last):
    kamexfrm.model.policy_text.PolicyError: Invalid address specification
    """
    plain = _parse_plain(text)
    if plain is not None:
        return plain
    from kamexfrm.model.grammar import Parser  # rarely needed

    return Parser(text).policy()


def _parse_plain(text: str) -> PolicyText | None:
    """Read the usual spelling, quickly; None where it takes the grammar."""
    words = text.split()
    priority, at = PRIORITY_DEFAULT, 1
    if len(words) > 5 and words[1] in ("prio", "priority") and words[2] in BASES:
        offset = decimal(words[4], 0x3FFFFFFF) if is_decimal(words[4]) else None
        if words[3] not in ("+", "-") or offset is None:
            return None
        priority, at = BASES[words[2]] + (offset if words[3] == "-" else -offset), 5
    if len(words) <= at or words[0] not in DIRECTIONS or words[at] not in ACTIONS:
        return None
    requests = []
    for word in words[at + 1 :]:
        request = _plain_request(word)
        if request is None:
            return None
        requests.append(request)
    action = ACTIONS[words[at]]
    kept = tuple(requests) if action is PolicyType.IPSEC else ()
    return PolicyText(DIRECTIONS[words[0]], priority, action, kept)


@lru_cache(maxsize=1024)
def _plain_request(word: str) -> IpsecRequest | None:
    parts = word.split("/")
    if len(parts) != 4:
        return None
    protocol, mode, ends, level_word = parts
    level, reqid = LEVELS.get(level_word), 0
    if level is None:
        name, _, number = level_word.partition(":")
        if name != "unique" or len(number) > 9 or not is_decimal(number):
            return None
        level, reqid = Level.UNIQUE, int(number)
    if protocol not in PROTOCOLS or mode not in MODES:
        return None
    source = destination = None
    if ends:
        first, _, second = ends.partition("-")
        family = AF_INET6 if ":" in first else AF_INET
        try:
            source = Address(family, inet_pton(family, first))
            destination = Address(family, inet_pton(family, second))
        except (OSError, ValueError):
            return None
    elif mode != "transport":
        return None
    return IpsecRequest(PROTOCOLS[protocol], MODES[mode], level, reqid, source, destination)
