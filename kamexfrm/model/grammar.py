"""The grammar of ipsec_set_policy(3), by recursive descent, with the errors of libipsec.

Source: KAME libipsec policy_parse.y and policy_token.l, the priorities and ``fwd`` of ipsec-tools.
White space and comments may stand between any two tokens.
"""

import re
from typing import NoReturn

from kamexfrm.model.policy import (
    PRIORITY_DEFAULT,
    TUNNEL_MODES,
    Direction,
    IpsecRequest,
    Level,
    Mode,
    PolicyType,
)
from kamexfrm.model.policy_text import (
    ACTIONS,
    BASES,
    DIRECTIONS,
    LEVELS,
    MODES,
    PROTOCOLS,
    PolicyError,
    PolicyText,
    decimal,
    is_decimal,
)
from kamexfrm.net import Address

_BASE_RANGE = (
    "Priority offset from base not in valid range [0, 1073741823] for negative offsets"
    " and [0, 1073741824] for positive offsets"
)
_PLAIN_RANGE = "Priority offset not in valid range [-2147483647, 2147483648]"

#: A token with the white space and comments before it; ``unique#5`` and ``use#5`` are none.
#: Atomic, and not a possessive repetition: Python 3.11.2's never ends on some texts.
_TOKEN = re.compile(
    r"(?>(?:\s+|\\\r?\n|(?<![/\s]unique)(?<![/\s]use)#[^\n]*|#(?![0-9])[^\n]*)*)"
    r"([A-Za-z0-9:.%_]+|[-+/\[\]#]|.|\Z)",
    re.DOTALL,
)


#: Words that begin a statement of setkey: before one, a policy's semicolon is missing.
_COMMANDS = frozenset(
    (
        *("add", "update", "getspi", "get", "delete", "deleteall", "flush", "dump"),
        *("spdadd", "spdupdate", "spddelete", "spdget", "spddump", "spdflush"),
        *("exit", "quit", "bye"),
    )
)


class Parser:
    """The grammar by recursive descent over the tokens of one text."""

    def __init__(self, text: str) -> None:
        found = list(_TOKEN.finditer(text))
        self._words = [match[1] for match in found] + [""]
        self._offsets = [match.start(1) for match in found] + [len(text)]
        self._at = 0

    @property
    def word(self) -> str:
        """The token that comes next, empty at the end."""
        return self._words[self._at]

    def _follows(self, ahead: int = 1) -> str:
        at = self._at + ahead
        return self._words[at] if at < len(self._words) else ""

    def _take(self) -> str:
        word = self.word
        self._at += 1
        return word

    def _skip(self, word: str) -> bool:
        if self.word != word:
            return False
        self._at += 1
        return True

    def fail(self, reason: str, *hints: str, detail: str = "", at: int | None = None) -> NoReturn:
        """Raise at the next token, or at the token numbered ``at``."""
        offset = self._offsets[self._at if at is None else at]
        raise PolicyError(reason, offset, detail=detail, hints=hints)

    def unexpected(self, *hints: str, among: dict[str, object] | None = None) -> NoReturn:
        """Raise about the next token as the original's grammar would."""
        if self.word in _COMMANDS:
            hints = ("is there a `;' missing before it?",)
        elif among:
            hints += _hints(self.word, among)
        self.fail(
            "Invalid argument",
            *hints,
            detail=f'libipsec: syntax error while parsing "{self.word}"',
        )

    def policy(self) -> PolicyText:
        """Direction [priority] action {request}, or a direction alone."""
        direction = DIRECTIONS.get(self.word)
        if direction is None:
            self.unexpected("a policy begins with in, out or fwd", among={**DIRECTIONS})
        self._at += 1
        if not self.word:
            return PolicyText(direction)
        priority = PRIORITY_DEFAULT
        if self.word in ("prio", "priority"):
            self._at += 1
            priority = self._priority()
        action = ACTIONS.get(self.word)
        if action is None:
            self.unexpected(
                "an action is discard, none, ipsec, entrust or bypass", among={**ACTIONS}
            )
        self._at += 1
        requests = []
        while self.word:
            requests.append(self.request(direction))
        kept = tuple(requests) if action is PolicyType.IPSEC else ()
        return PolicyText(direction, priority, action, kept)

    def _priority(self) -> int:
        start = self._at
        base = BASES.get(self.word)
        if base is not None:
            self._at += 1
            if self.word not in ("+", "-"):
                return base
        sign = self._take() if self.word == "-" or base is not None else "+"
        if not is_decimal(self.word):
            self.unexpected("a priority is low, def or high, a number, or both: high + 5")
        number = self._take()
        if base is None:
            offset = decimal(number, 0x80000000 if sign == "+" else 0x7FFFFFFF)
        else:
            offset = decimal(number, 0x40000000 if sign == "+" else 0x3FFFFFFF)
        if offset is None:
            self.fail(_PLAIN_RANGE if base is None else _BASE_RANGE, at=start)
        base = PRIORITY_DEFAULT if base is None else base
        return base - offset if sign == "+" else base + offset

    def request(self, direction: Direction) -> IpsecRequest:
        """protocol/mode, then endpoints and a level, or less of it."""
        if self.word == "encap":
            self.fail(
                "Invalid ipsec protocol", "encap (IP in IP) is not in XFRM: use a tunnel device"
            )
        protocol = PROTOCOLS.get(self.word)
        if protocol is None:
            self.unexpected(*self._slash_hint(), among={**PROTOCOLS})
        start = self._at
        self._at += 1
        if self.word == "/" and self._follows().partition(":")[0] in LEVELS:
            self._at += 1
            level, reqid = self._level()  # the short form of final KAME: transport mode
            return IpsecRequest(protocol, Mode.TRANSPORT, level, reqid)
        mode = MODES.get(self._follows()) if self.word == "/" else None
        if mode is None:
            self._at += self.word == "/"
            self.fail(
                "Too few arguments",
                "a request is protocol/mode/source-destination/level",
                *_hints(self.word, {**MODES}),
            )
        self._at += 2
        ends: tuple[Address, Address] | None = None
        level, reqid = Level.DEFAULT, 0
        if self._skip("/"):
            if self._skip("/"):
                level, reqid = self._level()
            elif self._follows() in ("-", "["):
                ends = self._endpoints(direction)
                if self._skip("/") and self.word.partition(":")[0] in LEVELS:
                    level, reqid = self._level()
                elif self.word and self.word not in PROTOCOLS and self.word != "encap":
                    self.unexpected(among={**LEVELS})
        if mode in TUNNEL_MODES and ends is None:
            self.fail(
                "Invalid address specification", "a tunnel needs both its endpoints", at=start
            )
        source, destination = ends or (None, None)
        return IpsecRequest(protocol, mode, level, reqid, source, destination)

    def _slash_hint(self) -> tuple[str, ...]:
        if self.word in LEVELS:
            return (f"a level comes after two slashes: esp/transport//{self.word}",)
        return ()

    def _level(self) -> tuple[Level, int]:
        name, colon, number = self.word.partition(":")
        level = LEVELS.get(name)
        if level is None:
            self.unexpected("a level is default, use, require or unique", among={**LEVELS})
        if not colon and self._follows() == "#":
            self._at += 2
            number = self.word
        elif not colon:
            self._at += 1
            return level, 0
        if level not in (Level.UNIQUE, Level.USE) or not is_decimal(number):
            self.unexpected()
        reqid = decimal(number, 0xFFFFFFFF)
        if reqid is None:
            self.fail("Invalid ipsec level", "a reqid has 32 bits: at most 4294967295")
        self._at += 1
        return level, reqid

    def _endpoints(self, direction: Direction) -> tuple[Address, Address] | None:
        """address-address, with ports that are read and dropped, or me-any and any-me."""
        start = self._at
        pair = (self.word, self._follows(2))
        if pair in (("me", "any"), ("any", "me")) and self._follows() == "-":
            if direction is not (Direction.OUT if pair[0] == "me" else Direction.IN):
                self.fail("Invalid direction", "me-any is for out, any-me for in")
            self._at += 3
            return None
        source = self._endpoint()
        if not self._skip("-"):
            self.unexpected()
        destination = self._endpoint()
        if source.family != destination.family:
            self.fail("Family mismatch", "both endpoints must be IPv4, or both IPv6", at=start)
        return source, destination

    def _endpoint(self) -> Address:
        try:
            address = Address.parse(self.word.partition("%")[0])
        except ValueError:
            token = self._follows() or self.word
            self.fail(
                "Name or service not known",
                "an endpoint is a numeric address, never a name",
                detail=f'libipsec: invalid IP address while parsing "{token}"',
            )
        self._at += 1
        if self._skip("["):
            if not is_decimal(self.word) or decimal(self.word, 0xFFFF) is None:
                self.unexpected()
            self._at += 1
            if not self._skip("]"):
                self.unexpected()
        return address


def _hints(word: str, among: dict[str, object]) -> tuple[str, ...]:
    from kamexfrm import spelling  # loads difflib

    return spelling.hints(word, among, 1)
