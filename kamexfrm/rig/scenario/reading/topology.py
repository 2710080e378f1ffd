"""The topology: reading chains of hosts, working out routes, and building the rig of a case.

A chain is hosts with ``--`` between them, each with its addresses beside the link they are for::

    h1 10.1.0.2/16 -- 10.1.0.1/16 g1 10.0.0.1/24 -- mtu=1400 10.0.0.2/24 g2
"""

import contextlib
import dataclasses
import ipaddress
import itertools
import re
from collections import deque
from collections.abc import Iterator

from kamexfrm.rig import wiring
from kamexfrm.rig.host import Host
from kamexfrm.rig.rig import Rig
from kamexfrm.rig.scenario.plan import Case, End, Interface, LinkPlan
from kamexfrm.rig.scenario.reading.table import Table
from kamexfrm.rig.scenario.result import StepFailed

_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_-]*$")
_OPTION = re.compile(r"(mtu|delay|loss)=(\d+(?:\.\d+)?)(ms|%)?$")
_UNITS = {"mtu": None, "delay": "ms", "loss": "%"}


@dataclasses.dataclass(slots=True)
class _Segment:
    """What stands between two ``--``: addresses, a host, addresses; and options of the link."""

    host: str
    before: list[Interface]
    after: list[Interface]
    options: dict[str, float]


def read_links(table: Table) -> tuple[LinkPlan, ...]:
    """Read the key ``links``; raises ScenarioError."""
    links: list[LinkPlan] = []
    for chain in table.words("links"):
        for part in filter(None, (line.strip() for line in chain.splitlines())):
            links += _read_chain(table, part)
    return tuple(links)


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


def work_out_routes(case: Case) -> dict[str, list[tuple[str, str]]]:
    """Return (prefix, gateway) for each host: the shortest way to each network it is not on."""
    networks: dict[object, list[tuple[str, Interface]]] = {}
    for host, interface in case.addresses():
        networks.setdefault(interface.network, []).append((host, interface))
    routes: dict[str, list[tuple[str, str]]] = {}
    for name in case.hosts:
        for version in (4, 6):
            found = _search(case, name, version, networks)
            routes.setdefault(name, []).extend(found)
    return routes


def _search(
    case: Case,
    start: str,
    version: int,
    networks: dict[object, list[tuple[str, Interface]]],
) -> list[tuple[str, str]]:
    """Walk from a host over the networks of one IP version, breadth first."""
    seen_networks: set[object] = set()
    seen_hosts = {start}
    routes = []
    queue: deque[tuple[str, str]] = deque([(start, "")])
    while queue:
        host, gateway = queue.popleft()
        for network, members in networks.items():
            others = {member for member, _ in members} - {host}
            mine = any(member == host for member, _ in members)
            if not mine or members[0][1].version != version or network in seen_networks:
                continue
            if others and host != start and not case.hosts[host].forward:
                continue  # it passes nothing on
            seen_networks.add(network)
            if gateway:
                routes.append((str(network), gateway))
            for member, interface in members:
                if member not in seen_hosts:
                    seen_hosts.add(member)
                    queue.append((member, gateway or str(interface.ip)))
    return routes


def build(case: Case, rig: Rig) -> dict[str, Host]:
    """Make the hosts, links, addresses and routes of a case; raises StepFailed."""
    hosts = {name: rig.host(name) for name in case.hosts}
    for link in case.links:
        _build_link(rig, hosts, link)
    for name, plan in case.hosts.items():
        host = hosts[name]
        if plan.loopback:
            words = " ".join(map(str, plan.loopback))
            with _told(name, f"loopback {words}", plan.line):
                host.address("lo", *map(str, plan.loopback))
        if plan.forward:
            host.forward()
        if plan.bridge:
            with _told(name, "a bridge", plan.line):
                host.call(wiring.bridge, "br0", list(host.interfaces))
    routes = work_out_routes(case)
    for name, plan in case.hosts.items():
        for prefix, gateway in routes[name] if plan.routes is None else plan.routes:
            with _told(name, f"route {prefix} via {gateway}", plan.line):
                hosts[name].route(prefix, via=gateway)
        for key, value in plan.sysctls:
            with _told(name, f"sysctl {key}={value}", plan.line):
                hosts[name].sysctl(key, value)
    return hosts


def _build_link(rig: Rig, hosts: dict[str, Host], link: LinkPlan) -> None:
    left, right = hosts[link.left.host], hosts[link.right.host]
    names = f"eth{len(left.interfaces)}", f"eth{len(right.interfaces)}"
    with _told(link.name, f"mtu {link.mtu}" if link.mtu else "the link", link.line):
        rig.link(left, right, mtu=link.mtu or None)
    for end, host, name in zip((link.left, link.right), (left, right), names, strict=True):
        words = " ".join(map(str, end.addresses))
        with _told(end.host, f"{name} {words}", link.line):
            host.address(name, *map(str, end.addresses))
        if link.delay or link.loss:
            with _told(link.name, "delay and loss (sch_netem)", link.line):
                host.call(wiring.impair, name, link.delay, link.loss)


@contextlib.contextmanager
def _told(where: str, what: str, line: int) -> Iterator[None]:
    """Say what could not be made, and where."""
    try:
        yield
    except OSError as error:
        raise StepFailed(f"{where}: {what}: {error.strerror or error}", line=line) from None
