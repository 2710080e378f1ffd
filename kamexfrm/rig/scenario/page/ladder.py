"""The packets of a step as SVG: a line down from each host, an arrow for each packet on a link."""

import itertools
from collections.abc import Sequence
from typing import NamedTuple
from xml.etree.ElementTree import Element

from kamexfrm.rig.scenario.page.markup import element
from kamexfrm.rig.scenario.result import HOUSEKEEPING, Crossing, Observation, Rise

#: Sizes in pixels: of the picture without long texts, of a row with an arrow and one with a mark.
_WIDTH, _HEAD, _ARROW, _MARK, _EDGE = 316, 30, 44, 20, 6

#: Pixels that a character takes: of a host's name, and of a label.
_NAME, _CHARACTER = 8.0, 6.5

#: Arrows that are drawn of a step.
MOST = 40


class _Lanes(NamedTuple):
    """Where each host's line is, and how wide the picture is."""

    places: dict[str, float]
    width: float


def drawn(observed: Observation, failed: bool) -> list[Crossing]:
    """Return the packets that are drawn: housekeeping where it may be the cause of a failure."""
    return [one for one in observed.crossings if failed or one.kind != HOUSEKEEPING]


def ladder(
    observed: Observation, crossings: Sequence[Crossing], hosts: Sequence[str], identity: str
) -> Element:
    """Return the picture of some packets of a step, and of what rose at their hosts."""
    shown = crossings[:MOST]
    marks = [("lost", f"{one.what} +{one.by}", one.host) for one in observed.counters]
    marks += [("heard", heard(one), one.host) for one in observed.heard]
    texts = [text for one in shown for text in (_label(one), one.addresses)]
    lanes = _lanes(hosts, [*texts, *(text for _, text, _ in marks)])
    rows: list[Element] = []
    y = float(_HEAD + 6)
    for one in shown:
        rows.append(_arrow(one, lanes, y))
        y += _ARROW
    for kind, text, host in marks:
        rows.append(_mark(kind, text, lanes.places[host], lanes, y))
        y += _MARK
    return element(
        "svg",
        element("title", "Packets of this step", id=f"{identity}-title"),
        element("desc", "; ".join(map(spelled, shown)), id=f"{identity}-desc"),
        [_lifeline(name, x, y) for name, x in lanes.places.items()],
        rows,
        class_="ladder",
        viewBox=f"0 0 {lanes.width:g} {y + 6:g}",
        width=lanes.width,
        height=y + 6,
        role="img",
        aria_labelledby=f"{identity}-title {identity}-desc",
    )


def spelled(one: Crossing) -> str:
    """Return a packet on a link in words."""
    return f"{one.sender} to {one.receiver}: {one.text} ({one.addresses})"


def heard(rise: Rise) -> str:
    """Return what a program of a host received, in words."""
    words = rise.what
    if rise.by == 1:
        words = {"ies": words[:-3] + "y"}.get(words[-3:], words.removesuffix("s"))
    return f"heard {rise.by} {words}"


def _lanes(hosts: Sequence[str], texts: Sequence[str]) -> _Lanes:
    half = [max(len(name) * _NAME / 2 + 9, 20) for name in hosts]
    gaps = [left + right + 8 for left, right in itertools.pairwise(half)]
    least = sum(gaps) + half[0] + half[-1] + 2 * _EDGE
    spare = max(_WIDTH - least, 0) / len(gaps) if gaps else 0
    x = _EDGE + half[0]
    places = {hosts[0]: x}
    for name, gap in zip(hosts[1:], gaps, strict=True):
        x += gap + spare
        places[name] = x
    longest = max((len(text) * _CHARACTER for text in texts), default=0) + 2 * _EDGE
    return _Lanes(places, max(x + half[-1] + _EDGE, longest))


def _lifeline(name: str, x: float, bottom: float) -> Element:
    width = max(len(name) * _NAME + 18, 40)
    return element(
        "g",
        element("line", class_="lifeline", x1=x, y1=_HEAD, x2=x, y2=bottom),
        element("rect", class_="host", x=x - width / 2, y=3, width=width, height=24, rx=6),
        element("text", name, class_="name", x=x, y=20, text_anchor="middle"),
    )


def _label(one: Crossing) -> str:
    return f"{one.at * 1000:.1f} ms  {one.text}"


def _place(text: str, wanted: float, width: float) -> float:
    """Return where a text begins: where it is wanted, or further left so that it fits."""
    return max(min(wanted, width - len(text) * _CHARACTER - 4), 4)


def _arrow(one: Crossing, lanes: _Lanes, y: float) -> Element:
    start, end = lanes.places[one.sender], lanes.places[one.receiver]
    way = 1 if end > start else -1
    left = min(start, end) + 8
    tip = y + 32
    kind = "plain" if one.kind in ("clear", HOUSEKEEPING) else "protected"
    label = _label(one)
    return element(
        "g",
        element("text", label, class_="label", x=_place(label, left, lanes.width), y=y + 11),
        element(
            "text",
            one.addresses,
            class_="label addresses",
            x=_place(one.addresses, left, lanes.width),
            y=y + 24,
        ),
        element("line", class_="arrow", x1=start, y1=tip, x2=end - way * 7, y2=tip),
        element(
            "polygon",
            class_="tip",
            points=f"{end:g},{tip:g} {end - way * 9:g},{tip - 5:g} {end - way * 9:g},{tip + 5:g}",
        ),
        class_=f"{kind} {HOUSEKEEPING}" if one.kind == HOUSEKEEPING else kind,
    )


def _mark(kind: str, text: str, x: float, lanes: _Lanes, y: float) -> Element:
    middle = y + 10
    if kind == "lost":
        sign = element("path", class_="sign", d=f"M{x - 5:g} {middle - 5:g}l10 10m0 -10l-10 10")
    else:
        sign = element("circle", class_="sign", cx=x, cy=middle, r=5)
    place = x + 11
    if place + len(text) * _CHARACTER > lanes.width:
        place = max(x - 11 - len(text) * _CHARACTER, 4)
    return element(
        "g", sign, element("text", text, class_="label", x=place, y=middle + 4), class_=kind
    )
