"""Whole files as people have them, loaded by the real commands."""

import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from kamexfrm.net import IPPROTO_AH, IPPROTO_ESP, IPPROTO_UDP
from kamexfrm.rig import Gateways, Host, TwoHosts
from kamexfrm.rig import two_hosts as make_two_hosts
from tests.dataplane.dataplane_proof import (
    BIN,
    MARKER,
    Watch,
    bypass,
    ping,
    sa_counters,
    send,
    setkey,
    waits_for_counter,
)

pytestmark = pytest.mark.dataplane

FILES = Path(__file__).parent / "files"
UDP_ENCAP, UDP_ENCAP_ESPINUDP = 100, 2  # linux/udp.h


def load_file(host: Host, name: str) -> None:
    """Load a file in this process."""
    setkey(host, "-f", str(FILES / name))


def run_file(host: Host, name: str) -> None:
    """Load a file by a setkey that is a process of its own."""
    done = host.run([BIN / "setkey", "--strict", "-f", FILES / name])
    assert done.status == 0, done
    assert done.stdout == ""


Loader = Callable[[Host, str], None]


@pytest.mark.parametrize("loader", [run_file, load_file])
def test_two_hosts_of_the_handbook(two_hosts: TwoHosts, loader: Loader) -> None:
    for host, name in zip(two_hosts, ("handbook-a.conf", "handbook-b.conf"), strict=True):
        loader(host, name)
        loader(host, name)  # a file that flushes first can be loaded again
    with Watch(two_hosts, two_hosts.a) as watch:
        assert ping(two_hosts.a, "10.0.0.2")
        assert ping(two_hosts.b, "10.0.0.1")
    watch.assert_protected(IPPROTO_AH, IPPROTO_ESP)


def test_two_ipv6_hosts_of_the_handbook(two_hosts: TwoHosts) -> None:
    assert two_hosts.a.ping("fd00::2")
    for host, name in zip(two_hosts, ("handbook6-a.conf", "handbook6-b.conf"), strict=True):
        load_file(host, name)
    with Watch(two_hosts, two_hosts.a) as watch:
        assert ping(two_hosts.a, "fd00::2")
        assert ping(two_hosts.b, "fd00::1")
    watch.assert_protected(IPPROTO_ESP)


def assert_vpn(gateways: Gateways, *headers: int) -> None:
    with Watch(gateways, gateways.g1, "eth1") as watch:
        assert ping(gateways.h1, "10.2.0.2")
        assert ping(gateways.h2, "10.1.0.2")
        assert ping(gateways.h1, "10.2.0.1")
    watch.assert_protected(*headers)


def test_two_gateways_with_the_networks_behind_them(gateways: Gateways) -> None:
    run_file(gateways.g1, "gateway-a.conf")
    run_file(gateways.g2, "gateway-b.conf")
    assert_vpn(gateways, IPPROTO_AH, IPPROTO_ESP)


def test_a_tunnel_at_level_use_whose_sas_have_no_mode(gateways: Gateways) -> None:
    load_file(gateways.g1, "freebsd-a.conf")
    load_file(gateways.g2, "freebsd-b.conf")
    assert_vpn(gateways, IPPROTO_ESP)


def test_compression_inside_encryption(two_hosts: TwoHosts) -> None:
    for host, name in zip(two_hosts, ("ipcomp-a.conf", "ipcomp-b.conf"), strict=True):
        load_file(host, name)
    with Watch(two_hosts, two_hosts.a) as watch:
        assert ping(two_hosts.a, "10.0.0.2")
        assert ping(two_hosts.b, "10.0.0.1")
    watch.assert_protected(IPPROTO_ESP)
    assert all(p.length < len(MARKER) for p in watch.packets())


@contextmanager
def udp_gate(host: Host, address: str) -> Iterator[socket.socket]:
    """Hold port 4500 as an IKE daemon does: the kernel takes ESP out of what comes there."""
    with host.socket(socket.AF_INET, socket.SOCK_DGRAM) as encap_socket:
        encap_socket.bind((address, 4500))
        encap_socket.setsockopt(socket.IPPROTO_UDP, UDP_ENCAP, UDP_ENCAP_ESPINUDP)
        bypass(encap_socket)
        yield encap_socket


def test_a_vpn_in_udp(gateways: Gateways) -> None:
    load_file(gateways.g1, "natt-a.conf")
    load_file(gateways.g2, "natt-b.conf")
    with udp_gate(gateways.g1, "10.0.0.1"), udp_gate(gateways.g2, "10.0.0.2"):
        assert_vpn(gateways, IPPROTO_UDP, IPPROTO_ESP)


def test_key_exchange_passes_in_clear_before_everything_else_is_required(
    two_hosts: TwoHosts,
) -> None:
    a, b = two_hosts
    load_file(a, "ike-a.conf")
    load_file(b, "ike-b.conf")
    with Watch(two_hosts, a) as watch:
        assert ping(a, "10.0.0.2")
        assert ping(b, "10.0.0.1")
    watch.assert_protected(IPPROTO_ESP)
    with (
        a.socket(socket.AF_INET, socket.SOCK_DGRAM) as here,
        b.socket(socket.AF_INET, socket.SOCK_DGRAM) as there,
        Watch(two_hosts, a) as watch,
    ):
        here.bind(("10.0.0.1", 500))
        there.bind(("10.0.0.2", 500))
        there.settimeout(5)
        here.sendto(MARKER, ("10.0.0.2", 500))
        assert there.recv(4096) == MARKER
    watch.assert_clear()
    # Another port is none of IKE's.
    with Watch([a], a) as watch:
        send(a, "10.0.0.2", 500)
    assert not watch.shows()


@pytest.fixture
def strangers() -> Iterator[TwoHosts]:
    """Two hosts that have never spoken to each other."""
    with make_two_hosts() as hosts:
        yield hosts


def test_neighbours_find_each_other_where_all_of_ipv6_is_required(strangers: TwoHosts) -> None:
    two_hosts = strangers
    for host in two_hosts:
        load_file(host, "neighbours-a.conf")
    with Watch(two_hosts, two_hosts.a) as watch:
        assert ping(two_hosts.a, "fd00::2")
        assert ping(two_hosts.b, "fd00::1")
    assert any("neighbour advertisement" in str(p) for p in watch._capture.packets)
    assert not watch.shows()
    assert watch.idle() == []
    assert {p.protocols[0] for p in watch.packets()} == {IPPROTO_ESP}


def test_neighbours_stay_unknown_where_all_of_ipv6_is_required_without_exemption(
    strangers: TwoHosts,
) -> None:
    two_hosts = strangers
    a = two_hosts.a
    for host in two_hosts:
        load_file(host, "neighbours-a.conf")
        for direction in ("in", "out"):
            for kind in ("135,0", "136,0"):
                setkey(host, "-e", f"spddelete ::/0 ::/0 icmp6 {kind} -P {direction};")
    before = a.counters()
    with Watch(two_hosts, a) as watch:
        send(a, "fd00::2", 9)
        waits_for_counter(a, "XfrmOutNoStates", before)  # the solicitation
    assert watch.packets() == []


def test_the_knobs_are_written_by_the_real_command(two_hosts: TwoHosts) -> None:
    a = two_hosts.a
    assert a.ping("10.0.0.2")
    script = "spdadd 10.0.0.1 10.0.0.2 any -P out ipsec esp/transport//default;"
    done = a.run([BIN / "setkey", "-e", script])
    assert done.status == 0
    assert "means use" in done.stderr
    with Watch(two_hosts, a) as watch:
        assert ping(a, "10.0.0.2")
    watch.assert_clear()
    done = a.run([BIN / "kame-sysctl", "net.inet.ipsec.esp_trans_deflev=2"])
    assert (done.status, done.stderr) == (0, "")
    assert done.stdout == "net.inet.ipsec.esp_trans_deflev: 1 -> 2\n"
    before = a.counters()
    with Watch([a], a) as watch:
        send(a, "10.0.0.2", 9)
        waits_for_counter(a, "XfrmOutNoStates", before)
    watch.assert_nothing_left()


def test_counters_of_the_real_dump_are_those_of_the_packets(two_hosts: TwoHosts) -> None:
    for host, name in zip(two_hosts, ("ike-a.conf", "ike-b.conf"), strict=True):
        load_file(host, name)
    for _ in range(3):
        assert ping(two_hosts.a, "10.0.0.2")
    text = two_hosts.a.run([BIN / "setkey", "-D"], check=True).stdout
    assert text.count("allocated: 3") == 2
    assert {packets for packets, _ in sa_counters(two_hosts.b).values()} == {3}
