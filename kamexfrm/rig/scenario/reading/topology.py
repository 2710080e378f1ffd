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
from kamexfrm.rig.scenario.reading.table import Table, suggestion

_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_-]*$")
_OPTION = re.compile(r"(mtu|delay|loss)=(\d+(?:\.\d+)?)(ms|%)?$")
_UNITS = {"mtu": None, "delay": "ms", "loss": "%"}
_NAT = re.compile(r"nat(?:=(\S+))?$")

#: As the host that translates addresses: the one that has other links.
_THE_ROUTER = "true"


@dataclasses.dataclass(slots=True)
class _Segment:
    """The words between two ``--``: addresses, a host, addresses; and options of the link."""

    host: str
    before: list[Interface]
    after: list[Interface]
    options: dict[str, float]
    nat: str = ""


def read_links(table: Table) -> tuple[LinkPlan, ...]:
    """Read the key ``links``, the tunnels among them left out; raises ScenarioError."""
    value = table.get("links")
    if not isinstance(value, list):
        value = table.words("links")
    links: list[LinkPlan] = []
    for at, one in enumerate(value):
        if isinstance(one, dict):
            if "kind" not in one:
                links.append(_read_link(table.element("links", at, one)))
        elif isinstance(one, str):
            for part in filter(None, (line.strip() for line in one.splitlines())):
                links += _read_chain(table, part)
        else:
            table.fail("chains of hosts are wanted, as strings, and tables", "links")
    return tuple(_with_router(table, link, links) for link in links)


def _read_link(table: Table) -> LinkPlan:
    """Read a link that is a table."""
    table.check_keys(schema.LINK)
    (link,) = _read_pair(table)
    nat = link.nat
    if "nat" in table:
        value = table.get("nat")
        nat = value if isinstance(value, str) else _THE_ROUTER * table.flag("nat")
    if table.number("loss", 0.0) > 100:
        table.fail("more than all cannot be lost", "loss")
    return dataclasses.replace(
        link,
        mtu=table.integer("mtu", link.mtu),
        delay=table.number("delay", link.delay),
        loss=table.number("loss", link.loss),
        nat=nat,
    )


def _read_pair(table: Table) -> list[LinkPlan]:
    """Read the key ``between`` of a link that is a table."""
    chain = table.text("between")
    if not chain:
        table.fail('between is wanted: "g1 10.9.0.1/30 -- 10.9.0.2/30 g2"')
    found = _read_chain(table, chain)
    if len(found) != 1:
        table.fail("two hosts and their addresses are wanted", "between")
    return found


def _with_router(table: Table, link: LinkPlan, links: list[LinkPlan]) -> LinkPlan:
    """Return a link with the name of the host that translates addresses on it, if one does."""
    if not link.nat:
        return link
    ends = {end.host: end for end in (link.left, link.right)}
    candidates = sorted(routers(tuple(links)) & ends.keys())
    name = link.nat
    if name == _THE_ROUTER:
        if len(candidates) != 1:
            which = " and ".join(candidates) + " have" if candidates else "neither end has"
            table.fail(f"nat on {link.name}: {which} other links; nat=HOST names the host", "links")
        name = candidates[0]
    if name not in ends:
        table.fail(f"nat={name}: no end of {link.name}{suggestion(name, ends)}", "links")
    if not any(one.version == 4 for one in ends[name].addresses):
        table.fail(f"nat on {link.name}: {name} has no IPv4 address there", "links")
    return dataclasses.replace(link, nat=name)


def read_tunnels(table: Table, links: tuple[LinkPlan, ...]) -> tuple[TunnelPlan, ...]:
    """Read the tables among the links, which are of kind ipsec; raises ScenarioError."""
    value = table.get("links")
    tunnels: list[TunnelPlan] = []
    for at, one in enumerate(value if isinstance(value, list) else ()):
        if isinstance(one, dict) and "kind" in one:
            tunnels.append(_read_tunnel(table.element("links", at, one), links))
    return tuple(tunnels)


def _read_tunnel(table: Table, links: tuple[LinkPlan, ...]) -> TunnelPlan:
    table.check_keys(schema.TUNNEL)
    table.choice("kind", schema.KINDS_OF_LINKS)
    (found,) = _read_pair(table)
    if found.mtu or found.delay or found.loss or found.nat:
        table.fail("two hosts and their addresses are wanted", "between")
    reqid = table.integer("reqid", 0)
    if not 0 < reqid < 1 << 32:
        table.fail("a reqid from 1 to 4294967295 is wanted", "reqid")
    left, right = found.left, found.right
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
                right.nat,
            )
        )
    return links


def _read_segment(table: Table, chain: str, text: str) -> _Segment:
    segment = _Segment("", [], [], {})
    names = [word for word in text.split() if _NAME.match(word)]
    for word in text.split():
        if match := _OPTION.match(word):
            if match[3] != _UNITS[match[1]]:
                unit = _UNITS[match[1]]
                table.fail(f"{word!r}: {match[1]} is in {unit or 'bytes, a number'}", "links")
            if match[1] == "loss" and float(match[2]) > 100:
                table.fail(f"{word!r}: more than all cannot be lost", "links")
            segment.options[match[1]] = float(match[2])
        elif (match := _NAT.match(word)) and (match[1] or names[1:]) and not segment.host:
            segment.nat = match[1] or _THE_ROUTER  # a single name is the host's
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
