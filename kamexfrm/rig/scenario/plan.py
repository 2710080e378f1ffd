"""A scenario as read, with all values filled in: hosts, links, steps and expectations."""

import dataclasses
import ipaddress
from typing import TypeAlias

Interface: TypeAlias = ipaddress.IPv4Interface | ipaddress.IPv6Interface


@dataclasses.dataclass(frozen=True, slots=True)
class End:
    """One end of a link: the host, and the addresses of its interface."""

    host: str
    addresses: tuple[Interface, ...]


@dataclasses.dataclass(frozen=True, slots=True)
class LinkPlan:
    """A link; ``mtu`` in bytes and ``delay`` in milliseconds, 0 for the kernel's own.

    ``nat`` is the host that hides what is behind it: what it sends over the link has its address.
    """

    left: End
    right: End
    mtu: int = 0
    delay: float = 0.0
    loss: float = 0.0
    line: int = 1
    nat: str = ""

    @property
    def name(self) -> str:
        """The name of the link in steps."""
        return f"{self.left.host} -- {self.right.host}"


@dataclasses.dataclass(frozen=True, slots=True)
class TunnelPlan:
    """A link of kind ipsec: on both hosts an XFRM interface with a number, over a tunnel.

    ``ends`` are the tunnel's addresses, left's and right's; the addresses of ``left`` and ``right``
    are the interfaces'.
    """

    left: End
    right: End
    reqid: int
    ends: tuple[str, str]
    line: int = 1


@dataclasses.dataclass(frozen=True, slots=True)
class Script:
    """Input of setkey, and its origin: ``mirror of alice``, a file's name, or empty.

    ``file`` is the file that its line numbers are of: a script inside a scenario begins with as
    many empty lines as precede it there, so that setkey reports the lines of the scenario.
    """

    text: str
    origin: str = ""
    file: str = ""


@dataclasses.dataclass(frozen=True, slots=True)
class HostPlan:
    """A host. ``routes`` are (prefix, gateway) pairs; None: all are computed."""

    name: str
    line: int
    script: Script | None = None
    knobs: tuple[str, ...] = ()
    sysctls: tuple[tuple[str, str], ...] = ()
    loopback: tuple[Interface, ...] = ()
    routes: tuple[tuple[str, str], ...] | None = None
    forward: bool = False
    bridge: bool = False
    encapsulation: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True, slots=True)
class Expectation:
    """What a step is to show. None and empty: not checked.

    ``moves`` and ``rests`` name SAs by (host, protocol, SPI), protocol empty for any; ``counters``
    Xfrm counters by (host, name, by how much; 0 for at least one).
    """

    outcome: str = ""
    wire: tuple[str, ...] | None = None
    link: str = ""
    moves: tuple[tuple[str, str, int], ...] = ()
    rests: tuple[tuple[str, str, int], ...] = ()
    counters: tuple[tuple[str, str, int], ...] = ()
    output: tuple[str, ...] = ()
    absent: tuple[str, ...] = ()
    status: int | None = None
    errors: bool = False


@dataclasses.dataclass(frozen=True, slots=True)
class Probe:
    """Packets from a host to an address: ``protocol`` is ping, udp or tcp. ``timeout``: seconds.

    ``policies`` are the sending socket's own, as ``out bypass``.
    """

    protocol: str
    host: str
    destination: str
    port: int
    source: str
    source_port: int
    count: int
    size: int
    timeout: float
    policies: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True, slots=True)
class Explain:
    """How KAME's rules treat a probe's packet on the host ``at``; nothing is sent."""

    at: str
    probe: Probe


@dataclasses.dataclass(frozen=True, slots=True)
class Stream:
    """UDP requests in the background, ``interval`` seconds apart, until the step that ends it."""

    name: str
    probe: Probe
    interval: float


@dataclasses.dataclass(frozen=True, slots=True)
class Setkey:
    """setkey on some hosts; ``real`` runs the installed command, else it is called in process."""

    hosts: tuple[str, ...]
    script: Script
    real: bool


@dataclasses.dataclass(frozen=True, slots=True)
class Sysctl:
    """Knobs (kame-sysctl's names) or the kernel's sysctls of some hosts."""

    hosts: tuple[str, ...]
    assignments: tuple[str, ...]
    real: bool


@dataclasses.dataclass(frozen=True, slots=True)
class Run:
    """A shell command; with a ``name`` it runs in the background until it is killed."""

    hosts: tuple[str, ...]
    command: str
    name: str
    timeout: float


@dataclasses.dataclass(frozen=True, slots=True)
class Wait:
    """Wait until a shell command succeeds, or until a background command has printed a text."""

    host: str
    command: str
    name: str
    text: str
    timeout: float


@dataclasses.dataclass(frozen=True, slots=True)
class Kill:
    """End a background command or a stream."""

    name: str


@dataclasses.dataclass(frozen=True, slots=True)
class Say:
    """A line of the transcript."""

    text: str


Action: TypeAlias = Probe | Explain | Stream | Setkey | Sysctl | Run | Wait | Kill | Say


@dataclasses.dataclass(frozen=True, slots=True)
class Step:
    """An action, what is expected of it, its number from 1 and its line in the file."""

    number: int
    line: int
    action: Action
    expectation: Expectation


@dataclasses.dataclass(frozen=True, slots=True)
class Case:
    """A scenario with one choice of the matrix filled in; ``name`` is empty without a matrix."""

    file: str
    title: str
    name: str
    hosts: dict[str, HostPlan]
    links: tuple[LinkPlan, ...]
    steps: tuple[Step, ...]
    watch: str
    needs_esp: bool
    tunnels: tuple[TunnelPlan, ...] = ()

    @property
    def needs(self) -> tuple[str, ...]:
        """What it needs of a kernel: names of ``kamexfrm.rig.probe.ABILITIES``."""
        return (
            *(("ESP", "AH") if self.needs_esp else ()),
            *(("XFRM interfaces",) if self.tunnels else ()),
            *(("netem",) if any(link.delay or link.loss for link in self.links) else ()),
            *(("NAT",) if any(link.nat for link in self.links) else ()),
            *(("bridges",) if any(host.bridge for host in self.hosts.values()) else ()),
        )

    def owner(self, address: str) -> str | None:
        """Return the host that has an address, or None."""
        wanted = ipaddress.ip_address(address)
        for host, interface in self.addresses():
            if interface.ip == wanted:
                return host
        return None

    def addresses(self) -> list[tuple[str, Interface]]:
        """Return all (host, address) pairs: those of tunnels, of links, of loopbacks.

        Routes are looked for in this order, so that they lead through tunnels.
        """
        ends = [end for tunnel in self.tunnels for end in (tunnel.left, tunnel.right)]
        ends += [end for link in self.links for end in (link.left, link.right)]
        found = [(end.host, one) for end in ends for one in end.addresses]
        return found + [(h.name, one) for h in self.hosts.values() for one in h.loopback]
