"""The state of all hosts when a probe failed: SAs, policies, packets, routes."""

import ipaddress
from typing import NamedTuple

from kamexfrm.model.association import SadEntry, SecurityAssociation
from kamexfrm.model.decide_spd import Spd, first_match
from kamexfrm.model.packet import Packet as Flow
from kamexfrm.model.packet import Path
from kamexfrm.model.policy import Direction, IpsecRequest, Mode, SecurityPolicy
from kamexfrm.model.wording import policy_text, selector_text
from kamexfrm.net import (
    AF_INET6,
    IPPROTO_ICMP,
    IPPROTO_ICMPV6,
    IPPROTO_TCP,
    IPPROTO_UDP,
    Address,
)
from kamexfrm.rig import wiring
from kamexfrm.rig.packet import Packet
from kamexfrm.rig.scenario.plan import Probe
from kamexfrm.rig.scenario.stage.scene import Scene

_UPPER = {IPPROTO_ICMP: "icmp", IPPROTO_ICMPV6: "icmp6", IPPROTO_TCP: "tcp", IPPROTO_UDP: "udp"}

#: Types of the echo request and of its reply (RFC 792, RFC 4443 section 4).
_ECHO = {IPPROTO_ICMP: (8, 0), IPPROTO_ICMPV6: (128, 129)}


class Route(NamedTuple):
    """A route: the gateway, empty for a neighbour, and the source address."""

    gateway: str
    source: str


class Snapshot:
    """All hosts of a scene as they are now."""

    def __init__(self, scene: Scene) -> None:
        self.scene = scene
        self.hosts = tuple(scene.hosts)
        self.sads: dict[str, list[SadEntry]] = {name: scene.sad(name) for name in scene.hosts}
        self.spds = {name: Spd.of(scene.spd(name)) for name in scene.hosts}
        self.links: dict[str, list[Packet]] = dict(scene.packets())
        self.addresses = [
            (name, ipaddress.ip_interface(text))
            for name, host in scene.hosts.items()
            for text in host.call(wiring.addresses)
        ]

    def owner(self, address: str) -> str | None:
        """Return the host that has an address; None if no host has, and for 127.0.0.0/8 and ::1."""
        wanted = ipaddress.ip_address(address)
        if wanted.is_loopback:
            return None
        return next((name for name, one in self.addresses if one.ip == wanted), None)

    def route(self, host: str, destination: str, source: str = "") -> Route | None:
        """Return a host's route to an address, None without one."""
        found = self.scene.hosts[host].call(wiring.find_route, destination, source)
        return Route(*found) if found else None

    def forwards(self, host: str, family: int) -> str:
        """Return the sysctl that keeps a host from forwarding; empty if it forwards."""
        key = "net.ipv6.conf.all.forwarding" if family == AF_INET6 else "net.ipv4.ip_forward"
        return key if self.scene.hosts[host].sysctl(key) == "0" else ""

    def policy(self, host: str, direction: Direction, flow: Flow) -> SecurityPolicy | None:
        """Return the policy that a packet matches."""
        found = first_match(flow, direction, self.spds[host])
        return found.policy if found else None

    def others(self, host: str, direction: Direction) -> str:
        """Return the policies of a host that a packet did not match, for a hint."""
        known = [quote(entry.policy) for entry in self.spds[host].entries(direction)]
        if not known:
            return "it has none"
        more = f" and {len(known) - 2} more" if len(known) > 2 else ""
        return f"it has {', '.join(known[:2])}{more}"

    def gap(self, host: str, request: IpsecRequest, flow: Flow) -> str:
        """Return why no SA of a host fits an outbound request; empty if one does."""
        ends = request.source or flow.source, request.destination or flow.destination
        protocol = request.protocol.name.lower()
        same = [e for e in self.sads[host] if e.association.protocol == request.protocol]
        between = [e for e in same if (e.association.source, e.association.destination) == ends]
        if not between:
            text = f"there is no {protocol} SA from {ends[0]} to {ends[1]}"
            return f"{text}; there is {names_of(same)}" if same else text
        reasons = [_misfit(entry, request) for entry in between]
        if not all(reasons):
            return ""
        return f"{name_sa(between[-1].association)} does not fit: {reasons[-1]}"


def _misfit(entry: SadEntry, request: IpsecRequest) -> str:
    """Return why an SA between the right addresses does not fit a request; empty if it does."""
    association = entry.association
    mode = entry.kernel_mode if association.mode is Mode.ANY else association.mode
    if mode != request.mode:
        return f"its mode is {mode.name.lower()}"
    if request.reqid not in (0, association.reqid):
        return f"its id is {association.reqid}, the policy wants unique:{request.reqid}"
    return ""


def request_of(probe: Probe, source: str) -> Flow:
    """Return the packet that a probe sends."""
    return _flow(probe, source, probe.destination, probe.source_port, probe.port, 0)


def answer_to(probe: Probe, source: str) -> Flow:
    """Return the packet that answers a probe."""
    return _flow(probe, probe.destination, source, probe.port, probe.source_port, 1)


def _flow(probe: Probe, source: str, target: str, port: int, target_port: int, echo: int) -> Flow:
    ends = Address.parse(source), Address.parse(target)
    if probe.protocol == "ping":
        upper = IPPROTO_ICMPV6 if ends[0].family == AF_INET6 else IPPROTO_ICMP
        return Flow(Path.OUT, *ends, upper, _ECHO[upper][echo], 0)
    upper = IPPROTO_TCP if probe.protocol == "tcp" else IPPROTO_UDP
    return Flow(Path.OUT, *ends, upper, port, target_port)


def spell_flow(flow: Flow) -> str:
    """Return ``udp 10.0.0.1[5062] > 10.0.0.2[6063]``; ports that the kernel chose are left out."""
    ports = [flow.source_port, flow.destination_port]
    if flow.upper in _ECHO:
        ports = [None, None]
    left, right = (
        f"{address}[{port}]" if port else f"{address}"
        for address, port in zip((flow.source, flow.destination), ports, strict=True)
    )
    return f"{_UPPER.get(flow.upper, flow.upper)} {left} > {right}"


def name_sa(association: SecurityAssociation) -> str:
    """Return ``esp 0x1001 10.0.0.1 > 10.0.0.2``."""
    protocol = association.protocol.name.lower()
    return f"{protocol} {association.spi:#x} {association.source} > {association.destination}"


def names_of(entries: list[SadEntry]) -> str:
    """Return the names of some SAs; ``none`` for no entries."""
    names = [name_sa(entry.association) for entry in entries]
    more = f" and {len(names) - 4} more" if len(names) > 4 else ""
    return ", ".join(names[:4]) + more if names else "none"


def quote(policy: SecurityPolicy) -> str:
    """Return a policy in setkey's words, in quotes."""
    selector = selector_text(policy.selector)
    return f"`{selector} -P{policy_text(policy).removeprefix(selector)}'"
