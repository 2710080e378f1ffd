"""Commands and what they print as an animated SVG: a terminal in which one types.

Lines stand one below the other in a tall picture, of which a window is shown. A cover lies on what
is not printed yet: it moves down line by line, and on a line that is typed to the right.
"""

import re
from collections.abc import Iterator
from typing import NamedTuple
from xml.etree import ElementTree
from xml.etree.ElementTree import Element

from kamexfrm.rig.scenario.report.folding import fold

#: Of the terminal.
COLUMNS, ROWS = 92, 26

#: Sizes in pixels: of a character and a line, and of the terminal's edge.
_CHARACTER, _LINE, _EDGE = 8.0, 18, 16

#: Seconds: to type a character, until the output comes, to read a line of it, and the longest.
_TYPING, _THINKING, _READING, _LONGEST, _END = 0.06, 0.5, 0.7, 12.0, 8.0

_GROUND = "#14181e"
_COLOURS = {"1": "bold", "2": "faint", "31": "red", "32": "green", "33": "yellow", "36": "cyan"}
_STYLE = """
text { font: 13.2px ui-monospace, SFMono-Regular, Menlo, Consolas, 'DejaVu Sans Mono', monospace;
  fill: #e6e9ee; white-space: pre; }
.prompt { fill: #56c878; } .bold { font-weight: bold; } .faint { fill: #9ba6b4; }
.red { fill: #ff8a80; } .green { fill: #56c878; } .yellow { fill: #f2ad66; }
.cyan { fill: #7fd6e0; }
@media (prefers-reduced-motion: reduce) { .scroll, .cover, .typed { animation: none !important; } }
"""

_SGR = re.compile(r"\033\[([\d;]*)m")


class Shot(NamedTuple):
    """A command, and what it printed."""

    command: str
    output: str


class _Moment(NamedTuple):
    """From ``at`` seconds on so many lines are there, of the last one so many characters."""

    at: float
    lines: int
    characters: int


def animated(title: str, shots: list[Shot]) -> str:
    """Return the picture."""
    lines = [line for shot in shots for line in _lines_of(shot)]
    moments = list(_moments(shots))
    width, height = COLUMNS * _CHARACTER + 2 * _EDGE, ROWS * _LINE + 2 * _EDGE
    root = Element(
        "svg",
        {
            "xmlns": "http://www.w3.org/2000/svg",
            "viewBox": f"0 0 {width:g} {height}",
            "width": f"{width:g}",
            "height": f"{height}",
            "role": "img",
        },
    )
    ElementTree.SubElement(root, "title").text = title
    ElementTree.SubElement(root, "desc").text = "\n".join(_plain(line) for line in lines)
    ElementTree.SubElement(root, "style").text = _STYLE + _keyframes(moments)
    _rectangle(root, 0, 0, width, height).set("rx", "10")
    clip = ElementTree.SubElement(ElementTree.SubElement(root, "clipPath", id="window"), "rect")
    clip.attrib.update(x="0", y=f"{_EDGE}", width=f"{width:g}", height=f"{ROWS * _LINE}")
    window = ElementTree.SubElement(root, "g", {"clip-path": "url(#window)"})
    scroll = ElementTree.SubElement(window, "g", {"class": "scroll"})
    for number, line in enumerate(lines):
        _text(scroll, line, _EDGE + number * _LINE + 13)
    tall = (len(lines) + ROWS) * _LINE
    _rectangle(scroll, 0, _EDGE, width, tall).set("class", "cover")
    _rectangle(scroll, _EDGE, _EDGE, width, _LINE).set("class", "typed")
    return ElementTree.tostring(root, encoding="unicode") + "\n"


def shown(picture: str) -> list[str]:
    """Return the lines of a picture, without their colours."""
    root = ElementTree.fromstring(picture)  # noqa: S314 (our own)
    return ["".join(one.itertext()) for one in root.iter("{http://www.w3.org/2000/svg}text")]


def lines_of(shots: list[Shot]) -> list[str]:
    """Return the lines that the picture of some commands has, without their colours."""
    return [_plain(line) for shot in shots for line in _lines_of(shot)]


def _lines_of(shot: Shot) -> list[str]:
    found = [f"# {shot.command}"]
    for line in shot.output.rstrip("\n").splitlines() if shot.output else ():
        found += _wrapped(line.expandtabs())
    return found


def _wrapped(line: str) -> Iterator[str]:
    """Yield a line, folded at words where it is too long; the colours are left out then."""
    if len(_plain(line)) <= COLUMNS:
        yield line
    else:
        yield from fold(_plain(line), COLUMNS)


def _plain(line: str) -> str:
    return _SGR.sub("", line)


def _moments(shots: list[Shot]) -> Iterator[_Moment]:
    at, lines = 0.5, 0
    for shot in shots:
        length = len(shot.command) + 2
        for characters in range(2, length + 1):
            yield _Moment(at, lines + 1, characters)
            at += _TYPING
        at += _THINKING
        lines += len(_lines_of(shot))
        yield _Moment(at, lines, COLUMNS)
        at += min(1 + _READING * (len(_lines_of(shot)) - 1), _LONGEST)
    yield _Moment(at + _END, lines, COLUMNS)


def _keyframes(moments: list[_Moment]) -> str:
    """Return the movements of the scrolled text, of the cover below, and of that of a line."""
    total = moments[-1].at
    tracks: dict[str, list[str]] = {"scroll": [], "cover": [], "typed": []}
    for moment in [_Moment(0, 0, 0), *moments]:
        hidden = max(0, moment.lines - ROWS) * _LINE
        below = moment.lines * _LINE
        right, last = moment.characters * _CHARACTER, (moment.lines - 1) * _LINE
        for name, x, y in (
            ("scroll", 0.0, -hidden),
            ("cover", 0.0, below),
            ("typed", right, last),
        ):
            frame = f"transform:translate({x:g}px,{y:g}px)"
            if not tracks[name] or not tracks[name][-1].endswith(f"{{{frame}}}"):
                tracks[name].append(f"{moment.at * 100 / total:.3f}%{{{frame}}}")
    text = ""
    for name, frames in tracks.items():
        end = frames[-1].partition("{")[2]
        text += f".{name}{{{end[:-1]};animation:{name} {total:.1f}s steps(1,end) infinite}}\n"
        text += f"@keyframes {name}{{{''.join(frames)}100%{{{end}}}\n"
    return text


def _rectangle(parent: Element, x: float, y: float, width: float, height: float) -> Element:
    numbers = {"x": x, "y": y, "width": width, "height": height}
    words = {name: f"{value:g}" for name, value in numbers.items()}
    return ElementTree.SubElement(parent, "rect", {**words, "fill": _GROUND})


def _text(parent: Element, line: str, y: float) -> None:
    """Add a line; each part of one colour begins where it would on a terminal."""
    text = ElementTree.SubElement(parent, "text", {"y": f"{y:g}"})
    if line.startswith("# "):
        _part(text, "# ", 0, "prompt")
        _part(text, line[2:], 2, "bold")
        return
    column, kind, parts = 0, "", _SGR.split(line)
    for number, part in enumerate(parts):
        if number % 2:
            kind = " ".join(_COLOURS[code] for code in part.split(";") if code in _COLOURS)
        elif part:
            _part(text, part, column, kind)
            column += len(part)


def _part(text: Element, part: str, column: int, kind: str) -> None:
    part_element = ElementTree.SubElement(text, "tspan", {"x": f"{_EDGE + column * _CHARACTER:g}"})
    part_element.set("textLength", f"{len(part) * _CHARACTER:g}")
    if kind:
        part_element.set("class", kind)
    part_element.text = part
