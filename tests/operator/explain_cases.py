"""Random files, knobs and packets for explain, as plain data; made so that they fit together."""

from random import Random
from typing import Any

from tests.operator.kame_machine import ANY, Entry, Machine, Request, Sa

_HOSTS = {
    4: ("10.0.0.1", "10.0.0.2", "10.1.0.1", "10.2.0.1"),
    6: ("fd00::1", "fd00::2", "fd01::1", "fd02::1"),
}
_GATES = {
    4: ("192.0.2.1", "192.0.2.2", "192.0.2.3"),
    6: ("2001:db8::1", "2001:db8::2", "2001:db8::3"),
}
_BITS = {4: (32, 32, 24, 16, 8, 0), 6: (128, 128, 64, 16, 0)}
_KNOBS = ("def_policy", *(f"{p}_{w}_deflev" for p in ("esp", "ah") for w in ("trans", "net")))


def random_case(seed: str) -> tuple[Machine, dict[str, Any]]:
    """Return a host and a packet, the same for a seed."""
    return _Maker(seed).case()


class _Maker:
    def __init__(self, seed: str) -> None:
        self.dice = Random(seed)
        self.family = self.dice.choice([4, 6])
        self.spi = 0x1000
        self.sad: list[Sa] = []

    def case(self) -> tuple[Machine, dict[str, Any]]:
        dice = self.dice
        source, destination = dice.sample(_HOSTS[self.family], 2)
        icmp = 1 if self.family == 4 else 58
        upper = dice.choice([6, 17, 17, icmp, ANY])
        ports: tuple[int | None, int | None] = (dice.choice([7, 8]), dice.choice([7, 80]))
        if upper == icmp:
            ports = (128, 0) if self.family == 6 else (8, 0)
        elif upper == ANY:
            ports = (None, None)
        path = dice.choice(["out", "in", "fwd"])
        packet: dict[str, Any] = {
            "path": path,
            "source": source,
            "destination": destination,
            "upper": upper,
            "ports": ports,
            "via": [],
        }
        spd: dict[tuple[object, ...], Entry] = {}
        for _ in range(dice.choice([0, 1, 2, 3, 5, 8])):
            entry = self.entry(packet)
            name = (entry.source, entry.destination, entry.upper, entry.ports, entry.direction)
            spd.setdefault(name, entry)
        for entry in spd.values():
            self.serve(entry, packet)
        if path != "out" and dice.random() < 0.7:
            packet["via"] = self.arrival(packet, list(spd.values()))
        dice.shuffle(self.sad)
        socket = {}
        if path != "fwd" and dice.random() < 0.15:
            action = dice.choice(["bypass", "ipsec", "ipsec"])
            requests = [self.request(path)] if action == "ipsec" else []
            socket[path] = (action, requests)
        knobs = {}
        for prefix in ("net.inet.ipsec.", "net.inet6.ipsec6."):
            for knob in _KNOBS:
                low = 0 if knob == "def_policy" else 1
                if dice.random() < 0.4:
                    knobs[prefix + knob] = dice.choice([low, low + 1])
        return Machine(list(spd.values()), self.sad, knobs, socket), packet

    def entry(self, packet: dict[str, Any]) -> Entry:
        dice = self.dice
        ends = [packet["source"], packet["destination"]]
        if dice.random() < 0.2:
            ends[dice.randrange(2)] = dice.choice(_HOSTS[self.family])
        source, destination = (f"{end}/{dice.choice(_BITS[self.family])}" for end in ends)
        upper = dice.choice([ANY, ANY, ANY, packet["upper"], 6, 17])
        ports: tuple[int | None, int | None] = (None, None)
        if upper in (6, 17):
            ports = (dice.choice([None, None, 7]), dice.choice([None, None, 80]))
        direction = dice.choice(
            {"out": ["out"] * 4 + ["in"], "in": ["in"] * 4 + ["out"]}.get(
                packet["path"], ["in", "out"]
            )
        )
        action = dice.choice(["ipsec"] * 6 + ["none", "none", "discard"])
        count = dice.choice([1, 1, 1, 2, 2, 3, 4])
        requests = [self.request(direction) for _ in range(count)] if action == "ipsec" else []
        priority = dice.choice([0] * 5 + [5, -5])
        return Entry(source, destination, upper, ports, direction, action, requests, priority)

    def request(self, direction: str) -> Request:
        dice = self.dice
        protocol = dice.choice(["esp", "esp", "esp", "ah", "ah", "ipcomp"])
        level = dice.choice(["default", "default", "use", "require", "require", "unique"])
        reqid = dice.choice([7, 9]) if level == "unique" else 0
        if dice.random() < 0.4:
            near, far = dice.sample(_GATES[self.family], 2)
            return Request(protocol, "tunnel", level, reqid, (near, far))
        return Request(protocol, "transport", level, reqid)

    def serve(self, entry: Entry, packet: dict[str, Any]) -> None:
        dice = self.dice
        ends = (packet["source"], packet["destination"])
        for request in entry.requests:
            ends = request.ends or ends
            for _ in range(dice.choice([0, 1, 1, 2])):
                mode = dice.choice([request.mode] * 6 + ["any", "any", "transport", "tunnel"])
                reqid = request.reqid if dice.random() < 0.7 else dice.choice([0, 7])
                self.sa(ends, request.protocol, mode, reqid)

    def sa(self, ends: tuple[str, str], protocol: str, mode: str, reqid: int) -> int:
        self.spi += 1
        self.sad.append(Sa(*ends, protocol, self.spi, mode, reqid))
        return self.spi

    def arrival(self, packet: dict[str, Any], spd: list[Entry]) -> list[tuple[Any, ...]]:
        """Return headers, outermost first: protocol, mode, ends, SPI."""
        dice = self.dice
        fitting = [entry for entry in spd if entry.direction == "in" and entry.requests]
        requests = dice.choice(fitting).requests if fitting else [self.request("in")]
        if dice.random() < 0.2:
            requests = [*requests, self.request("in")]
        ends = (packet["source"], packet["destination"])
        layers = []
        for request in requests:
            ends = request.ends or ends
            mode = dice.choice([request.mode] * 5 + ["any", "transport"])
            spi = self.sa(ends, request.protocol, mode, dice.choice([0, 7]))
            if dice.random() < 0.05:
                self.sad.pop()
            layers.append((request.protocol, request.mode, *ends, spi))
        return list(reversed(layers))
