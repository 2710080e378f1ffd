"""What newer kernels offer for SAs: it is used where it is asked for, and no rewriting loses it.

A kernel that does not know an attribute passes over it; what is expected here is what it keeps.
"""

import os
import time
from typing import Any, NamedTuple

import pytest

from kamexfrm.kernel.netlink import NetlinkKernel
from kamexfrm.model.linux.kernel_range import holds_for
from kamexfrm.net import AF_INET, Address
from kamexfrm.operator.saving import saved
from kamexfrm.rig import TwoHosts
from kamexfrm.xfrm import (
    UDP_ENCAP_ESPINUDP,
    XFRM_MODE_TRANSPORT,
    XFRM_MODE_TUNNEL,
    AeadAlgorithm,
    Encap,
    Operation,
    ReplayState,
    Selector,
    State,
    XfrmMsg,
    encode_state,
)
from tests.dataplane.dataplane_proof import load, setkey

pytestmark = pytest.mark.dataplane

A, B = "10.0.0.1", "10.0.0.2"
KEY = bytes(range(20))
GCM = f"-E aes-gcm-16 0x{KEY.hex()}"


class Newer(NamedTuple):
    """``words`` are setkey's for an attribute, which came with a kernel of the range."""

    kernels: str
    field: str
    value: int
    words: str


NEWER = (
    Newer(">=6.10", "direction", 2, "dir out"),
    Newer(">=6.11", "nat_keepalive_interval", 20, "nat-keepalive-interval 20"),
    Newer(">=6.13", "pcpu", 0, "pcpu-num 0"),
)

#: What the running kernel keeps.
KEPT = tuple(newer for newer in NEWER if holds_for(newer.kernels, os.uname().release))

OURS = (
    f"add {A}[4500] {B}[4500] esp-udp 0x1000 -u 7 {' '.join(newer.words for newer in NEWER)} {GCM};"
)
TUNNEL = f"spdadd {A} {B} any -P out ipsec esp/tunnel/{A}-{B}/require;"


def associations(hosts: TwoHosts) -> list[State]:
    """Return host a's SAs."""
    with hosts.a.enter():
        kernel = NetlinkKernel()
        try:
            return list(kernel.states())
        finally:
            kernel.close()


def assert_kept(state: State) -> None:
    assert {newer.field: getattr(state, newer.field) for newer in KEPT} == {
        newer.field: newer.value for newer in KEPT
    }


def test_an_sa_that_changes_its_mode_keeps_what_it_has(two_hosts: TwoHosts) -> None:
    load(two_hosts.a, OURS)
    (before,) = associations(two_hosts)
    assert before.mode == XFRM_MODE_TRANSPORT
    assert_kept(before)
    load(two_hosts.a, TUNNEL)
    (after,) = associations(two_hosts)
    assert after.mode == XFRM_MODE_TUNNEL
    assert_kept(after)


def test_an_sa_that_is_loaded_again_stays_and_one_without_takes_its_place(
    two_hosts: TwoHosts,
) -> None:
    load(two_hosts.a, OURS)
    for script, kept in ((f"flush;{OURS}", True), (f"flush;{_without_newer(OURS)}", False)):
        load(two_hosts.a, script)
        (state,) = associations(two_hosts)
        if kept:
            assert_kept(state)
        else:
            assert (state.direction, state.nat_keepalive_interval, state.pcpu) == (0, 0, None)


def _without_newer(script: str) -> str:
    for newer in NEWER:
        script = script.replace(f"{newer.words} ", "")
    return script


def test_dump_and_saved_file_say_it_and_load_to_the_same(two_hosts: TwoHosts) -> None:
    load(two_hosts.a, OURS)
    shown = setkey(two_hosts.a, "-D")
    (before,) = associations(two_hosts)
    with two_hosts.a.enter():
        kernel = NetlinkKernel()
        script = "\n".join(saved(kernel, int(time.time())))
        kernel.close()
    for newer in KEPT:
        assert f"\t{newer.words}\n" in shown
        assert f" {newer.words} " in script
    setkey(two_hosts.a, "-F")
    load(two_hosts.a, script)
    (after,) = associations(two_hosts)
    assert after._replace(current=before.current) == before


def test_a_foreign_sa_is_shown_with_it_and_left_as_it_is(two_hosts: TwoHosts) -> None:
    here, there = Address.parse(A), Address.parse(B)
    anywhere = Address.unspecified(AF_INET)
    newer: dict[str, Any] = {newer.field: newer.value for newer in KEPT}
    foreign = State(
        Selector(anywhere, anywhere, family=AF_INET),
        there,
        spi=0x5000,
        protocol=50,
        source=here,
        family=AF_INET,
        mode=XFRM_MODE_TUNNEL,
        reqid=7,
        aead=AeadAlgorithm("rfc4106(gcm(aes))", KEY, len(KEY) * 8, 128),
        encap=Encap(UDP_ENCAP_ESPINUDP, 4500, 4500, anywhere),
        replay=ReplayState(oseq=100),
        **newer,
    )
    with two_hosts.a.enter():
        kernel = NetlinkKernel()
        assert kernel.apply([Operation(XfrmMsg.NEWSA, encode_state(foreign))]) == []
        kernel.close()
    (before,) = associations(two_hosts)
    assert_kept(before)
    load(two_hosts.a, TUNNEL.replace("require", "use"))
    assert associations(two_hosts) == [before]
    shown = setkey(two_hosts.a, "-D")
    assert all(f"\t{newer.words}\n" in shown for newer in KEPT)
