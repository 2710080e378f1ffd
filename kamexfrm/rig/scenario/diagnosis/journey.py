"""The path of a packet through the hosts, by routes and tunnels, and where it ends early."""

import ipaddress
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from kamexfrm.model.packet import Packet as Flow
from kamexfrm.model.policy import Direction, Mode
from kamexfrm.net import IPPROTO_ICMPV6
from kamexfrm.rig.packet import ETH_P_ARP, Packet
from kamexfrm.rig.scenario.diagnosis.snapshot import Snapshot

_NEIGHBOUR_SOLICITATION, _NEIGHBOUR_ADVERTISEMENT = 135, 136  # RFC 4861 section 4


class Journey(NamedTuple):
    """The hosts on the path of a packet, the sender first, and what is wrong with the path."""

    flow: Flow
    hosts: tuple[str, ...]
    trouble: tuple[str, ...]


def travel(snapshot: Snapshot, start: str, flow: Flow, own: Sequence[str] = ()) -> Journey:
    """Follow a packet from host to host; a tunnel leads to its other end.

    ``own`` are the policies of the sending socket, which take precedence over those of its host.
    """
    destination = str(flow.destination)
    here, hosts = start, [start]
    trouble: list[str] = []
    while snapshot.owner(destination) != here:
        blocked = snapshot.forwards(here, flow.family) if here != start else ""
        if blocked:
            trouble.append(f"{here} does not forward ({blocked} is 0)")
            break
        route = snapshot.route(here, destination)
        if route is None:
            trouble.append(no_route(snapshot, here, destination))
            break
        following = snapshot.owner(route.gateway or destination)
        if route.gateway and following is None:
            trouble.append(f"{here}'s gateway {route.gateway} to {destination} is no host's")
        end = "" if own and here == start else _tunnel_end(snapshot, here, flow)
        if end:
            following = snapshot.owner(end)
            trouble = _to_tunnel_end(snapshot, here, end)
        if following is None or following in hosts or trouble:
            break
        hosts.append(following)
        if end and not snapshot.sads[following]:
            break  # a NAT in place of the other end
        here = following
    return Journey(flow, tuple(hosts), tuple(trouble))


def _tunnel_end(snapshot: Snapshot, host: str, flow: Flow) -> str:
    """Return where a host's outermost tunnel for a packet leads; empty without one."""
    policy = snapshot.policy(host, Direction.OUT, flow)
    for request in reversed(policy.requests if policy else ()):
        if request.mode is Mode.TUNNEL and request.destination:
            return str(request.destination)
    return ""


def _to_tunnel_end(snapshot: Snapshot, host: str, end: str) -> list[str]:
    if snapshot.route(host, end) is None:
        return [no_route(snapshot, host, end) + ", the end of its tunnel"]
    if snapshot.owner(end) is None:
        return [f"no host has the address {end}, the end of {host}'s tunnel"]
    return []


def no_route(snapshot: Snapshot, host: str, destination: str) -> str:
    """Return that there is no route, and whether the host has a neighbour at all."""
    version = 6 if ":" in destination else 4
    there = [(name, i) for name, i in snapshot.addresses if not i.is_loopback]
    own = [i for name, i in there if name == host and i.version == version]
    text = f"{host} has no route to {destination}"
    if not own:
        return f"{text}: it has no IPv{version} address"
    networks = {interface.network for interface in own}
    if not any(name != host and i.network in networks for name, i in there):
        return f"{text}, and nobody else is in {', '.join(sorted(map(str, networks)))}"
    return text


def unanswered(links: dict[str, list[Packet]]) -> Iterator[str]:
    """Yield addresses that ARP or neighbour discovery asked for and no host has."""
    for link, packets in links.items():
        requested: dict[str, str] = {}
        answering: set[str] = set()
        for packet in packets:
            if packet.ethertype == ETH_P_ARP:
                requested.setdefault(packet.destination, packet.source)
                answering.add(packet.source)
            elif (found := _neighbour(packet)) is not None:
                kind, target = found
                if kind == _NEIGHBOUR_SOLICITATION:
                    requested.setdefault(target, packet.source)
                else:
                    answering.add(target)
        for target, who in requested.items():
            if target not in answering and who != "::":
                yield f"nobody on {link} answers for {target}, which {who} asks for"


def _neighbour(packet: Packet) -> tuple[int, str] | None:
    """Return the type and the target of a packet of neighbour discovery."""
    data = packet.data
    if packet.protocol != IPPROTO_ICMPV6 or len(data) < 64:
        return None
    if data[40] not in (_NEIGHBOUR_SOLICITATION, _NEIGHBOUR_ADVERTISEMENT):
        return None
    return data[40], str(ipaddress.IPv6Address(data[48:64]))
