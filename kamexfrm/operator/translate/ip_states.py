"""One state from the words of ip-xfrm(8), as it prints them or as it takes them."""

from typing import Any

from kamexfrm.errors import KamexfrmError
from kamexfrm.net import Address
from kamexfrm.operator.translate import ip_words
from kamexfrm.operator.translate.ip_parts import (
    Words,
    dumped_limits,
    read_selector,
    security_context,
    take_flags,
    take_identity,
    take_limit,
    take_mark,
)
from kamexfrm.operator.translate.objects import is_narrow
from kamexfrm.xfrm import (
    AeadAlgorithm,
    AuthAlgorithm,
    Encap,
    LifetimeConfig,
    ReplayStateEsn,
    Selector,
    State,
)
from kamexfrm.xfrm import Algorithm as XfrmAlgorithm
from kamexfrm.xfrm import constants as c

_FLAGS = {word: bit for bit, word in ip_words.STATE_FLAGS.items()}
_ENCAPS = {word: number for number, word in ip_words.ENCAPS.items()}

#: Widest window of the fixed field, as ip(8) uses it.
_LEGACY_WINDOW = 32

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


def read_state(words: list[str]) -> tuple[State, list[str]]:
    """Return a state, and what of it is not translated; raises KamexfrmError."""
    _hidden(words)
    reader = _StateReader(Words(words))
    reader.read()
    return reader.state(), reader.unknown


class _StateReader:
    def __init__(self, words: Words) -> None:
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
                self._limits |= dumped_limits(self._words)
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
            case "replay-window":
                self._window = words.number()
            case "flag":
                self._flags |= take_flags(words, _FLAGS)
            case "limit":
                field, value = take_limit(words)
                self._limits[field] = value
            case "encap":
                self._encap()
            case "ctx":
                fields["security_context"] = security_context(words.take())
            case "mark":
                fields["mark"] = take_mark(words)
            case "output-mark":
                fields["output_mark"] = take_mark(words)
            case "if_id":
                fields["if_id"] = words.number()
            case "dir":
                fields["direction"] = {"in": 1, "out": 2}.get(words.take(), 0)
            case "nat-keepalive-interval":
                fields["nat_keepalive_interval"] = words.number()
            case "pcpu-num":
                fields["pcpu"] = words.number()
            case "sel":
                self._selector = read_selector(words)
            case "seq" | "share":
                words.take()
            case _ if not (take_identity(word, words, fields) or self._algorithm(word)):
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


def _hidden(words: list[str]) -> None:
    if any("<<Keys" in word or "<<Key" in word for word in words):
        raise KamexfrmError("the keys are hidden here: print it without nokeys")
