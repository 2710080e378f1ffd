"""The fields of policies in which the kernel carries what KAME knows: it hands them back untouched.

Each is tried on the running kernel and in the guest, as it is used: nothing here goes through the
engine.
"""

from typing import Any

import pytest

from kamexfrm.kernel.interface import Kernel
from kamexfrm.kernel.netlink import NetlinkKernel
from kamexfrm.model.knobs import KNOBS, Knobs
from kamexfrm.model.policy import Level
from kamexfrm.net import Address
from kamexfrm.rig import gateways
from kamexfrm.translate.xfrm.catch_all import catch_all
from kamexfrm.translate.xfrm.marker import (
    MARKER_ID,
    Marker,
    MarkerFlag,
    marker_policy,
    read_marker,
)
from kamexfrm.translate.xfrm.policy_to_kernel import (
    TRIGGER_REQID,
)
from kamexfrm.translate.xfrm.tag import (
    SIDECAR_IF_ID,
    PolicyTag,
    ShareTag,
    policy_words,
    read_policy_words,
    share_of,
)
from kamexfrm.xfrm import (
    LifetimeConfig,
    Operation,
    Policy,
    PolicyId,
    Selector,
    Template,
    XfrmMsg,
    encode_policy,
)

IN, OUT, FWD = 0, 1, 2
A, B = Address.parse("10.0.0.1"), Address.parse("10.0.0.2")
A6, B6 = Address.parse("fd00::1"), Address.parse("fd00::2")
NOWHERE = {2: Address.unspecified(2), 10: Address.unspecified(10)}
SELECTOR = {
    2: Selector(B, A, family=2, destination_prefix=32, source_prefix=32),
    10: Selector(B6, A6, family=10, destination_prefix=128, source_prefix=128),
}
FULL = PolicyTag(0xFEDCBA98, (1 << 48) - 1, 0x1F, (1 << 40) - 1, 0xFFFFFFFF, 0xFFFFFFFE)

pytestmark = pytest.mark.both_kernels


@pytest.fixture
def xfrm(kernel: str, real_kernel: Kernel) -> Kernel:
    return real_kernel


def write(xfrm: Kernel, *policies: Policy, how: int = XfrmMsg.NEWPOLICY) -> None:
    assert xfrm.apply([Operation(how, encode_policy(p)) for p in policies]) == []


def template(family: int = 2, **fields: Any) -> Template:
    plain = Template(NOWHERE[family], NOWHERE[family], protocol=50, mode=0, family=family)
    return plain._replace(**fields)


def only(xfrm: Kernel) -> Policy:
    (policy,) = xfrm.policies()
    return policy


@pytest.mark.parametrize("family", [2, 10])
@pytest.mark.parametrize("direction", [IN, OUT, FWD])
def test_the_four_words_of_a_tag(xfrm: Kernel, family: int, direction: int) -> None:
    life = LifetimeConfig(*policy_words(FULL), 0, 3000, 0, 4000)
    write(xfrm, Policy(SELECTOR[family], direction, lifetime=life, templates=(template(family),)))
    assert only(xfrm).lifetime == life
    assert read_policy_words(only(xfrm).lifetime[:4]).tag == FULL
    write(xfrm, only(xfrm)._replace(priority=9), how=XfrmMsg.UPDPOLICY)
    assert only(xfrm).lifetime == life


def test_words_of_zero_and_of_one_end_no_policy(xfrm: Kernel) -> None:
    write(
        xfrm,
        Policy(SELECTOR[2], OUT, lifetime=LifetimeConfig(0, 0, 0, 0)),
        Policy(SELECTOR[2], IN, lifetime=LifetimeConfig(1, 1, 1, 1)),
    )
    assert {p.lifetime[:4] for p in xfrm.policies()} == {(0, 0, 0, 0), (1, 1, 1, 1)}


@pytest.mark.parametrize("direction", [IN, OUT, FWD])
def test_the_share_byte_of_a_template_for_each_level_and_mark(xfrm: Kernel, direction: int) -> None:
    tags = [ShareTag(level) for level in Level]
    tags += [ShareTag(Level.USE, endpoints=True), ShareTag(Level.DEFAULT, trigger=True)]
    templates = tuple(template(share=share_of(tag), reqid=1 + at) for at, tag in enumerate(tags))
    write(xfrm, Policy(SELECTOR[2], direction, templates=templates))
    assert only(xfrm).templates == templates


def test_the_optional_byte_beside_any_share_byte(xfrm: Kernel) -> None:
    for share in range(0x80, 0x100):
        policy = Policy(SELECTOR[2], OUT, templates=(template(share=share, optional=share & 1),))
        write(xfrm, policy, how=XfrmMsg.UPDPOLICY)
        assert only(xfrm).templates == policy.templates


def test_the_index_through_updates(xfrm: Kernel) -> None:
    write(xfrm, Policy(SELECTOR[2], OUT))
    index = only(xfrm).index
    for priority in (5, 0xFFFFFFFE, 1):
        changed = Policy(SELECTOR[2], OUT, priority=priority, templates=(template(),))
        write(xfrm, changed, how=XfrmMsg.UPDPOLICY)
        assert (only(xfrm).index, only(xfrm).priority) == (index, priority)


@pytest.mark.parametrize("direction", [IN, FWD])
@pytest.mark.parametrize("reqid", [0, 1, 16384, 0x80000000, 0xFFFFFFFF])
def test_calgos_of_inbound_templates(xfrm: Kernel, direction: int, reqid: int) -> None:
    held = template(calgos=reqid)
    write(xfrm, Policy(SELECTOR[2], direction, templates=(held,)))
    assert only(xfrm).templates == (held,)
    assert held.aalgos == 0xFFFFFFFF


def test_addresses_of_inbound_transport_templates(xfrm: Kernel) -> None:
    held = template()._replace(source=A, destination=B)
    write(xfrm, Policy(SELECTOR[2], IN, templates=(held,)))
    assert only(xfrm).templates == (held,)


def test_a_trigger_of_a_reqid_that_no_sa_has(xfrm: Kernel) -> None:
    held = template(reqid=TRIGGER_REQID, optional=1, share=share_of(ShareTag(1, trigger=True)))
    write(xfrm, Policy(SELECTOR[2], OUT, templates=(held,)))
    assert only(xfrm).templates == (held,)


def test_a_sidecar_beside_the_real_fwd_entry_of_its_selector(xfrm: Kernel) -> None:
    tunnel = Template(B6, A6, protocol=50, mode=1, family=10, optional=1, share=0x81)
    sidecar = Policy(
        SELECTOR[2],
        FWD,
        templates=(tunnel, template()._replace(source=A6, destination=B6, family=10)),
        if_id=SIDECAR_IF_ID,
        priority=3,
    )
    real = Policy(SELECTOR[2], FWD, templates=(template(),), priority=7)
    write(xfrm, sidecar, real, Policy(SELECTOR[2], OUT))
    found = {(p.direction, p.if_id): p.templates for p in xfrm.policies()}
    assert found == {
        (FWD, SIDECAR_IF_ID): sidecar.templates,
        (FWD, 0): real.templates,
        (OUT, 0): (),
    }
    wanted = PolicyId(SELECTOR[2], index=0, direction=FWD, if_id=SIDECAR_IF_ID)
    assert xfrm.policy(wanted).templates == sidecar.templates
    assert xfrm.policy(wanted._replace(if_id=0)).templates == real.templates


def test_the_marker_beside_a_users_own_entries_for_everything(xfrm: Kernel) -> None:
    knobs = Knobs()
    for each in KNOBS[::2]:
        knobs = knobs.replace(each, each.high if each.low else 0)
    marker = Marker(knobs, (1 << 48) - 1, 0xFFFFFFFE, 0xFFFFFFFD, 0xFFFFFFFC, MarkerFlag(7))
    everything = Selector(NOWHERE[2], NOWHERE[2], family=2)
    write(xfrm, *[Policy(everything, direction) for direction in (IN, OUT, FWD)])
    write(xfrm, marker_policy(marker), how=XfrmMsg.UPDPOLICY)
    assert read_marker(xfrm.policy(MARKER_ID)) == marker
    assert len(list(xfrm.policies())) == 4
    write(xfrm, marker_policy(Marker()), how=XfrmMsg.UPDPOLICY)
    assert read_marker(xfrm.policy(MARKER_ID)) == Marker()
    assert len(list(xfrm.policies())) == 4


def test_the_template_of_a_marker(xfrm: Kernel) -> None:
    knobs = Knobs(dfbit=0, ecn=0, ecn6=0, spi_minval=0xFFFFFFFF, spi_maxval=0x100, sha256_icv=128)
    write(xfrm, marker_policy(Marker()), how=XfrmMsg.UPDPOLICY)
    write(xfrm, marker_policy(Marker(knobs)), how=XfrmMsg.UPDPOLICY)
    assert only(xfrm).templates == marker_policy(Marker(knobs)).templates
    assert read_marker(xfrm.policy(MARKER_ID)) == Marker(knobs)
    write(xfrm, marker_policy(Marker()), how=XfrmMsg.UPDPOLICY)
    assert only(xfrm).templates == ()


def test_no_forwarded_packet_meets_a_marker_with_a_template(kernel: str) -> None:
    with gateways() as (h1, g1, g2, _):
        opened = []
        for gateway in (g1, g2):
            opened.append(gateway.call(NetlinkKernel))
            write(opened[-1], marker_policy(Marker(Knobs(dfbit=0))))
        assert h1.ping("10.2.0.2")
        assert h1.ping("fd02::2")
        for gateway, xfrm in zip((g1, g2), opened, strict=True):
            assert list(xfrm.states()) == []
            assert not any(gateway.counters().values())
            xfrm.close()


@pytest.mark.parametrize("family", [2, 10])
@pytest.mark.parametrize("direction", [IN, OUT, FWD])
def test_the_user_of_a_catch_all_beside_a_users_own_entry_for_everything(
    xfrm: Kernel, family: int, direction: int
) -> None:
    everything = Selector(NOWHERE[family], NOWHERE[family], family=family)
    own = Policy(everything, direction, 1, 0xFFFFFFFE)
    block = catch_all(family, direction)
    write(xfrm, block, own)
    found = {p.selector.user: p for p in xfrm.policies()}
    assert found[block.selector.user].selector == block.selector
    assert found[0].selector == everything
    assert (found[block.selector.user].action, found[block.selector.user].priority) == (
        1,
        0xFFFFFFFF,
    )
