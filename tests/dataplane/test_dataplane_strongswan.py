"""strongSwan on the same host: what it made is shown, works on, and is not ours to change."""

import re
from pathlib import Path

import pytest

from kamexfrm.rig import Host, TwoHosts, until
from tests.dataplane.dataplane_proof import knob, load, setkey
from tests.dataplane.ike_daemons import IPV4, PATIENCE, Charon, Iked, Tunnel, agreed

pytestmark = pytest.mark.dataplane


def start_strongswan(
    hosts: TwoHosts, folder: Path, tunnel: Tunnel, ports: tuple[int, int] = (500, 4500)
) -> None:
    """Start it on both hosts; the second one asks the first for SAs."""
    Charon(hosts.b, folder, "none", tunnel.mirrored(), ports=ports).ready()
    Charon(hosts.a, folder, "start", tunnel, ports=ports).ready()


@pytest.fixture
def charons(own_hosts: TwoHosts, tmp_path: Path) -> TwoHosts:
    """Two hosts with a tunnel of strongSwan's between them, traffic and all."""
    IPV4.lay(own_hosts)
    start_strongswan(own_hosts, tmp_path, IPV4)
    until(lambda: agreed(own_hosts), PATIENCE, "two SAs on each end")
    IPV4.assert_protected(own_hosts)
    return own_hosts


def entries(host: Host) -> str:
    """Return strongSwan's policies and SAs as ip(8) shows them, less what traffic changes."""
    policies, states = (
        host.run(["ip", "xfrm", kind], check=True).stdout for kind in ("policy", "state")
    )
    blocks = re.split(r"(?m)^(?=src )", policies + states)
    counters = re.compile(r"(?m)^\s+(anti-replay|lastused) .*\n")
    return "".join(counters.sub("", block) for block in blocks if "reqid 1" in block)


def test_setkey_and_the_knobs_show_what_strongswan_made_and_leave_it_alone(
    charons: TwoHosts,
) -> None:
    a = charons.a
    before = entries(a)
    assert before.count(" priority ") == 3
    assert before.count("auth-trunc") == 2
    dump = setkey(a, "-DP")
    assert "esp/tunnel/10.0.0.1-10.0.0.2/unique:1" in dump
    assert "hmac-sha512" in setkey(a, "-D")

    load(
        a,
        "spdadd 10.0.0.1 10.0.0.2 tcp -P out ipsec esp/transport//default;\n"
        "spdadd 10.0.0.2 10.0.0.1 tcp -P in ipsec esp/transport//default;\n"
        "add 10.0.0.1 10.0.0.2 esp 0x1001 -u 7 -E null -A hmac-sha1 "
        "0x000102030405060708090a0b0c0d0e0f10111213;\n",
    )
    for value in ("2", "1"):
        knob(a, f"net.inet.ipsec.esp_trans_deflev={value}")
        knob(a, f"net.inet.ipsec.esp_net_deflev={value}")
        assert entries(a) == before
    load(
        a,
        "spddelete 10.0.0.1 10.0.0.2 tcp -P out;\nspddelete 10.0.0.2 10.0.0.1 tcp -P in;\n"
        "delete 10.0.0.1 10.0.0.2 esp 0x1001;\n",
    )
    assert entries(a) == before
    IPV4.assert_protected(charons)


#: Beside IPV4, with the same ends.
BESIDE = Tunnel(IPV4.ends, ("10.88.1.0/24", "10.88.2.0/24"), ("10.88.1.1", "10.88.2.1"))


def test_iked_under_exec_and_strongswan_serve_the_same_hosts_side_by_side(
    own_hosts: TwoHosts, tmp_path: Path
) -> None:
    IPV4.lay(own_hosts)
    BESIDE.lay(own_hosts)
    b = Iked(own_hosts.b, tmp_path, "passive", IPV4.mirrored(), door="exec")
    b.ready()
    a = Iked(own_hosts.a, tmp_path, "active", IPV4, lifetime="4", door="exec")
    of_iked = until(lambda: agreed(own_hosts), PATIENCE, "two SAs on each end")
    start_strongswan(own_hosts, tmp_path, BESIDE, ports=(1500, 1501))
    until(lambda: len(agreed(own_hosts) - of_iked) >= 2, PATIENCE, "strongSwan's SAs")
    before = [entries(host) for host in own_hosts]
    for text in before:
        assert (text.count(" priority "), text.count("auth-trunc")) == (3, 2)

    until(lambda: agreed(own_hosts).isdisjoint(of_iked), PATIENCE, "iked's new SAs")
    for tunnel in (IPV4, BESIDE):
        tunnel.assert_protected(own_hosts)
    for daemon in (a, b):
        daemon.stop()
        assert "esp/tunnel/10.0.0" in setkey(daemon.host, "-DP")
    until(
        lambda: [entries(host) for host in own_hosts] == before,
        PATIENCE,
        "only strongSwan's are left",
    )
    BESIDE.assert_protected(own_hosts)
