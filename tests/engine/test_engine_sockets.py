"""Per-socket policies: what a socket's own policy does to its packets."""

import errno
import os
import socket
from collections.abc import Iterator

import pytest

import kamexfrm
from kamexfrm.engine.engine import Engine
from kamexfrm.engine.requests import SetKnob
from kamexfrm.errors import KamexfrmError, KernelError, UnsupportedError
from kamexfrm.kernel.netlink import NetlinkKernel
from kamexfrm.model.knobs import knob
from kamexfrm.rig import TwoHosts
from kamexfrm.setkey.command import main as setkey

FAMILIES = [(socket.AF_INET, "10.0.0.2"), (socket.AF_INET6, "fd00::2")]


@pytest.fixture
def a(two_hosts: TwoHosts) -> Iterator[TwoHosts]:
    """Two hosts, the test in the first one's namespace."""
    with two_hosts.a.enter():
        yield two_hosts


def udp(family: int) -> socket.socket:
    sock = socket.socket(family, socket.SOCK_DGRAM)
    if family == socket.AF_INET6:
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
    return sock


def write_knobs(**values: int) -> None:
    kernel = NetlinkKernel()
    engine = Engine(kernel)
    for field, value in values.items():
        for prefix in ("net.inet.ipsec.", "net.inet6.ipsec6."):
            engine.submit(SetKnob(knob(prefix + field), value))
    engine.flush()
    kernel.close()


@pytest.mark.parametrize("family", [socket.AF_INET, socket.AF_INET6])
def test_a_sockets_policy_has_no_place_among_entries_that_are_renumbered(
    a: TwoHosts, family: int
) -> None:
    with udp(family) as sock:
        for way in ("in", "out"):
            kamexfrm.set_policy(sock, f"{way} bypass")
        entry = " 10.0.0.1 10.0.0.2 {} -P out prio high + {} none;"
        lines = [f"spdadd {entry}".format(upper, 1_073_366_400) for upper in range(1, 4)]
        lines += [f"spdupdate {entry}".format(upper, 1_073_366_401) for upper in range(1, 4)]
        assert setkey(["--strict", "-e", "\n".join(lines)]) == 0


@pytest.mark.parametrize(("family", "peer"), FAMILIES)
class TestOnTheWire:
    def test_bypass_passes_under_def_policy_0_and_entrust_takes_it_back(
        self, a: TwoHosts, family: int, peer: str
    ) -> None:
        if family == socket.AF_INET6:
            assert a.a.ping(peer)  # the neighbour is known before nothing may be sent
        write_knobs(def_policy=0)
        with udp(family) as sock, a.a.capture("eth0") as capture:
            with pytest.raises(PermissionError):
                sock.sendto(b"discarded", (peer, 9))
            kamexfrm.set_policy(sock, "out bypass")
            sock.sendto(b"bypassed", (peer, 9))
            capture.wait_for(lambda p: p.payload == b"bypassed")
            kamexfrm.set_policy(sock, "out entrust")
            with pytest.raises(PermissionError):
                sock.sendto(b"entrusted", (peer, 9))

    def test_ipsec_require_without_an_sa_drops_what_only_this_socket_sends(
        self, a: TwoHosts, family: int, peer: str
    ) -> None:
        with udp(family) as mine, udp(family) as other, a.a.capture("eth0") as capture:
            kamexfrm.set_policy(mine, "out ipsec esp/transport//require")
            with pytest.raises(BlockingIOError):  # for a policy of the SPD, it is silence
                mine.sendto(b"protected?", (peer, 9))
            other.sendto(b"other", (peer, 9))
            capture.wait_for(lambda p: p.payload == b"other")
            assert not capture.contains(b"protected?")

    def test_level_default_is_what_the_knobs_say(self, a: TwoHosts, family: int, peer: str) -> None:
        with udp(family) as use, udp(family) as require, a.a.capture("eth0") as capture:
            kamexfrm.set_policy(use, "out ipsec esp/transport//default")
            write_knobs(esp_trans_deflev=2)
            kamexfrm.set_policy(require, "out ipsec esp/transport//default")
            with pytest.raises(BlockingIOError):
                require.sendto(b"require", (peer, 9))
            use.sendto(b"use", (peer, 9))
            capture.wait_for(lambda p: p.payload == b"use")
            assert not capture.contains(b"require")


@pytest.mark.dataplane
@pytest.mark.parametrize(("family", "peer"), FAMILIES)
def test_an_sa_serves_the_sockets_own_policy(
    a: TwoHosts, family: int, peer: str, capsys: pytest.CaptureFixture[str]
) -> None:
    source = "10.0.0.1" if family == socket.AF_INET else "fd00::1"
    key = "0x000102030405060708090a0b0c0d0e0f"
    assert (
        setkey(["-e", f"add {source} {peer} esp 0x1000 -u 7 -m transport -E aes-cbc {key};"]) == 0
    )
    with udp(family) as sock, a.a.capture("eth0") as capture:
        kamexfrm.set_policy(sock, "out ipsec esp/transport//unique:7")
        sock.sendto(b"in the clear?", (peer, 9))
        assert capture.wait_for(lambda p: p.protocol == socket.IPPROTO_ESP).spi == 0x1000
        assert not capture.contains(b"in the clear?")


class TestErrors:
    @pytest.mark.parametrize("text", ["out discard", "in none", "out", "fwd bypass", "out ipsec"])
    def test_what_kame_refuses_is_einval(self, text: str) -> None:
        with udp(socket.AF_INET) as sock, pytest.raises(KamexfrmError) as caught:
            kamexfrm.set_policy(sock, text)
        assert caught.value.errno == errno.EINVAL

    def test_an_outbound_tunnel_of_level_use_is_unsupported(self, a: TwoHosts) -> None:
        with udp(socket.AF_INET) as sock, pytest.raises(UnsupportedError) as caught:
            kamexfrm.set_policy(sock, "out ipsec esp/tunnel/192.0.2.1-192.0.2.2/use")
        assert caught.value.errno == errno.EINVAL

    def test_a_unix_socket_has_none(self) -> None:
        with socket.socket(socket.AF_UNIX) as sock, pytest.raises(UnsupportedError):
            kamexfrm.set_policy(sock, "out bypass")

    def test_a_dual_stack_socket_is_warned_about_its_ipv4(self, a: TwoHosts) -> None:
        with (
            socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as sock,
            pytest.warns(UserWarning, match="IPv4-mapped"),
        ):
            kamexfrm.set_policy(sock, "out bypass")

    def test_without_the_right_it_is_eperm_and_eacces_for_bypass(self) -> None:
        wanted = {"out ipsec esp/transport//use": errno.EPERM, "out bypass": errno.EACCES}
        for text, number in wanted.items():
            reader, writer = os.pipe()
            child = os.fork()
            if not child:
                os.setresuid(65534, 65534, 65534)
                try:
                    with udp(socket.AF_INET) as sock:
                        kamexfrm.set_policy(sock, text)
                except KernelError as error:
                    os.write(writer, bytes([error.errno]))
                os._exit(0)
            os.waitpid(child, 0)
            os.close(writer)
            assert os.read(reader, 1) == bytes([number])
            os.close(reader)

    def test_unique_gets_a_number_nobody_uses(self, a: TwoHosts) -> None:
        kernel = NetlinkKernel()
        engine = Engine(kernel)
        with udp(socket.AF_INET) as one, udp(socket.AF_INET) as two:
            for sock in (one, two):
                kamexfrm.set_policy(sock, "out ipsec esp/transport//unique")
            shown = [e.policy.requests[0].reqid for e in engine.spd() if e.socket]
        kernel.close()
        assert sorted(shown) == [16384, 16385]
