"""One policy from the words of ip-xfrm(8), as it prints them or as it takes them."""

from typing import Any

from kamexfrm.errors import KamexfrmError
from kamexfrm.net import Address
from kamexfrm.operator.translate import ip_words
from kamexfrm.operator.translate.ip_parts import (
    SelectorReader,
    Words,
    dumped_limits,
    security_context,
    take_flags,
    take_identity,
    take_limit,
    take_mark,
)
from kamexfrm.xfrm import (
    XFRM_POLICY_ALLOW,
    XFRM_POLICY_BLOCK,
    LifetimeConfig,
    Policy,
    Template,
)
from kamexfrm.xfrm import constants as c

_DIRECTIONS = {word: number for number, word in ip_words.DIRECTIONS.items()}
_FLAGS = {"localok": c.XFRM_POLICY_LOCALOK, "icmp": c.XFRM_POLICY_ICMP}


def read_policy(words: list[str]) -> tuple[Policy, list[str]]:
    """Return a policy, and what of it is not translated; raises KamexfrmError."""
    reader = _PolicyReader(Words(words))
    reader.read()
    return reader.policy(), reader.unknown


class _PolicyReader:
    def __init__(self, words: Words) -> None:
        self._words = words
        self.unknown: list[str] = []
        self._selector = SelectorReader(words)
        self._limits: dict[str, int] = {}
        self._templates: list[Template] = []
        self._fields: dict[str, Any] = {"action": XFRM_POLICY_ALLOW}

    def read(self) -> None:
        while self._words:
            word = self._words.take()
            if word == "lifetime":
                seconds = dumped_limits(self._words)  # of bytes and packets it may be a tag
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
                field, value = take_limit(words)
                self._limits[field] = value
            case "ctx":
                fields["security_context"] = security_context(words.take())
            case "if_id":
                fields["if_id"] = words.number()
            case "mark":
                fields["mark"] = take_mark(words)
            case "index" | "share":
                words.take()
            case "ptype":
                if words.take() != "main":
                    raise KamexfrmError("a sub policy, which setkey lacks")
            case "flag":
                fields["flags"] = fields.get("flags", 0) | take_flags(words, _FLAGS)
            case "security":
                words.skip_to("tmpl", "lifetime", "mark", "if_id")
            case _ if not self._selector.take(word):
                raise KamexfrmError(f"{word!r}: not a word of ip xfrm policy")

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
                case "level":
                    found["optional"] = int(words.take() == "use")
                case "share" | "enc-mask" | "auth-mask" | "comp-mask":
                    words.take()
                case _ if not take_identity(word, words, found):
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
