"""setkey -x: which changes it shows, when, and how it ends."""

import contextlib
import io
import json
import os
import re
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from kamexfrm import Ipsec, pfkey
from kamexfrm.kernel.fake import FakeKernel
from kamexfrm.kernel.interface import Event
from kamexfrm.net import AF_INET, Address
from kamexfrm.operator.document import schema
from kamexfrm.rig import TwoHosts, until
from kamexfrm.setkey.arguments import Options
from kamexfrm.setkey.message_json import message_document
from kamexfrm.setkey.monitor import Monitor
from kamexfrm.xfrm import XFRM_POLICY_OUT, Operation, Policy, Selector, XfrmMsg, encode_policy
from tests.kernel.netlink_ports import forge, ports_of
from tests.setkey.setkey_process import SETKEY, setkey, xfrm

REQUIRE = "spdadd 10.0.0.1 10.0.0.2 any -P out ipsec esp/transport//require;"
TUNNEL_USE = "spdadd 10.0.0.1 10.0.0.2 any -P out ipsec esp/tunnel/192.0.2.1-192.0.2.2/use;"
FOREIGN = ["src", "10.9.0.0/16", "dst", "10.8.0.0/16", "dir", "out"]
KEYS = "-E aes-cbc 0x000102030405060708090a0b0c0d0e0f -A hmac-sha1 '12345678901234567890'"
KEYS = KEYS.replace("'", '"')

RECORDED = Path(__file__).parents[1] / "pfkey" / "pfkey-linux.jsonl"
LINUX = pfkey.LINUX.with_byte_order("little")

CLOCK = r"\d\d:\d\d:\d\d\.\d{6} \n"
MESSAGE = re.compile(r"sadb_msg\{ version=2 type=(\d+) errno=0 satype=(\d)\n.*?\n\n", re.DOTALL)


class Listener:
    """A running setkey -x; made once it receives events."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        assert process.stdout is not None
        os.set_blocking(process.stdout.fileno(), False)
        self.process = process
        self.text = ""
        until(lambda: "\n" in self.read(), 30, "the monitor's first line")

    def read(self) -> str:
        assert self.process.stdout is not None
        self.text += (self.process.stdout.read() or b"").decode()
        return self.text

    def wait_for(self, *types: int) -> list[str]:
        """Return all messages once there are these types, in this order, and no others."""

        def complete() -> bool:
            return len(MESSAGE.findall(self.read())) >= len(types)

        with contextlib.suppress(TimeoutError):
            until(complete, 20, "messages")
        assert [int(m[1]) for m in MESSAGE.finditer(self.text)] == list(types)
        return [m[0] for m in MESSAGE.finditer(self.text)]


#: Tests that run in the background have SIGINT ignored, and children inherit that.
DEFAULT_SIGINT = ("env", "--default-signal=INT")


@contextlib.contextmanager
def listening(*arguments: str) -> Iterator[Listener]:
    process = subprocess.Popen(
        [*DEFAULT_SIGINT, *SETKEY, *(arguments or ("-x",))],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    try:
        yield Listener(process)
    finally:
        process.kill()
        process.communicate()


@pytest.mark.usefixtures("namespace")
class TestPolicies:
    def test_a_policy_is_shown_when_it_is_added_changed_and_deleted(self) -> None:
        with listening() as monitor:
            setkey("-e", REQUIRE)
            setkey("-e", REQUIRE.replace("spdadd", "spdupdate"))
            setkey("-e", REQUIRE.replace("spdadd", "spddelete"))
            messages = monitor.wait_for(14, 13, 15)
        for message in messages:
            assert "dir=2 flags=0x00 id=" in message
            assert "priority=2147483648 }\n { len=16 proto=50 mode=1 level=2 reqid=0\n" in message

    def test_our_own_marker_policies_are_not_shown(self) -> None:
        with listening() as monitor:
            setkey("-e", TUNNEL_USE)
            setkey("-e", "spdadd 10.0.0.3 10.0.0.2 any -P in none;")
            setkey("-e", TUNNEL_USE.replace("spdadd", "spddelete"))
            first, inbound, forward, deleted = monitor.wait_for(14, 14, 14, 15)
        assert "dir=1" in inbound
        assert "dir=3" in forward
        for message in (first, deleted):
            assert " { len=48 proto=50 mode=2 level=1 reqid=0\n" in message
            assert " c0000201  }" in message

    def test_changes_by_other_programs_are_shown_as_the_kernel_means_them(self) -> None:
        with listening() as monitor:
            xfrm("policy", "add", *FOREIGN, "priority", "9", "tmpl", "proto", "esp", "reqid", "7")
            xfrm("policy", "update", *FOREIGN, "action", "block")
            xfrm("policy", "delete", *FOREIGN)
            xfrm("policy", "add", *FOREIGN)
            xfrm("policy", "flush")
            added, *_ = monitor.wait_for(14, 13, 15, 14, 19)
        assert "priority=9 }\n { len=16 proto=50 mode=1 level=3 reqid=7\n" in added

    def test_each_message_follows_its_time(self) -> None:
        with listening() as monitor:
            xfrm("policy", "add", *FOREIGN)
            monitor.wait_for(14)
        assert re.fullmatch(f"{CLOCK}{CLOCK}sadb_msg.*\n\n", monitor.text, re.DOTALL)

    def test_xx_shows_seconds_since_the_epoch_and_h_the_bytes(self) -> None:
        started = int(time.time())
        with listening("-xx", "-H") as monitor:
            xfrm("policy", "add", *FOREIGN)
            xfrm("policy", "flush")
            monitor.wait_for(14, 19)
        times = re.findall(r"^(\d+)\.\d{6} $", monitor.text, re.MULTILINE)
        assert len(times) == 3
        assert all(started <= int(seconds) <= time.time() for seconds in times)
        rows = re.findall(r"^([0-9a-f]{8}): (.*) $", monitor.text, re.MULTILINE)
        assert [row[1][:5] for row in rows if row[0] == "00000000"] == ["02 0b", "02 0e", "02 13"]


@pytest.mark.usefixtures("namespace")
class TestEnds:
    @pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
    def test_a_signal_ends_it_without_a_word(self, number: int) -> None:
        with listening() as monitor:
            monitor.process.send_signal(number)
            _, err = monitor.process.communicate(timeout=20)
        assert err == b""

    def test_it_ends_when_its_reader_exits_without_an_event(self) -> None:
        with listening() as monitor:
            assert monitor.process.stdout is not None
            monitor.process.stdout.close()
            assert monitor.process.wait(20) == 141
            assert monitor.process.stderr is not None
            assert monitor.process.stderr.read() == b""
            monitor.process.stdout = None

    def test_without_net_admin_it_says_operation_not_permitted(self) -> None:
        dropped = ("setpriv", "--bounding-set=-net_admin", "--inh-caps=-net_admin")
        status, out, err = setkey("-x", before=dropped)
        assert (status, out) == (1, "")
        assert err == (
            "setkey: pfkey_open: Operation not permitted\n"
            "    this needs CAP_NET_ADMIN in the network namespace: "
            "be root, or try it in `unshare -rn`\n"
        )


def policy_numbered(priority: int) -> Operation:
    anywhere = Address.unspecified(AF_INET)
    selector = Selector(anywhere, anywhere, family=AF_INET)
    policy = Policy(selector, XFRM_POLICY_OUT, priority=priority)
    return Operation(XfrmMsg.UPDPOLICY, encode_policy(policy))


class TestJson:
    @pytest.fixture
    def documents(self) -> list[dict[str, Any]]:
        """Return what is printed of a policy and an SA that are added and deleted."""
        kernel, out = FakeKernel(), io.StringIO()
        monitor = Monitor(kernel, out, io.StringIO(), Options(json=True))
        monitor.announce()
        ipsec = Ipsec(kernel)
        ipsec.add(REQUIRE + f"add 10.0.0.1 10.0.0.2 esp 0x1000 {KEYS};")
        ipsec.run("flush; spdflush;")
        monitor.print_events()
        return [json.loads(line) for line in out.getvalue().splitlines()]

    def test_each_message_is_a_document_on_a_line(self, documents: list[dict[str, Any]]) -> None:
        validator = jsonschema.Draft202012Validator(schema("setkey-x"))
        assert [list(validator.iter_errors(document)) for document in documents] == [
            [] for _ in documents
        ]
        types = [document["type"] for document in documents]
        assert types[:3] == ["SADB_X_PROMISC", "SADB_X_SPDADD", "SADB_ADD"]
        assert {"SADB_FLUSH", "SADB_X_SPDFLUSH"} <= set(types)

    def test_extensions_have_their_fields_and_keys_their_length(
        self, documents: list[dict[str, Any]]
    ) -> None:
        _, policy, sa, *_ = documents
        parts = {part["extension"]: part for part in [*policy["extensions"], *sa["extensions"]]}
        assert parts["AddressSrc"]["sockaddr"]["address"] == "10.0.0.1"
        assert parts["Policy"]["requests"][0]["level"] == "IPSEC_LEVEL_REQUIRE"
        assert parts["Sa"]["spi"] == 0x1000
        assert parts["KeyEncrypt"]["key"] == {"bits": 128}

    def test_every_recorded_message_has_one(self) -> None:
        lines = map(json.loads, RECORDED.read_text().splitlines())
        for wire in [heard for line in lines for heard in line.get("heard", ())]:
            message = pfkey.decode(bytes.fromhex(wire), LINUX)
            document = json.loads(message_document(message, 1.5))
            assert len(document["extensions"]) == len(message.extensions)


class TestTrouble:
    """On a kernel in memory, whose events are ours to choose."""

    def monitor(self, kernel: FakeKernel) -> tuple[Monitor, io.StringIO, io.StringIO]:
        out, err = io.StringIO(), io.StringIO()
        return Monitor(kernel, out, err, Options()), out, err

    def test_lost_events_are_a_warning_and_it_continues(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        kernel = FakeKernel()
        monitor, out, err = self.monitor(kernel)
        monkeypatch.setattr(monitor._events, "_limit", 2)
        kernel.apply([policy_numbered(number) for number in (1, 2, 3)])
        monitor.print_events()
        assert err.getvalue().startswith("setkey: WARNING: messages were lost")
        assert err.getvalue().count("\n") == 1
        monitor.print_events()
        kernel.apply([policy_numbered(4)])
        monitor.print_events()
        assert re.findall(r"priority=(\d)", out.getvalue()) == ["1", "2", "4"]
        monitor.close()

    def test_an_event_that_cannot_be_decoded_is_a_warning(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monitor, out, err = self.monitor(FakeKernel())
        broken = [Event(XfrmMsg.NEWSA, b"short", 1, 0)]
        monkeypatch.setattr(monitor._events, "receive", lambda: broken)
        monitor.print_events()
        assert out.getvalue() == ""
        assert err.getvalue().startswith("setkey: WARNING: event 0x10 is not shown: state")
        assert err.getvalue().endswith(" (1 so far)\n")
        monitor.print_events()
        assert err.getvalue().endswith(" (2 so far)\n")
        monitor.close()


def add(spi: int, *options: str) -> str:
    words = " ".join(options)
    return f"add 10.0.0.1 10.0.0.2 esp {spi} {words} {KEYS};"


@pytest.mark.dataplane
@pytest.mark.usefixtures("namespace")
def test_sas_are_shown_with_their_keys_masked() -> None:
    with listening("-x", "-H") as monitor:
        assert setkey("--strict", "-e", add(0x1001, "-m tunnel -u 9 -r 4")).status == 0
        setkey("-e", add(0x1001, "-m tunnel -lh 100").replace("add", "update"))
        setkey("-e", "delete 10.0.0.1 10.0.0.2 esp 0x1001;")
        setkey("-e", add(0x1002))
        setkey("-F")
        added, updated, deleted, *_ = monitor.wait_for(3, 2, 4, 3, 9)
    assert "spi=4097 replay=4 state=1\n  auth=3 encrypt=12 " in added
    assert "addtime=100, " in updated
    assert "state=3" in deleted
    assert monitor.text.count("key= ........ ........ ........ ........ }") == 4
    for shown in ("0a0b0c0d", "0a 0b 0c 0d", "31323334", "31 32 33 34"):
        assert shown not in monitor.text


@pytest.mark.dataplane
@pytest.mark.usefixtures("namespace")
def test_an_sa_that_expires_is_shown_twice() -> None:
    with listening() as monitor:
        setkey("-e", add(0x1001, "-ls 1 -lh 2"))
        _, soft, hard = monitor.wait_for(3, 8, 8)
    assert "state=2" in soft
    assert "sadb_ext{ len=4 type=4 }\nsadb_lifetime{ alloc=0, bytes=0\n  addtime=1," in soft
    assert "state=3" in hard
    assert "sadb_ext{ len=4 type=3 }\nsadb_lifetime{ alloc=0, bytes=0\n  addtime=2," in hard


@pytest.mark.dataplane
@pytest.mark.parametrize(
    ("policy", "ends"),
    [(REQUIRE, ("0a000001", "0a000002")), (TUNNEL_USE, ("c0000201", "c0000202"))],
)
def test_an_acquire_is_shown_with_the_addresses_it_is_for(
    two_hosts: TwoHosts, policy: str, ends: tuple[str, str]
) -> None:
    a, _ = two_hosts
    with a.enter(), listening() as monitor:
        setkey("-e", policy)
        monitor.wait_for(14)
        with (
            socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender,
            contextlib.suppress(OSError),
        ):
            sender.sendto(b"?", ("10.0.0.2", 9))
        _, acquire = monitor.wait_for(14, 6)
    assert re.findall(r"port=0\n (\w+)  }", acquire) == list(ends)
    assert "sadb_x_policy{ type=2 dir=2 flags=0x00 id=" in acquire
    assert "satype=3\n" in acquire


@pytest.mark.usefixtures("namespace")
def test_forged_events_are_neither_shown_nor_the_end() -> None:
    with listening() as monitor:
        ports = ports_of(monitor.process.pid)
        assert ports
        for port in ports:
            forge(port)
        setkey("-e", REQUIRE)
        monitor.wait_for(14)
        assert monitor.process.poll() is None
