"""What states and policies of ip-xfrm(8) have in common: their words, selectors, marks, limits."""

import re
import socket
from typing import Any

from kamexfrm.errors import KamexfrmError
from kamexfrm.net import Address, protocol_number
from kamexfrm.operator.translate import ip_words
from kamexfrm.xfrm import Mark, SecurityContext, Selector

_PROTOCOLS = {word: number for number, word in ip_words.PROTOCOLS.items()}
_MODES = {word: number for number, word in ip_words.MODES.items()}
_UPPERS = {"ipv6-icmp": 58, "icmp6": 58, "mobility-header": 135, "any": 0}


class Words:
    """The words of an entry, taken one by one."""

    def __init__(self, words: list[str]) -> None:
        self._words = words
        self.at = 0

    def __bool__(self) -> bool:
        return self.at < len(self._words)

    def take(self) -> str:
        """Take the next word; raises KamexfrmError at the end."""
        if not self:
            raise KamexfrmError(f"something is missing after {self._words[-1]!r}")
        self.at += 1
        return self._words[self.at - 1]

    def peek(self) -> str:
        """Return the next word and leave it there, empty at the end."""
        return self._words[self.at] if self else ""

    def number(self) -> int:
        """Take a number, in decimal or hexadecimal; a second form in brackets is passed over."""
        word = self.take().partition("(")[0].rstrip(",")
        try:
            return int(word, 0)
        except ValueError:
            raise KamexfrmError(f"{word!r} is no number") from None

    def address(self) -> Address:
        """Take an address."""
        word = self.take()
        try:
            return Address.parse(word)
        except ValueError:
            raise KamexfrmError(f"{word!r} is no address") from None

    def prefix(self) -> tuple[Address, int]:
        """Take an address with the length of its prefix."""
        address, slash, bits = self.take().partition("/")
        try:
            found = Address.parse(address)
            return found, int(bits) if slash else found.bits
        except ValueError:
            raise KamexfrmError(f"{address!r} is no address with a prefix") from None

    def key(self) -> bytes:
        """Take a key: hexadecimal digits, or text; of a dump also an empty one, and its length."""
        word = self.peek()
        if word in _AFTER_KEY:  # a dump prints nothing for an empty key
            return b""
        if not word.startswith("("):
            self.at += 1
        if self.peek().startswith("("):
            self.skip_to("bits)")
            self.at += 1
        if word.startswith("("):
            return b""
        if word[:2].lower() != "0x":
            return word.encode("utf-8", "surrogateescape")
        digits = word[2:]
        try:
            return bytes.fromhex(("0" if len(digits) % 2 else "") + digits)
        except ValueError:
            raise KamexfrmError("a key that is no hexadecimal number") from None

    def skip_to(self, *ends: str) -> list[str]:
        """Step over words up to one of these, or the end; return them."""
        start = self.at
        while self and self.peek() not in ends:
            self.at += 1
        return self._words[start : self.at]

    def of(self, table: dict[str, int], what: str) -> int:
        """Take a word of a table, or a number, and return what it stands for."""
        word = self.take()
        found = table.get(word)
        if found is not None:
            return found
        if word.isdigit():
            return int(word)
        raise KamexfrmError(f"{word!r} is no {what}: {', '.join(table)}")


_AFTER_KEY = frozenset(
    (
        *("auth", "auth-trunc", "enc", "aead", "comp", "mode", "reqid", "replay-window"),
        *("flag", "sel", "encap", "limit", "anti-replay", "lifetime", "if_id", "output-mark"),
        "mark",
    )
)


def take_identity(word: str, words: Words, fields: dict[str, Any]) -> bool:
    """Take what a state and a template are alike in; return whether a word was of that."""
    match word:
        case "proto":
            fields["protocol"] = words.of(_PROTOCOLS, "protocol")
        case "spi" | "reqid":
            fields[word] = words.number()
        case "mode":
            fields["mode"] = words.of(_MODES, "mode")
        case _:
            return False
    return True


def take_limit(words: Words) -> tuple[str, int]:
    """Take a limit of a command: the field of LifetimeConfig, and its value."""
    limit = words.take()
    if limit not in ip_words.LIMITS:
        raise KamexfrmError(f"{limit!r} is no limit: {', '.join(ip_words.LIMITS)}")
    return ip_words.LIMITS[limit], words.number()


def take_flags(words: Words, bits: dict[str, int]) -> int:
    """Take the flags that follow; a number in brackets behind them is passed over."""
    found = 0
    while words.peek() in bits:
        found |= bits[words.take()]
    if words.peek().startswith("("):
        words.take()
    return found


#: The limits as ``ip -s`` prints them: unit, or the kind of time, and the fields they end with.
_LIMIT = re.compile(r"(?:limit:|expire (add|use):) soft (\S+)\((\w+)\), hard (\S+)\(\w+\)")


def dumped_limits(words: Words) -> dict[str, int]:
    """Return the fields of LifetimeConfig in a dump, up to the templates of a policy."""
    taken = words.skip_to("tmpl", "mark", "if_id", "security", "output-mark", "dir")
    text = " ".join(taken).partition("lifetime current")[0]
    found = {}
    for kind, soft, unit, hard in _LIMIT.findall(text):
        for side, value in (("soft", soft), ("hard", hard)):
            if value.isdigit() and int(value):
                found[f"{side}_{kind or unit}"] = int(value)
    return found


def security_context(text: str) -> SecurityContext:
    """Return the context that a text names."""
    return SecurityContext(1, 1, text.encode("utf-8", "surrogateescape") + b"\0")


class SelectorReader:
    """The selector of a policy or state; ``take`` says whether a word was one of it."""

    def __init__(self, words: Words) -> None:
        self._words = words
        self._prefixes: dict[str, tuple[Address, int]] = {}
        self._upper = 0
        self._numbers: dict[str, int] = {}
        self._interface = 0

    def take(self, word: str) -> bool:
        """Take what belongs to a word; return whether the word was one of a selector."""
        words = self._words
        match word:
            case "src" | "dst":
                self._prefixes[word] = words.prefix()
            case "proto":
                self._upper = _upper(words.take())
            case "sport" | "dport" | "type" | "code":
                self._numbers[word] = words.number()
            case "(dport)":  # how `ip -s' prints a mobility header's code: in network order
                self._numbers["code"] = socket.ntohs(words.number())
            case "key":
                self._key(words.take())
            case "dev":
                self._interface = _device(words.take())
            case "uid":
                words.take()
            case _:
                return False
        return True

    def _key(self, word: str) -> None:
        number = int.from_bytes(Address.parse(word).packed, "big") if "." in word else int(word, 0)
        self._numbers |= {"sport": number >> 16, "dport": number & 0xFFFF}

    @property
    def family(self) -> int:
        """The family of its addresses, IPv4's without any."""
        return next((address.family for address, _ in self._prefixes.values()), 2)

    def selector(self) -> Selector:
        """Return the selector; raises KamexfrmError for addresses of two families."""
        nowhere = (Address.unspecified(self.family), 0)
        source, destination = (self._prefixes.get(side, nowhere) for side in ("src", "dst"))
        if source[0].family != destination[0].family:
            raise KamexfrmError("src and dst are of two families")
        first = self._numbers.get("sport", self._numbers.get("type"))
        second = self._numbers.get("dport", self._numbers.get("code"))
        return Selector(
            destination[0],
            source[0],
            second or 0,
            0 if second is None else 0xFFFF,
            first or 0,
            0 if first is None else 0xFFFF,
            self.family,
            destination[1],
            source[1],
            self._upper,
            self._interface,
        )


def read_selector(words: Words) -> Selector:
    """Read the selector of a state, up to a word that is not of it."""
    reader = SelectorReader(words)
    while words:
        at = words.at
        if not reader.take(words.take()):
            words.at = at
            break
    return reader.selector()


def _device(name: str) -> int:
    try:
        return socket.if_nametoindex(name)
    except OSError:
        raise KamexfrmError(f"dev {name}: there is no such device here") from None


def take_mark(words: Words) -> Mark:
    """Read ``VALUE/MASK`` of a dump, or ``VALUE [mask MASK]`` of a command."""
    value, slash, mask = words.take().partition("/")
    if not slash and words.peek() == "mask":
        words.take()
        mask = words.take()
    return Mark(int(value, 0), int(mask, 0) if mask else 0xFFFFFFFF)


def _upper(word: str) -> int:
    if word in _UPPERS:
        return _UPPERS[word]
    number = int(word) if word.isdigit() else protocol_number(word)
    if number is None or number > 255:
        raise KamexfrmError(f"{word!r} is no protocol")
    return number
