"""XFRM interfaces: their policies, and the SAs of their reqid, whoever adds them."""

import errno

import pytest

from kamexfrm.engine.load import LoadPlan
from kamexfrm.engine.requests import (
    InterfaceAdd,
    InterfaceDelete,
    SaAdd,
    SaFlush,
    SpdAdd,
    SpdDelete,
    SpdDeleteId,
    SpdFlush,
    Write,
)
from kamexfrm.errors import KamexfrmError
from kamexfrm.kernel.fake import FakeKernel
from kamexfrm.kernel.interface import Kernel
from kamexfrm.model.association import SaId
from kamexfrm.model.policy import Level, Mode, PolicyType, SpdEntry
from kamexfrm.net import Address
from kamexfrm.translate.xfrm.interface_policies import InterfaceTunnel
from kamexfrm.translate.xfrm.sa_to_kernel import SEQUENCE_MARGIN, sa_to_kernel
from kamexfrm.xfrm import ReplayState, State, XfrmMsg, encode_state
from tests.engine.engine_samples import (
    A6,
    ESP,
    OUT,
    REQUIRE,
    TRANSPORT,
    TUNNEL,
    A,
    Asker,
    B,
    association,
    ipsec,
    perform,
    request,
    selector,
)

TUNNEL_7 = InterfaceTunnel(7, A, B)


@pytest.fixture
def fake() -> Asker:
    return Asker(FakeKernel())


def state(asker: Asker, spi: int) -> State:
    return next(s for s in asker.kernel.states() if s.spi == spi)


def shown(entries: list[SpdEntry]) -> set[tuple[int, str]]:
    return {(e.policy.selector.family, e.policy.direction.name) for e in entries if e.interface}


def refused(asker: Asker, *requests: Write) -> list[KamexfrmError]:
    """Return the errors of requests."""
    asker.ask(*requests)
    return [row.error for row in asker.rejected]


def test_an_interface_has_policies_from_any_to_any_in_both_families(asker: Asker) -> None:
    asker.must(InterfaceAdd(TUNNEL_7))
    entries = [e for e in asker.entries() if e.interface == 7]
    assert shown(entries) == {(f, d) for f in (2, 10) for d in ("IN", "OUT", "FWD")}
    for entry in entries:
        (made,) = entry.policy.requests
        ends = (A, B) if entry.policy.direction is OUT else (B, A)
        assert made == request(Level.UNIQUE, ESP, TUNNEL, 7, ends)
        assert entry.policy.selector.source_prefix == entry.policy.selector.destination_prefix == 0
    assert {p.if_id for p in asker.kernel.policies() if p.templates} == {7}
    assert asker.engine.interfaces() == {7: TUNNEL_7}


def test_a_flush_of_policies_leaves_an_interface_its_own(asker: Asker) -> None:
    asker.must(InterfaceAdd(TUNNEL_7), SpdAdd(ipsec(1)), SpdFlush())
    assert len(shown(asker.entries())) == 6
    assert not asker.written() - {e.policy for e in asker.entries() if e.interface}
    asker.must(InterfaceDelete(7), SpdFlush())
    assert asker.entries() == []


def test_a_load_that_begins_with_a_flush_leaves_them_too(asker: Asker) -> None:
    asker.must(InterfaceAdd(TUNNEL_7), SpdAdd(ipsec(1)))
    asker.engine.begin_load(LoadPlan(policies=1))
    asker.engine.submit(SpdFlush())
    asker.engine.submit(SpdAdd(ipsec(2)))
    assert not asker.engine.end_load().rejected
    assert len(shown(asker.entries())) == 6
    assert {e.policy for e in asker.entries() if not e.interface} == {ipsec(2)}


def test_knobs_and_later_entries_leave_them_as_they_are(asker: Asker) -> None:
    asker.must(InterfaceAdd(TUNNEL_7))
    before = {p.selector: p for p in asker.kernel.policies() if p.if_id == 7}
    asker.turn("esp_net_deflev", 2)
    asker.must(*[SpdAdd(ipsec(n, priority=9 - n)) for n in range(5)])
    assert {p.selector: p for p in asker.kernel.policies() if p.if_id == 7} == before


def test_one_policy_of_an_interface_is_not_deleted_or_replaced(asker: Asker) -> None:
    asker.must(InterfaceAdd(TUNNEL_7))
    there = next(e for e in asker.entries() if e.interface)
    policy = there.policy
    for one in (
        SpdDeleteId(there.id),
        SpdDelete(policy.selector, policy.direction),
        SpdAdd(policy._replace(requests=(), type=PolicyType.NONE), twin=False, replace=True),
    ):
        (error,) = refused(asker, one)
        assert error.errno == errno.EPERM
        assert "belongs to the interface of if_id 7" in str(error)
    assert len(shown(asker.entries())) == 6


def test_a_number_is_given_once_and_a_tunnel_changes_in_place(asker: Asker) -> None:
    asker.must(InterfaceAdd(TUNNEL_7))
    (error,) = refused(asker, InterfaceAdd(TUNNEL_7))
    assert error.errno == errno.EEXIST
    other = TUNNEL_7._replace(remote=Address.parse("10.0.0.9"))
    asker.must(InterfaceAdd(other, replace=True))
    assert asker.engine.interfaces() == {7: other}
    asker.must(InterfaceDelete(7), InterfaceAdd(TUNNEL_7))
    assert asker.engine.interfaces() == {7: TUNNEL_7}


@pytest.mark.parametrize(
    "tunnel",
    [
        InterfaceTunnel(0, A, B),
        InterfaceTunnel(1 << 32, A, B),
        InterfaceTunnel(0x4B584D01, A, B),
        InterfaceTunnel(7, A, A6),
        InterfaceTunnel(7, A, A),
        InterfaceTunnel(7, A, Address.unspecified(2)),
    ],
)
def test_what_is_no_tunnel_is_refused(fake: Asker, tunnel: InterfaceTunnel) -> None:
    assert [error.errno for error in refused(fake, InterfaceAdd(tunnel))] == [errno.EINVAL]
    assert fake.entries() == []


@pytest.mark.parametrize("mode", [TUNNEL, Mode.ANY])
def test_sas_of_its_reqid_belong_to_it(fake: Asker, mode: Mode) -> None:
    fake.must(InterfaceAdd(TUNNEL_7))
    fake.must(SaAdd(association(1, mode, reqid=7)), SaAdd(association(2, mode, reqid=8)))
    assert (state(fake, 1).if_id, state(fake, 2).if_id) == (7, 0)
    # One of mode any is made a tunnel for it.
    assert state(fake, 1).mode == 1


def test_sas_of_transport_mode_and_without_a_reqid_do_not(fake: Asker) -> None:
    fake.must(InterfaceAdd(TUNNEL_7))
    fake.must(SaAdd(association(1, TRANSPORT, reqid=7)), SaAdd(association(2)))
    assert (state(fake, 1).if_id, state(fake, 2).if_id) == (0, 0)


def test_an_spi_that_is_got_for_it_belongs_to_it(fake: Asker) -> None:
    fake.must(InterfaceAdd(TUNNEL_7))
    spi = fake.engine.get_spi(association(0, reqid=7, source=B, destination=A), 0x100, 0x1FF)
    assert state(fake, spi).if_id == 7
    fake.must(SaAdd(association(spi, reqid=7, source=B, destination=A), replace=True))
    assert state(fake, spi).if_id == 7


def test_sas_that_are_there_are_moved_with_their_numbers_and_back(fake: Asker) -> None:
    fake.must(SaAdd(association(1, reqid=7)), SaAdd(association(2, reqid=8)))
    kernel = fake.kernel
    assert isinstance(kernel, FakeKernel)
    kernel.sad.change(state(fake, 1)._replace(replay=ReplayState(5000, 0, 0)))
    fake.must(InterfaceAdd(TUNNEL_7))
    assert state(fake, 1).if_id == 7
    assert state(fake, 1).replay == ReplayState(5000, 0, 0)
    assert state(fake, 2).if_id == 0
    fake.must(InterfaceDelete(7))
    assert state(fake, 1).if_id == 0
    assert state(fake, 1).replay == ReplayState(5000 + SEQUENCE_MARGIN, 0, 0)


def test_sas_that_others_add_are_taken_when_it_is_reconciled(fake: Asker) -> None:
    fake.must(InterfaceAdd(TUNNEL_7))
    added = sa_to_kernel(association(3, reqid=7), TUNNEL)
    perform(fake.kernel, XfrmMsg.NEWSA, encode_state(added))
    assert state(fake, 3).if_id == 0
    fake.engine.reconcile(None)
    assert state(fake, 3).if_id == 7


def test_sas_that_are_flushed_and_come_again_stay_in_it(fake: Asker) -> None:
    fake.must(InterfaceAdd(TUNNEL_7), SaAdd(association(1, reqid=7)))
    fake.engine.begin_load(LoadPlan())
    fake.engine.submit(SaFlush())
    fake.engine.submit(SaAdd(association(1, reqid=7)))
    assert not fake.engine.end_load().rejected
    assert state(fake, 1).if_id == 7


def test_an_ordinary_policy_does_not_name_an_sa_of_an_interface(fake: Asker) -> None:
    fake.must(InterfaceAdd(TUNNEL_7), SaAdd(association(1, reqid=7)))
    written = ipsec(selector(1), OUT, request(REQUIRE, ESP, TUNNEL))
    fake.must(SpdAdd(written))
    (template,) = fake.installed(written).templates
    assert template.reqid == 0
    fake.must(SaAdd(association(2, reqid=9)))
    (template,) = fake.installed(written).templates
    assert template.reqid == 9


def test_what_is_not_there_cannot_be_deleted(kernel: Kernel) -> None:
    (error,) = refused(Asker(kernel), InterfaceDelete(7))
    assert error.errno == errno.ENOENT


def test_an_sa_shows_as_it_was_added(fake: Asker) -> None:
    fake.must(InterfaceAdd(TUNNEL_7), SaAdd(association(1, reqid=7)))
    found = fake.engine.sa(SaId(B, ESP, 1)).association
    assert (found.reqid, found.mode) == (7, TUNNEL)
