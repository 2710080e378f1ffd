"""The commands about policies: spdadd, spdupdate, spddelete, spdget, spddump, spdflush."""

from collections.abc import Callable

from kamexfrm.lazy import expression
from kamexfrm.model.language import parse_policy
from kamexfrm.model.policy import PolicyType, SecurityContext, SecurityPolicy, Selector
from kamexfrm.model.policy_text import PolicyError, PolicyText, decimal, is_decimal
from kamexfrm.setkey.hosts import Resolver
from kamexfrm.setkey.lexer import Words
from kamexfrm.setkey.sa_options import read_context
from kamexfrm.setkey.selectors import (
    ScopeWords,
    Written,
    is_scope_word,
    read_scope,
    read_selector,
    resolve_selector,
)
from kamexfrm.setkey.statements import (
    LanguageWarning,
    SpdAdd,
    SpdDelete,
    SpdDeleteId,
    SpdDump,
    SpdFlush,
    SpdGet,
    SpdGetId,
    SpdUpdate,
    Statement,
    Tagged,
)

_HWIF = expression(r"(?s)(.*\s)-hwif\s+([A-Za-z0-9:][A-Za-z0-9:%.-]*)\s*")


def read_spdadd(words: Words, resolver: Resolver) -> SpdAdd | SpdUpdate | Tagged:
    """Read ``spdadd selector [context] policy;`` or with ``tagged "TAG"``, or ``spdupdate``."""
    command = SpdAdd if words.words[0] == "spdadd" else SpdUpdate
    words.at = 1
    if words.skip("tagged"):
        return _read_tagged(words)
    written = read_selector(words)
    label, scope = _read_limits(words)
    policy, interface = _read_policy(words)
    at = words.at - 1
    words.expect(";")
    selector = _resolve(words, written, scope, resolver)
    if policy.type is None:
        words.fail(
            "Too few arguments",
            token=words.words[at][2:],
            at=at,
            hints=(f"{words.words[0]} needs an action: discard, none or ipsec",),
        )
    if policy.type is not PolicyType.IPSEC and "/" in words.words[at]:
        action = policy.type.name.lower()
        text = f"{action} has no requests: those written are ignored"
        words.warnings += (LanguageWarning(text, action, words.place(at)),)
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
        words.warnings,
    )


def read_spddelete(words: Words, resolver: Resolver) -> SpdDelete | SpdDeleteId | SpdGet | SpdGetId:
    """Read ``spddelete selector [context] policy;``, or ``spdget``, or one with ``spid=N;``."""
    id = words.words[1]
    if id.startswith("spid="):
        return _read_by_id(words, id)
    command = SpdDelete if words.words[0] == "spddelete" else SpdGet
    words.at = 1
    written = read_selector(words)
    label, scope = _read_limits(words)
    policy, _ = _read_policy(words)
    words.expect(";")
    selector = _resolve(words, written, scope, resolver)
    return command(words.place(), words.end_line, selector, policy.direction, label)


def _read_by_id(words: Words, id: str) -> SpdDeleteId | SpdGetId:
    by_id = SpdDeleteId if words.words[0] == "spddelete" else SpdGetId
    words.at = 1
    number = id.partition("=")[2]
    if not is_decimal(number) or decimal(number, 0xFFFFFFFF) is None:
        words.unexpected("spid= and the number that setkey -DP shows: spid=9")
    words.at = 2
    words.expect(";")
    return by_id(words.place(), words.end_line, int(number))


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


def _read_limits(words: Words) -> tuple[SecurityContext | None, ScopeWords]:
    """Read what may stand between the selector and -P, in any order."""
    label, scope = None, ScopeWords()
    while True:
        if words.skip("-ctx"):
            label = read_context(words)
        elif is_scope_word(words.words[words.at]):
            scope = read_scope(words, scope)
        else:
            return label, scope


def _resolve(words: Words, written: Written, scope: ScopeWords, resolver: Resolver) -> Selector:
    """Resolve the names once the statement is read: setkey's errors then name the policy text."""
    token = words.words[words.at - 2][2:] + ";"
    return resolve_selector(words, written, scope, resolver, token)


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


#: Reader of each command.
READERS: dict[str, Callable[[Words, Resolver], Statement]] = {
    "spdadd": read_spdadd,
    "spdupdate": read_spdadd,
    "spddelete": read_spddelete,
    "spdget": read_spddelete,
    "spddump": read_spdflush,
    "spdflush": read_spdflush,
}
