"""The network of a case: its routes worked out, and its hosts, links and addresses made."""

import contextlib
from collections import deque
from collections.abc import Iterator

from kamexfrm.engine import route_based
from kamexfrm.errors import KamexfrmError
from kamexfrm.kernel.netlink import NetlinkKernel
from kamexfrm.net import Address
from kamexfrm.rig import nat, wiring
from kamexfrm.rig.host import Host
from kamexfrm.rig.rig import Rig
from kamexfrm.rig.scenario.plan import Case, Interface, LinkPlan
from kamexfrm.rig.scenario.result import StepFailed
from kamexfrm.translate.xfrm.interface_policies import InterfaceTunnel


def work_out_routes(case: Case) -> dict[str, list[tuple[str, str]]]:
    """Return (prefix, gateway) pairs for each host: shortest paths to all networks not its own."""
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
    """Search the networks of one IP version breadth first, from a host on."""
    outside = _sides_of_nat(case)
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
                continue  # it does not forward
            seen_networks.add(network)
            if gateway:
                routes.append((str(network), gateway))
            for member, interface in members:
                if member not in seen_hosts:
                    seen_hosts.add(member)
                    if (member, network) in outside:
                        continue  # what is behind it has no route from here
                    queue.append((member, gateway or str(interface.ip)))
    return routes


def _sides_of_nat(case: Case) -> set[tuple[str, object]]:
    """Return hosts that translate addresses, each with the network in which it does."""
    return {
        (end.host, one.network)
        for link in case.links
        for end in (link.left, link.right)
        for one in end.addresses
        if end.host == link.nat and one.version == 4
    }


def build(case: Case, rig: Rig) -> dict[str, Host]:
    """Make the hosts, links, addresses and routes of a case; raises StepFailed."""
    hosts = {name: rig.host(name) for name in case.hosts}
    for link in case.links:
        _build_link(rig, hosts, link)
    for name, plan in case.hosts.items():
        host = hosts[name]
        if plan.loopback:
            words = " ".join(map(str, plan.loopback))
            with _naming(name, f"loopback {words}", plan.line):
                host.address("lo", *map(str, plan.loopback))
        if plan.forward:
            host.forward()
        if plan.bridge:
            with _naming(name, "a bridge", plan.line):
                host.call(wiring.bridge, "br0", list(host.interfaces))
    _build_tunnels(case, hosts)
    routes = work_out_routes(case)
    for name, plan in case.hosts.items():
        for prefix, gateway in routes[name] if plan.routes is None else plan.routes:
            with _naming(name, f"route {prefix} via {gateway}", plan.line):
                hosts[name].route(prefix, via=gateway)
        for key, value in plan.sysctls:
            with _naming(name, f"sysctl {key}={value}", plan.line):
                hosts[name].sysctl(key, value)
    return hosts


def _build_link(rig: Rig, hosts: dict[str, Host], link: LinkPlan) -> None:
    left, right = hosts[link.left.host], hosts[link.right.host]
    names = f"eth{len(left.interfaces)}", f"eth{len(right.interfaces)}"
    with _naming(link.name, f"mtu {link.mtu}" if link.mtu else "the link", link.line):
        rig.link(left, right, mtu=link.mtu or None)
    for end, host, name in zip((link.left, link.right), (left, right), names, strict=True):
        words = " ".join(map(str, end.addresses))
        with _naming(end.host, f"{name} {words}", link.line):
            host.address(name, *map(str, end.addresses))
        if link.nat == end.host:
            address = next(str(one.ip) for one in end.addresses if one.version == 4)
            with _naming(end.host, f"NAT on {name} (act_ct)", link.line):
                host.call(nat.masquerade, name, address)
        if link.delay or link.loss:
            with _naming(link.name, "delay and loss (sch_netem)", link.line):
                host.call(wiring.impair, name, link.delay, link.loss)


def _build_tunnels(case: Case, hosts: dict[str, Host]) -> None:
    """Make the XFRM interfaces on both ends of each tunnel; raises StepFailed."""
    numbers: dict[str, int] = {}
    for tunnel in case.tunnels:
        addresses = [Address.parse(end) for end in tunnel.ends]
        for end, (local, remote) in (
            (tunnel.left, addresses),
            (tunnel.right, reversed(addresses)),
        ):
            name = f"ipsec{numbers.setdefault(end.host, 0)}"
            numbers[end.host] += 1
            words = " ".join(map(str, end.addresses))
            with _naming(end.host, f"{name} {words}", tunnel.line):
                made = InterfaceTunnel(tunnel.reqid, local, remote)
                try:
                    hosts[end.host].call(_make_interface, name, made)
                except KamexfrmError as error:
                    raise OSError(error.errno, str(error)) from None
                hosts[end.host].address(name, *map(str, end.addresses))


def _make_interface(name: str, tunnel: InterfaceTunnel) -> None:
    kernel = NetlinkKernel()
    try:
        route_based.add(kernel, name, tunnel)
    finally:
        kernel.close()


@contextlib.contextmanager
def _naming(where: str, what: str, line: int) -> Iterator[None]:
    """Turn an OSError into a StepFailed that names the place and what could not be made."""
    try:
        yield
    except OSError as error:
        raise StepFailed(f"{where}: {what}: {error.strerror or error}", line=line) from None
