"""Bundles that change their form under a flow: some required request is never left out.

The receiver has neither policies nor SAs: what its socket gets was in clear, and has leaked.
"""

import contextlib
import socket
import sys
from collections.abc import Callable, Iterator

import pytest

from kamexfrm.engine.engine import Engine
from kamexfrm.engine.requests import SaAdd, SaDelete, SetKnob, SpdAdd, SpdFlush
from kamexfrm.kernel.netlink import NetlinkKernel
from kamexfrm.model.knobs import knob
from kamexfrm.model.language import parse_policy
from kamexfrm.model.policy import IpsecProtocol, Mode, SecurityPolicy, Selector
from kamexfrm.net import IPPROTO_UDP, Address
from kamexfrm.rig import TwoHosts, until
from tests.conformance.conformance_case import keyed

ENDS = {"inet": ("10.0.0.1", "10.0.0.2"), "inet6": ("fd00::1", "fd00::2")}
KNOBS = {
    "inet": "net.inet.ipsec.esp_net_deflev",
    "inet6": "net.inet6.ipsec6.esp_net_deflev",
}
PORT = 7003
DATA = b"clear text of a required flow"

_SENDER = f"""
import socket, sys
link = socket.socket(socket.AF_INET6 if ":" in sys.argv[1] else socket.AF_INET, socket.SOCK_DGRAM)
link.connect((sys.argv[1], {PORT}))
while True:
    try:
        link.send({DATA!r})
    except OSError:
        pass
"""


class Flow:
    """A flow under way; ``engine`` writes in the sender's host."""

    def __init__(self, hosts: TwoHosts, family: str, engine: Engine, link: socket.socket) -> None:
        self.hosts, self.engine, self._link = hosts, engine, link
        self.near, self.far = ENDS[family]

    def dropped(self) -> int:
        counters = self.hosts.a.counters()
        return counters["XfrmOutNoStates"] + counters["XfrmOutPolBlock"]

    def protected(self) -> int:
        return sum(entry.packets for entry in self.engine.sad())

    def runs(self, count: Callable[[], int], by: int = 5) -> None:
        """Wait until the sender has met what there is now."""
        before = count()
        until(lambda: count() >= before + by, what="more packets")

    def leaks(self) -> int:
        """Return how many packets came in clear since the last call."""
        count = 0
        with contextlib.suppress(BlockingIOError):
            while True:
                count += self._link.recv(1000) == DATA
        return count

    def policy(self, requests: str, *, replace: bool = False) -> SpdAdd:
        near, far = Address.parse(self.near), Address.parse(self.far)
        policy = parse_policy(f"out ipsec {requests.format(near=near, far=far)}")
        assert policy.type is not None
        selector = Selector(near, near.bits, far, far.bits, IPPROTO_UDP, None, PORT)
        entry = SecurityPolicy(selector, policy.direction, policy.type, policy.requests)
        return SpdAdd(entry, replace=replace)

    def write(self, *requests: SpdAdd | SpdFlush | SaAdd | SaDelete | SetKnob) -> None:
        for request in requests:
            self.engine.submit(request)
        self.engine.flush()


@contextlib.contextmanager
def flow(hosts: TwoHosts, family: str) -> Iterator[Flow]:
    """Start the sender and see its first packet in clear."""
    a, b = hosts
    near, far = ENDS[family]
    assert a.ping(far)
    assert b.ping(near)
    kernel = a.call(NetlinkKernel)
    kind = socket.AF_INET6 if family == "inet6" else socket.AF_INET
    with a.enter(), b.socket(kind, socket.SOCK_DGRAM) as link:
        link.setblocking(False)
        link.bind((far, PORT))
        sender = a.start([sys.executable, "-S", "-E", "-c", _SENDER, far])
        try:
            it = Flow(hosts, family, Engine(kernel), link)
            until(it.leaks, deadline=20, what="the sender's first packet")
            yield it
            assert sender.poll() is None
        finally:
            sender.kill()
            kernel.close()


FAMILIES = pytest.mark.parametrize("family", ENDS)
BUNDLE = "esp/tunnel/{near}-{far}/default ah/transport//require"


@pytest.mark.both_kernels
@FAMILIES
def test_a_bundle_whose_tunnel_is_swapped_in_and_out_by_its_knob_leaks_nothing(
    two_hosts: TwoHosts, family: str
) -> None:
    with flow(two_hosts, family) as it:
        it.write(it.policy(BUNDLE))
        it.runs(it.dropped)
        it.leaks()
        for _ in range(15):
            for value in (2, 1):
                it.write(SetKnob(knob(KNOBS[family]), value))
                it.runs(it.dropped)
        assert it.leaks() == 0


@pytest.mark.both_kernels
@FAMILIES
def test_an_entry_that_gets_and_loses_a_tunnel_of_level_use_leaks_nothing(
    two_hosts: TwoHosts, family: str
) -> None:
    forms = ("ah/transport//require", BUNDLE, "esp/tunnel/{near}-{far}/require", BUNDLE)
    with flow(two_hosts, family) as it:
        it.write(it.policy(forms[0]))
        it.runs(it.dropped)
        it.leaks()
        for _ in range(10):
            for form in forms:
                it.write(it.policy(form, replace=True))
                it.runs(it.dropped)
        assert it.leaks() == 0


@pytest.mark.both_kernels
@FAMILIES
def test_a_flush_with_def_policy_0_between_two_loads_leaks_nothing_of_a_bundle(
    two_hosts: TwoHosts, family: str
) -> None:
    prefix = KNOBS[family].rpartition(".")[0]
    with flow(two_hosts, family) as it:
        it.write(SetKnob(knob(f"{prefix}.def_policy"), 0), it.policy(BUNDLE))
        it.runs(it.dropped)
        it.leaks()
        for _ in range(15):
            it.write(SpdFlush())
            it.runs(it.dropped)
            it.write(it.policy(BUNDLE))
            it.runs(it.dropped)
        assert it.leaks() == 0


@pytest.mark.dataplane
@FAMILIES
def test_a_bundle_whose_tunnel_comes_and_goes_with_its_sa_keeps_its_required_half(
    two_hosts: TwoHosts, family: str
) -> None:
    with flow(two_hosts, family) as it:
        near, far = Address.parse(it.near), Address.parse(it.far)
        ah = keyed(near, far, IpsecProtocol.AH, 0x1001, Mode.TRANSPORT)
        esp = keyed(near, far, IpsecProtocol.ESP, 0x1002, Mode.TUNNEL)
        it.write(it.policy(BUNDLE), SaAdd(ah))
        it.runs(it.protected)
        it.leaks()
        for _ in range(15):
            it.write(SaAdd(esp))
            it.runs(it.protected)
            it.write(SaDelete(esp.id))
            it.runs(it.protected)
        assert it.leaks() == 0
