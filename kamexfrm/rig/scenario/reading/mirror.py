"""The peer's setkey script: the same SAs, and policies with in and out exchanged."""

import re

#: Comments and quoted strings, which are skipped; or -P DIRECTION, also across a line break.
_TOKEN = re.compile(r"""#[^\n]*|"[^"\n]*"|(-P\s+)(in|out|fwd)\b""")
_STATEMENT = re.compile(r"""(?:#[^\n]*|"[^"\n]*"|[^;#"])*;?""")
_FORWARD = re.compile(r"-P\s+fwd\b")
_COMMENT = re.compile(r"#[^\n]*")
_OTHER = {"in": "out", "out": "in"}


def mirror(script: str) -> str:
    """Return the script for the other end of a link.

    ``fwd`` policies are left out, but for their line breaks: an ``in`` policy has its own.
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
