"""Unmodified IKE daemons: SAs by IKEv2, protected traffic, rekeying, a tidy end.

The control runs them on the kernel's own AF_KEY: what they do there, they must do on ours.
"""

from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from kamexfrm.net import IPPROTO_AH, IPPROTO_ESP, IPPROTO_ICMP, IPPROTO_IPIP, IPPROTO_UDP
from kamexfrm.rig import TwoHosts, until
from tests.dataplane.ike_daemons import (
    IPV4,
    IPV6,
    PATIENCE,
    Charon,
    Iked,
    Tunnel,
    agreed,
    has_no_entry,
)

pytestmark = pytest.mark.dataplane

#: Seconds that SAs live which are to be replaced before our eyes.
SHORT = "4"


def start(
    hosts: TwoHosts, folder: Path, tunnel: Tunnel, doors: tuple[str, str]
) -> tuple[Iked, Iked]:
    """Start the one that answers, then the one that asks; it alone replaces SAs, by age."""
    tunnel.lay(hosts)
    b = Iked(hosts.b, folder, "passive", tunnel.mirrored(), door=doors[1])
    b.ready()
    return Iked(hosts.a, folder, "active", tunnel, lifetime=SHORT, door=doors[0]), b


@pytest.mark.parametrize(
    "doors", [("af_key", "af_key"), ("exec", "exec"), ("exec", "af_key")], ids="-".join
)
def test_two_iked_agree_protect_rekey_and_leave_nothing(
    own_hosts: TwoHosts, af_key: Callable[[], None], tmp_path: Path, doors: tuple[str, str]
) -> None:
    if "af_key" in doors:
        af_key()
    daemons = start(own_hosts, tmp_path, IPV4, doors)
    first = until(lambda: agreed(own_hosts), PATIENCE, "two SAs on each end")
    IPV4.assert_protected(own_hosts)
    until(lambda: len(agreed(own_hosts) - first) >= 2, PATIENCE, "new SAs")
    IPV4.assert_protected(own_hosts)
    for daemon in daemons:
        daemon.stop()
        until(partial(has_no_entry, daemon.host), PATIENCE, "its entries are gone")


@pytest.mark.parametrize(
    ("tunnel", "lifetime"), [(IPV4, SHORT), (IPV6, "1h bytes 20K")], ids=["IPv4", "IPv6"]
)
def test_iked_under_exec_and_strongswan_agree_protect_and_rekey(
    own_hosts: TwoHosts, tmp_path: Path, tunnel: Tunnel, lifetime: str
) -> None:
    tunnel.lay(own_hosts)
    Charon(own_hosts.b, tmp_path, "none", tunnel.mirrored()).ready()
    iked = Iked(own_hosts.a, tmp_path, "active", tunnel, lifetime=lifetime, door="exec")
    first = until(lambda: agreed(own_hosts), PATIENCE, "two SAs on each end")
    tunnel.assert_protected(own_hosts)

    def renewed() -> bool:
        own_hosts.a.ping(tunnel.inside[1], count=5, payload=bytes(1000), source=tunnel.inside[0])
        return len(agreed(own_hosts) - first) >= 2

    until(renewed, PATIENCE, "new SAs")
    tunnel.assert_protected(own_hosts)
    iked.stop()
    until(partial(has_no_entry, own_hosts.a), PATIENCE, "its entries are gone")


def test_strongswan_asks_iked_under_exec_for_new_sas(own_hosts: TwoHosts, tmp_path: Path) -> None:
    IPV4.lay(own_hosts)
    iked = Iked(own_hosts.b, tmp_path, "passive", IPV4.mirrored(), door="exec")
    iked.ready()
    charon = Charon(own_hosts.a, tmp_path, "trap", IPV4, rekey="3s")
    charon.ready()
    assert not agreed(own_hosts)
    own_hosts.a.udp_ask(IPV4.inside[1], timeout=0)  # a packet that asks for the SAs
    first = until(lambda: agreed(own_hosts), PATIENCE, "two SAs on each end")
    IPV4.assert_protected(own_hosts)
    until(lambda: len(agreed(own_hosts) - first) >= 2, PATIENCE, "new SAs")
    IPV4.assert_protected(own_hosts)
    charon.swanctl("--terminate", "--ike", "it")
    until(lambda: has_no_entry(own_hosts.b), PATIENCE, "the peer's delete")


@pytest.mark.parametrize(
    ("protocol", "behind_nat", "headers"),
    [
        ("esp", True, (IPPROTO_UDP, IPPROTO_ESP)),
        ("ah", False, (IPPROTO_AH, IPPROTO_IPIP, IPPROTO_ICMP)),
        ("transport esp", False, (IPPROTO_ESP,)),
    ],
    ids=["ESP in UDP", "AH", "transport"],
)
def test_two_iked_under_exec_can_do_more_than_esp_tunnels(
    own_hosts: TwoHosts, tmp_path: Path, protocol: str, behind_nat: bool, headers: tuple[int, ...]
) -> None:
    tunnel = IPV4
    if protocol.startswith("transport"):
        tunnel = Tunnel(IPV4.ends, IPV4.ends, IPV4.ends)
    else:
        tunnel.lay(own_hosts)
    for host, mode, it in (
        (own_hosts.b, "passive", tunnel.mirrored()),
        (own_hosts.a, "active", tunnel),
    ):
        Iked(
            host, tmp_path, mode, it, protocol=protocol, behind_nat=behind_nat, door="exec"
        ).ready()
    until(lambda: agreed(own_hosts), PATIENCE, "two SAs on each end")
    tunnel.assert_protected(own_hosts, *headers)
