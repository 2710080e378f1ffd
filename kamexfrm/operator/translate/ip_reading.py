"""Reads what ``ip xfrm state`` and ``ip xfrm policy`` print, and files for ``ip -batch``.

Both have the same words, in a dump with line breaks and with more of them. A dump's entry begins at
a line that begins with ``src``; a command is a line, as in a file for sh(1). A dump begins with the
newest entry.
"""

import re
import shlex
from collections.abc import Iterator

from kamexfrm.errors import KamexfrmError, Place
from kamexfrm.operator.translate.ip_policies import read_policy
from kamexfrm.operator.translate.ip_states import read_state
from kamexfrm.operator.translate.objects import Objects, Remark, ordinary
from kamexfrm.xfrm import Policy, State

_HEAD = re.compile(r"src\s")
#: Words of a command that changes what is there.
_ADD, _DELETE, _FLUSH = ("add", "update"), ("delete", "del"), ("flush",)


class _Lists:
    """States and policies after the commands so far."""

    def __init__(self) -> None:
        self.states: dict[tuple[object, ...], State] = {}
        self.policies: dict[tuple[object, ...], Policy] = {}
        self.remarks: list[Remark] = []

    def add_state(self, state: State) -> None:
        self.states[_state_name(state)] = state

    def add_policy(self, policy: Policy) -> None:
        self.policies[_policy_name(policy)] = policy


def _state_name(state: State) -> tuple[object, ...]:
    return state.destination, state.spi, state.protocol, state.mark


def _policy_name(policy: Policy) -> tuple[object, ...]:
    scope = policy.mark, policy.if_id
    return policy.selector, policy.direction, policy.security_context, *scope


def read(text: str, file: str) -> Objects:
    """Read either form, or both one after the other; raises KamexfrmError with the place."""
    lists = _Lists()
    for place, words, is_command in _oldest_first(_entries(text, file)):
        try:
            if is_command:
                _command(words, place, lists)
            elif "priority" in words:
                _take_policy(words, place, lists)
            else:
                _take_state(words, place, lists)
        except (KamexfrmError, ValueError, IndexError, KeyError) as error:
            reason = str(error) if isinstance(error, KamexfrmError | ValueError) else "cut off"
            raise KamexfrmError(f"{place}: {reason}") from None
    return Objects(
        tuple(lists.states.values()),
        tuple(ordinary(lists.policies.values())),
        tuple(lists.remarks),
    )


def _oldest_first(
    entries: Iterator[tuple[Place, list[str], bool]],
) -> Iterator[tuple[Place, list[str], bool]]:
    dump = []
    for entry in entries:
        if not entry[2]:
            dump.append(entry)
            continue
        yield from reversed(dump)
        dump = []
        yield entry
    yield from reversed(dump)


def _entries(text: str, file: str) -> Iterator[tuple[Place, list[str], bool]]:
    """Yield commands and entries of dumps as words."""
    lines = text.split("\n")
    at = 0
    while at < len(lines):
        first, line = at, lines[at]
        at += 1
        place = Place(file, first + 1)
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        if _HEAD.match(line):
            while at < len(lines) and lines[at][:1].isspace() and lines[at].strip():
                line += " " + lines[at]
                at += 1
            yield place, line.split(), False
            continue
        while line.endswith("\\") and at < len(lines):
            line = line[:-1] + lines[at]
            at += 1
        try:
            words = shlex.split(line, comments=True)
        except ValueError as error:
            raise KamexfrmError(f"{place}: {error}") from None
        if words:
            yield place, words, True


def _command(words: list[str], place: Place, lists: _Lists) -> None:
    words = [word for word in words if word not in ("ip", "/sbin/ip", "/usr/sbin/ip")]
    words = [word for at, word in enumerate(words) if at or word not in ("-4", "-6")]
    match words[:3]:
        case ["set" | "export" | "exit", *_] | []:
            return
        case ["xfrm" | "x", what, verb]:
            pass
        case ["xfrm" | "x", what]:
            verb = "list"
        case _:
            raise KamexfrmError(
                "this is neither `ip xfrm' nor what it prints; --from setkey reads setkey's files"
            )
    rest = words[3:]
    if "state".startswith(what):
        _state_command(verb, rest, place, lists)
    elif "policy".startswith(what):
        _policy_command(verb, rest, place, lists)
    else:
        lists.remarks.append(Remark(place, f"ip xfrm {what} has no counterpart: left out"))


def _state_command(verb: str, rest: list[str], place: Place, lists: _Lists) -> None:
    if verb in _ADD:
        _take_state(rest, place, lists)
    elif verb in _FLUSH:
        lists.states.clear()
    elif verb in _DELETE:
        state, _ = read_state(rest)
        lists.states.pop(_state_name(state), None)
    else:
        lists.remarks.append(Remark(place, f"ip xfrm state {verb} has no counterpart: left out"))


def _policy_command(verb: str, rest: list[str], place: Place, lists: _Lists) -> None:
    if verb in _ADD:
        _take_policy(rest, place, lists)
    elif verb in _FLUSH:
        lists.policies.clear()
    elif verb in _DELETE and "index" not in rest:
        policy, _ = read_policy(rest)
        lists.policies.pop(_policy_name(policy), None)
    else:
        lists.remarks.append(Remark(place, f"ip xfrm policy {verb} has no counterpart: left out"))


def _take_state(words: list[str], place: Place, lists: _Lists) -> None:
    state, unknown = read_state(words)
    lists.remarks += (Remark(place, text) for text in unknown)
    if state.protocol not in _KNOWN:
        lists.remarks.append(Remark(place, "a state of another protocol: left out"))
    elif not state.is_keyed:
        lists.remarks.append(Remark(place, "a state without algorithms, of an acquire: left out"))
    else:
        lists.add_state(state)


_KNOWN = (50, 51, 108)


def _take_policy(words: list[str], place: Place, lists: _Lists) -> None:
    if "socket" in words[:12] and words[words.index("socket") + 1] in ("in", "out", "fwd"):
        lists.remarks.append(Remark(place, "a socket's own policy: left out"))
        return
    policy, unknown = read_policy(words)
    lists.remarks += (Remark(place, text) for text in unknown)
    lists.add_policy(policy)
