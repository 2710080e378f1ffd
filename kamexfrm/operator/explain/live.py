"""What the kernel itself says of a packet: its route, and with a probe what became of one."""

import contextlib
import errno
import os
import socket
from typing import Any, NamedTuple

from kamexfrm.engine.engine import Engine
from kamexfrm.errors import KamexfrmError
from kamexfrm.model.association import SaId
from kamexfrm.model.counters import read_counters
from kamexfrm.model.packet import Packet, Path
from kamexfrm.model.policy import ULPROTO_ANY
from kamexfrm.net import (
    AF_INET,
    IPPROTO_ICMP,
    IPPROTO_ICMPV6,
    IPPROTO_TCP,
    IPPROTO_UDP,
    Address,
)

_RTN_LOCAL = 2  # linux/rtnetlink.h

_STATISTICS = "/proc/thread-self/net/xfrm_stat"


def local(*addresses: Address) -> list[bool]:
    """Return of each address whether it is one of this namespace's own."""
    from pyroute2 import IPRoute

    with IPRoute() as kernel:
        return [_type(kernel, address) == _RTN_LOCAL for address in addresses]


def _type(kernel: Any, address: Address) -> int:
    from pyroute2.netlink.exceptions import NetlinkError

    try:
        (found,) = kernel.route("get", family=address.family, dst=str(address))
    except NetlinkError:
        return 0
    return int(found["type"])


class Route(NamedTuple):
    """The kernel's route to an address: empty texts for what there is not."""

    interface: str
    gateway: str
    source: str
    error: str = ""


def route(packet: Packet) -> Route:
    """Return the kernel's route for a packet."""
    from pyroute2 import IPRoute
    from pyroute2.netlink.exceptions import NetlinkError

    wanted = {"dst": str(packet.destination)}
    if packet.path is Path.OUT and local(packet.source)[0]:
        wanted["src"] = str(packet.source)
    with IPRoute() as kernel:
        try:
            (found,) = kernel.route("get", family=packet.family, **wanted)
        except NetlinkError as error:
            return Route("", "", "", os.strerror(error.code))
        attributes = dict(found["attrs"])
        name = ""
        with contextlib.suppress(OSError):
            name = socket.if_indextoname(attributes.get("RTA_OIF", 0))
        return Route(name, attributes.get("RTA_GATEWAY", ""), attributes.get("RTA_PREFSRC", ""))


def tunnel_hint(engine: Engine, way: Route) -> str:
    """Return what becomes of a packet that is routed into an XFRM interface, "" for others.

    Raises KernelError.
    """
    from kamexfrm.kernel.xfrm_link import links

    link = next((one for one in links() if one.name == way.interface), None)
    if link is None:
        return ""
    tunnel = engine.interfaces().get(link.number)
    if tunnel is None:
        return f"{link.name} has no policies of kamexfrm: see kamexfrm interface list"
    return (
        f"{link.name} is route-based IPsec: what is routed into it goes through the tunnel"
        f" {tunnel.local} -> {tunnel.remote}, by SAs of reqid {link.number}"
    )


class Outcome(NamedTuple):
    """What one packet moved: counters of errors, and the packets that SAs took."""

    verdict: str
    errno: str | None
    counters: dict[str, int]
    sas: tuple[SaId, ...]


def probe(packet: Packet, engine: Engine) -> Outcome:
    """Send one packet and return what it moved; raises KamexfrmError where it cannot be sent."""
    if packet.path is not Path.OUT:
        raise KamexfrmError("--probe sends a packet, which goes out: not for in and fwd")
    if packet.upper == ULPROTO_ANY:
        raise KamexfrmError("--probe: which protocol? Name it after the addresses")
    before, counted = _counters(), _packets(engine)
    number = _send(packet)
    now = _counters()
    moved = {name: now[name] - before.get(name, 0) for name in now if now[name] != before.get(name)}
    sas = tuple(id for id, count in _packets(engine).items() if count > counted.get(id, 0))
    verdict = "clear"
    if moved or number:
        verdict = "dropped"
    elif any(id.destination for id in sas):
        verdict = "protected"
    return Outcome(verdict, errno.errorcode.get(number) if number else None, moved, sas)


def _counters() -> dict[str, int]:
    try:
        with open(_STATISTICS, encoding="ascii") as file:
            return read_counters(file.read())
    except OSError:
        return {}  # a kernel without CONFIG_XFRM_STATISTICS


def _packets(engine: Engine) -> dict[SaId, int]:
    return {entry.association.id: entry.packets for entry in engine.iter_sad()}


def _send(packet: Packet) -> int:
    """Send a packet without data; return the sender's errno, 0 for success."""
    target = (str(packet.destination), packet.destination_port or 0)
    here = (str(packet.source), packet.source_port or 0)
    typed = packet.upper in (IPPROTO_ICMP, IPPROTO_ICMPV6)
    kind = {IPPROTO_UDP: socket.SOCK_DGRAM, IPPROTO_TCP: socket.SOCK_STREAM}
    with socket.socket(
        packet.family, kind.get(packet.upper, socket.SOCK_RAW), packet.upper
    ) as link:
        link.setblocking(False)
        raw = packet.upper not in kind
        try:
            link.bind((here[0], 0 if raw else here[1]))
        except OSError as error:
            reason = error.strerror
            raise KamexfrmError(f"--probe from {here[0]} port {here[1]}: {reason}") from None
        try:
            if packet.upper == IPPROTO_TCP:
                number = link.connect_ex(target)
                return 0 if number in (errno.EINPROGRESS, errno.ECONNREFUSED) else number
            data = b"kamexfrm explain --probe"
            if typed:
                data = _echo(packet) + data
                if packet.family == AF_INET:
                    data = data[:2] + _checksum(data) + data[4:]
            link.sendto(data, (target[0], 0 if raw else target[1]))
        except OSError as error:
            return error.errno or errno.EIO
    return 0


def _echo(packet: Packet) -> bytes:
    return bytes((packet.source_port or 0, packet.destination_port or 0)) + bytes(6)


def _checksum(data: bytes) -> bytes:
    """Return the Internet checksum (RFC 1071)."""
    data += bytes(len(data) % 2)
    total = sum(int.from_bytes(data[at : at + 2], "big") for at in range(0, len(data), 2))
    total = (total & 0xFFFF) + (total >> 16)
    return (~(total + (total >> 16)) & 0xFFFF).to_bytes(2, "big")
