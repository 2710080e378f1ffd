"""Captures: in clear on any kernel, and ESP and AH on the wire where there is a data plane."""

import pytest

from kamexfrm.net import IPPROTO_AH, IPPROTO_ESP, IPPROTO_ICMP, IPPROTO_ICMPV6
from kamexfrm.rig import (
    Gateways,
    Host,
    Packet,
    TwoHosts,
    kernel_has_ah,
    kernel_has_esp,
)

MARKER = b"in clear on the wire"
AUTH = ["auth", "hmac(sha1)", "0x" + bytes(range(20)).hex()]
ENC = ["enc", "cbc(aes)", "0x" + bytes(range(16)).hex()]
PAIRS = [("10.0.0.1", "10.0.0.2"), ("fd00::1", "fd00::2")]


def protect(
    host: Host, mine: str, its: str, nets: tuple[str, str] | None = None, protocol: str = "esp"
) -> None:
    """Give the host SAs both ways and policies out, in and fwd, by ip(8)."""
    mode = "tunnel" if nets else "transport"
    algorithms = AUTH + ENC if protocol == "esp" else AUTH
    here, there = nets or (mine, its)
    ways = (("out", mine, its, here, there), ("in", its, mine, there, here))
    for direction, source, destination, inner_source, inner_destination in ways:
        spi = "0x1001" if source < destination else "0x1002"
        ends = ["src", source, "dst", destination, "proto", protocol]
        host.run(
            ["ip", "xfrm", "state", "add", *ends, "spi", spi, "mode", mode, *algorithms],
            check=True,
        )
        for name in ("in", "fwd") if direction == "in" else ("out",):
            selector = ["src", inner_source, "dst", inner_destination, "dir", name]
            host.run(
                ["ip", "xfrm", "policy", "add", *selector, "tmpl", *ends, "mode", mode],
                check=True,
            )


def is_echo(packet: Packet) -> bool:
    return packet.has(IPPROTO_ICMP) or packet.has(IPPROTO_ICMPV6)


@pytest.mark.parametrize(("mine", "its"), PAIRS)
def test_clear_text_is_seen_once_each_way(two_hosts: TwoHosts, mine: str, its: str) -> None:
    with two_hosts.a.capture("eth0") as capture:
        assert two_hosts.a.ping(its, payload=MARKER)
        capture.wait_for(lambda p: p.payload == MARKER and p.source == its)
        echoes = [p for p in capture.packets if MARKER in p.data]
    assert [(p.direction, p.source, p.destination) for p in echoes] == [
        ("out", mine, its),
        ("in", its, mine),
    ]
    assert capture.contains(MARKER)
    assert all(p.payload == MARKER for p in echoes)


def test_loopback_is_seen_once(namespace: Host) -> None:
    with namespace.capture("lo") as capture:
        assert namespace.ping("127.0.0.1", payload=MARKER)
    assert [p.summary.split(" ICMP ")[1] for p in capture.packets] == [
        "echo request 48 bytes",
        "echo reply 48 bytes",
    ]


def test_a_packet_that_does_not_come_is_a_timeout_that_shows_the_others(
    two_hosts: TwoHosts,
) -> None:
    with two_hosts.b.capture("eth0") as capture:
        assert two_hosts.a.ping("10.0.0.2")
        with pytest.raises(TimeoutError, match=r"in  10\.0\.0\.1 > 10\.0\.0\.2 ICMP echo request"):
            capture.wait_for(lambda p: p.protocol == IPPROTO_ESP, 0.05)
        capture.clear()
        assert not capture.packets


@pytest.mark.dataplane
def test_the_data_plane_has_esp_and_ah() -> None:
    assert kernel_has_esp()
    assert kernel_has_ah()


@pytest.mark.both_kernels
def test_a_policy_that_discards_stops_a_ping_on_each_kernel(two_hosts: TwoHosts) -> None:
    block = "ip xfrm policy add src 0.0.0.0/0 dst 10.0.0.2 dir out action block"
    two_hosts.a.run(block.split(), check=True)
    with two_hosts.a.capture("eth0") as capture:
        assert not two_hosts.a.ping("10.0.0.2", timeout=0.1, payload=MARKER)
        assert two_hosts.a.ping("fd00::2")
    assert not capture.contains(MARKER)


@pytest.mark.dataplane
@pytest.mark.parametrize(("mine", "its"), PAIRS)
def test_esp_hides_the_data(two_hosts: TwoHosts, mine: str, its: str) -> None:
    a, b = two_hosts
    protect(a, mine, its)
    protect(b, its, mine)
    with a.capture("eth0") as capture:
        assert a.ping(its, payload=MARKER)
        answer = capture.wait_for(lambda p: p.has(IPPROTO_ESP) and p.direction == "in")
    assert answer.spi == 0x1002
    assert not capture.contains(MARKER)


@pytest.mark.dataplane
@pytest.mark.parametrize(("mine", "its"), PAIRS)
def test_ah_shows_what_it_protects(two_hosts: TwoHosts, mine: str, its: str) -> None:
    a, b = two_hosts
    protect(a, mine, its, protocol="ah")
    protect(b, its, mine, protocol="ah")
    with a.capture("eth0") as capture:
        assert a.ping(its, payload=MARKER)
        packet = capture.wait_for(lambda p: p.protocol == IPPROTO_AH)
    assert is_echo(packet)
    assert capture.contains(MARKER)


@pytest.mark.dataplane
@pytest.mark.parametrize(
    ("version", "nets", "target"),
    [(4, ("10.1.0.0/16", "10.2.0.0/16"), "10.2.0.2"), (6, ("fd01::/64", "fd02::/64"), "fd02::2")],
)
def test_a_tunnel_is_opaque_on_the_wire_and_clear_behind_the_gateways(
    gateways: Gateways, version: int, nets: tuple[str, str], target: str
) -> None:
    left, right = PAIRS[0 if version == 4 else 1]
    protect(gateways.g1, left, right, nets)
    protect(gateways.g2, right, left, (nets[1], nets[0]))
    with gateways.g2.capture("eth1") as wire, gateways.h2.capture("eth0") as behind:
        assert gateways.h1.ping(target, payload=MARKER)
        wire.wait_for(lambda p: p.has(IPPROTO_ESP) and p.direction == "in")
    assert not wire.contains(MARKER)
    assert behind.contains(MARKER)
