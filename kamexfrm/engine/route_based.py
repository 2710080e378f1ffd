"""Route-based IPsec: XFRM interfaces with their policies, as one thing.

What KAME's successors call if_ipsec(4). The kernel has all of it: the link, its policies, the SAs
of its reqid; no file is kept. What is routed into the interface is sent through its tunnel.
"""

import errno
from collections import Counter
from typing import NamedTuple

from kamexfrm.engine.engine import Engine
from kamexfrm.engine.interfaces import check
from kamexfrm.engine.requests import InterfaceAdd, InterfaceDelete
from kamexfrm.errors import KamexfrmError, KernelError
from kamexfrm.kernel import xfrm_link
from kamexfrm.kernel.interface import Kernel
from kamexfrm.kernel.xfrm_link import XfrmLink
from kamexfrm.net import AF_INET
from kamexfrm.translate.xfrm.interface_policies import InterfaceTunnel

#: The longest that the kernel takes, in bytes (IFNAMSIZ less the zero).
NAME_MAX = 15

_NO_RIGHTS = (
    "making interfaces needs CAP_NET_ADMIN: be root, or try it in a namespace of your own"
    " (unshare -rn)"
)
_NO_MODULE = (
    "this kernel has no XFRM interfaces: load the module xfrm_interface (modprobe xfrm_interface),"
    " or boot a kernel with CONFIG_XFRM_INTERFACE"
)


class Interface(NamedTuple):
    """An interface with what belongs to it: a link, a tunnel, and how many SAs each way.

    Where one of ``link`` and ``tunnel`` is None, only a part of it is there.
    """

    number: int
    link: XfrmLink | None
    tunnel: InterfaceTunnel | None
    inbound: int = 0
    outbound: int = 0


def tunnel_mtu(device_mtu: int, family: int) -> int:
    """Return the MTU in bytes of a tunnel over a device: no packet that fits is fragmented.

    For the longest headers that ESP may have: an outer header, UDP (RFC 3948), SPI and sequence
    number, an IV and blocks of 16 bytes, padding, and the 32 bytes of hmac-sha512's ICV.

    >>> tunnel_mtu(1500, 2), tunnel_mtu(1500, 10)
    (1406, 1390)
    """
    outer = 20 if family == AF_INET else 40
    room = device_mtu - outer - 8 - 8 - 16 - 32
    return room - room % 16 - 2


def add(
    kernel: Kernel,
    name: str,
    tunnel: InterfaceTunnel,
    *,
    device: str = "",
    mtu: int = 0,
    replace: bool = False,
) -> None:
    """Make an interface that is up, and give it the SAs of its reqid; raises KamexfrmError.

    ``mtu`` in bytes is worked out from the device's where it is 0. With ``replace`` an interface of
    this name and number gets the tunnel's ends, and what is missing of it.
    """
    check(tunnel)
    _check_name(name)
    links = xfrm_link.links()
    there = next((link for link in links if link.name == name), None)
    if there is None or not replace:
        _check_free(name, tunnel.number, links)
    elif there.number != tunnel.number:
        raise KamexfrmError(
            f"{name} has reqid {there.number}: delete it first to give it another one",
            errno=errno.EEXIST,
        )
    mtu = mtu or tunnel_mtu(xfrm_link.device_mtu(device, tunnel.remote), tunnel.local.family)
    if there is None:
        _make_link(name, tunnel.number, device)
    try:
        engine = Engine(kernel)
        # Policies without their link are what is left of one that somebody deleted.
        engine.submit(InterfaceAdd(tunnel, replace=True))
        engine.flush()
        xfrm_link.up(name, mtu)
    except KamexfrmError:
        if there is None:
            xfrm_link.delete(name)
        raise


def _check_name(name: str) -> None:
    if not 0 < len(name.encode()) <= NAME_MAX or "/" in name or name in (".", ".."):
        raise KamexfrmError(f"an interface's name has 1 to {NAME_MAX} bytes and no slash")
    if any(character.isspace() or not character.isprintable() for character in name):
        raise KamexfrmError("an interface's name has no blanks")


def _check_free(name: str, number: int, links: list[XfrmLink]) -> None:
    if xfrm_link.exists(name):
        raise KamexfrmError(
            f"{name} is there already: delete it first, or change it with --replace",
            errno=errno.EEXIST,
        )
    owner = next((link.name for link in links if link.number == number), None)
    if owner is not None:
        raise KamexfrmError(
            f"reqid {number} is {owner}'s: take another one, or delete {owner} first",
            errno=errno.EEXIST,
        )


def _make_link(name: str, number: int, device: str) -> None:
    try:
        xfrm_link.add(name, number, device)
    except KernelError as error:
        cures = {errno.EPERM: _NO_RIGHTS, errno.EOPNOTSUPP: _NO_MODULE}
        if error.errno == errno.EEXIST:
            why = f"reqid {number} is taken by an interface of another namespace that was made here"
            raise KamexfrmError(why, errno=error.errno) from None
        if error.errno not in cures:
            raise
        raise KamexfrmError(cures[error.errno], errno=error.errno) from None


def delete(kernel: Kernel, name: str = "", number: int = 0) -> None:
    """Delete an interface by its name, or what is left of one by its number.

    First the link, so that nothing is sent any more; its SAs stay. Raises KamexfrmError.
    """
    links = xfrm_link.links()
    there = next((link for link in links if link.name == name or link.number == number), None)
    if there is None and name:
        if xfrm_link.exists(name):
            raise KamexfrmError(f"{name} is no XFRM interface")
        raise KamexfrmError(
            f"there is no interface {name}: kamexfrm interface list shows which there are,"
            " and --reqid N deletes what is left of one without its link",
            errno=errno.ENODEV,
        )
    engine = Engine(kernel)
    if there is not None:
        try:
            xfrm_link.delete(there.name)
        except KernelError as error:
            if error.errno == errno.EPERM:
                raise KamexfrmError(_NO_RIGHTS, errno=errno.EPERM) from None
            raise
        number = there.number
    engine.submit(InterfaceDelete(number))
    try:
        engine.flush()
    except KernelError as error:
        if there is None or error.errno != errno.ENOENT:  # one that others made has no policies
            raise


def listed(kernel: Kernel) -> list[Interface]:
    """Return the namespace's interfaces, and what is left of others; raises KamexfrmError."""
    tunnels = Engine(kernel).interfaces()
    links = {link.number: link for link in xfrm_link.links()}
    inbound: Counter[int] = Counter()
    outbound: Counter[int] = Counter()
    for state in kernel.states():
        tunnel = tunnels.get(state.if_id)
        if tunnel is not None and state.is_keyed:
            (outbound if state.source == tunnel.local else inbound)[state.if_id] += 1
    return [
        Interface(number, links.get(number), tunnels.get(number), inbound[number], outbound[number])
        for number in sorted(links.keys() | tunnels.keys())
    ]
