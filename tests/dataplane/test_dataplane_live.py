"""Changes while packets flow: not one packet of a protected flow is ever to be read on the wire.

A process of its own sends without pause. Its packets' receiver has no policy at all: what reaches
it was in clear. Where no SA is needed the tests run on both kernels: two processors race better.
"""

import contextlib
import socket
import sys
from collections.abc import Callable, Iterator

import pytest

from kamexfrm.model.knobs import KNOBS
from kamexfrm.rig import Host, TwoHosts, until
from tests.dataplane.dataplane_proof import (
    AUTHENTICATION,
    ESP_KEYS,
    MARKER,
    knob,
    load,
    receive_all,
    receiver,
    sa_counters,
    setkey,
)

ENDS = {"inet": ("10.0.0.1", "10.0.0.2"), "inet6": ("fd00::1", "fd00::2")}
PREFIX = {"inet": "net.inet.ipsec.", "inet6": "net.inet6.ipsec6."}
PORT = 7001

#: Sends to ADDRESS PORT for ever; a refusal by a policy is not an end.
_SENDER = f"""
import socket, sys
address, port, connect = sys.argv[1], int(sys.argv[2]), sys.argv[3] == "connected"
link = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_DGRAM)
if connect:
    link.connect((address, port))
while True:
    try:
        link.send({MARKER!r}) if connect else link.sendto({MARKER!r}, (address, port))
    except OSError:
        pass
"""


class Race:
    """A sender on one host without pause, and the packets that the other receives in clear."""

    def __init__(self, a: Host, link: socket.socket) -> None:
        self.a = a
        self._link = link

    def received(self) -> int:
        """Return how many packets were received since the last call."""
        return len(receive_all(self._link))

    def dropped(self) -> int:
        """Return how many packets policies have stopped so far."""
        now = self.a.counters()
        return now["XfrmOutNoStates"] + now["XfrmOutPolBlock"]

    def protected(self) -> int:
        """Return how many packets SAs have protected so far."""
        return sum(packets for packets, _ in sa_counters(self.a).values())

    def runs(self, count: Callable[[], int], by: int = 20) -> None:
        """Wait until a count has moved: the sender has met what there is now."""
        before = count()
        until(lambda: count() >= before + by, what=f"{by} more packets")

    def wait_until_dropped(self) -> None:
        """Wait until packets are dropped; discard what arrived before."""
        self.runs(self.dropped)
        self.received()


@contextlib.contextmanager
def race(hosts: TwoHosts, family: str, how: str) -> Iterator[Race]:
    """Start the sender, wait for its packets, and check that it still runs at the end."""
    a, b = hosts
    left, right = ENDS[family]
    assert a.ping(right)
    assert b.ping(left)
    with receiver(b, right, PORT) as link:
        sender = a.start([sys.executable, "-S", "-E", "-c", _SENDER, right, str(PORT), how])
        try:
            it = Race(a, link)
            until(it.received, deadline=20, what="the sender's first packet")
            yield it
            assert sender.poll() is None
        finally:
            sender.kill()


FAMILIES = pytest.mark.parametrize("family", ENDS)
SENDERS = pytest.mark.parametrize("how", ["connected", "unconnected"])


def require(family: str, requests: str = "esp/transport//require", command: str = "spdadd") -> str:
    left, right = ENDS[family]
    return f"{command} {left} {right}[{PORT}] udp -P out ipsec {requests};"


# Without SAs: what `require` drops must stay dropped


@pytest.mark.both_kernels
@FAMILIES
@SENDERS
def test_writing_knobs_leaks_nothing_of_a_required_flow(
    two_hosts: TwoHosts, family: str, how: str
) -> None:
    a = two_hosts.a
    defaults = [
        k for k in KNOBS if k.field.endswith("deflev") and k.name.startswith(PREFIX[family])
    ]
    left, right = ENDS[family]
    with race(two_hosts, family, how) as it:
        load(a, require(family))
        load(a, f"spdadd {left} {right} any -P out ipsec esp/transport//default;")
        it.wait_until_dropped()
        for _ in range(10):
            for value in (2, 1):
                knob(a, *(f"{k.name}={value}" for k in defaults))
            it.runs(it.dropped)
        assert it.received() == 0


@pytest.mark.both_kernels
@FAMILIES
@SENDERS
def test_rewriting_the_very_entry_that_stops_a_flow_leaks_nothing(
    two_hosts: TwoHosts, family: str, how: str
) -> None:
    # Whatever ah's level is, esp is required: only a moment without the entry would leak.
    a = two_hosts.a
    name = f"{PREFIX[family]}ah_trans_deflev"
    with race(two_hosts, family, how) as it:
        load(a, require(family, "esp/transport//require ah/transport//default"))
        it.wait_until_dropped()
        for _ in range(100):
            for value in (2, 1):
                knob(a, f"{name}={value}")
        it.runs(it.dropped)
        assert it.received() == 0


@pytest.mark.both_kernels
@FAMILIES
def test_a_default_that_means_require_never_means_use_while_others_change(
    two_hosts: TwoHosts, family: str
) -> None:
    a = two_hosts.a
    with race(two_hosts, family, "unconnected") as it:
        knob(a, f"{PREFIX[family]}esp_trans_deflev=2")
        load(a, require(family, "esp/transport//default"))
        it.wait_until_dropped()
        others = [k for k in KNOBS if k.name != f"{PREFIX[family]}esp_trans_deflev"]
        for _ in range(5):
            for value in (1, 2):
                knob(a, *(f"{k.name}={value}" for k in others if k.field.endswith("deflev")))
            it.runs(it.dropped)
        assert it.received() == 0
        knob(a, f"{PREFIX[family]}esp_trans_deflev=1")
        until(it.received, what="clear packets, now that default means use")


@pytest.mark.both_kernels
@FAMILIES
@SENDERS
def test_updating_a_required_entry_leaks_nothing(
    two_hosts: TwoHosts, family: str, how: str
) -> None:
    a = two_hosts.a
    left, right = ENDS[family]
    forms = (
        "esp/transport//require",
        "esp/transport//require ah/transport//require",
        f"esp/tunnel/{left}-{right}/require",
        "ah/transport//unique:7",
        f"esp/transport/{left}-{right}/require",
        "esp/transport//unique",
    )
    with race(two_hosts, family, how) as it:
        load(a, require(family))
        it.wait_until_dropped()
        for _ in range(5):
            for form in forms:
                load(a, require(family, form, "spdupdate"))
            it.runs(it.dropped)
        assert it.received() == 0


@pytest.mark.both_kernels
@FAMILIES
def test_making_room_between_entries_leaks_nothing(two_hosts: TwoHosts, family: str) -> None:
    # A wide `none` stands behind the required entry: were they ever to change places, it leaks.
    a = two_hosts.a
    left, right = ENDS[family]
    net = "10.0.0.0/8" if family == "inet" else "fd00::/16"
    far = "10.77.{}.0/24" if family == "inet" else "fd77:{}::/48"
    with race(two_hosts, family, "unconnected") as it:
        load(a, require(family) + f"spdadd {net} {net} any -P out none;")
        it.wait_until_dropped()
        for n in range(60):
            source = far.format(n)
            load(a, f"spdadd {source} {net} any -P out prio def + {1 + n % 2} none;")
        it.runs(it.dropped)
        assert it.received() == 0
        load(a, f"spddelete {left} {right}[{PORT}] udp -P out;")
        until(it.received, what="clear packets, now that the wide entry is met")


@pytest.mark.both_kernels
@FAMILIES
@SENDERS
def test_def_policy_0_has_no_gap_while_the_spd_is_flushed_and_loaded_again(
    two_hosts: TwoHosts, family: str, how: str
) -> None:
    a = two_hosts.a
    source, net = (
        ("10.77.{}.{}", "10.0.0.0/8") if family == "inet" else ("fd77:{}::{}", "fd00::/16")
    )
    many = "".join(
        f"spdadd {source.format(n, m + 1)} {net} any -P {direction} none;\n"
        for n in range(5)
        for m in range(100)
        for direction in ("out", "in")
    )
    with race(two_hosts, family, how) as it:
        knob(a, f"{PREFIX[family]}def_policy=0")
        it.wait_until_dropped()
        for flush in (("-FP",), ("-e", "spdflush;"), ("-e", "spdflush;" + many)) * 2:
            load(a, "spdflush;" + many)
            setkey(a, *flush)
            it.runs(it.dropped)
        assert it.received() == 0
        knob(a, f"{PREFIX[family]}def_policy=1")
        until(it.received, what="clear packets, now that def_policy is 1")


@pytest.mark.both_kernels
def test_def_policy_0_of_one_family_has_no_gap_while_the_other_is_switched(
    two_hosts: TwoHosts,
) -> None:
    a = two_hosts.a
    with race(two_hosts, "inet", "unconnected") as it:
        knob(a, f"{PREFIX['inet']}def_policy=0")
        it.wait_until_dropped()
        for _ in range(10):
            for value in (0, 1):
                knob(a, f"{PREFIX['inet6']}def_policy={value}")
        it.runs(it.dropped)
        assert it.received() == 0


# With SAs: what is protected must stay so, or be dropped


def sas(family: str, mode: str = "transport") -> str:
    left, right = ENDS[family]
    return (
        f"add {left} {right} esp 0x1000 -m {mode} -r 64 {ESP_KEYS};"
        f"add {left} {right} ah 0x2000 -m transport -r 64 {AUTHENTICATION};"
    )


@pytest.mark.dataplane
@FAMILIES
@pytest.mark.parametrize("mode", ["transport", "tunnel"])
def test_a_deflev_that_goes_from_require_to_use_and_back_leaks_nothing_while_there_is_an_sa(
    two_hosts: TwoHosts, family: str, mode: str
) -> None:
    a = two_hosts.a
    left, right = ENDS[family]
    end = f"{left}-{right}" if mode == "tunnel" else ""
    name = "esp_trans_deflev" if mode == "transport" else "esp_net_deflev"
    with race(two_hosts, family, "unconnected") as it:
        knob(a, f"{PREFIX[family]}{name}=2")
        load(a, require(family, f"esp/{mode}/{end}/default"))
        it.wait_until_dropped()
        load(a, sas(family, mode))
        for _ in range(10):
            for value in (1, 2):
                knob(a, f"{PREFIX[family]}{name}={value}")
                it.runs(it.protected, 3)
        assert it.received() == 0
        knob(a, f"{PREFIX[family]}{name}=1")
        load(a, "flush;")
        until(it.received, what="clear packets, now that default means use")


@pytest.mark.dataplane
@FAMILIES
def test_updating_a_protected_entry_leaks_nothing(two_hosts: TwoHosts, family: str) -> None:
    a = two_hosts.a
    with race(two_hosts, family, "unconnected") as it:
        load(a, require(family) + sas(family))
        it.runs(it.protected, 3)
        it.received()
        forms = ("esp/transport//use", "esp/transport//require ah/transport//require")
        for _ in range(10):
            for form in (*forms, "ah/transport//require esp/transport//default"):
                load(a, require(family, form, "spdupdate"))
                it.runs(it.protected, 3)
        assert it.received() == 0


@pytest.mark.dataplane
@FAMILIES
def test_an_sa_that_changes_its_mode_under_traffic_leaks_nothing(
    two_hosts: TwoHosts, family: str
) -> None:
    a = two_hosts.a
    left, right = ENDS[family]
    with race(two_hosts, family, "unconnected") as it:
        load(a, require(family) + f"add {left} {right} esp 0x1000 -r 64 {ESP_KEYS};")
        it.runs(it.protected, 3)
        it.received()
        for _ in range(5):
            for form in (f"esp/tunnel/{left}-{right}/require", "esp/transport//require"):
                load(a, require(family, form, "spdupdate"))
                it.runs(it.protected, 3)
        assert it.received() == 0


@pytest.mark.dataplane
@FAMILIES
def test_a_tunnel_at_level_use_that_changes_its_sa_leaks_nothing_while_one_is_left(
    two_hosts: TwoHosts, family: str
) -> None:
    a = two_hosts.a
    left, right = ENDS[family]
    with race(two_hosts, family, "unconnected") as it:
        load(a, sas(family, "tunnel") + require(family, f"esp/tunnel/{left}-{right}/use"))
        it.runs(it.protected, 3)
        it.received()
        old = 0x1000
        for n in range(10):
            new = 0x3000 + n
            load(a, f"add {left} {right} esp {new:#x} -m tunnel {ESP_KEYS};")
            load(a, f"delete {left} {right} esp {old:#x};")
            it.runs(it.protected, 3)
            old = new
        assert it.received() == 0
        load(a, "flush esp;")
        until(it.received, what="clear packets, now that no SA is left")
