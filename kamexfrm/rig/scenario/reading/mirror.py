"""The peer's setkey script: the same SAs, and policies with their directions exchanged."""

import re

#: Comments and quoted strings are passed over; then -P DIRECTION, wherever its words are broken.
_TOKEN = re.compile(r"""#[^\n]*|"[^"\n]*"|(-P\s+)(in|out|fwd)\b""")
_STATEMENT = re.compile(r"""(?:#[^\n]*|"[^"\n]*"|[^;#"])*;?""")
_FORWARD = re.compile(r"-P\s+fwd\b")
_COMMENT = re.compile(r"#[^\n]*")
_OTHER = {"in": "out", "out": "in"}


def mirror(script: str) -> str:
    """Return what the other side of a link loads.

    ``fwd`` policies are left out, but for their lines: an ``in`` policy brings its own.
    """
    kept = []
    for statement in _STATEMENT.findall(script):
        if _FORWARD.search(_COMMENT.sub("", statement)):
            kept.append("\n" * statement.count("\n"))
        else:
            kept.append(_TOKEN.sub(_exchange, statement))
    return "".join(kept)


def _exchange(match: re.Match[str]) -> str:
    return match[1] + _OTHER[match[2]] if match[1] else match[0]
