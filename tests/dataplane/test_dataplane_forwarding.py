"""Forwarded packets obey `in` entries, by the fwd twins that Linux needs and KAME does not."""

import pytest

from kamexfrm.net import IPPROTO_ESP
from kamexfrm.rig import Gateways
from tests.dataplane.dataplane_proof import (
    ESP_KEYS,
    Watch,
    load,
    moved,
    receive_all,
    receiver,
    send,
    setkey,
    waits_for_counter,
)

pytestmark = pytest.mark.dataplane

FAMILIES = ("inet", "inet6")
NETS = {"inet": ("10.1.0.0/16", "10.2.0.0/16"), "inet6": ("fd01::/64", "fd02::/64")}
G1 = {"inet": "10.1.0.1", "inet6": "fd01::1"}
H2 = {"inet": "10.2.0.2", "inet6": "fd02::2"}
PORT = 7001


def forwarded(gateways: Gateways, family: str) -> bool:
    """Whether a datagram from h1 reaches h2; if not, a policy of g1 must have met it."""
    before = gateways.g1.counters()
    with receiver(gateways.h2, H2[family], PORT) as link:
        send(gateways.h1, H2[family], PORT)
        if receive_all(link):
            assert moved(gateways.g1, before) == {}
            return True
    waits_for_counter(gateways.g1, "XfrmInPolBlock", before)
    return False


def delivered(gateways: Gateways, family: str) -> bool:
    """Whether a datagram from h1 reaches g1 itself."""
    before = gateways.g1.counters()
    with receiver(gateways.g1, G1[family], PORT) as link:
        send(gateways.h1, G1[family], PORT)
        if receive_all(link):
            return True
    waits_for_counter(gateways.g1, "XfrmInPolBlock", before)
    return False


def acquaint(gateways: Gateways, family: str) -> None:
    assert gateways.h1.ping(H2[family])
    assert gateways.h1.ping(G1[family])


@pytest.mark.parametrize("family", FAMILIES)
def test_an_in_entry_meets_forwarded_packets_and_those_for_the_gateway_itself(
    gateways: Gateways, family: str
) -> None:
    net = NETS[family][0]
    anywhere = "0.0.0.0/0" if family == "inet" else "::/0"
    acquaint(gateways, family)
    load(gateways.g1, f"spdadd {net} {anywhere} udp -P in discard;")
    assert not forwarded(gateways, family)
    assert not delivered(gateways, family)
    load(gateways.g1, f"spddelete {net} {anywhere} udp -P in;")
    assert forwarded(gateways, family)
    assert delivered(gateways, family)


@pytest.mark.parametrize("family", FAMILIES)
def test_an_in_entry_made_with_k_leaves_forwarded_packets_alone(
    gateways: Gateways, family: str
) -> None:
    net = NETS[family][0]
    anywhere = "0.0.0.0/0" if family == "inet" else "::/0"
    acquaint(gateways, family)
    setkey(gateways.g1, "-k", "-e", f"spdadd {net} {anywhere} udp -P in discard;")
    assert forwarded(gateways, family)
    assert not delivered(gateways, family)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_fwd_entry_meets_forwarded_packets_only(gateways: Gateways, family: str) -> None:
    net = NETS[family][0]
    anywhere = "0.0.0.0/0" if family == "inet" else "::/0"
    acquaint(gateways, family)
    setkey(gateways.g1, "-e", f"spdadd {net} {anywhere} udp -P fwd discard;")
    assert not forwarded(gateways, family)
    assert delivered(gateways, family)


def test_an_explicit_fwd_entry_takes_a_twin_over_and_outlives_the_in_entry(
    gateways: Gateways,
) -> None:
    selector = f"{NETS['inet'][0]} 0.0.0.0/0 udp"
    acquaint(gateways, "inet")
    load(gateways.g1, f"spdadd {selector} -P in none;")
    assert forwarded(gateways, "inet")
    load(gateways.g1, f"spdadd {selector} -P fwd discard;")
    assert not forwarded(gateways, "inet")
    load(gateways.g1, f"spddelete {selector} -P in;")
    assert not forwarded(gateways, "inet")
    load(gateways.g1, f"spddelete {selector} -P fwd;")
    assert forwarded(gateways, "inet")


def test_a_twin_follows_an_update_of_its_in_entry(gateways: Gateways) -> None:
    selector = f"{NETS['inet'][0]} 0.0.0.0/0 udp"
    acquaint(gateways, "inet")
    for command, action in (("spdadd", "none"), ("spdupdate", "discard"), ("spdupdate", "none")):
        load(gateways.g1, f"{command} {selector} -P in {action};")
        assert forwarded(gateways, "inet") == (action == "none")
        assert delivered(gateways, "inet") == (action == "none")


@pytest.mark.parametrize("none_first", [True, False])
def test_forwarded_packets_meet_twins_in_the_order_of_their_in_entries(
    gateways: Gateways, none_first: bool
) -> None:
    host = "spdadd 10.1.0.2 10.2.0.2 any -P in none;"
    net = "spdadd 10.1.0.0/16 10.2.0.0/16 any -P in discard;"
    acquaint(gateways, "inet")
    load(gateways.g1, host + net if none_first else net + host)
    assert forwarded(gateways, "inet") == none_first


@pytest.mark.parametrize("family", FAMILIES)
def test_a_tunnel_without_its_fwd_twin_delivers_nothing_behind_the_gateway(
    gateways: Gateways, family: str
) -> None:
    outer = ("10.0.0.1", "10.0.0.2") if family == "inet" else ("fd00::1", "fd00::2")
    tunnel = "ipsec esp/tunnel/{}-{}/require"
    g1, g2 = gateways.g1, gateways.g2
    sa = f"add {outer[0]} {outer[1]} esp 0x1000 -m tunnel {ESP_KEYS};"
    acquaint(gateways, family)
    load(g1, sa + f"spdadd {' '.join(NETS[family])} any -P out {tunnel.format(*outer)};")
    inbound = f"spdadd {' '.join(NETS[family])} any -P in {tunnel.format(*outer)};"
    setkey(g2, "-k", "-e", sa + inbound)
    before = g2.counters()
    send(gateways.h1, H2[family], PORT)
    waits_for_counter(g2, "XfrmInNoPols", before)
    load(g2, "spdflush;" + inbound)
    with (
        receiver(gateways.h2, H2[family], PORT) as link,
        Watch((g1, g2), g1, "eth1") as watch,
    ):
        send(gateways.h1, H2[family], PORT)
        assert len(receive_all(link)) == 1
    watch.assert_protected(IPPROTO_ESP, both=False)


def test_an_in_entry_of_none_lets_tunnelled_packets_through_to_the_net_behind(
    gateways: Gateways,
) -> None:
    g1, g2 = gateways.g1, gateways.g2
    tunnel = "ipsec esp/tunnel/10.0.0.1-10.0.0.2/require"
    sa = f"add 10.0.0.1 10.0.0.2 esp 0x1000 -m tunnel {ESP_KEYS};"
    load(g1, sa + f"spdadd 10.1.0.0/16 10.2.0.0/16 any -P out {tunnel};")
    load(g2, sa + "spdadd 10.1.0.0/16 10.2.0.0/16 any -P in none;")
    with (
        receiver(gateways.h2, "10.2.0.2", PORT) as link,
        Watch((g1, g2), g1, "eth1") as watch,
    ):
        send(gateways.h1, "10.2.0.2", PORT)
        assert len(receive_all(link)) == 1
    watch.assert_protected(IPPROTO_ESP, both=False)
