"""The reconciler: it follows what others do to a namespace's SAs and policies."""

import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from kamexfrm.engine.engine import Engine
from kamexfrm.engine.requests import SetKnob, SpdAdd
from kamexfrm.kernel.netlink import NetlinkKernel
from kamexfrm.model.knobs import knob
from kamexfrm.model.policy import (
    Direction,
    IpsecProtocol,
    IpsecRequest,
    Level,
    Mode,
    PolicyType,
    SecurityPolicy,
    Selector,
)
from kamexfrm.net import AF_INET, Address
from kamexfrm.rig import Host, TwoHosts, until
from kamexfrm.translate.xfrm.catch_all import catch_all, is_catch_all
from kamexfrm.translate.xfrm.marker import MARKER_ID, MarkerFlag, marker_policy, read_marker
from kamexfrm.xfrm import XFRM_POLICY_ALLOW, Operation, XfrmMsg, encode_policy
from tests.kernel.netlink_ports import forge, ports_of

KAMEXFRMD = [sys.executable, "-m", "kamexfrm.kamexfrmd"]

A, B = Address.parse("192.0.2.1"), Address.parse("192.0.2.2")
NETS = Selector(Address.parse("10.1.0.0"), 16, Address.parse("10.2.0.0"), 16)
TUNNEL_USE = SecurityPolicy(
    NETS,
    Direction.OUT,
    PolicyType.IPSEC,
    (IpsecRequest(IpsecProtocol.ESP, Mode.TUNNEL, Level.USE, 0, A, B),),
)
DEFAULT = IpsecRequest(IpsecProtocol.ESP, Mode.TRANSPORT)
SA = ["src", "192.0.2.1", "dst", "192.0.2.2", "proto", "esp", "spi", "0x1000"]
KEYS = ["mode", "tunnel", "flag", "af-unspec", "enc", "cbc(aes)", "0x" + "01" * 16]


def xfrm(*words: str) -> str:
    """Run ``ip xfrm`` and return what it prints."""
    return subprocess.run(["ip", "xfrm", *words], capture_output=True, text=True, check=True).stdout


@pytest.fixture
def engine(namespace: Host) -> Iterator[Engine]:
    """Give an engine of the test's own namespace."""
    kernel = NetlinkKernel()
    yield Engine(kernel)
    kernel.close()


@pytest.fixture
def daemon(namespace: Host) -> Iterator[subprocess.Popen[str]]:
    """Run kamexfrmd in the test's namespace; it is ready when the test begins."""
    process = subprocess.Popen(KAMEXFRMD, stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    assert "following" in process.stderr.readline()
    yield process
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=10)


class TestAfterAFlush:
    def test_knobs_and_def_policy_are_put_back(
        self, engine: Engine, daemon: subprocess.Popen[str]
    ) -> None:
        for name in ("net.inet.ipsec.def_policy", "net.inet6.ipsec6.def_policy"):
            engine.submit(SetKnob(knob(name), 0))
        engine.submit(SetKnob(knob("net.inet.ipsec.ah_net_deflev"), 2))
        engine.flush()
        until(lambda: xfrm("policy").count("action block") == 7, 5, "everything is there")
        xfrm("policy", "flush")
        until(lambda: xfrm("policy").count("action block") == 7, 5, "everything is back")
        assert engine.knobs().inet.ah_net_deflev == 2
        assert engine.knobs().inet6.def_policy == 0
        assert daemon.stderr is not None
        assert "put back" in daemon.stderr.readline()

    def test_without_knobs_a_flush_is_a_flush(
        self, engine: Engine, daemon: subprocess.Popen[str]
    ) -> None:
        engine.submit(SpdAdd(SecurityPolicy(NETS, Direction.OUT, PolicyType.DISCARD)))
        engine.flush()
        xfrm("policy", "flush")
        engine.submit(SetKnob(knob("net.inet.ipsec.def_policy"), 0))
        engine.flush()
        assert xfrm("policy").count("dir out") == 1

    def test_a_block_that_was_deleted_is_put_back(
        self, engine: Engine, daemon: subprocess.Popen[str]
    ) -> None:
        engine.submit(SetKnob(knob("net.inet.ipsec.def_policy"), 0))
        engine.flush()
        xfrm("policy", "deleteall", "dir", "out")
        until(lambda: xfrm("policy").count("dir out action block") == 1, 5, "the block is back")


def test_a_forged_catch_all_is_put_right(engine: Engine, daemon: subprocess.Popen[str]) -> None:
    engine.submit(SetKnob(knob("net.inet.ipsec.def_policy"), 0))
    engine.flush()
    kernel = NetlinkKernel()
    for forged in (
        catch_all(AF_INET, 1)._replace(action=XFRM_POLICY_ALLOW),
        catch_all(AF_INET, 0)._replace(priority=7),
    ):
        assert kernel.apply([Operation(XfrmMsg.UPDPOLICY, encode_policy(forged))]) == []
        until(lambda: sum(map(is_catch_all, kernel.policies())) == 3, 5, "it is put right")
        assert daemon.stderr is not None
        assert "changed def_policy's catch-alls: they are put back" in daemon.stderr.readline()
    kernel.close()


def test_a_flush_before_the_daemon_started_is_made_good(namespace: Host, engine: Engine) -> None:
    for name in ("net.inet.ipsec.def_policy", "net.inet6.ipsec6.def_policy"):
        engine.submit(SetKnob(knob(name), 0))
    engine.flush()
    xfrm("policy", "flush")
    done = subprocess.run([*KAMEXFRMD, "--once"], capture_output=True, text=True, check=True)
    assert "put back" in done.stderr
    assert xfrm("policy").count("action block") == 7
    assert engine.knobs().inet.def_policy == engine.knobs().inet6.def_policy == 0


def test_what_a_killed_writer_left_is_completed(
    engine: Engine, daemon: subprocess.Popen[str]
) -> None:
    engine.submit(SpdAdd(SecurityPolicy(NETS, Direction.OUT, PolicyType.IPSEC, (DEFAULT,))))
    engine.flush()
    assert "level use" in xfrm("policy", "list", "dir", "out")
    kernel = NetlinkKernel()
    marker = read_marker(kernel.policy(MARKER_ID))
    knobs = marker.knobs.replace(knob("net.inet.ipsec.esp_trans_deflev"), 2)
    intent = marker_policy(marker._replace(knobs=knobs, flags=marker.flags | MarkerFlag.UNFINISHED))
    assert kernel.apply([Operation(XfrmMsg.UPDPOLICY, encode_policy(intent))]) == []
    until(lambda: "level use" not in xfrm("policy", "list", "dir", "out"), 8, "it is completed")
    assert not read_marker(kernel.policy(MARKER_ID)).flags & MarkerFlag.UNFINISHED
    kernel.close()


class TestCommand:
    def test_one_daemon_a_namespace(self, daemon: subprocess.Popen[str]) -> None:
        second = subprocess.run(KAMEXFRMD, capture_output=True, text=True, timeout=10, check=False)
        assert second.returncode == 1
        assert "follows this namespace already" in second.stderr

    def test_it_ends_by_sigterm_with_0(self, namespace: Host) -> None:
        process = subprocess.Popen(KAMEXFRMD, stderr=subprocess.PIPE, text=True)
        assert process.stderr is not None
        process.stderr.readline()
        process.terminate()
        _, err = process.communicate(timeout=10)
        assert (process.returncode, err) == (0, "")

    def test_it_enters_the_namespace_that_is_named(self, namespace: Host) -> None:
        path = "/proc/self/ns/net"
        done = subprocess.run(
            [*KAMEXFRMD, "--netns", path, "--once"], capture_output=True, check=False
        )
        assert (done.returncode, done.stderr) == (0, b"")
        done = subprocess.run(
            [*KAMEXFRMD, "--netns", "no-such-name"], capture_output=True, check=False
        )
        assert done.returncode == 1
        assert b"No such file or directory (/run/netns/no-such-name)" in done.stderr

    def test_usage(self) -> None:
        done = subprocess.run([*KAMEXFRMD, "--frobnicate"], capture_output=True, check=False)
        assert done.returncode == 2
        assert b"usage: kamexfrmd" in done.stderr

    def test_it_notifies_the_service_manager(self, namespace: Host, tmp_path: Path) -> None:
        import socket

        path = str(tmp_path / "notify")
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notify:
            notify.bind(path)
            notify.settimeout(10)
            process = subprocess.Popen(
                [*KAMEXFRMD, "--quiet"], env={"NOTIFY_SOCKET": path}, stderr=subprocess.PIPE
            )
            assert notify.recv(100) == b"READY=1"
            process.terminate()
            assert notify.recv(100) == b"STOPPING=1"
            process.communicate(timeout=10)


def test_each_host_of_a_rig_may_have_one(two_hosts: TwoHosts) -> None:
    for host in two_hosts:
        host.kamexfrmd()
    with pytest.raises(AssertionError, match="follows this namespace already"):
        two_hosts.a.kamexfrmd()


@pytest.mark.dataplane
def test_a_connected_flow_is_protected_by_the_sa_of_another_program(
    two_hosts: TwoHosts,
) -> None:
    a, b = two_hosts
    assert a.ping("10.0.0.2")
    a.kamexfrmd()
    sa = ["src", "10.0.0.1", "dst", "10.0.0.2", "proto", "esp", "spi", "0x1000"]
    key = ["enc", "cbc(aes)", "0x" + "01" * 16]
    for mode in ("transport", "tunnel"):
        ends = "10.0.0.1-10.0.0.2" if mode == "tunnel" else ""
        entry = f"spdadd 10.0.0.1 10.0.0.2 udp -P out ipsec esp/{mode}/{ends}/use;"
        setkey = [sys.executable, "-m", "kamexfrm.setkey", "-c"]
        kind = (socket.AF_INET, socket.SOCK_DGRAM)
        with a.socket(*kind) as flow, b.socket(*kind) as receiver:
            b.call(receiver.bind, ("10.0.0.2", 9))
            flow.connect(("10.0.0.2", 9))
            a.run(setkey, input=f"flush; spdflush; {entry}", check=True)
            with b.capture("eth0") as capture:
                flow.send(b"in clear")
                capture.wait_for(lambda packet: packet.protocol == 17)
            more = ["flag", "af-unspec"] if mode == "tunnel" else []
            made = [*sa, "reqid", "7", "mode", mode, *more, *key]
            a.run(["ip", "xfrm", "state", "add", *made], check=True)

            def is_protected() -> bool:
                with b.capture("eth0") as capture:
                    flow.send(b"once more")
                    until(lambda: capture.packets, what="a packet")
                return any(packet.protocol == 50 for packet in capture.packets)

            until(is_protected, what="ESP")
            a.run(["ip", "xfrm", "state", "flush"], check=True)


@pytest.mark.dataplane
class TestOutboundTunnelUse:
    def test_depends_on_sas_that_others_add_and_delete(
        self, engine: Engine, daemon: subprocess.Popen[str]
    ) -> None:
        engine.submit(SpdAdd(TUNNEL_USE))
        engine.flush()
        assert "tmpl src 192.0.2.1" not in xfrm("policy", "list", "dir", "out")
        xfrm("state", "add", *SA, *KEYS)
        until(lambda: "tmpl src 192.0.2.1" in xfrm("policy", "list", "dir", "out"), 5, "swapped in")
        (entry,) = engine.spd()
        assert entry.policy.requests == TUNNEL_USE.requests
        xfrm("state", "deleteall")
        until(
            lambda: "tmpl src 192.0.2.1" not in xfrm("policy", "list", "dir", "out"),
            5,
            "swapped out",
        )
        (entry,) = engine.spd()
        assert entry.policy.requests == TUNNEL_USE.requests

    def test_follows_an_sa_with_a_reqid(
        self, engine: Engine, daemon: subprocess.Popen[str]
    ) -> None:
        level = TUNNEL_USE.requests[0]._replace(level=Level.REQUIRE)
        engine.submit(SpdAdd(TUNNEL_USE._replace(requests=(level,))))
        engine.flush()
        xfrm("state", "add", *SA, "reqid", "5", *KEYS)
        until(lambda: "reqid 5" in xfrm("policy", "list", "dir", "out"), 5, "its reqid is there")
        (entry,) = engine.spd()
        assert entry.policy.requests == (level,)
        xfrm("state", "flush")
        until(lambda: "reqid 0" in xfrm("policy", "list", "dir", "out"), 5, "its reqid is gone")

    def test_follows_an_sa_that_expires(
        self, engine: Engine, daemon: subprocess.Popen[str]
    ) -> None:
        engine.submit(SpdAdd(TUNNEL_USE))
        engine.flush()
        xfrm("state", "add", *SA, *KEYS, "limit", "time-hard", "2")
        until(lambda: "tmpl src 192.0.2.1" in xfrm("policy", "list", "dir", "out"), 5, "swapped in")
        until(
            lambda: "tmpl src 192.0.2.1" not in xfrm("policy", "list", "dir", "out"),
            8,
            "swapped out",
        )


def test_forged_events_do_not_end_it(engine: Engine, daemon: subprocess.Popen[str]) -> None:
    ports = ports_of(daemon.pid)
    assert ports
    for port in ports:
        forge(port)
    engine.submit(SetKnob(knob("net.inet.ipsec.def_policy"), 0))
    engine.flush()
    xfrm("policy", "deleteall", "dir", "out")
    until(lambda: xfrm("policy").count("dir out action block") == 1, 5, "the block is back")
    assert daemon.poll() is None
