"""Links, addresses and routes of a namespace, by pyroute2; callers are inside the namespace."""

import contextlib
import ipaddress
import os
import socket
from collections.abc import Iterator
from pathlib import Path

from pyroute2 import IPRoute, NetlinkError

from kamexfrm.rig.condition import until

IFA_F_NODAD = 0x02
_LINK_LOCAL = 253  # linux/rtnetlink.h RT_SCOPE_LINK

#: Written to a new namespace: an IPv6 address is usable at once, no router is solicited.
_QUIET_IPV6 = {"accept_dad": "0", "dad_transmits": "0", "router_solicitations": "0"}


def prepare() -> None:
    """Make a new namespace usable: ``lo`` up, IPv6 without duplicate address detection."""
    for which in ("all", "default"):
        folder = Path("/proc/sys/net/ipv6/conf") / which
        if folder.is_dir():
            for name, value in _QUIET_IPV6.items():
                (folder / name).write_text(value)
    with IPRoute() as route:
        route.link("set", index=_index("lo"), state="up")


def connect(name: str, peer_name: str, peer_namespace: int) -> None:
    """Make a veth pair with one end here, the other in the namespace of that file number."""
    with IPRoute() as route:
        route.link(
            "add",
            ifname=name,
            kind="veth",
            peer={"ifname": peer_name, "net_ns_fd": peer_namespace},
        )


def up(name: str, mtu: int | None = None) -> None:
    """Bring an interface up; ``mtu`` in bytes."""
    with IPRoute() as route:
        options = {} if mtu is None else {"mtu": mtu}
        with os_errors():
            route.link("set", index=_index(name), state="up", **options)


def down(name: str) -> None:
    """Take an interface down."""
    with IPRoute() as route:
        route.link("set", index=_index(name), state="down")


def wait_for_carrier(name: str, deadline: float = 5.0) -> None:
    """Wait until an interface can send; raises TimeoutError after ``deadline`` seconds.

    The operational state may say DOWN for another second: the kernel reports it at most once a
    second, but packets go as soon as there is a carrier and a real queue.
    """
    index = _index(name)
    with IPRoute() as route:

        def running() -> bool:
            (link,) = route.get_links(index)
            return bool(link.get_attr("IFLA_CARRIER") and link.get_attr("IFLA_QDISC") != "noop")

        until(running, deadline, f"carrier on {name}")


def wait_for_ipv6(name: str, deadline: float = 5.0) -> None:
    """Wait until neighbours can resolve each IPv6 address of an interface that is up.

    Without duplicate address detection too, the kernel starts to listen to an address's
    solicited-node group (RFC 4291 section 2.7.1) in a work queue, after the address is there; a
    neighbour that asks before that asks again only a second later. The same work queue makes the
    route that lets packets to the address in, on ``lo`` too. A router asks from its link-local
    address, so there has to be one. Raises TimeoutError after ``deadline`` seconds.
    """
    here = Path("/proc/thread-self/net")
    if not (here / "if_inet6").exists():
        return
    link_local, tentative, local = 0x20, 0x40, 0x80000000  # ipv6.h, if_addr.h, ipv6_route.h

    def listening() -> bool:
        routes = [line.split() for line in (here / "ipv6_route").read_text().splitlines()]
        let_in = {row[0] for row in routes if int(row[8], 16) & local}
        rows = [line.split() for line in (here / "if_inet6").read_text().splitlines()]
        groups = {tuple(line.split()[1:3]) for line in (here / "igmp6").read_text().splitlines()}
        rows = [row for row in rows if row[5] == name]
        if not all(row[0] in let_in for row in rows):
            return False
        if name == "lo":
            return True
        return any(int(scope, 16) == link_local for _, _, _, scope, _, _ in rows) and all(
            not int(flags, 16) & tentative
            and (name, "ff0200000000000000000001ff" + address[-6:]) in groups
            for address, _, _, _, flags, _ in rows
        )

    until(listening, deadline, f"IPv6 on {name}")


def add_addresses(name: str, addresses: tuple[str, ...]) -> None:
    """Give an interface addresses with prefix lengths, such as ``10.0.0.1/24``."""
    if not addresses:
        return
    index = _index(name)
    with IPRoute() as route, os_errors():
        for text in addresses:
            interface = ipaddress.ip_interface(text)
            options = {"flags": IFA_F_NODAD} if interface.version == 6 else {}
            route.addr(
                "add",
                index=index,
                address=str(interface.ip),
                prefixlen=interface.network.prefixlen,
                **options,
            )


def impair(name: str, delay: float, loss: float) -> None:
    """Delay what an interface sends by so many milliseconds, and lose so many percent of it."""
    with IPRoute() as route, os_errors():
        options = {"delay": round(delay * 1000), "loss": loss, "limit": 10000}
        route.tc("add", "netem", _index(name), handle="1:", **options)


def bridge(name: str, members: list[str]) -> None:
    """Make a bridge of interfaces."""
    with IPRoute() as route, os_errors():
        route.link("add", ifname=name, kind="bridge")
        for member in members:
            route.link("set", index=_index(member), master=_index(name))
        route.link("set", index=_index(name), state="up")


def add_route(destination: str, via: str | None, device: str | None, source: str | None) -> None:
    """Add a route to a prefix or to ``default`` (then the gateway says which family)."""
    if destination == "default":
        version = ipaddress.ip_address(via or "0.0.0.0").version  # noqa: S104
        destination = "0.0.0.0/0" if version == 4 else "::/0"
    options: dict[str, object] = {"dst": destination}
    version = ipaddress.ip_network(destination).version
    options["family"] = socket.AF_INET if version == 4 else socket.AF_INET6
    if via is not None:
        options["gateway"] = via
    if device is not None:
        options["oif"] = _index(device)
    if source is not None:
        options["prefsrc"] = source
    with IPRoute() as route, os_errors():
        route.route("add", **options)


def addresses() -> list[str]:
    """Return all addresses with their prefix lengths, link-local ones left out."""
    with IPRoute() as route:
        found = [(a.get_attr("IFA_ADDRESS"), a["prefixlen"], a["scope"]) for a in route.get_addr()]
    return [f"{address}/{bits}" for address, bits, scope in found if scope != _LINK_LOCAL]


def find_route(destination: str, source: str = "") -> tuple[str, str] | None:
    """Return (gateway, source address) of the route to an address, or None without one.

    The gateway is empty for an address on a link of ours.
    """
    options = {"src": source} if source else {}
    with IPRoute() as route:
        try:
            (found,) = route.route("get", dst=destination, **options)
        except NetlinkError:
            return None
        return found.get_attr("RTA_GATEWAY") or "", found.get_attr("RTA_PREFSRC") or source


@contextlib.contextmanager
def os_errors() -> Iterator[None]:
    """Turn a NetlinkError into the OSError of its number."""
    try:
        yield
    except NetlinkError as error:
        raise OSError(error.code, os.strerror(error.code)) from None


def _index(name: str) -> int:
    return socket.if_nametoindex(name)
