"""What racoon sends and expects to receive: phase 2 by ACQUIRE, rekeying by EXPIRE, deletion."""

import re
import signal
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from kamexfrm.kernel.netlink import NetlinkKernel
from kamexfrm.rig import Host, TwoHosts, until
from kamexfrm.translate.xfrm.marker import MARKER_ID, MarkerFlag, read_marker
from tests.dataplane.dataplane_proof import BIN, load, setkey
from tests.dataplane.ike_daemons import DOORS, IPV4, PATIENCE, Daemon, Tunnel, agreed

pytestmark = pytest.mark.dataplane

ENDS, REVERSE = ("10.0.0.1", "10.0.0.2"), ("10.0.0.2", "10.0.0.1")
#: The ends' own traffic.
TRANSPORT = Tunnel(ENDS, ENDS, ENDS)


class RacoonLike(Daemon):
    """tests/dataplane/racoon_like.py, with its PF_KEY by one of the doors.

    "in process" is a PfKeySocket, "path" is kamexfrmd.
    """

    def __init__(
        self, host: Host, folder: Path, ends: tuple[str, str], lifetime: int, door: str, *more: str
    ) -> None:
        program = (sys.executable, str(Path(__file__).with_name("racoon_like.py")))
        words = (*ends, str(lifetime), *more)
        if door == "in process":
            words += ("--in-process",)
        elif door == "path":
            path = folder / f"{host.name}.sock"
            served = Daemon(
                host,
                (str(BIN / "kamexfrmd"), "--pfkey", str(path)),
                folder / f"{host.name}.kamexfrmd",
            )
            served.wait_for("serving PF_KEY")
            words += ("--path", str(path))
        super().__init__(
            host, (*DOORS.get(door, ()), *program, *words), folder / f"{host.name}.log"
        )
        self.wait_for("ready")


def has_followed(host: Host) -> bool:
    """Whether nothing is left undone of what follows from the SAs: a `use` tunnel is swapped in."""
    with host.enter():
        kernel = NetlinkKernel()
        try:
            return not read_marker(kernel.policy(MARKER_ID)).flags & MarkerFlag.UNFINISHED
        finally:
            kernel.close()


def is_without_sas(host: Host) -> bool:
    return setkey(host, "-D") == "No SAD entries.\n"


@pytest.mark.parametrize(
    "doors",
    [("af_key", "af_key"), ("exec", "exec"), ("in process", "path")],
    ids="-".join,
)
def test_a_racoon_negotiates_on_demand_rekeys_and_hears_of_deletions(
    own_hosts: TwoHosts, af_key: Callable[[], None], tmp_path: Path, doors: tuple[str, str]
) -> None:
    if "af_key" in doors:
        af_key()
    a, b = own_hosts
    of_b = RacoonLike(b, tmp_path, REVERSE, 3600, doors[1], "--generate")
    of_a = RacoonLike(a, tmp_path, ENDS, 5, doors[0])
    for way, ends in (("out", ENDS), ("in", REVERSE)):  # it must read these by itself
        load(a, f"spdadd {ends[0]} {ends[1]} any -P {way} ipsec esp/transport//require;")

    assert a.udp_ask(ENDS[1], timeout=0) is None  # lost, but it asks for SAs
    first = until(lambda: agreed(own_hosts), PATIENCE, "two SAs on each end")
    TRANSPORT.assert_protected(own_hosts)
    of_a.process.send_signal(signal.SIGHUP)
    # AF_KEY shows it setkey's marker too.
    of_a.wait_for("IPSEC_DIR_INBOUND IPSEC_DIR_OUTBOUND")
    of_a.wait_for("expired")
    until(lambda: len(agreed(own_hosts) - first) >= 2, PATIENCE, "new SAs")
    TRANSPORT.assert_protected(own_hosts)

    load(b, "deleteall 10.0.0.1 10.0.0.2 esp;")
    of_b.wait_for("deleted by another")
    of_a.wait_for("purged")
    for daemon in (of_a, of_b):
        daemon.stop()
        # It waits for no answer to its flush: exec and kamexfrmd may come to that after its end.
        until(partial(is_without_sas, daemon.host), PATIENCE, "its SAs are gone")
    words = of_a.log.read_text() + of_b.log.read_text()
    assert not re.search("failed|inappropriate|no policy found", words), words


@pytest.mark.parametrize("level", ["unique", "use"])
def test_a_racoon_under_exec_serves_tunnels(
    own_hosts: TwoHosts, tmp_path: Path, level: str
) -> None:
    IPV4.lay(own_hosts)
    daemons = []
    for host, tunnel in ((own_hosts.b, IPV4.mirrored()), (own_hosts.a, IPV4)):
        daemons.append(RacoonLike(host, tmp_path, tunnel.ends, 3600, "exec"))
        for way, it in (("out", tunnel), ("in", tunnel.mirrored())):
            ends = "-".join(it.ends)
            load(
                host,
                f"spdadd {it.networks[0]} {it.networks[1]} any -P {way} "
                f"ipsec esp/tunnel/{ends}/{level};",
            )
    # The first packet asks for SAs; at level use it is sent in clear all the same.
    answered = own_hosts.a.ping(IPV4.inside[1], timeout=1.0, source=IPV4.inside[0])
    assert answered is (level == "use")
    until(lambda: agreed(own_hosts), PATIENCE, "two SAs on each end")
    until(lambda: all(map(has_followed, own_hosts)), PATIENCE, "the policies have followed")
    IPV4.assert_protected(own_hosts)
    for daemon in daemons:
        daemon.stop()
        assert not re.search("failed|inappropriate|no policy found", daemon.log.read_text())
