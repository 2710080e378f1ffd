"""strongSwan on the same host: what it made is shown, works on, and is not ours to change."""

import re
from pathlib import Path

import pytest
from dataplane_proof import knob, load, setkey
from ike_daemons import IPV4, PATIENCE, Charon, agreed

from kamexfrm.rig import Host, TwoHosts, until

pytestmark = pytest.mark.dataplane


@pytest.fixture
def charons(own_hosts: TwoHosts, tmp_path: Path) -> TwoHosts:
    """Two hosts with a tunnel of strongSwan's between them, traffic and all."""
    IPV4.lay(own_hosts)
    for host, action, tunnel in (
        (own_hosts.b, "none", IPV4.mirrored()),
        (own_hosts.a, "start", IPV4),
    ):
        Charon(host, tmp_path, action, tunnel).ready()
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
    assert before.count("dir ") == 3
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
