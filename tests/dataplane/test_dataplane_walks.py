"""Random walks: whatever was written before, a packet meets what the databases say now.

Each step changes the SPD, the SAD or a knob of one host by our commands, then one packet of a
connected and one of a new socket are sent. What becomes of them is worked out beside it by the
rules of KAME, from what was written alone.
"""

import random
import socket
from dataclasses import dataclass, field

import pytest

from kamexfrm.net import IPPROTO_AH, IPPROTO_ESP
from kamexfrm.rig import Host, TwoHosts
from tests.dataplane.dataplane_proof import (
    AUTHENTICATION,
    ESP_KEYS,
    MARKER,
    Watch,
    knob,
    load,
    receiver,
    setkey,
)

pytestmark = pytest.mark.dataplane

ENDS = {"inet": ("10.0.0.1", "10.0.0.2"), "inet6": ("fd00::1", "fd00::2")}
PREFIX = {"inet": "net.inet.ipsec.", "inet6": "net.inet6.ipsec6."}
HEADERS = {"esp": IPPROTO_ESP, "ah": IPPROTO_AH}
PORT = 7001

CLEAR = (socket.IPPROTO_UDP,)
NOTHING = ()


@dataclass
class World:
    """What has been written, and what it means."""

    family: str
    policy: list[tuple[str, str, str]] | str | None = None
    sas: dict[str, tuple[int, str]] = field(default_factory=dict)
    knobs: dict[str, int] = field(default_factory=dict)

    def level(self, protocol: str, mode: str, level: str) -> str:
        if level != "default":
            return level
        name = f"{protocol}_{'net' if mode == 'tunnel' else 'trans'}_deflev"
        return "require" if self.knobs.get(name, 1) == 2 else "use"

    def fate(self) -> tuple[int, ...]:
        """Return the headers a packet gets; NOTHING when it does not leave."""
        if self.policy is None:
            return CLEAR if self.knobs.get("def_policy", 1) else NOTHING
        if isinstance(self.policy, str):
            return CLEAR if self.policy == "none" else NOTHING
        headers: tuple[int, ...] = ()
        for protocol, mode, level in self.policy:
            _, sa_mode = self.sas.get(protocol, (0, ""))
            if sa_mode in (mode, "any"):
                headers = (HEADERS[protocol], *headers)
            elif self.level(protocol, mode, level) == "require":
                return NOTHING
        return headers or CLEAR


class Walk:
    """One host that is changed step by step."""

    def __init__(self, a: Host, family: str, seed: int) -> None:
        self.a = a
        self.chance = random.Random(f"{family} {seed}")
        self.world = World(family)
        self.left, self.right = ENDS[family]
        self.spi = 0x1000
        self.said: list[str] = []

    def say(self, script: str) -> None:
        self.said.append(script)
        load(self.a, script)

    def step(self) -> None:
        steps = (self.write_policy,) * 4 + (self.add_sa,) * 4 + (self.delete_sa,) * 2
        self.chance.choice(steps + (self.write_knob,) * 4 + (self.flush,))()

    def write_policy(self) -> None:
        chance, world = self.chance, self.world
        selector = f"{self.left} {self.right}[{PORT}] udp"
        if world.policy is not None and chance.random() < 0.2:
            world.policy = None
            self.say(f"spddelete {selector} -P out;")
            return
        command = "spdadd" if world.policy is None else "spdupdate"
        if chance.random() < 0.15:
            world.policy = chance.choice(("none", "discard"))
            self.say(f"{command} {selector} -P out {world.policy};")
            return
        protocols = chance.choice((["esp"], ["ah"], ["esp", "ah"]))
        world.policy = []
        text = ""
        for at, protocol in enumerate(protocols):
            mode = chance.choice(("transport", "tunnel")) if at == 0 else "transport"
            level = chance.choice(("default", "default", "use", "require"))
            ends = f"{self.left}-{self.right}"
            ends = ends if mode == "tunnel" or chance.random() < 0.3 else ""
            world.policy.append((protocol, mode, level))
            text += f" {protocol}/{mode}/{ends}/{level}"
        self.say(f"{command} {selector} -P out ipsec{text};")

    def add_sa(self) -> None:
        protocol = self.chance.choice(("esp", "ah"))
        if protocol in self.world.sas:
            return
        mode = self.chance.choice(("transport", "tunnel", "any", "any"))
        self.spi += 1
        keys = ESP_KEYS if protocol == "esp" else AUTHENTICATION
        self.world.sas[protocol] = (self.spi, mode)
        self.say(f"add {self.left} {self.right} {protocol} {self.spi:#x} -m {mode} {keys};")

    def delete_sa(self) -> None:
        if not self.world.sas:
            return
        protocol = self.chance.choice(sorted(self.world.sas))
        spi, _ = self.world.sas.pop(protocol)
        words = self.chance.choice(
            (
                f"delete {self.left} {self.right} {protocol} {spi:#x};",
                f"deleteall {self.left} {self.right} {protocol};",
                f"flush {protocol};",
            )
        )
        self.say(words)

    def write_knob(self) -> None:
        names = [f"{p}_{m}_deflev" for p in ("esp", "ah") for m in ("trans", "net")]
        name = self.chance.choice([*names, *names, "def_policy"])
        value = self.chance.choice((0, 1) if name == "def_policy" else (1, 2))
        self.world.knobs[name] = value
        self.said.append(f"{name}={value}")
        knob(self.a, f"{PREFIX[self.world.family]}{name}={value}")

    def flush(self) -> None:
        flags = self.chance.choice(("-F", "-FP"))
        self.said.append(flags)
        setkey(self.a, flags)
        if flags == "-FP":
            self.world.policy = None
        else:
            self.world.sas.clear()


def fate(walk: Walk, flow: socket.socket) -> tuple[int, ...]:
    """Send a packet; return the readable headers that it has on the wire."""
    with Watch([walk.a], walk.a) as watch:
        try:
            flow.send(MARKER)
        except PermissionError:
            return NOTHING
        packets = watch.packets()
    if not packets:
        return NOTHING
    (packet,) = packets
    known = (*HEADERS.values(), socket.IPPROTO_UDP)
    headers = tuple(p for p in packet.protocols if p in known)
    return tuple(p for p in headers if p in HEADERS.values()) or headers


@pytest.mark.parametrize("family", ENDS)
@pytest.mark.parametrize("seed", range(4))
def test_a_packet_meets_what_was_written_whatever_was_there_before(
    two_hosts: TwoHosts, family: str, seed: int
) -> None:
    a, b = two_hosts
    left, right = ENDS[family]
    assert a.ping(right)
    assert b.ping(left)
    kind = socket.AF_INET if family == "inet" else socket.AF_INET6
    walk = Walk(a, family, seed)
    with receiver(b, right, PORT), a.socket(kind, socket.SOCK_DGRAM) as connected:
        connected.connect((right, PORT))
        for _ in range(60):
            walk.step()
            # connect() looks up the policies too: discard makes it fail on Linux.
            with a.socket(kind, socket.SOCK_DGRAM) as unconnected:
                try:
                    unconnected.connect((right, PORT))
                    met = fate(walk, unconnected)
                except PermissionError:
                    met = NOTHING
            story = "\n".join(walk.said)
            assert met == walk.world.fate(), f"{walk.world}, after:\n{story}"
            assert fate(walk, connected) == met, f"connected; {walk.world}, after:\n{story}"
