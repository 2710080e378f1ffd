"""The key ``links``: chains of hosts with their addresses and the options of the links.

A chain is hosts with ``--`` between them, each with its addresses beside the link they are for::

    h1 10.1.0.2/16 -- 10.1.0.1/16 g1 10.0.0.1/24 -- mtu=1400 10.0.0.2/24 g2
"""

import dataclasses
import ipaddress
import itertools
import re

from kamexfrm.rig.scenario.plan import End, Interface, LinkPlan, TunnelPlan
from kamexfrm.rig.scenario.reading import schema
from kamexfrm.rig.scenario.reading.table import Table

_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_-]*$")
_OPTION = re.compile(r"(mtu|delay|loss)=(\d+(?:\.\d+)?)(ms|%)?$")
_UNITS = {"mtu": None, "delay": "ms", "loss": "%"}


@dataclasses.dataclass(slots=True)
class _Segment:
    """The words between two ``--``: addresses, a host, addresses; and options of the link."""

    host: str
    before: list[Interface]
    after: list[Interface]
    options: dict[str, float]


def read_links(table: Table) -> tuple[LinkPlan, ...]:
    """Read the key ``links``; raises ScenarioError."""
    links: list[LinkPlan] = []
    for chain in _chains(table):
        for part in filter(None, (line.strip() for line in chain.splitlines())):
            links += _read_chain(table, part)
    return tuple(links)


def _chains(table: Table) -> tuple[str, ...]:
    """Return the links that are written as chains; the others are tables."""
    value = table.get("links")
    if not isinstance(value, list):
        return table.words("links")
    words = [one for one in value if not isinstance(one, dict)]
    if not all(isinstance(word, str) for word in words):
        table.fail("chains of hosts are wanted, as strings, and tables with kind", "links")
    return tuple(words)


def read_tunnels(table: Table, links: tuple[LinkPlan, ...]) -> tuple[TunnelPlan, ...]:
    """Read the tables among the links, which are of kind ipsec; raises ScenarioError."""
    value = table.get("links")
    tunnels: list[TunnelPlan] = []
    for at, one in enumerate(value if isinstance(value, list) else ()):
        if isinstance(one, dict):
            tunnels.append(_read_tunnel(table.element("links", at, one), links))
    return tuple(tunnels)


def _read_tunnel(table: Table, links: tuple[LinkPlan, ...]) -> TunnelPlan:
    table.check_keys(schema.TUNNEL)
    if table.choice("kind", schema.KINDS_OF_LINKS) == "":
        table.fail('kind = "ipsec" is wanted')
    chain = table.text("between")
    if not chain:
        table.fail('between is wanted: "g1 10.9.0.1/30 -- 10.9.0.2/30 g2"')
    found = _read_chain(table, chain)
    if len(found) != 1 or found[0].mtu or found[0].delay or found[0].loss:
        table.fail("two hosts and their addresses are wanted", "between")
    reqid = table.integer("reqid", 0)
    if not 0 < reqid < 1 << 32:
        table.fail("a reqid from 1 to 4294967295 is wanted", "reqid")
    left, right = found[0].left, found[0].right
    ends = _ends(table) if "tunnel" in table else _shared_link(table, links, left, right)
    return TunnelPlan(left, right, reqid, ends, table.line)


def _ends(table: Table) -> tuple[str, str]:
    text = table.text("tunnel")
    words = text.split("-")
    try:
        left, right = (ipaddress.ip_address(word) for word in words)
        if left.version != right.version:
            raise ValueError(words)
    except ValueError:
        table.fail(f"{text!r}: LOCAL-REMOTE of one family is wanted", "tunnel")
    return str(left), str(right)


def _shared_link(
    table: Table, links: tuple[LinkPlan, ...], left: End, right: End
) -> tuple[str, str]:
    """Return the first addresses of one family of a link between the hosts."""
    for link in links:
        sides = (link.left, link.right)
        if [end.host for end in sides] != [left.host, right.host]:
            sides = (link.right, link.left)
        if [end.host for end in sides] != [left.host, right.host]:
            continue
        for one in sides[0].addresses:
            other = next((a for a in sides[1].addresses if a.version == one.version), None)
            if other is not None:
                return str(one.ip), str(other.ip)
    raise table.error(
        f"{left.host} and {right.host} share no link with addresses: "
        'tunnel = "LOCAL-REMOTE" names the ends'
    )


def _read_chain(table: Table, chain: str) -> list[LinkPlan]:
    segments = [_read_segment(table, chain, text) for text in re.split(r"\s*--\s*", chain)]
    if len(segments) < 2:
        table.fail(f"{chain!r} has no --: a link has two hosts", "links")
    last = segments[-1]
    if last.after and not last.before:
        last.before, last.after = last.after, []
    if segments[0].before and not segments[0].after:
        segments[0].before, segments[0].after = [], segments[0].before
    if segments[0].before or last.after:
        table.fail(f"{chain!r} has addresses beyond its ends", "links")
    links = []
    for left, right in itertools.pairwise(segments):
        if left.host == right.host:
            table.fail(f"{left.host} is linked with itself", "links")
        options = right.options
        links.append(
            LinkPlan(
                End(left.host, tuple(left.after)),
                End(right.host, tuple(right.before)),
                int(options.get("mtu", 0)),
                options.get("delay", 0.0),
                options.get("loss", 0.0),
                table.line_of("links"),
            )
        )
    return links


def _read_segment(table: Table, chain: str, text: str) -> _Segment:
    segment = _Segment("", [], [], {})
    for word in text.split():
        if match := _OPTION.match(word):
            if match[3] != _UNITS[match[1]]:
                unit = _UNITS[match[1]]
                table.fail(f"{word!r}: {match[1]} is in {unit or 'bytes, a number'}", "links")
            if match[1] == "loss" and float(match[2]) > 100:
                table.fail(f"{word!r}: more than all cannot be lost", "links")
            segment.options[match[1]] = float(match[2])
        elif "/" in word or word[0].isdigit() or ":" in word:
            try:
                address = ipaddress.ip_interface(word)
            except ValueError as error:
                table.fail(f"{word!r}: {error}", "links")
            if "/" not in word:
                table.fail(f"{word!r}: an address wants its prefix length, as /24", "links")
            (segment.after if segment.host else segment.before).append(address)
        elif segment.host or not _NAME.match(word):
            table.fail(f"{word!r} is neither an address nor an option of a link", "links")
        else:
            segment.host = word
    if not segment.host:
        table.fail(f"{chain!r}: {text!r} names no host", "links")
    return segment


def routers(links: tuple[LinkPlan, ...]) -> set[str]:
    """Return the hosts with more than one link."""
    ends = [end.host for link in links for end in (link.left, link.right)]
    return {host for host in ends if ends.count(host) > 1}
