"""The hosts and links of a case as SVG: side by side, or one below the other where it is narrow."""

from collections.abc import Iterator
from typing import NamedTuple
from xml.etree.ElementTree import Element

from kamexfrm.rig.scenario.page.markup import element
from kamexfrm.rig.scenario.plan import Case
from kamexfrm.rig.scenario.report import graph

#: Sizes in pixels: of a host's box, between boxes, of a line and of a character of text.
_WIDTH, _GAP, _MARGIN = 148, 44, 8
_NAME, _LINE, _CHARACTER = 26, 15, 6.7

#: Addresses that a box shows.
_MOST = 6

#: What fits on a narrow screen.
NARROW = 330


class _Box(NamedTuple):
    """A host's box: its place in the grid, and its lines."""

    name: str
    column: int
    row: int
    lines: tuple[str, ...]


def drawings(case: Case, number: int) -> Iterator[Element]:
    """Yield the picture; two, of the classes wide and tall, where one would not fit a phone."""
    boxes = _boxes(case)
    wide = _drawing(case, boxes, f"topology-{number}")
    if float(wide.get("width", "0")) <= NARROW:
        yield wide
        return
    wide.set("class", "topology wide")
    yield wide
    turned = {one.name: one._replace(column=one.row, row=one.column) for one in boxes.values()}
    tall = _drawing(case, turned, f"topology-tall-{number}")
    tall.set("class", "topology tall")
    yield tall


def _boxes(case: Case) -> dict[str, _Box]:
    """Return where each host is drawn: the chains are rows, a host is in the first it occurs in."""
    boxes: dict[str, _Box] = {}
    lines = _lines(case)
    for row, chain in enumerate(graph.chains(case)):
        names = [chain[0].left.host, *(link.right.host for link in chain)]
        start = boxes[names[0]].column + 1 if names[0] in boxes else 0
        for column, name in enumerate((n for n in names if n not in boxes), start):
            boxes[name] = _Box(name, column, row, lines[name])
    lowest = max((box.row for box in boxes.values()), default=-1)
    for column, name in enumerate(name for name in case.hosts if name not in boxes):
        boxes[name] = _Box(name, column, lowest + 1, lines[name])
    return boxes


def _lines(case: Case) -> dict[str, tuple[str, ...]]:
    """Return the addresses of each host, with their interfaces."""
    interfaces: dict[str, list[str]] = {name: [] for name in case.hosts}
    count = dict.fromkeys(case.hosts, 0)
    for link in case.links:
        for end in (link.left, link.right):
            name = f"eth{count[end.host]}"
            count[end.host] += 1
            interfaces[end.host] += [f"{name} {one}" for one in end.addresses]
    for name, plan in case.hosts.items():
        interfaces[name] += [f"lo {one}" for one in plan.loopback]
    return {
        name: tuple(lines[:_MOST]) + ((f"and {len(lines) - _MOST} more",) * (len(lines) > _MOST))
        for name, lines in interfaces.items()
    }


def _drawing(case: Case, boxes: dict[str, _Box], identity: str) -> Element:
    longest = max((len(line) for box in boxes.values() for line in box.lines), default=0)
    longest = max(longest, *(len(name) + 2 for name in boxes))
    width = max(_WIDTH, int(longest * _CHARACTER) + 16)
    tallest = max((len(box.lines) for box in boxes.values()), default=0)
    height = _NAME + tallest * _LINE + 10
    places = {
        box.name: (
            _MARGIN + box.column * (width + _GAP),
            _MARGIN + box.row * (height + _GAP),
        )
        for box in boxes.values()
    }
    total = max(x for x, _ in places.values()) + width + _MARGIN
    bottom = max(y for _, y in places.values()) + height + _MARGIN
    middle = {name: (x + width / 2, y + height / 2) for name, (x, y) in places.items()}
    return element(
        "svg",
        element("title", f"Hosts and links of {case.title or case.file}", id=f"{identity}-title"),
        element("desc", graph.text(case), id=f"{identity}-desc"),
        [_link(middle[one.left.host], middle[one.right.host]) for one in case.links],
        [_host(box, *places[box.name], width, height) for box in boxes.values()],
        class_="topology",
        viewBox=f"0 0 {total:g} {bottom:g}",
        width=total,
        height=bottom,
        role="img",
        aria_labelledby=f"{identity}-title {identity}-desc",
    )


def _link(start: tuple[float, float], end: tuple[float, float]) -> Element:
    return element("line", class_="link", x1=start[0], y1=start[1], x2=end[0], y2=end[1])


def _host(box: _Box, x: float, y: float, width: float, height: float) -> Element:
    centre = x + width / 2
    return element(
        "g",
        element("rect", class_="host", x=x, y=y, width=width, height=height, rx=8),
        element("text", box.name, class_="name", x=centre, y=y + 19, text_anchor="middle"),
        [
            element("text", line, class_="address", x=centre, y=y + at, text_anchor="middle")
            for at, line in _below(box.lines)
        ],
    )


def _below(lines: tuple[str, ...]) -> Iterator[tuple[int, str]]:
    """Yield each line of a box with its place below the box's upper edge."""
    for number, line in enumerate(lines):
        yield _NAME + 11 + number * _LINE, line
