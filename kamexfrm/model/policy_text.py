"""What a policy text says, the words of the language, and data written back as text.

The language is that of ipsec_set_policy(3); ``language`` reads it.
"""

from kamexfrm.errors import LanguageError
from kamexfrm.model.policy import (
    MANUAL_REQID_MAX,
    PRIORITY_DEFAULT,
    PRIORITY_HIGH,
    PRIORITY_LOW,
    Direction,
    IpsecProtocol,
    IpsecRequest,
    Level,
    Mode,
    PolicyType,
    SocketPolicy,
)
from kamexfrm.records import NamedTuple


class PolicyText(NamedTuple):
    """What a policy text says; ``type`` is None where it has a direction only (for deletion).

    Requests after an action other than ``ipsec`` are read and dropped, as in KAME.
    """

    direction: Direction
    priority: int = PRIORITY_DEFAULT
    type: PolicyType | None = None
    requests: tuple[IpsecRequest, ...] = ()

    def __str__(self) -> str:
        return format_policy(self)


class PolicyError(LanguageError):
    """A text that is no policy.

    ``offset`` is where the error begins, in characters. ``detail`` is the line that libipsec itself
    writes to stderr, or empty.
    """

    def __init__(
        self, reason: str, offset: int, *, detail: str = "", hints: tuple[str, ...] = ()
    ) -> None:
        super().__init__(reason, hints=hints)
        self.offset = offset
        self.detail = detail


DIRECTIONS = {"in": Direction.IN, "out": Direction.OUT, "fwd": Direction.FWD}
ACTIONS = {
    "discard": PolicyType.DISCARD,
    "none": PolicyType.NONE,
    "ipsec": PolicyType.IPSEC,
    "entrust": PolicyType.ENTRUST,
    "bypass": PolicyType.BYPASS,
}
PROTOCOLS = {"esp": IpsecProtocol.ESP, "ah": IpsecProtocol.AH, "ipcomp": IpsecProtocol.IPCOMP}
MODES = {"transport": Mode.TRANSPORT, "tunnel": Mode.TUNNEL, "beet": Mode.BEET}
#: The words for an SA's mode.
SA_MODES = {**MODES, "any": Mode.ANY}
LEVELS = {
    "default": Level.DEFAULT,
    "use": Level.USE,
    "require": Level.REQUIRE,
    "unique": Level.UNIQUE,
}
#: The words back from the values; an enumeration's own ``name`` is slow.
_PROTOCOL_WORDS = {value: word for word, value in PROTOCOLS.items()}
_MODE_WORDS = {Mode.ANY: "any", **{value: word for word, value in MODES.items()}}
_LEVEL_WORDS = {value: word for word, value in LEVELS.items()}

#: Where ``prio low``, ``def`` and ``high`` count from.
BASES = {"low": PRIORITY_LOW, "def": PRIORITY_DEFAULT, "high": PRIORITY_HIGH}


def decimal(word: str, limit: int) -> int | None:
    """Return a decimal number up to ``limit``, or None; long digit strings cost nothing."""
    digits = word.lstrip("0") or "0"
    if len(digits) > 20 or int(digits) > limit:
        return None
    return int(digits)


def is_decimal(word: str) -> bool:
    """Whether a word is a decimal number."""
    return word.isascii() and word.isdigit()


def format_priority(priority: int) -> str:
    """Return ``prio def + 5``: the nearest base and the distance; higher is a lower number.

    >>> format_priority(0x7FFFFFFB)
    'prio def + 5'
    """
    if priority < 0x60000000:
        name, base = "high", PRIORITY_HIGH
    elif priority < 0xA0000000:
        name, base = "def", PRIORITY_DEFAULT
    else:
        name, base = "low", PRIORITY_LOW
    if priority == base:
        return f"prio {name}"
    return f"prio {name} {'+' if priority < base else '-'} {abs(base - priority)}"


def format_level(level: Level, reqid: int) -> str:
    """Return a level with its reqid: ``unique:5`` for a manual one, ``unique#70000``."""
    name = _LEVEL_WORDS[level]
    if not reqid:
        return name
    if level is Level.REQUIRE:  # which means the same: only an SA with this reqid
        name = "unique"
    return f"{name}{':' if reqid <= MANUAL_REQID_MAX else '#'}{reqid}"


def format_request(request: IpsecRequest, *, ports: bool = False) -> str:
    """Return ``esp/tunnel/192.0.2.1-192.0.2.2/require``; ``ports`` adds ``[0]`` to endpoints."""
    protocol, mode, level, reqid, source, destination = request
    ends = ""
    if source is not None and destination is not None:
        port = "[0]" if ports else ""
        ends = f"{source}{port}-{destination}{port}"
    # A foreign entry may have what PF_KEY has no word for: that is shown as its number.
    protocol_word = _PROTOCOL_WORDS.get(protocol) or str(int(protocol))
    mode_word = _MODE_WORDS.get(mode) or str(int(mode))
    return f"{protocol_word}/{mode_word}/{ends}/{format_level(level, reqid)}"


def format_policy(policy: PolicyText) -> str:
    """Return the text that parse_policy() reads as this; the default priority is left out.

    >>> request = IpsecRequest(IpsecProtocol.ESP, Mode.TRANSPORT, Level.UNIQUE, reqid=5)
    >>> format_policy(PolicyText(Direction.OUT, PRIORITY_LOW, PolicyType.IPSEC, (request,)))
    'out prio low ipsec esp/transport//unique:5'
    """
    words = [policy.direction.name.lower()]
    if policy.priority != PRIORITY_DEFAULT:
        words.append(format_priority(policy.priority))
    if policy.type is not None:
        words.append(policy.type.name.lower())
        words += (format_request(request) for request in policy.requests)
    return " ".join(words)


def format_socket_policy(policy: SocketPolicy) -> str:
    """Return the text of a socket's policy, such as ``out ipsec esp/transport//require``."""
    text = PolicyText(policy.direction, PRIORITY_DEFAULT, policy.type, policy.requests)
    return format_policy(text)
