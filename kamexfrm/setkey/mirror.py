"""The peer's script: the same SAs and policies, with in and out exchanged; comments stay.

A policy of direction fwd is about what one end alone forwards: an ``in`` policy has a twin of its
own at either end. It becomes a comment, of which the mirror of the mirror makes the policy again.
"""

import re

from kamexfrm.setkey.lexer import SKIP, STATEMENT

#: The beginning of each line of a statement that is for the other end only.
OTHER_END = "#other end: "

_BLANK = r"(?:\s|\\\r?\n|#[^\n]*\n)"

#: What a direction stands after: -P of a policy, dir of an SA.
_BEFORE = rf"(?:-P|(?<![A-Za-z0-9:%._-])-?dir(?={_BLANK})){_BLANK}*"

#: Comments and quoted texts, which are stepped over; or a direction and what is before it.
_DIRECTION = re.compile(rf"""#[^\n]*|"[^"]*"|({_BEFORE})(in|out|fwd)(?![A-Za-z0-9_-])""")
_OTHER = {"in": "out", "out": "in", "fwd": "fwd"}
_HIDDEN = re.compile(rf"^{OTHER_END}", re.MULTILINE)


def mirror(script: str) -> str:
    """Return the script for the other end of a link; the mirror of that means what this means.

    >>> mirror("spdadd 10.0.0.1 10.0.0.2 any -P out none; # to the peer")
    'spdadd 10.0.0.1 10.0.0.2 any -P in none; # to the peer'
    """
    pieces: list[str] = []
    at = 0
    while at < len(script):
        blank = SKIP.match(script, at)
        end = blank.end() if blank else at
        pieces.append(_HIDDEN.sub("", script[at:end]))
        found = STATEMENT.match(script, end)
        at = found.end() if found else len(script)
        statement = script[end:at]
        pieces.append(_mirrored(statement, _starts_line(script, end), _ends_line(script, at)))
    return "".join(pieces)


def _mirrored(statement: str, starts_line: bool, ends_line: bool) -> str:
    if not any(match[2] == "fwd" for match in _DIRECTION.finditer(statement)):
        return _DIRECTION.sub(_exchange, statement)
    hidden = OTHER_END + statement.replace("\n", f"\n{OTHER_END}")
    return ("" if starts_line else "\n") + hidden + ("" if ends_line else "\n")


def _exchange(match: re.Match[str]) -> str:
    return match[1] + _OTHER[match[2]] if match[1] else match[0]


def _starts_line(script: str, at: int) -> bool:
    return script[script.rfind("\n", 0, at) + 1 : at].strip(" \t") == ""


def _ends_line(script: str, at: int) -> bool:
    end = script.find("\n", at)
    rest = script[at : end if end >= 0 else len(script)].strip(" \t\r")
    return not rest or rest.startswith("#")
