"""What these tests share: our commands in a host, and four proofs of what a packet met.

A packet was protected when the wire shows the headers that were asked for, when its marker is not
to be read there, when the SAs' counters moved, and when no error counter of the kernel did.
"""

import contextlib
import io
import re
import socket
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Self

from kamexfrm.algorithms import Algorithm
from kamexfrm.net import IPPROTO_AH, IPPROTO_COMP, IPPROTO_ESP, IPPROTO_ICMPV6, Address
from kamexfrm.rig import Capture, Host, Packet, until
from kamexfrm.setkey.command import main as run_setkey
from kamexfrm.sysctl.command import run as run_sysctl
from kamexfrm.xfrm import XFRM_POLICY_IN, XFRM_POLICY_OUT, Policy, Selector, encode_policy

#: In the data of every packet whose fate matters. Long and repetitive: IPComp compresses it.
MARKER = b"clear text on the wire; " * 10

#: What of the marker is looked for.
NEEDLE = b"clear text on the wire"

#: Seconds to wait for an answer that must not come, and for one that must.
NO_ANSWER = 0.05
ANSWER = 5.0

ENCRYPTION = "-E aes-cbc 0x000102030405060708090a0b0c0d0e0f"
AUTHENTICATION = "-A hmac-sha1 0x000102030405060708090a0b0c0d0e0f10111213"
ESP_KEYS = f"{ENCRYPTION} {AUTHENTICATION}"

BIN = Path(sys.executable).parent


@dataclass(frozen=True, slots=True)
class Done:
    """What a command left: its output as text, and its status."""

    stdout: str
    stderr: str
    status: int


def command(host: Host, function: Callable[[list[str]], int], *arguments: str) -> Done:
    """Run a command's main function in a host, its output caught."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        status = host.call(function, list(arguments))
    return Done(out.getvalue(), err.getvalue(), status)


def try_setkey(host: Host, *arguments: str) -> Done:
    """Run setkey in a host, whatever comes of it."""
    return command(host, run_setkey, "--strict", *arguments)


def setkey(host: Host, *arguments: str) -> str:
    """Run setkey in a host; anything refused is an error. Returns its output."""
    done = try_setkey(host, *arguments)
    assert done.status == 0, f"setkey {arguments} on {host.name}: {done}"
    return done.stdout


def load(host: Host, script: str) -> None:
    """Run a setkey script in a host; anything refused is an error."""
    setkey(host, "-e", script)


def knob(host: Host, *arguments: str) -> str:
    """Run kame-sysctl in a host; anything refused is an error. Returns its output."""
    done = command(host, run_sysctl, *arguments)
    assert done.status == 0, f"kame-sysctl {arguments} on {host.name}: {done}"
    return done.stdout


_ROUTE = re.compile(r"(\S+) (\S+) \n\t(\S+) mode=")
_SPI = re.compile(r"spi=\d+\((0x[0-9a-f]+)\)")
_BYTES = re.compile(r"current: (\d+)\(bytes\)")
_PACKETS = re.compile(r"allocated: (\d+)")


def sa_counters(host: Host) -> dict[tuple[str, str], tuple[int, int]]:
    """Return packets and bytes by (protocol, SPI), as ``setkey -D`` shows them."""
    text = setkey(host, "-D")
    if text.startswith("No SAD"):
        return {}
    blocks = re.split(r"(?m)^(?=\S+ \S+ $)", text)
    found = {}
    for block in filter(None, blocks):
        route, spi = _ROUTE.match(block), _SPI.search(block)
        packets, octets = _PACKETS.search(block), _BYTES.search(block)
        assert route, block
        assert spi, block
        assert packets, block
        assert octets, block
        found[route[3], spi[1]] = (int(packets[1]), int(octets[1]))
    return found


def moved(host: Host, before: dict[str, int]) -> dict[str, int]:
    """Return by how much each XFRM error counter of a host has moved since ``before``."""
    now = host.counters()
    return {name: now[name] - before[name] for name in now if now[name] != before[name]}


def is_protected(packet: Packet) -> bool:
    """Whether a packet on the wire has an IPsec header."""
    return any(packet.has(p) for p in (IPPROTO_ESP, IPPROTO_AH, IPPROTO_COMP))


@dataclass
class Watch:
    """Looks at some hosts, and at one link of theirs, for the time of a ``with``."""

    hosts: Sequence[Host]
    wire: Host
    interface: str = "eth0"
    _capture: Capture = field(init=False)
    _counters: dict[str, dict[str, int]] = field(init=False)
    _sas: dict[str, dict[tuple[str, str], tuple[int, int]]] = field(init=False)

    def __enter__(self) -> Self:
        self._counters = {h.name: h.counters() for h in self.hosts}
        self._sas = {h.name: sa_counters(h) for h in self.hosts}
        self._capture = self.wire.capture(self.interface)
        self._capture.__enter__()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._capture.__exit__(kind, error, trace)

    def errors(self) -> dict[str, dict[str, int]]:
        """Return the XFRM error counters that moved, by host."""
        all_moved = {h.name: moved(h, self._counters[h.name]) for h in self.hosts}
        return {name: rows for name, rows in all_moved.items() if rows}

    def idle(self) -> list[tuple[str, str, str]]:
        """Return the SAs whose counters stand still: host, protocol, SPI."""
        found = []
        for host in self.hosts:
            before = self._sas[host.name]
            for key, (packets, octets) in sa_counters(host).items():
                old_packets, old_octets = before.get(key, (0, 0))
                if packets <= old_packets or octets <= old_octets:
                    found.append((host.name, *key))
        return found

    def packets(self) -> list[Packet]:
        """Return what crossed the link, but for ARP and IPv6's own housekeeping."""
        return [p for p in self._capture.packets if not _is_housekeeping(p)]

    def shows(self, needle: bytes = NEEDLE) -> bool:
        """Whether the marker could be read on the link."""
        return self._capture.contains(needle)

    def assert_protected(self, *headers: int, hides: bool = True, both: bool = True) -> None:
        """Assert the four proofs; ``headers`` are the outermost protocols of each packet.

        ``hides`` is whether the marker cannot be read (AH and null encryption leave it to be
        read), ``both`` whether packets went both ways.
        """
        packets = self.packets()
        ways = {p.direction for p in packets}
        assert ways == {"in", "out"} if both else len(ways) == 1, f"on the wire:\n{self}"
        for packet in packets:
            assert packet.protocols[: len(headers)] == headers, f"on the wire:\n{self}"
        if hides:
            assert not self.shows(), f"clear text on the wire:\n{self}"
        assert self.idle() == []
        assert self.errors() == {}

    def assert_clear(self) -> None:
        """Assert that the marker crossed the link and nothing protected did, without errors."""
        assert self.shows(), f"on the wire:\n{self}"
        assert not any(is_protected(p) for p in self.packets()), f"on the wire:\n{self}"
        assert self.errors() == {}

    def assert_nothing_left(self) -> None:
        """Assert that neither the marker nor anything protected crossed the link."""
        assert self.packets() == [], f"on the wire:\n{self}"

    def __str__(self) -> str:
        return str(self._capture)


def _is_housekeeping(packet: Packet) -> bool:
    """ARP, and what IPv6 says for itself: neighbours, routers, multicast listeners."""
    if not packet.protocols or packet.destination.startswith("ff02:"):
        return True
    return packet.protocol == IPPROTO_ICMPV6 and packet.data[40] in range(130, 138)


@contextlib.contextmanager
def quiet(host: Host) -> Iterator[None]:
    """Assert that no error counter of a host moves within the ``with``."""
    before = host.counters()
    yield
    assert moved(host, before) == {}


def waits_for_counter(host: Host, name: str, before: dict[str, int], by: int = 1) -> None:
    """Wait until an error counter has moved by at least so much."""
    until(lambda: host.counters()[name] >= before[name] + by, what=f"{name} of {host.name}")


def ping(host: Host, destination: str, *, source: str | None = None) -> bool:
    """Send one echo request with the marker that must be answered."""
    return host.ping(destination, timeout=ANSWER, payload=MARKER, source=source)


def no_ping(host: Host, destination: str, *, source: str | None = None) -> bool:
    """Send one echo request with the marker that must not be answered; True when it was not."""
    return not host.ping(destination, timeout=NO_ANSWER, payload=MARKER, source=source)


def spd_line(
    source: str, destination: str, direction: str, requests: str, upper: str = "any"
) -> str:
    """Return an spdadd statement; ``requests`` is the policy from its action on."""
    return f"spdadd {source} {destination} {upper} -P {direction} {requests};\n"


def both_sides(
    left: str, right: str, requests: str, *, mirrored: str = "", upper: str = "any"
) -> tuple[str, str]:
    """Return the scripts of two ends: out to the other, in from it.

    ``mirrored`` are the requests of the way from right to left where they differ (tunnels).
    """
    back = mirrored or requests
    return (
        spd_line(left, right, "out", requests, upper) + spd_line(right, left, "in", back, upper),
        spd_line(right, left, "out", back, upper) + spd_line(left, right, "in", requests, upper),
    )


def keys(algorithm: Algorithm, bits: int) -> str:
    """Return an algorithm's name with a key of counted bytes, as setkey wants it."""
    material = bytes(n & 0xFF for n in range(bits // 8))
    return f"{algorithm.name} 0x{material.hex()}" if bits else algorithm.name


def hardware_address(host: Host, interface: str = "eth0") -> bytes:
    """Return an interface's link-layer address."""
    with host.socket(socket.AF_PACKET, socket.SOCK_DGRAM) as link:
        host.call(link.bind, (interface, 0))
        address: bytes = link.getsockname()[4]
    return address


def send(host: Host, destination: str, port: int, payload: bytes = MARKER) -> None:
    """Send a datagram from a new socket; an error by a policy counts as a lost packet."""
    family = socket.AF_INET6 if ":" in destination else socket.AF_INET
    with host.socket(family, socket.SOCK_DGRAM) as link, contextlib.suppress(PermissionError):
        link.sendto(payload, (destination, port))


def receiver(host: Host, address: str, port: int) -> socket.socket:
    """Return a bound datagram socket that does not block."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    link = host.socket(family, socket.SOCK_DGRAM)
    link.setblocking(False)
    link.bind((address, port))
    return link


def receive_all(link: socket.socket) -> list[bytes]:
    """Return all datagrams that wait in a socket."""
    found = []
    with contextlib.suppress(BlockingIOError):
        while True:
            found.append(link.recv(65536))
    return found


def inject(packet: Packet, sender: Host, receiver: Host, interface: str = "eth0") -> None:
    """Put a captured packet on the wire once more, past the sender's own policies."""
    with sender.socket(socket.AF_PACKET, socket.SOCK_DGRAM) as link:
        address = (interface, packet.ethertype, 0, 0, hardware_address(receiver, interface))
        sender.call(link.sendto, packet.data, address)


IP_XFRM_POLICY, IPV6_XFRM_POLICY = 17, 35  # linux/in.h, linux/in6.h


def bypass(link: socket.socket) -> None:
    """Exempt a socket from all policies, as IKE daemons do with theirs."""
    nowhere = Address.unspecified(link.family)
    for direction in (XFRM_POLICY_IN, XFRM_POLICY_OUT):
        policy = Policy(Selector(nowhere, nowhere, family=link.family), direction)
        option = (
            (socket.IPPROTO_IP, IP_XFRM_POLICY)
            if link.family == socket.AF_INET
            else (socket.IPPROTO_IPV6, IPV6_XFRM_POLICY)
        )
        link.setsockopt(*option, encode_policy(policy))
