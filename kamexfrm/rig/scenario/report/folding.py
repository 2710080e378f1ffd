"""Lines that fit a terminal: folded at words, what follows is indented."""

import re

_INDENT = re.compile(r" *")


def fold(text: str, width: int, more: int = 2) -> list[str]:
    """Return a text as lines of at most ``width`` characters; 0 leaves each line as it is.

    The rest of a line that is folded is indented by ``more`` further than the line.
    """
    lines = text.split("\n")
    return [part for line in lines for part in _fold_line(line, width, more)]


def _fold_line(line: str, width: int, more: int) -> list[str]:
    if not width or len(line) <= width:
        return [line]
    found = _INDENT.match(line)
    indent = " " * min((found.end() if found else 0) + more, width // 2)
    parts: list[str] = []
    while len(line) > width:
        at = line.rfind(" ", len(indent) + 1 if parts else more + 1, width + 1)
        end = at if at > 0 and line[:at].strip() else width
        parts.append(line[:end].rstrip())
        line = indent + line[end:].lstrip()
    return [*parts, line]


def crop(lines: list[str], width: int) -> list[str]:
    """Return lines of which some have a caret below them, each pair cut to fit around the caret."""
    shown = list(lines)
    for at in range(1, len(shown)):
        if not width or shown[at].strip() != "^":
            continue
        caret = len(shown[at]) - 1
        first = max(0, min(caret - width // 2, len(shown[at - 1]) - width))
        if len(shown[at - 1]) > width:
            shown[at - 1] = shown[at - 1][first : first + width]
            shown[at] = " " * (caret - first) + "^"
    return shown
