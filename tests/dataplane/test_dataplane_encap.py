"""kamexfrmd --encap: ESP in UDP by hand, under policies for any packet."""

import contextlib
from collections.abc import Iterator

import pytest

from kamexfrm.hub.event_loop import EventLoop
from kamexfrm.kamexfrmd.encap import Encap, open_encap, parse_encap
from kamexfrm.kernel.netlink import NetlinkKernel
from kamexfrm.net import IPPROTO_UDP
from kamexfrm.rig import Host, TwoHosts
from tests.dataplane.dataplane_proof import (
    ESP_KEYS,
    both_sides,
    load,
    no_ping,
    ping,
    sa_counters,
)

pytestmark = pytest.mark.dataplane

ENDS = {"v4": ("10.0.0.1", "10.0.0.2", ""), "v6": ("fd00::1", "fd00::2", "[fd00::2]:")}


@contextlib.contextmanager
def taking(host: Host, text: str, interval: float = 0.0) -> Iterator[Encap]:
    """Take ESP in UDP at a host as the daemon does."""
    kernel = host.call(NetlinkKernel)
    encap = host.call(Encap, kernel, parse_encap(text), EventLoop(), lambda _: None, interval)
    try:
        yield encap
    finally:
        encap.close()
        kernel.close()


def write(hosts: TwoHosts, left: str, right: str) -> None:
    out, back = both_sides(left, right, "ipsec esp/transport//require")
    for host, policies in zip(hosts, (out, back), strict=True):
        load(
            host,
            f"add {left}[4500] {right}[4500] esp-udp 0x1001 -m transport {ESP_KEYS};\n"
            f"add {right}[4500] {left}[4500] esp-udp 0x1002 -m transport {ESP_KEYS};\n" + policies,
        )


@pytest.mark.parametrize("family", ENDS)
def test_packets_reach_a_host_that_takes_esp_in_udp(two_hosts: TwoHosts, family: str) -> None:
    left, right, written = ENDS[family]
    write(two_hosts, left, right)
    assert no_ping(two_hosts.a, right)
    with taking(two_hosts.a, "4500"), taking(two_hosts.b, f"{written}4500"):
        before = sa_counters(two_hosts.b)
        with two_hosts.a.capture("eth0") as wire:
            assert ping(two_hosts.a, right)
        assert all(p.has(IPPROTO_UDP) for p in wire.packets if p.destination == right)
        after = sa_counters(two_hosts.b)
        assert all(after[name] > before[name] for name in after)


@pytest.mark.parametrize("family", ENDS)
def test_keepalives_go_to_the_peer_past_the_policies(two_hosts: TwoHosts, family: str) -> None:
    left, right, _ = ENDS[family]
    write(two_hosts, left, right)
    with taking(two_hosts.a, "4500", 20.0) as encap, two_hosts.a.capture("eth0") as wire:
        assert 19.0 < (encap.run_deferred() or 0) <= 20.0
        assert 0 < (encap.run_deferred() or 0) <= 20.0  # the next one is not due
    sent = [p for p in wire.packets if p.has(IPPROTO_UDP) and p.destination == right]
    assert [packet.data[-1:] for packet in sent] == [b"\xff"]


def test_what_is_no_esp_does_not_fill_the_socket(two_hosts: TwoHosts) -> None:
    (at,) = parse_encap("10.0.0.2:4500")
    loop = EventLoop()
    kernel = two_hosts.b.call(NetlinkKernel)
    encap = two_hosts.b.call(Encap, kernel, [at], loop, lambda _: None, 0.0)
    with contextlib.closing(kernel), contextlib.closing(encap):
        two_hosts.a.udp_ask("10.0.0.2", 4500, bytes(4) + b"IKE", timeout=0.1)
        loop.dispatch(loop.wait(5))
        assert loop.wait(0) == []


def test_both_policies_of_the_socket_are_bypass(two_hosts: TwoHosts) -> None:
    (at,) = parse_encap("10.0.0.2:4500")
    kernel = two_hosts.b.call(NetlinkKernel)
    with contextlib.closing(kernel), contextlib.closing(two_hosts.b.call(open_encap, at)):
        found = {(p.direction, p.action) for p in kernel.policies() if p.direction > 2}
        assert {direction for direction, _ in found} == {3, 4}
        assert {action for _, action in found} == {0}
