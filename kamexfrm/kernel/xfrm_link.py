"""XFRM interfaces as links: made, listed and deleted by rtnetlink, through pyroute2.

The kernel has them since Linux 4.19 (CONFIG_XFRM_INTERFACE, the module xfrm_interface). All this is
about the calling thread's network namespace.
"""

import contextlib
import errno
import socket
from collections.abc import Iterator
from typing import Any, NamedTuple

from kamexfrm.errors import KamexfrmError, KernelError
from kamexfrm.net import Address

KIND = "xfrm"

_UP = 0x1  # linux/if.h IFF_UP

#: An interface that sends where no route says more has this MTU, in bytes (Ethernet's).
_USUAL_MTU = 1500


class XfrmLink(NamedTuple):
    """An XFRM interface: ``number`` is its if_id, ``device`` empty where it has none.

    ``mtu`` is in bytes. Counters are those of ``ip -s link``.
    """

    name: str
    number: int
    device: str = ""
    mtu: int = 0
    is_up: bool = False
    sent_packets: int = 0
    sent_bytes: int = 0
    received_packets: int = 0
    received_bytes: int = 0
    errors: int = 0


@contextlib.contextmanager
def _route() -> Iterator[Any]:
    """Give a socket to rtnetlink; what the kernel refuses is a KernelError."""
    from pyroute2 import IPRoute, NetlinkError

    try:
        with IPRoute() as route:
            yield route
    except NetlinkError as error:
        raise KernelError(abs(error.code)) from None


def _index_of(name: str) -> int:
    try:
        return socket.if_nametoindex(name)
    except OSError:
        raise KamexfrmError(f"there is no interface {name}", errno=errno.ENODEV) from None


def add(name: str, number: int, device: str = "") -> None:
    """Make an XFRM interface, which is down; raises KernelError.

    EPERM is without CAP_NET_ADMIN, EEXIST where the name or the number is taken, and EOPNOTSUPP
    where the kernel has no such interfaces.
    """
    options: dict[str, object] = {"xfrm_if_id": number}
    if device:
        options["xfrm_link"] = _index_of(device)
    with _route() as route:
        route.link("add", ifname=name, kind=KIND, **options)


def delete(name: str) -> None:
    """Delete an interface; raises KernelError."""
    with _route() as route:
        route.link("del", index=_index_of(name))


def up(name: str, mtu: int) -> None:
    """Bring an interface up with an MTU in bytes; raises KernelError."""
    with _route() as route:
        route.link("set", index=_index_of(name), mtu=mtu, state="up")


def links() -> list[XfrmLink]:
    """Return the XFRM interfaces of the namespace; raises KernelError."""
    with _route() as route:
        return [_read(link) for link in route.get_links() if _kind(link) == KIND]


def exists(name: str) -> bool:
    """Whether there is an interface of any kind with a name."""
    try:
        return bool(socket.if_nametoindex(name))
    except OSError:
        return False


def _kind(link: Any) -> str:
    info = link.get_attr("IFLA_LINKINFO")
    return (info.get_attr("IFLA_INFO_KIND") or "") if info else ""


def _read(link: Any) -> XfrmLink:
    data = link.get_attr("IFLA_LINKINFO").get_attr("IFLA_INFO_DATA")
    device = (data.get_attr("IFLA_XFRM_LINK") or 0) if data else 0
    counters = link.get_attr("IFLA_STATS64") or {}
    return XfrmLink(
        str(link.get_attr("IFLA_IFNAME")),
        (data.get_attr("IFLA_XFRM_IF_ID") or 0) if data else 0,
        _name_of(device),
        link.get_attr("IFLA_MTU") or 0,
        bool(link["flags"] & _UP),
        counters.get("tx_packets", 0),
        counters.get("tx_bytes", 0),
        counters.get("rx_packets", 0),
        counters.get("rx_bytes", 0),
        counters.get("tx_errors", 0) + counters.get("rx_errors", 0),
    )


def _name_of(index: int) -> str:
    if not index:
        return ""
    try:
        return socket.if_indextoname(index)
    except OSError:
        return str(index)  # it is in another namespace, or gone


def device_mtu(device: str, remote: Address) -> int:
    """Return the MTU in bytes of a device, or of the one that packets to an address leave by."""
    with _route() as route:
        index = _index_of(device) if device else _outgoing(route, remote)
        found = list(route.get_links(index)) if index else []
    return int(found[0].get_attr("IFLA_MTU") or _USUAL_MTU) if found else _USUAL_MTU


def _outgoing(route: Any, remote: Address) -> int:
    """Return the index of the device that packets to an address leave by, 0 for none."""
    from pyroute2 import NetlinkError

    try:
        found = list(route.route("get", dst=str(remote)))
    except NetlinkError:
        return 0
    return int(found[0].get_attr("RTA_OIF") or 0) if found else 0
