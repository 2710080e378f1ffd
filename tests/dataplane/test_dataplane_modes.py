"""SAs of mode any: written without -m, they serve tunnels and transport requests alike."""

import pytest

from kamexfrm.net import IPPROTO_AH, IPPROTO_ESP
from kamexfrm.rig import Gateways, TwoHosts
from tests.dataplane.dataplane_proof import (
    AUTHENTICATION,
    ESP_KEYS,
    Watch,
    both_sides,
    load,
    ping,
    setkey,
)

pytestmark = pytest.mark.dataplane

A4, B4, A6, B6 = "10.0.0.1", "10.0.0.2", "fd00::1", "fd00::2"
ENDS = {"v4": (A4, B4), "v6": (A6, B6)}
NETS = {"v4": ("10.1.0.0/16", "10.2.0.0/16"), "v6": ("fd01::/64", "fd02::/64")}
BEHIND = {"v4": ("10.1.0.2", "10.2.0.2"), "v6": ("fd01::2", "fd02::2")}


def sas(left: str, right: str, protocol: str = "esp", options: str = "") -> str:
    """Return an SA for each way without a mode."""
    keys = ESP_KEYS if protocol == "esp" else AUTHENTICATION
    spi = 0x1000 if protocol == "esp" else 0x2000
    return (
        f"add {left} {right} {protocol} {spi:#x} {options} {keys};\n"
        f"add {right} {left} {protocol} {spi + 1:#x} {options} {keys};\n"
    )


def in_order(order: str, policies: str, associations: str) -> list[str]:
    """Return the scripts to run one after the other."""
    return {
        "policies first": [policies, associations],
        "SAs first": [associations, policies],
        "one script, policies first": [policies + associations],
        "one script, SAs first": [associations + policies],
    }[order]


ORDERS = ["policies first", "SAs first", "one script, policies first", "one script, SAs first"]


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize(
    ("inner", "outer"), [("v4", "v4"), ("v6", "v6"), ("v6", "v4"), ("v4", "v6")]
)
def test_an_sa_without_a_mode_serves_a_tunnel(
    gateways: Gateways, inner: str, outer: str, order: str
) -> None:
    left, right = ENDS[outer]
    out, back = (
        f"ipsec esp/tunnel/{end}/require" for end in (f"{left}-{right}", f"{right}-{left}")
    )
    for host, policies in zip(
        gateways[1:3], both_sides(*NETS[inner], out, mirrored=back), strict=True
    ):
        for script in in_order(order, policies, sas(left, right, options="-r 64")):
            load(host, script)
    left_host, right_host = BEHIND[inner]
    with Watch(gateways, gateways.g1, "eth1") as watch:
        assert ping(gateways.h1, right_host)
        assert ping(gateways.h2, left_host)
    watch.assert_protected(IPPROTO_ESP)


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("family", ENDS)
def test_an_sa_without_a_mode_serves_a_transport_request(
    two_hosts: TwoHosts, family: str, order: str
) -> None:
    left, right = ENDS[family]
    assert two_hosts.a.ping(right)
    requests = "ipsec esp/transport//require ah/transport//require"
    for host, policies in zip(two_hosts, both_sides(left, right, requests), strict=True):
        there = sas(left, right) + sas(left, right, "ah")
        for script in in_order(order, policies, there):
            load(host, script)
    with Watch(two_hosts, two_hosts.a) as watch:
        assert ping(two_hosts.a, right)
        assert ping(two_hosts.b, left)
    watch.assert_protected(IPPROTO_AH, IPPROTO_ESP)


@pytest.mark.parametrize("order", ORDERS)
def test_an_sa_without_a_mode_serves_the_tunnel_of_its_own_reqid(
    gateways: Gateways, order: str
) -> None:
    out, back = (
        f"ipsec esp/tunnel/{end}/unique:{n}"
        for end, n in ((f"{A4}-{B4}", 100), (f"{B4}-{A4}", 101))
    )
    there = (
        f"add {A4} {B4} esp 0x1000 -u 100 {ESP_KEYS};\n"
        f"add {B4} {A4} esp 0x1001 -u 101 {ESP_KEYS};\n"
    )
    for host, policies in zip(
        gateways[1:3], both_sides(*NETS["v4"], out, mirrored=back), strict=True
    ):
        for script in in_order(order, policies, there):
            load(host, script)
    with Watch(gateways, gateways.g1, "eth1") as watch:
        assert ping(gateways.h1, "10.2.0.2")
        assert ping(gateways.h2, "10.1.0.2")
    watch.assert_protected(IPPROTO_ESP)


@pytest.mark.parametrize("options", ["-r 32", "-r 64", "-r 64 -esn"])
def test_an_sa_without_a_mode_follows_the_policies_from_transport_to_tunnel_and_back(
    two_hosts: TwoHosts, options: str
) -> None:
    a, b = two_hosts
    out, back = (f"ipsec esp/tunnel/{end}/require" for end in (f"{A4}-{B4}", f"{B4}-{A4}"))
    tunnel = both_sides(A4, B4, out, mirrored=back)
    transport = both_sides(A4, B4, "ipsec esp/transport//require")
    for host, policies in zip(two_hosts, transport, strict=True):
        load(host, sas(A4, B4, options=options) + policies)
    highest = 0
    for policies_of in (transport, tunnel, transport, tunnel):
        for host, policies in zip(two_hosts, policies_of, strict=True):
            load(host, policies.replace("spdadd", "spdupdate"))
        with Watch(two_hosts, a) as watch:
            assert ping(a, B4)
            assert ping(b, A4)
        watch.assert_protected(IPPROTO_ESP)
        numbers = [p.sequence or 0 for p in watch.packets() if p.spi == 0x1000]
        # A number used twice under one key would break counter modes.
        assert min(numbers) > highest
        highest = max(numbers)
        assert "mode=any" in setkey(a, "-D")


def test_an_sa_without_a_mode_is_a_transport_one_again_without_the_tunnel(
    two_hosts: TwoHosts,
) -> None:
    a, b = two_hosts
    out, back = (f"ipsec esp/tunnel/{end}/require" for end in (f"{A4}-{B4}", f"{B4}-{A4}"))
    tunnel = both_sides(A4, B4, out, mirrored=back, upper="udp")
    transport = both_sides(A4, B4, "ipsec esp/transport//require", upper="icmp")
    for host, icmp, udp in zip(two_hosts, transport, tunnel, strict=True):
        load(host, sas(A4, B4) + icmp + udp)
    for host, udp in zip(two_hosts, tunnel, strict=True):
        load(host, udp.replace("spdadd", "spddelete"))
    with Watch(two_hosts, a) as watch:
        assert ping(a, B4)
        assert ping(b, A4)
    watch.assert_protected(IPPROTO_ESP)
