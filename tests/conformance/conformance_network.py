"""The host under test between two mute neighbours, and one case after the other on it.

The host routes between a network inside (eth0) and one outside (eth1). Behind either link there is
no peer that answers: a packet socket puts packets on the wire as the case has them, and what the
host sends is read as it leaves. So each packet that is seen is the case's own.
"""

import contextlib
import errno
import itertools
import os
import select
import socket
import struct
import time
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

from pyroute2 import IPRoute

import kamexfrm
from kamexfrm.engine.engine import Engine
from kamexfrm.engine.requests import (
    Rejected,
    SaAdd,
    SaDelete,
    SetKnob,
    SpdAdd,
    SpdDelete,
    Write,
)
from kamexfrm.kernel.interface import Events, Kernel
from kamexfrm.kernel.netlink import NetlinkKernel
from kamexfrm.model.association import SecurityAssociation
from kamexfrm.model.knobs import KNOBS, Knobs
from kamexfrm.model.knobs import knob as knob_of
from kamexfrm.model.packet import Path
from kamexfrm.model.policy import IpsecProtocol, Mode
from kamexfrm.net import AF_INET, AF_INET6, IPPROTO_TCP, IPPROTO_UDP, Address
from kamexfrm.rig import Host, Rig, until
from kamexfrm.translate.xfrm.sa_to_kernel import sa_to_kernel
from kamexfrm.xfrm import (
    Operation,
    XfrmMsg,
    encode_state,
)
from tests.conformance.conformance_case import Case, Past, keyed, socket_texts
from tests.conformance.conformance_wire import Found, Seal, build, read
from tests.emptying import empty

#: Seconds until a packet of which nothing is seen or counted is given up.
PATIENCE = 2.0

#: More buckets of the SAD's hash table than any case has SAs.
_MANY = 100

#: Written as it is: a command that changes nothing, and sees to what others did.
DFBIT = knob_of("net.inet.ipsec.dfbit")

_ACQUIRE_GROUP = 1  # linux/xfrm.h XFRMNLGRP_ACQUIRE
_ACQUIRE_PROTOCOL = 20  # struct xfrm_user_acquire: id.daddr, id.spi, then id.proto
_ETH_P_ALL, _OUTGOING = 3, 4  # linux/if_ether.h, linux/if_packet.h
_ETHERTYPE = {AF_INET: 0x0800, AF_INET6: 0x86DD}


class Seen(NamedTuple):
    """What became of a packet.

    ``wire`` are the seals it left with, innermost first, () for clear and None for nothing;
    ``received`` is whether the receiving socket got it, ``errno`` the sender's error, ``acquired``
    the protocols of ACQUIREs, ``drops`` the counters of errors that moved, ``refused`` what the
    engine would not write.
    """

    wire: tuple[Seal, ...] | None = None
    received: bool = False
    errno: int = 0
    acquired: frozenset[int] = frozenset()
    drops: frozenset[str] = frozenset()
    refused: tuple[str, ...] = ()


#: The host's own addresses and its neighbours', by interface.
_OWN = {
    "eth0": ("10.1.0.1/16", "fd01::1/64"),
    "eth1": ("10.0.0.1/24", "10.0.0.11/24", "fd00::1/64", "fd00::11/64"),
}
_NEIGHBOURS = {
    "eth0": ("10.1.0.2", "fd01::2"),
    "eth1": ("10.0.0.2", "10.0.0.12", "fd00::2", "fd00::12"),
}


def _changes(before: Knobs, after: Knobs) -> list[Write]:
    return [
        SetKnob(knob, after.value(knob))
        for knob in KNOBS
        if after.value(knob) != before.value(knob)
    ]


def _hardware_address(host: Host, interface: str) -> bytes:
    with host.socket(socket.AF_PACKET, socket.SOCK_DGRAM) as link:
        host.call(link.bind, (interface, 0))
        address: bytes = link.getsockname()[4]
    return address


class Network:
    """The host under test; used from inside it, by one thread."""

    def __init__(self, rig: Rig) -> None:
        self.here = rig.host("here")
        self._peers = {"eth0": rig.host("inside"), "eth1": rig.host("outside")}
        for interface, peer in self._peers.items():
            rig.link(self.here, peer)
            self.here.address(interface, *_OWN[interface])
        self.here.forward()
        self.here.route("10.2.0.0/16", via="10.0.0.2")
        self.here.route("fd02::/64", via="fd00::2")
        self._frames: dict[str, tuple[socket.socket, bytes]] = {}
        self._wires: list[socket.socket] = []
        for interface, peer in self._peers.items():
            self._connect(interface, peer)
        with self.here.enter():
            self._statistics = os.open("/proc/thread-self/net/xfrm_stat", os.O_RDONLY)
            self._kernel = NetlinkKernel()
        self._acquires: Events | None = None
        self._count = 0
        self._load()
        self._grow()

    def _connect(self, interface: str, peer: Host) -> None:
        near = _hardware_address(self.here, interface)
        far = _hardware_address(peer, "eth0")
        out = peer.socket(socket.AF_PACKET, socket.SOCK_RAW)
        peer.call(out.bind, ("eth0", 0))
        self._frames[interface] = (out, near + far)
        wire = self.here.socket(socket.AF_PACKET, socket.SOCK_DGRAM)
        wire.setblocking(False)
        self.here.call(wire.bind, (interface, _ETH_P_ALL))
        self._wires.append(wire)
        text = ":".join(f"{byte:02x}" for byte in far)
        with self.here.enter(), IPRoute() as route:
            index = socket.if_nametoindex(interface)
            for address in _NEIGHBOURS[interface]:
                route.neigh("replace", dst=address, lladdr=text, ifindex=index, state="permanent")

    def _load(self) -> None:
        """Have the kernel load what it loads on demand: later it would count otherwise."""
        for near, far in (("10.0.0.1", "10.0.0.2"), ("fd00::1", "fd00::2")):
            ends = (Address.parse(near), Address.parse(far))
            for protocol in (IpsecProtocol.ESP, IpsecProtocol.AH, IpsecProtocol.IPCOMP):
                self._add([keyed(*ends, protocol, 0x1000, Mode.TUNNEL)])

    def _add(self, sas: list[SecurityAssociation]) -> None:
        adds = [Operation(XfrmMsg.NEWSA, encode_state(sa_to_kernel(sa, sa.mode))) for sa in sas]
        assert self._kernel.apply(adds) == []

    def _grow(self) -> None:
        """Let the SAD's hash table grow once and for all.

        Each time it does, SAs of the same second change their order.
        """
        ends = (Address.parse("10.0.0.1"), Address.parse("10.0.0.2"))
        spis = itertools.count(0x2000)

        def grown() -> bool:
            self._add([keyed(*ends, IpsecProtocol.ESP, next(spis), Mode.TUNNEL) for _ in range(32)])
            return self._kernel.sad_info().buckets > _MANY

        until(grown, what="a larger hash table")

    def close(self) -> None:
        """Give back sockets and files."""
        self._listen(False)
        os.close(self._statistics)
        self._kernel.close()
        for link in (*self._wires, *(out for out, _ in self._frames.values())):
            link.close()

    # One case

    def run(
        self,
        case: Case,
        besides: Sequence[Operation] = (),
        write: Callable[[Kernel], Sequence[str]] | None = None,
    ) -> Seen:
        """Write a case's databases, send its packet and return what became of it.

        ``besides`` is written too, past our own commands. ``write`` writes the case in another way
        and returns what was refused.
        """
        self._count += 1
        payload = f"case {self._count} ".encode() + b"clear text " * 20
        empty(self._kernel)
        refused = self.write(case) if write is None else tuple(write(self._kernel))
        assert self._kernel.apply(besides) == []
        self._listen(case.listens)
        family = case.packet.family
        with self._socket(case, family) as link:
            for text in socket_texts(case.socket):
                kamexfrm.set_policy(link, text)
            self._read_wires(b"")
            before = self._counters()
            seen = Seen(refused=refused)
            if case.packet.path is Path.OUT:
                seen = seen._replace(errno=_send(link, case, payload))
            else:
                self._inject("eth0" if case.inside else "eth1", case, payload)
            seen = self._watch(case, link, before, payload, seen)
        return seen._replace(acquired=self.acquired())

    def write(self, case: Case) -> tuple[str, ...]:
        """Write databases and knobs as our own commands do; return what was refused."""
        refused: list[Rejected] = []
        past = case.past
        if past != Past():
            before: list[Write] = [SpdAdd(policy) for policy in past.spd]
            before += map(SaAdd, past.sad)
            self._command([*_changes(Knobs(), past.knobs), *before], refused)
        was = {(policy.selector, policy.direction) for policy in past.spd}
        policies: list[Write] = [
            SpdAdd(policy, replace=(policy.selector, policy.direction) in was)
            for policy in case.spd
        ]
        policies += (SpdDelete(*of) for of in was - {(p.selector, p.direction) for p in case.spd})
        policies += (SaDelete(sa.id) for sa in past.sad)
        knobs = _changes(past.knobs, case.knobs)
        if past.others:
            if case.sad_first:
                self._add(list(case.sad))
            self._command([*knobs, *policies], refused)
            if not case.sad_first:
                self._add(list(case.sad))
            self._command([SetKnob(DFBIT, Knobs().dfbit)], refused)
        else:
            sas: list[Write] = [SaAdd(sa) for sa in case.sad]
            rest = (*sas, *policies) if case.sad_first else (*policies, *sas)
            self._command([*knobs, *rest], refused)
        return tuple(f"{one.request}: {one.error}" for one in refused)

    def _command(self, requests: list[Write], refused: list[Rejected]) -> None:
        """Carry out requests as one command of ours does."""
        engine = Engine(self._kernel)
        for request in requests:
            engine.submit(request)
        refused += engine.try_flush().rejected

    def _listen(self, wanted: bool) -> None:
        if self._acquires is not None:
            self._acquires.close()
            self._acquires = None
        if wanted:
            self._acquires = self._kernel.subscribe((_ACQUIRE_GROUP,))

    def acquired(self) -> frozenset[int]:
        """Return the protocols of the ACQUIREs since the last call."""
        if self._acquires is None:
            return frozenset()
        found: set[int] = set()
        while events := self._acquires.receive():
            found.update(event.payload[_ACQUIRE_PROTOCOL] for event in events)
        return frozenset(found)

    @contextlib.contextmanager
    def _socket(self, case: Case, family: int) -> Iterator[socket.socket]:
        """Yield the socket that sends or is to receive; a forwarded packet's is idle."""
        packet = case.packet
        mine = packet.source if packet.path is Path.OUT else packet.destination
        port = packet.source_port if packet.path is Path.OUT else packet.destination_port
        if packet.path is Path.FORWARDED:
            mine, port = Address.unspecified(family), 0
        if packet.upper == IPPROTO_UDP or packet.path is Path.FORWARDED:
            link = socket.socket(family, socket.SOCK_DGRAM)
        elif packet.upper == IPPROTO_TCP:
            link = socket.socket(family, socket.SOCK_STREAM)
            link.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        else:
            link = socket.socket(family, socket.SOCK_RAW, packet.upper)
            port = 0
        with link:
            if family == AF_INET6 and link.type != socket.SOCK_RAW:
                link.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            link.setblocking(False)
            link.bind((str(mine), port or 0))
            yield link

    def _inject(self, interface: str, case: Case, payload: bytes) -> None:
        link, ends = self._frames[interface]
        data = build(case.packet, payload)
        family = AF_INET if data[0] >> 4 == 4 else AF_INET6
        link.send(ends + struct.pack("!H", _ETHERTYPE[family]) + data)

    def _watch(
        self, case: Case, link: socket.socket, before: dict[str, int], payload: bytes, seen: Seen
    ) -> Seen:
        """Wait until the packet was seen or counted, or the sender got an error."""
        end = time.monotonic() + PATIENCE
        while True:
            received = case.packet.path is Path.IN and _receives(link, payload)
            found = [] if case.packet.path is Path.IN else self._read_wires(payload, case)
            now = self._counters()
            drops = frozenset(name for name in now if now[name] != before[name])
            if received or found or drops or seen.errno or time.monotonic() > end:
                wire = found[0].seals if found else None
                return seen._replace(received=received, wire=wire, drops=drops)
            select.select([link, *self._wires], [], [], 0.02)

    def _read_wires(self, payload: bytes, case: Case | None = None) -> list[Found]:
        """Return the case's packet, as often as it left, and forget all else."""
        found = []
        for wire in self._wires:
            with contextlib.suppress(BlockingIOError):
                while True:
                    data, address = wire.recvfrom(1 << 16)
                    if case is None or address[2] != _OUTGOING:
                        continue
                    one = read(data)
                    if _is(one, case, payload):
                        found.append(one)
        return found

    def _counters(self) -> dict[str, int]:
        rows = os.pread(self._statistics, 1 << 14, 0).split()
        return {
            name.decode(): int(value) for name, value in zip(rows[::2], rows[1::2], strict=True)
        }


def _is(found: Found, case: Case, payload: bytes) -> bool:
    packet = case.packet
    ports = (packet.source_port or 0, packet.destination_port or 0)
    same = (found.source, found.destination, found.upper, found.ports) == (
        packet.source,
        packet.destination,
        packet.upper,
        ports,
    )
    return same and (packet.upper == IPPROTO_TCP or found.payload == payload)


def _receives(link: socket.socket, payload: bytes) -> bool:
    received = False
    with contextlib.suppress(BlockingIOError):
        while True:
            received = link.recv(1 << 16).endswith(payload) or received
    return received


def _send(link: socket.socket, case: Case, payload: bytes) -> int:
    """Send the case's packet by its socket; return the sender's errno, 0 for success."""
    packet = case.packet
    try:
        if packet.upper == IPPROTO_UDP:
            link.sendto(payload, (str(packet.destination), packet.destination_port or 0))
        elif packet.upper == IPPROTO_TCP:
            number = link.connect_ex((str(packet.destination), packet.destination_port or 0))
            return 0 if number == errno.EINPROGRESS else number
        else:
            bare = build(packet._replace(protections=()), payload)
            size = 20 if packet.family == AF_INET else 40
            link.sendto(bare[size:], (str(packet.destination), 0))
    except OSError as error:
        return error.errno or -1
    return 0
