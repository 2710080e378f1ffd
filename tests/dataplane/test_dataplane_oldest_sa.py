"""net.key.preferred_oldsa on the wire: with which of several SAs packets are sent."""

import socket

import pytest

from kamexfrm.kamexfrmd.reconciler import Reconciler
from kamexfrm.kernel.netlink import NetlinkKernel
from kamexfrm.net import IPPROTO_ESP
from kamexfrm.rig import Host, TwoHosts, until
from tests.dataplane.dataplane_proof import ESP_KEYS, MARKER, knob, load, setkey

pytestmark = pytest.mark.dataplane

A, B = "10.0.0.1", "10.0.0.2"
OLD_SA = "net.key.preferred_oldsa"
SPIS = (0x1000, 0x2000, 0x3000)
WAYS = {
    "transport": f"spdadd {A} {B} udp -P out ipsec esp/transport//use;",
    "tunnel": f"spdadd 0.0.0.0/0 {B} udp -P out ipsec esp/tunnel/{A}-{B}/use;",
}


def add(spi: int, mode: str) -> str:
    return f"add {A} {B} esp {spi:#x} -m {mode} {ESP_KEYS};"


def sent_with(a: Host) -> int:
    """Return the SPI of a datagram that is sent now."""
    with a.capture("eth0") as capture, a.socket(socket.AF_INET, socket.SOCK_DGRAM) as link:
        link.sendto(MARKER, (B, 7007))
        packet = capture.wait_for(lambda packet: packet.has(IPPROTO_ESP))
    assert packet.spi is not None
    return packet.spi


@pytest.mark.parametrize("mode", WAYS)
def test_packets_are_sent_with_the_oldest_sa_where_it_is_preferred(
    two_hosts: TwoHosts, mode: str
) -> None:
    a = two_hosts.a
    load(a, WAYS[mode] + "".join(add(spi, mode) for spi in SPIS))
    assert sent_with(a) == 0x3000
    knob(a, f"{OLD_SA}=1")
    assert sent_with(a) == 0x1000
    shown = setkey(a, "-DP")
    assert "0x1000" not in shown
    assert f"esp/{mode}/" in shown
    load(a, f"delete {A} {B} esp 0x1000;")
    assert sent_with(a) == 0x2000
    load(a, add(0x1000, mode))  # it is the newest now
    assert sent_with(a) == 0x2000
    knob(a, f"{OLD_SA}=0")
    assert sent_with(a) == 0x1000


def test_kamexfrmd_follows_what_expires_and_what_others_delete(two_hosts: TwoHosts) -> None:
    a = two_hosts.a
    load(a, WAYS["transport"])
    knob(a, f"{OLD_SA}=1")
    load(a, "".join(add(spi, "transport") for spi in SPIS))
    with a.enter():
        kernel = NetlinkKernel()
        reconciler = Reconciler(kernel, print)
        reconciler.reconcile()

    def follows(spi: int) -> bool:
        reconciler.process_events()
        reconciler.run_deferred()
        return f"spi {spi:#010x}" in a.run(["ip", "xfrm", "policy"], check=True).stdout

    try:
        assert follows(0x1000)
        delete = f"ip xfrm state delete dst {B} proto esp spi 0x1000"
        a.run(delete.split(), check=True)
        until(lambda: follows(0x2000), what="the policy to name the second SA")
        assert sent_with(a) == 0x2000
        load(a, f"update {A} {B} esp 0x2000 -m transport -lh 1 {ESP_KEYS};")
        until(lambda: follows(0x3000), what="the policy to name the third SA")
        assert sent_with(a) == 0x3000
    finally:
        reconciler.close()
        kernel.close()
