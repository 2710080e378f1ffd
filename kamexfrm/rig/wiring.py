"""Links, addresses and routes of a namespace, by pyroute2; callers are inside the namespace."""

import ipaddress
import socket
from pathlib import Path

from pyroute2 import IPRoute

from kamexfrm.rig.condition import until

IFA_F_NODAD = 0x02

#: Written to a fresh namespace: an IPv6 address is usable at once, no router is looked for.
_QUIET_IPV6 = {"accept_dad": "0", "dad_transmits": "0", "router_solicitations": "0"}


def prepare() -> None:
    """Make a fresh namespace usable: ``lo`` up, IPv6 without duplicate address detection."""
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
        route.link("set", index=_index(name), state="up", **options)


def down(name: str) -> None:
    """Take an interface down."""
    with IPRoute() as route:
        route.link("set", index=_index(name), state="down")


def wait_for_carrier(name: str, deadline: float = 5.0) -> None:
    """Wait until both ends of a link are up; raises TimeoutError after ``deadline`` seconds."""

    def running() -> bool:
        with IPRoute() as route:
            (link,) = route.get_links(_index(name))
        return bool(link.get_attr("IFLA_OPERSTATE") == "UP")

    until(running, deadline, f"carrier on {name}")


def add_addresses(name: str, addresses: tuple[str, ...]) -> None:
    """Give an interface addresses with prefix lengths, such as ``10.0.0.1/24``."""
    index = _index(name)
    with IPRoute() as route:
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
    with IPRoute() as route:
        route.route("add", **options)


def _index(name: str) -> int:
    return socket.if_nametoindex(name)
