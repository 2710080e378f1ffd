"""A second, slow KAME: mbuf flags, lists of SA headers and errors as its sources have them.

It shares no code with ``decide``: cases are plain data, addresses are those of ``ipaddress``. Which
KAME: what ipsec(4) documents, else the last one.
"""

import ipaddress
from dataclasses import dataclass, field
from typing import Any

ANY = 255


@dataclass
class Request:
    """``protocol/mode/ends/level``; ends are None or two texts."""

    protocol: str
    mode: str
    level: str
    reqid: int = 0
    ends: tuple[str, str] | None = None

    def text(self) -> str:
        ends = "-".join(self.ends) if self.ends else ""
        level = f"unique:{self.reqid}" if self.reqid else self.level
        return f"{self.protocol}/{self.mode}/{ends}/{level}"


@dataclass
class Entry:
    """An spdadd: prefixes as texts with a slash, ports None for any."""

    source: str
    destination: str
    upper: int
    ports: tuple[int | None, int | None]
    direction: str
    action: str
    requests: list[Request] = field(default_factory=list)
    priority: int = 0  # as after "prio def", negative for later

    def text(self) -> str:
        def side(prefix: str, port: int | None) -> str:
            return prefix if port is None else f"{prefix}[{port}]"

        upper = {ANY: "any", 6: "tcp", 17: "udp", 58: "icmp6", 1: "icmp"}[self.upper]
        ends = f"{side(self.source, self.ports[0])} {side(self.destination, self.ports[1])}"
        prio = f" prio def {'+-'[self.priority < 0]} {abs(self.priority)}" if self.priority else ""
        requests = "".join(f" {request.text()}" for request in self.requests)
        return f"spdadd {ends} {upper} -P {self.direction}{prio} {self.action}{requests};"


@dataclass
class Sa:
    """An add; mode is any, transport or tunnel."""

    source: str
    destination: str
    protocol: str
    spi: int
    mode: str = "any"
    reqid: int = 0

    def text(self) -> str:
        keys = {
            "esp": "-E null -A hmac-sha1 0x000102030405060708090a0b0c0d0e0f10111213",
            "ah": "-A hmac-sha1 0x000102030405060708090a0b0c0d0e0f10111213",
            "ipcomp": "-C deflate",
        }[self.protocol]
        reqid = f" -u {self.reqid}" if self.reqid else ""
        ends = f"{self.source} {self.destination}"
        return f"add {ends} {self.protocol} {self.spi} -m {self.mode}{reqid} {keys};"


@dataclass
class Machine:
    """A host: the SPD and SAD as written, knobs by their full names, a root socket's policies."""

    spd: list[Entry]
    sad: list[Sa]
    knobs: dict[str, int]
    socket: dict[str, Any] = field(default_factory=dict)  # direction: (action, requests)

    # key.c key_allocsp

    def lookup(
        self, direction: str, source: str, destination: str, upper: int, ports: Any
    ) -> tuple[int, Entry] | None:
        chain = [entry for entry in self.spd if entry.direction == direction]
        chain.sort(key=lambda entry: -entry.priority)
        for position, entry in enumerate(chain, 1):
            if (
                _in(source, entry.source)
                and _in(destination, entry.destination)
                and entry.upper in (ANY, upper)
                and (entry.ports[0] is None or entry.ports[0] == ports[0])
                and (entry.ports[1] is None or entry.ports[1] == ports[1])
            ):
                return position, entry
        return None

    def knob(self, family: int, name: str) -> int:
        prefix = "net.inet.ipsec." if family == 4 else "net.inet6.ipsec6."
        return self.knobs.get(prefix + name, 1)

    def level(self, request: Request, family: int) -> str:
        if request.level == "default":
            if request.protocol == "ipcomp":
                return "use"
            where = "net" if request.mode == "tunnel" else "trans"
            number = self.knob(family, f"{request.protocol}_{where}_deflev")
            return ("use", "require")[number - 1]
        return "use" if request.level == "use" else "require"

    # key.c key_allocsa_policy

    def find_sa(self, request: Request, ends: tuple[str, str]) -> Sa | None:
        heads: dict[tuple[str, int], list[Sa]] = {}
        for sa in self.sad:
            if (
                sa.protocol == request.protocol
                and (sa.source, sa.destination) == ends
                and sa.mode in ("any", request.mode)
                and (not request.reqid or sa.reqid == request.reqid)
            ):
                heads.setdefault((sa.mode, sa.reqid), []).append(sa)
        return next(reversed(heads.values()))[0] if heads else None

    # ip_output, ip6_output, ip6_forward

    def send(self, packet: dict[str, Any]) -> dict[str, Any]:
        family = ipaddress.ip_address(packet["source"]).version
        forwarded = packet["path"] == "fwd"
        ports = packet["ports"]
        if forwarded and packet["upper"] not in (1, 58):
            ports = (None, None)
        own = self.socket.get("out")
        position = None
        if own and not forwarded:
            action, requests = own
        else:
            found = self.lookup(
                "out", packet["source"], packet["destination"], packet["upper"], ports
            )
            if found is None:
                action = "none" if self.knob(family, "def_policy") else "discard"
                requests = []
            else:
                position, entry = found
                action, requests = entry.action, entry.requests
        result: dict[str, Any] = {"position": position, "wire": [], "acquires": []}
        if action == "discard":
            return {**result, "verdict": "dropped"}
        if action in ("none", "bypass"):
            return {**result, "verdict": "clear"}
        ends = (packet["source"], packet["destination"])
        began = not (forwarded and family == 6)
        for request in requests:
            began = began or request.mode == "tunnel"
            if not began:
                continue
            where = request.ends or ends
            sa = self.find_sa(request, where)
            if sa is None:
                result["acquires"].append((request.protocol, request.mode, *where))
                if self.level(request, family) == "require":
                    return {**result, "verdict": "dropped", "wire": []}
                continue
            result["wire"].append((request.protocol, request.mode, *where, sa.spi))
            if request.mode == "tunnel":
                ends = where
        return {**result, "verdict": "protected" if result["wire"] else "clear"}

    # esp_input, ah_input, ipcomp_input, ipsec_in_reject

    def receive(self, packet: dict[str, Any]) -> dict[str, Any]:
        decrypted = authenticated_header = False
        family = ipaddress.ip_address(packet["source"]).version
        layers = packet["via"]
        for at, (protocol, mode, source, destination, spi) in enumerate(layers):
            sa = next(
                (
                    sa
                    for sa in self.sad
                    if (sa.destination, sa.protocol, sa.spi) == (destination, protocol, spi)
                ),
                None,
            )
            if sa is None:
                return {"verdict": "rejected", "position": None, "early": True}
            if protocol == "ah":
                authenticated_header = True
            else:
                decrypted = True
            if mode == "tunnel":
                inner = layers[at + 1][2:4] if at + 1 < len(layers) else None
                inside = inner or (packet["source"], packet["destination"])
                if sa.mode == "transport" or not self.has_tunnel((source, destination), inside):
                    return {"verdict": "rejected", "position": None, "early": True}
                authenticated_header = False
        ports = packet["ports"]
        if packet["path"] == "fwd" and packet["upper"] not in (1, 58):
            ports = (None, None)
        own = self.socket.get("in")
        position = None
        if own and packet["path"] == "in":
            action, requests = own
        else:
            found = self.lookup(
                "in", packet["source"], packet["destination"], packet["upper"], ports
            )
            if found is None:
                action = "none" if self.knob(family, "def_policy") else "discard"
                requests = []
            else:
                position, entry = found
                action, requests = entry.action, entry.requests
        wanted = {r.protocol for r in requests if self.level(r, family) == "require"}
        bad = action == "discard" or (
            action == "ipsec"
            and (
                ("esp" in wanted and not decrypted) or ("ah" in wanted and not authenticated_header)
            )
        )
        return {"verdict": "rejected" if bad else "accepted", "position": position, "early": False}

    # key.c key_gettunnel

    def has_tunnel(self, outer: tuple[str, str], inner: Any) -> bool:
        for entry in self.spd:
            if entry.direction != "in":
                continue
            before = None
            for request in entry.requests:
                if request.mode != "tunnel":
                    continue
                if before is None:
                    fits = _in(inner[0], entry.source) and _in(inner[1], entry.destination)
                else:
                    fits = before == tuple(inner)
                if fits and request.ends == outer:
                    return True
                before = request.ends
        return False

    def decide(self, packet: dict[str, Any]) -> dict[str, Any]:
        if packet["path"] == "out":
            return self.send(packet)
        arrival = self.receive(packet)
        if packet["path"] == "in" or arrival["verdict"] == "rejected":
            return arrival
        return self.send(packet)


def _in(address: str, prefix: str) -> bool:
    network = ipaddress.ip_network(prefix, strict=False)
    return ipaddress.ip_address(address) in network
