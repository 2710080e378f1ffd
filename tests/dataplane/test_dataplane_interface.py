"""Route-based IPsec on kernels with XFRM interfaces; on others, that add() says so.

Debian's User-Mode-Linux has none: KAMEXFRM_GUEST_KERNEL names another guest kernel.
"""

import contextlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from kamexfrm.engine import route_based
from kamexfrm.errors import KamexfrmError
from kamexfrm.kernel import xfrm_link
from kamexfrm.kernel.netlink import NetlinkKernel
from kamexfrm.kernel.xfrm_link import XfrmLink
from kamexfrm.net import IPPROTO_ESP, Address
from kamexfrm.rig import Host, TwoHosts, probe, until
from kamexfrm.translate.xfrm.interface_policies import InterfaceTunnel
from tests.dataplane.dataplane_proof import (
    ESP_KEYS,
    MARKER,
    is_protected,
    load,
    no_ping,
    ping,
    setkey,
)
from tests.dataplane.test_dataplane_racoon import RacoonLike

pytestmark = pytest.mark.dataplane

OUTER = {"v4": ("10.0.0.1", "10.0.0.2"), "v6": ("fd00::1", "fd00::2")}
INNER = ("10.9.0.2", "fd09::2")


def add(host: Host, local: str, remote: str, *, replace: bool = False) -> None:
    kernel = host.call(NetlinkKernel)
    tunnel = InterfaceTunnel(7, Address.parse(local), Address.parse(remote))
    with contextlib.closing(kernel):
        host.call(route_based.add, kernel, "ipsec0", tunnel, replace=replace)


def delete(host: Host) -> None:
    kernel = host.call(NetlinkKernel)
    with contextlib.closing(kernel):
        host.call(route_based.delete, kernel, "ipsec0")


def link_of(host: Host) -> XfrmLink:
    (link,) = host.call(xfrm_link.links)
    return link


def sas(left: str, right: str, spi: int = 0x1000) -> str:
    """Return an SA for each way: one with its mode, one without."""
    return (
        f"add {left} {right} esp {spi + 1} -m tunnel -u 7 {ESP_KEYS};\n"
        f"add {right} {left} esp {spi + 2} -u 7 {ESP_KEYS};\n"
    )


def addressed(hosts: TwoHosts) -> None:
    for number, host in enumerate(hosts, 1):
        host.address("ipsec0", f"10.9.0.{number}/30", f"fd09::{number}/64")


@contextlib.contextmanager
def interfaces(hosts: TwoHosts, outer: str) -> Iterator[bool]:
    """Make an interface on both hosts; where the kernel has none, check that this is said."""
    left, right = OUTER[outer]
    if not probe.kernel_has_xfrm_interfaces():
        with pytest.raises(KamexfrmError, match="load the module xfrm_interface"):
            add(hosts.a, left, right)
        yield False
        return
    add(hosts.a, left, right)
    add(hosts.b, right, left)
    addressed(hosts)
    try:
        yield True
    finally:
        for host in hosts:
            delete(host)


@pytest.mark.parametrize("outer", OUTER)
def test_what_is_routed_into_it_is_protected(two_hosts: TwoHosts, outer: str) -> None:
    left, right = OUTER[outer]
    load(two_hosts.a, sas(left, right))  # these are moved over, b's are added to it
    with interfaces(two_hosts, outer) as there:
        if not there:
            return
        load(two_hosts.b, sas(left, right))
        for inner in INNER:
            before = link_of(two_hosts.a)
            with two_hosts.a.capture("eth0") as wire:
                assert ping(two_hosts.a, inner)
            assert [p for p in wire.packets if p.has(IPPROTO_ESP)]
            assert not [p for p in wire.packets if MARKER in p.data]
            after = link_of(two_hosts.a)
            assert after.sent_packets > before.sent_packets
            assert after.received_packets > before.received_packets
        with two_hosts.a.capture("eth0") as wire:
            assert ping(two_hosts.a, right)
        assert not any(map(is_protected, wire.packets))
        longest = bytes(link_of(two_hosts.a).mtu - 28)
        assert two_hosts.a.ping("10.9.0.2", payload=longest)


def test_it_outlives_flushes_and_its_tunnel_can_be_changed(two_hosts: TwoHosts) -> None:
    left, right = OUTER["v4"]
    with interfaces(two_hosts, "v4") as there:
        if not there:
            return
        for host in two_hosts:
            load(host, sas(left, right))
        setkey(two_hosts.a, "-FP")
        load(two_hosts.a, "flush;\n" + sas(left, right))
        load(two_hosts.b, "flush;\n" + sas(left, right))
        assert ping(two_hosts.a, "10.9.0.2")
        add(two_hosts.a, *OUTER["v6"], replace=True)
        assert no_ping(two_hosts.a, "10.9.0.2")
        add(two_hosts.b, *reversed(OUTER["v6"]), replace=True)
        for host in two_hosts:
            load(host, sas(*OUTER["v6"], spi=0x2000))
        assert ping(two_hosts.a, "10.9.0.2")
        delete(two_hosts.a)
        add(two_hosts.a, *OUTER["v6"])
        two_hosts.a.address("ipsec0", "10.9.0.1/30", "fd09::1/64")
        assert ping(two_hosts.a, "10.9.0.2")


def test_an_ike_daemon_of_pf_key_negotiates_its_sas(two_hosts: TwoHosts, tmp_path: Path) -> None:
    with interfaces(two_hosts, "v4") as there:
        if not there:
            return
        two_hosts.a.route("default", device="ipsec0")
        two_hosts.b.address("lo", "10.2.0.1/32")
        ends = OUTER["v4"]
        daemons = [
            RacoonLike(two_hosts.a, tmp_path, ends, 60, "exec"),
            RacoonLike(two_hosts.b, tmp_path, (ends[1], ends[0]), 60, "exec"),
        ]
        until(lambda: two_hosts.a.ping("10.2.0.1", timeout=0.5), 30, "an answer through the tunnel")
        for daemon in daemons:
            daemon.stop()
