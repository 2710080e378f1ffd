"""One state or policy from the words of ip-xfrm(8), as it prints them or as it takes them."""

import re
import socket
from typing import Any

from kamexfrm.errors import KamexfrmError
from kamexfrm.net import Address, protocol_number
from kamexfrm.operator.translate import ip_words
from kamexfrm.operator.translate.objects import is_narrow
from kamexfrm.xfrm import (
    XFRM_POLICY_ALLOW,
    XFRM_POLICY_BLOCK,
    AeadAlgorithm,
    AuthAlgorithm,
    Encap,
    LifetimeConfig,
    Mark,
    Policy,
    ReplayStateEsn,
    SecurityContext,
    Selector,
    State,
    Template,
)
from kamexfrm.xfrm import Algorithm as XfrmAlgorithm
from kamexfrm.xfrm import constants as c

_PROTOCOLS = {word: number for number, word in ip_words.PROTOCOLS.items()}
_MODES = {word: number for number, word in ip_words.MODES.items()}
_DIRECTIONS = {word: number for number, word in ip_words.DIRECTIONS.items()}
_FLAGS = {word: bit for bit, word in ip_words.STATE_FLAGS.items()}
_ENCAPS = {word: number for number, word in ip_words.ENCAPS.items()}
_UPPERS = {"ipv6-icmp": 58, "icmp6": 58, "mobility-header": 135, "any": 0}

#: Widest window of the fixed field, as ip(8) uses it.
_LEGACY_WINDOW = 32


class _Words:
    """The words of an entry, taken one by one."""

    def __init__(self, words: list[str]) -> None:
        self._words = words
        self.at = 0

    def __bool__(self) -> bool:
        return self.at < len(self._words)

    def take(self) -> str:
        if not self:
            raise KamexfrmError(f"something is missing after {self._words[-1]!r}")
        self.at += 1
        return self._words[self.at - 1]

    def peek(self) -> str:
        return self._words[self.at] if self else ""

    def number(self) -> int:
        """Take a number, in decimal or hexadecimal; a second form in brackets is passed over."""
        word = self.take().partition("(")[0].rstrip(",")
        try:
            return int(word, 0)
        except ValueError:
            raise KamexfrmError(f"{word!r} is no number") from None

    def address(self) -> Address:
        word = self.take()
        try:
            return Address.parse(word)
        except ValueError:
            raise KamexfrmError(f"{word!r} is no address") from None

    def prefix(self) -> tuple[Address, int]:
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


def _hidden(words: list[str]) -> None:
    if any("<<Keys" in word or "<<Key" in word for word in words):
        raise KamexfrmError("the keys are hidden here: print it without nokeys")


#: The limits as ``ip -s`` prints them: unit, or the kind of time, and the fields they end with.
_LIMIT = re.compile(r"(?:limit:|expire (add|use):) soft (\S+)\((\w+)\), hard (\S+)\(\w+\)")


def _dumped_limits(words: _Words) -> dict[str, int]:
    """Return the fields of LifetimeConfig in a dump, up to the templates of a policy."""
    taken = words.skip_to("tmpl", "mark", "if_id", "security", "output-mark", "dir")
    text = " ".join(taken).partition("lifetime current")[0]
    found = {}
    for kind, soft, unit, hard in _LIMIT.findall(text):
        for side, value in (("soft", soft), ("hard", hard)):
            if value.isdigit() and int(value):
                found[f"{side}_{kind or unit}"] = int(value)
    return found


def read_state(words: list[str]) -> tuple[State, list[str]]:
    """Return a state, and what of it is not translated; raises KamexfrmError."""
    _hidden(words)
    reader = _StateReader(_Words(words))
    reader.read()
    return reader.state(), reader.unknown


class _StateReader:
    def __init__(self, words: _Words) -> None:
        self._words = words
        self.unknown: list[str] = []
        self._fields: dict[str, Any] = {"protocol": 0, "spi": 0}
        self._limits: dict[str, int] = {}
        self._window = 0
        self._flags = 0
        self._ends: dict[str, Address] = {}
        self._selector: Selector | None = None

    def read(self) -> None:
        while self._words:
            word = self._words.take()
            if word == "lifetime":
                self._limits |= _dumped_limits(self._words)
                break  # counters are behind it
            if word == "anti-replay":
                self._anti_replay(self._words.skip_to("sel", "lifetime", "if_id", "output-mark"))
            elif word not in ("stats:", "lastused", "security"):
                self._take(word)

    def _anti_replay(self, context: list[str]) -> None:
        """Take the window of an extended replay state: the fixed field is then 0."""
        if "replay_window" in context:
            number = context[context.index("replay_window") + 1].rstrip(",")
            self._window = int(number, 0) or self._window

    def _take(self, word: str) -> None:
        words, fields = self._words, self._fields
        match word:
            case "src" | "dst":
                self._ends[word] = words.address()
            case "proto":
                fields["protocol"] = words.of(_PROTOCOLS, "protocol")
            case "spi":
                fields["spi"] = words.number()
            case "reqid":
                fields["reqid"] = words.number()
            case "mode":
                fields["mode"] = words.of(_MODES, "mode")
            case "replay-window":
                self._window = words.number()
            case "flag":
                while words.peek() in _FLAGS:
                    self._flags |= _FLAGS[words.take()]
                if words.peek().startswith("("):
                    words.take()
            case "limit":
                limit = words.take()
                if limit not in ip_words.LIMITS:
                    raise KamexfrmError(f"{limit!r} is no limit: {', '.join(ip_words.LIMITS)}")
                self._limits[ip_words.LIMITS[limit]] = words.number()
            case "encap":
                self._encap()
            case "ctx":
                fields["security_context"] = _context(words.take())
            case "mark":
                fields["mark"] = _mark(words)
            case "output-mark":
                fields["output_mark"] = _mark(words)
            case "if_id":
                fields["if_id"] = words.number()
            case "dir":
                fields["direction"] = {"in": 1, "out": 2}.get(words.take(), 0)
            case "nat-keepalive-interval":
                fields["nat_keepalive_interval"] = words.number()
            case "pcpu-num":
                fields["pcpu"] = words.number()
            case "sel":
                self._selector = _read_selector(words)
            case "seq" | "share":
                words.take()
            case _ if not self._algorithm(word):
                self._other(word)

    def _algorithm(self, word: str) -> bool:
        words, fields = self._words, self._fields
        match word:
            case "enc":
                name, key = words.take(), words.key()
                fields["encryption"] = XfrmAlgorithm(name, key, len(key) * 8)
            case "auth":
                name, key = words.take(), words.key()
                if fields.get("authentication") is None:  # a dump prints both forms
                    bits = _TRUNCATIONS.get(name, 0)
                    fields["authentication"] = AuthAlgorithm(name, key, len(key) * 8, bits)
            case "auth-trunc":
                name, key = words.take(), words.key()
                bits = words.number()
                fields["authentication"] = AuthAlgorithm(name, key, len(key) * 8, bits)
            case "aead":
                name, key = words.take(), words.key()
                fields["aead"] = AeadAlgorithm(name, key, len(key) * 8, words.number())
            case "comp":
                fields["compression"] = XfrmAlgorithm(words.take(), b"", 0)
                if words.peek()[:2] == "0x":
                    words.take()
            case _:
                return False
        return True

    def _encap(self) -> None:
        words = self._words
        if words.peek() == "type":
            words.take()
            kind = words.of(_ENCAPS, "encapsulation")
            ports = []
            for name in ("sport", "dport"):
                if words.take() != name:
                    raise KamexfrmError(f"encap: {name} is missing")
                ports.append(words.number())
            if words.peek() == "addr":
                words.take()
        else:
            kind = words.of(_ENCAPS, "encapsulation")
            ports = [words.number(), words.number()]
        self._fields["encap"] = Encap(kind, ports[0], ports[1], words.address())

    def _other(self, word: str) -> None:
        """Pass over what setkey lacks, with a remark."""
        words = self._words
        known = {"tfcpad", "coa", "extra-flag", "offload"}
        name = word.rstrip(":")
        if name not in known and name != "crypto":
            raise KamexfrmError(f"{word!r}: not a word of ip xfrm state")
        taken = [words.take()] if words else []
        while words and words.peek() in ("mask", "dev", "dir", "parameters:", "mode"):
            if words.peek() == "mode" and name != "crypto":
                break
            taken += (words.take(), words.take())
        self.unknown.append(f"{word} {' '.join(taken)} has no counterpart: left out")

    def state(self) -> State:
        if set(self._ends) != {"src", "dst"}:
            raise KamexfrmError("src and dst of the state are missing")
        source, destination = self._ends["src"], self._ends["dst"]
        fields = self._fields
        mode = fields.setdefault("mode", c.XFRM_MODE_TRANSPORT)
        family = destination.family
        unspecified = bool(self._flags & c.XFRM_STATE_AF_UNSPEC) and mode == c.XFRM_MODE_TUNNEL
        inner = 0 if unspecified else family
        nowhere = Address.unspecified(family) if inner else Address(0, bytes(16))
        if self._flags & c.XFRM_STATE_ESN or self._window > _LEGACY_WINDOW:
            words = (self._window + 31) // 32
            fields["replay_esn"] = ReplayStateEsn((0,) * words, replay_window=self._window)
        else:
            fields["replay_window"] = self._window
        selector = self._selector
        if selector is None or not is_narrow(selector):  # the kernel makes one of all packets
            selector = Selector(nowhere, nowhere, family=inner)
        return State(
            selector=selector,
            destination=destination,
            source=source,
            family=family,
            flags=self._flags,
            lifetime=LifetimeConfig(**self._limits),
            **fields,
        )


#: ICVs that the kernel gives algorithms of ``auth`` (net/xfrm/xfrm_algo.c).
_TRUNCATIONS = {
    "hmac(md5)": 96,
    "hmac(sha1)": 96,
    "hmac(sha256)": 96,
    "hmac(sha384)": 192,
    "hmac(sha512)": 256,
    "hmac(rmd160)": 96,
    "xcbc(aes)": 96,
    "cmac(aes)": 96,
    "hmac(sm3)": 256,
    "md5": 96,
    "sha1": 96,
    "sha256": 96,
}


def _context(text: str) -> SecurityContext:
    return SecurityContext(1, 1, text.encode("utf-8", "surrogateescape") + b"\0")


def read_policy(words: list[str]) -> tuple[Policy, list[str]]:
    """Return a policy, and what of it is not translated; raises KamexfrmError."""
    reader = _PolicyReader(_Words(words))
    reader.read()
    return reader.policy(), reader.unknown


class _SelectorReader:
    """The selector of a policy or state; ``take`` says whether a word was one of it."""

    def __init__(self, words: _Words) -> None:
        self._words = words
        self._prefixes: dict[str, tuple[Address, int]] = {}
        self._upper = 0
        self._numbers: dict[str, int] = {}
        self._interface = 0

    def take(self, word: str) -> bool:
        words = self._words
        match word:
            case "src" | "dst":
                self._prefixes[word] = words.prefix()
            case "proto":
                self._upper = _upper(words.take())
            case "sport" | "dport" | "type" | "code":
                self._numbers[word] = words.number()
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
        return next((address.family for address, _ in self._prefixes.values()), 2)

    def selector(self) -> Selector:
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


def _read_selector(words: _Words) -> Selector:
    """Read the selector of a state, up to a word that is not of it."""
    reader = _SelectorReader(words)
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


def _mark(words: _Words) -> Mark:
    """Read ``VALUE/MASK`` of a dump, or ``VALUE [mask MASK]`` of a command."""
    value, slash, mask = words.take().partition("/")
    if not slash and words.peek() == "mask":
        words.take()
        mask = words.take()
    return Mark(int(value, 0), int(mask, 0) if mask else 0xFFFFFFFF)


class _PolicyReader:
    def __init__(self, words: _Words) -> None:
        self._words = words
        self.unknown: list[str] = []
        self._selector = _SelectorReader(words)
        self._limits: dict[str, int] = {}
        self._templates: list[Template] = []
        self._fields: dict[str, Any] = {"action": XFRM_POLICY_ALLOW}

    def read(self) -> None:
        while self._words:
            word = self._words.take()
            if word == "lifetime":
                seconds = _dumped_limits(self._words)  # of bytes and packets it may be a tag
                self._limits |= {k: v for k, v in seconds.items() if k.endswith(("add", "use"))}
            elif word == "tmpl":
                self._templates.append(self._template())
            else:
                self._take(word)

    def _take(self, word: str) -> None:
        words, fields = self._words, self._fields
        match word:
            case "dir":
                fields["direction"] = words.of(_DIRECTIONS, "direction")
            case "action":
                action = words.take()
                fields["action"] = XFRM_POLICY_BLOCK if action == "block" else XFRM_POLICY_ALLOW
            case "priority":
                fields["priority"] = words.number()
            case "limit":
                self._limits[ip_words.LIMITS.get(words.take(), "soft_add")] = words.number()
            case "ctx":
                fields["security_context"] = _context(words.take())
            case "if_id":
                fields["if_id"] = words.number()
            case "mark":
                fields["mark"] = _mark(words)
            case "index" | "share":
                words.take()
            case "ptype":
                if words.take() != "main":
                    raise KamexfrmError("a sub policy, which setkey lacks")
            case "flag":
                self._flag()
            case "security":
                words.skip_to("tmpl", "lifetime", "mark", "if_id")
            case _ if not self._selector.take(word):
                raise KamexfrmError(f"{word!r}: not a word of ip xfrm policy")

    def _flag(self) -> None:
        bits = {"localok": c.XFRM_POLICY_LOCALOK, "icmp": c.XFRM_POLICY_ICMP}
        words = self._words
        while words.peek() in bits:
            bit = bits[words.take()]
            self._fields["flags"] = self._fields.get("flags", 0) | bit
        if words.peek().startswith("("):
            words.take()

    def _template(self) -> Template:
        words = self._words
        found: dict[str, Any] = {"protocol": 0, "mode": c.XFRM_MODE_TRANSPORT}
        while words and words.peek() not in ("tmpl", "lifetime"):
            word = words.take()
            match word:
                case "src":
                    found["source"] = words.address()
                case "dst":
                    found["destination"] = words.address()
                case "proto":
                    found["protocol"] = words.of(_PROTOCOLS, "protocol")
                case "spi":
                    found["spi"] = words.number()
                case "reqid":
                    found["reqid"] = words.number()
                case "mode":
                    found["mode"] = words.of(_MODES, "mode")
                case "level":
                    found["optional"] = int(words.take() == "use")
                case "share" | "enc-mask" | "auth-mask" | "comp-mask":
                    words.take()
                case _:
                    words.at -= 1  # a word of the policy
                    break
        ends = [found.get("source"), found.get("destination")]
        family = next((end.family for end in ends if end is not None), self._selector.family)
        nowhere = Address.unspecified(family)
        found["source"], found["destination"] = ends[0] or nowhere, ends[1] or nowhere
        return Template(family=family, **found)

    def policy(self) -> Policy:
        if "direction" not in self._fields:
            raise KamexfrmError("the direction is missing: dir in, out or fwd")
        return Policy(
            self._selector.selector(),
            lifetime=LifetimeConfig(**self._limits),
            templates=tuple(self._templates),
            **self._fields,
        )


def _upper(word: str) -> int:
    if word in _UPPERS:
        return _UPPERS[word]
    number = int(word) if word.isdigit() else protocol_number(word)
    if number is None or number > 255:
        raise KamexfrmError(f"{word!r} is no protocol")
    return number
