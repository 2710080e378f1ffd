"""def_policy: what becomes of packets that no policy matches, for each family by itself."""

import pytest

from kamexfrm.net import IPPROTO_ESP
from kamexfrm.rig import Gateways, Host, TwoHosts
from kamexfrm.sysctl.command import run as run_sysctl
from tests.dataplane.dataplane_proof import (
    ESP_KEYS,
    Watch,
    both_sides,
    command,
    knob,
    load,
    moved,
    ping,
    receive_all,
    receiver,
    send,
    setkey,
    waits_for_counter,
)

pytestmark = pytest.mark.dataplane

DEF_POLICY = {"inet": "net.inet.ipsec.def_policy", "inet6": "net.inet6.ipsec6.def_policy"}
OTHER = {"inet": "inet6", "inet6": "inet"}
ANYWHERE = {"inet": "0.0.0.0/0", "inet6": "::/0"}

#: The addresses of the gateways' rig by family: h1, g1 within, g1 without, g2 without, h2.
H1 = {"inet": "10.1.0.2", "inet6": "fd01::2"}
G1 = {"inet": "10.1.0.1", "inet6": "fd01::1"}
G2 = {"inet": "10.0.0.2", "inet6": "fd00::2"}
H2 = {"inet": "10.2.0.2", "inet6": "fd02::2"}

PORT = 7001


def acquaint(gateways: Gateways) -> None:
    """Let both hosts resolve their neighbours, by both families."""
    for family in DEF_POLICY:
        assert gateways.h1.ping(H2[family])
        assert gateways.h2.ping(H1[family])
        assert gateways.g1.ping(G2[family])
        assert gateways.g1.ping(H1[family])


def noise(at: Host) -> set[str]:
    """Return the counters that IPv6's own packets move where def_policy discards those, too."""
    is_closed = knob(at, "-n", DEF_POLICY["inet6"]) == "0\n"
    return {"XfrmOutPolBlock", "XfrmInPolBlock"} if is_closed else set()


def assert_passes(sender: Host, to: Host, address: str, at: Host) -> None:
    """Assert that a datagram arrives, and that ``at`` counts no error."""
    before = at.counters()
    with receiver(to, address, PORT) as link:
        send(sender, address, PORT)
        assert len(receive_all(link)) == 1
    assert set(moved(at, before)) <= noise(at)


def assert_dropped(sender: Host, to: Host, address: str, at: Host, counter: str) -> None:
    """Assert that a datagram does not arrive because of a policy of ``at``."""
    before = at.counters()
    with receiver(to, address, PORT) as link:
        send(sender, address, PORT)
        waits_for_counter(at, counter, before)
        assert receive_all(link) == []
    assert set(moved(at, before)) <= {counter} | noise(at)


@pytest.mark.parametrize("family", DEF_POLICY)
def test_def_policy_0_drops_what_nothing_matches_of_its_family_only(
    gateways: Gateways, family: str
) -> None:
    h1, g1, g2, h2 = gateways
    acquaint(gateways)

    def check(one: str, *, dropped: bool) -> None:
        ways = (
            (g1, g2, G2[one], "XfrmOutPolBlock"),
            (h1, g1, G1[one], "XfrmInPolBlock"),
            (h1, h2, H2[one], "XfrmInPolBlock"),
            (h2, h1, H1[one], "XfrmInPolBlock"),
        )
        for sender, to, address, counter in ways:
            if dropped:
                assert_dropped(sender, to, address, g1, counter)
            else:
                assert_passes(sender, to, address, g1)

    for _ in range(2):
        for one in DEF_POLICY:
            check(one, dropped=False)
        done = command(g1, run_sysctl, f"{DEF_POLICY[family]}=0")
        assert done.stdout == f"{DEF_POLICY[family]}: 1 -> 0\n"
        assert "not exempt" in done.stderr
        check(family, dropped=True)
        check(OTHER[family], dropped=False)
        knob(g1, f"{DEF_POLICY[family]}=1")
    check(family, dropped=False)


def test_both_families_can_be_closed_and_opened_one_after_the_other(gateways: Gateways) -> None:
    h1, g1, _, h2 = gateways
    acquaint(gateways)
    closed = {"inet": False, "inet6": False}
    for family, value in (("inet", 0), ("inet6", 0), ("inet", 1), ("inet", 0), ("inet6", 1)):
        knob(g1, f"{DEF_POLICY[family]}={value}")
        closed[family] = value == 0
        for one, is_closed in closed.items():
            if is_closed:
                assert_dropped(h1, h2, H2[one], g1, "XfrmInPolBlock")
            else:
                assert_passes(h1, h2, H2[one], g1)


@pytest.mark.parametrize("family", DEF_POLICY)
@pytest.mark.parametrize("flush", [("-FP",), ("-e", "spdflush;"), ("-e", "flush; spdflush;")])
def test_def_policy_0_outlives_a_flush_of_the_spd(
    gateways: Gateways, family: str, flush: tuple[str, ...]
) -> None:
    h1, g1, g2, h2 = gateways
    acquaint(gateways)
    load(g1, f"spdadd {H1[family]} {H2[family]} any -P in none;")
    load(g1, f"spdadd {H1[family]} {H2[family]} any -P out none;")
    knob(g1, f"{DEF_POLICY[family]}=0")
    assert_passes(h1, h2, H2[family], g1)
    setkey(g1, *flush)
    assert_dropped(h1, h2, H2[family], g1, "XfrmInPolBlock")
    assert_dropped(g1, g2, G2[family], g1, "XfrmOutPolBlock")
    assert knob(g1, "-n", DEF_POLICY[family]) == "0\n"
    knob(g1, f"{DEF_POLICY[family]}=1")
    assert_passes(h1, h2, H2[family], g1)


@pytest.mark.parametrize("family", DEF_POLICY)
@pytest.mark.parametrize("when", ["before", "after"])
def test_a_users_entries_for_everything_live_beside_def_policy(
    gateways: Gateways, family: str, when: str
) -> None:
    _, g1, g2, _ = gateways
    acquaint(gateways)
    everything = f"{ANYWHERE[family]} {ANYWHERE[family]} any -P out"
    if when == "before":
        load(g1, f"spdadd {everything} none;")
    knob(g1, f"{DEF_POLICY[family]}=0")
    if when == "after":
        load(g1, f"spdadd {everything} none;")
    assert_passes(g1, g2, G2[family], g1)
    assert setkey(g1, "-DP").count("spid=") == 1
    knob(g1, f"{DEF_POLICY[family]}=1")
    assert_passes(g1, g2, G2[family], g1)
    assert setkey(g1, "-DP").count("spid=") == 1
    load(g1, f"spdupdate {everything} discard;")
    assert_dropped(g1, g2, G2[family], g1, "XfrmOutPolBlock")
    knob(g1, f"{DEF_POLICY[family]}=0")
    load(g1, f"spddelete {everything} discard;")
    assert_dropped(g1, g2, G2[family], g1, "XfrmOutPolBlock")
    knob(g1, f"{DEF_POLICY[family]}=1")
    assert_passes(g1, g2, G2[family], g1)


def test_protected_packets_pass_where_def_policy_is_0(two_hosts: TwoHosts) -> None:
    left, right = "10.0.0.1", "10.0.0.2"
    there = f"add {left} {right} esp 0x1000 {ESP_KEYS}; add {right} {left} esp 0x1001 {ESP_KEYS};"
    for host, policies in zip(
        two_hosts, both_sides(left, right, "ipsec esp/transport//require"), strict=True
    ):
        knob(host, f"{DEF_POLICY['inet']}=0")
        load(host, there + policies)
    with Watch(two_hosts, two_hosts.a) as watch:
        assert ping(two_hosts.a, right)
        assert ping(two_hosts.b, left)
    watch.assert_protected(IPPROTO_ESP)


def test_tunnelled_packets_pass_a_gateway_where_def_policy_is_0(gateways: Gateways) -> None:
    nets = "10.1.0.0/16", "10.2.0.0/16"
    out, back = (
        f"ipsec esp/tunnel/{end}/require" for end in ("10.0.0.1-10.0.0.2", "10.0.0.2-10.0.0.1")
    )
    there = (
        f"add 10.0.0.1 10.0.0.2 esp 0x1000 -m tunnel {ESP_KEYS};"
        f"add 10.0.0.2 10.0.0.1 esp 0x1001 -m tunnel {ESP_KEYS};"
    )
    for host, policies in zip(gateways[1:3], both_sides(*nets, out, mirrored=back), strict=True):
        knob(host, f"{DEF_POLICY['inet']}=0")
        # What is forwarded leaves the gateway towards its own net, too.
        own, far = nets if host is gateways.g1 else nets[::-1]
        inner = f"spdadd {far} {own} any -P out none; spdadd {own} {far} any -P in none;"
        load(host, there + policies + inner)
    with Watch(gateways, gateways.g1, "eth1") as watch:
        assert ping(gateways.h1, "10.2.0.2")
        assert ping(gateways.h2, "10.1.0.2")
    watch.assert_protected(IPPROTO_ESP)
