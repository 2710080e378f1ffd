"""Drawings of the topology: text for terminals, SVG for documents."""

from collections.abc import Iterator
from xml.sax.saxutils import escape

from kamexfrm.rig.scenario.plan import Case, LinkPlan
from kamexfrm.rig.scenario.report.folding import fold


def chains(case: Case) -> list[list[LinkPlan]]:
    """Return the links as chains, each a row: a link begins where the one before ended."""
    left = list(case.links)
    found: list[list[LinkPlan]] = []
    while left:
        chain = [left.pop(0)]
        while following := next(
            (one for one in left if one.left.host == chain[-1].right.host), None
        ):
            left.remove(following)
            chain.append(following)
        found.append(chain)
    return found


def text(case: Case, width: int = 0) -> str:
    """Return the topology as boxes in rows, and below what is installed on each host.

    A row that is wider than ``width``, if that is not 0, goes on in the next one.
    """
    lines: list[str] = []
    for chain in chains(case):
        for part in _parts(chain, width):
            row = _row(part)
            if width and len(row[1]) > width:
                row = [line for link in part for line in _narrow(link)]
            lines += [one for line in row for one in fold(line, width)]
            lines.append("")
    for name, words in notes(case):
        lines += fold(f"{name}: {words}", width)
    return "\n".join(lines).rstrip() + "\n"


def notes(case: Case) -> Iterator[tuple[str, str]]:
    """Yield each tunnel, and what is installed on each host: a name and the words about it."""
    for tunnel in case.tunnels:
        sides = [
            " ".join((end.host, *map(str, end.addresses))) for end in (tunnel.left, tunnel.right)
        ]
        ends = "-".join(tunnel.ends)
        yield f"{sides[0]} == {sides[1]}", f"ipsec, reqid {tunnel.reqid}, tunnel {ends}"
    for name, host in case.hosts.items():
        words = []
        if host.script:
            origin = f" ({host.script.origin})" if host.script.origin else ""
            words.append(f"setkey{origin}")
        words += [f"knobs {' '.join(host.knobs)}"] if host.knobs else []
        words += [f"lo {' '.join(map(str, host.loopback))}"] if host.loopback else []
        words += ["forwards"] if host.forward else []
        words += ["bridge"] if host.bridge else []
        words += [f"ESP in UDP at {one}" for one in host.encapsulation]
        if words:
            yield name, ", ".join(words)


def link_notes(case: Case) -> Iterator[tuple[str, str]]:
    """Yield each link that is not plain: its name and its options."""
    for link in case.links:
        if options := _options(link).strip():
            yield link.name, options


def _narrow(link: LinkPlan) -> list[str]:
    """Return a link without boxes, each end on a line."""
    left, right = (" ".join(map(str, end.addresses)) for end in (link.left, link.right))
    return [f"{link.left.host} {left}", f"--{_options(link)} {right} {link.right.host}"]


def _parts(chain: list[LinkPlan], width: int) -> Iterator[list[LinkPlan]]:
    """Yield a chain in parts that fit; each begins with the host where the last one ended."""
    part = chain[:1]
    for link in chain[1:]:
        if width and len(_row([*part, link])[1]) > width:
            yield part
            part = []
        part.append(link)
    yield part


def _row(chain: list[LinkPlan]) -> list[str]:
    """Return a chain as boxes: left's first address above the line, right's below it."""
    top, middle, bottom = "", "", ""
    names = [chain[0].left.host, *(link.right.host for link in chain)]
    for name, link in zip(names, [*chain, None], strict=True):
        edge = f"+{'-' * (len(name) + 2)}+"
        top, middle, bottom = top + edge, middle + f"| {name} |", bottom + edge
        if link is None:
            break
        left, right = (
            str(end.addresses[0]) if end.addresses else "" for end in (link.left, link.right)
        )
        width = max(len(left), len(right)) + 4
        top += f" {left:<{width}} "
        middle += "-" * (width + 2)
        bottom += f" {right:>{width}} "
    more = [
        f"  {link.name}: {' '.join(map(str, link.left.addresses))} --"
        f" {' '.join(map(str, link.right.addresses))}{_options(link)}".rstrip()
        for link in chain
        if len(link.left.addresses) > 1 or _options(link)
    ]
    return [row.rstrip() for row in (top, middle, bottom, *more)]


def _options(link: LinkPlan) -> str:
    words = [f" mtu={link.mtu}"] if link.mtu else []
    words += [f" delay={link.delay:g}ms"] if link.delay else []
    words += [f" loss={link.loss:g}%"] if link.loss else []
    words += [f" nat={link.nat}"] if link.nat else []
    return "".join(words)


_BOX, _GAP, _HIGH = 120, 200, 110


def svg(case: Case) -> str:
    """Return the topology as an SVG picture."""
    parts: list[str] = []
    width = 0
    for row, chain in enumerate(chains(case)):
        names = [chain[0].left.host, *(link.right.host for link in chain)]
        y = 20 + row * _HIGH
        for at, name in enumerate(names):
            x = 20 + at * (_BOX + _GAP)
            width = max(width, x + _BOX + 20)
            parts.append(
                f'<rect x="{x}" y="{y}" width="{_BOX}" height="50" rx="6" fill="#eef" '
                f'stroke="#336"/><text x="{x + _BOX // 2}" y="{y + 30}" '
                f'text-anchor="middle" font-weight="bold">{escape(name)}</text>'
            )
        for at, link in enumerate(chain):
            x = 20 + at * (_BOX + _GAP) + _BOX
            parts.append(
                f'<line x1="{x}" y1="{y + 25}" x2="{x + _GAP}" y2="{y + 25}" stroke="#336"/>'
            )
            for end, place, anchor in (
                (link.left, x + 4, "start"),
                (link.right, x + _GAP - 4, "end"),
            ):
                base = y + 18 if anchor == "start" else y + 40
                for number, one in enumerate(end.addresses):
                    step = -13 * number if anchor == "start" else 13 * number
                    parts.append(
                        f'<text x="{place}" y="{base + step}" text-anchor="{anchor}" '
                        f'font-size="11">{escape(str(one))}</text>'
                    )
    height = 20 + len(chains(case)) * _HIGH
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" '
        f'font-family="sans-serif" font-size="14">\n' + "\n".join(parts) + "\n</svg>\n"
    )
