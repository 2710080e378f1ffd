"""What an event asks of the reconciler: nothing where nothing can follow."""

import pytest

from kamexfrm.engine.routes import renewal
from kamexfrm.errors import WireError
from kamexfrm.kamexfrmd.consequences import Consequence, consequence, written_marker
from kamexfrm.kamexfrmd.reconciler import GROUPS
from kamexfrm.kernel.fake import FakeKernel
from kamexfrm.kernel.interface import Event
from kamexfrm.net import AF_INET, Address
from kamexfrm.translate.xfrm.catch_all import catch_all
from kamexfrm.translate.xfrm.marker import NO_FLAGS, Marker, MarkerFlag, marker_policy
from kamexfrm.translate.xfrm.rewrite import delete_by_index
from kamexfrm.xfrm import (
    AuthAlgorithm,
    Expire,
    LifetimeConfig,
    Operation,
    Policy,
    PolicyExpire,
    Selector,
    State,
    StateId,
    Template,
    XfrmMsg,
    encode_expire,
    encode_policy,
    encode_policy_expire,
    encode_policy_flush,
    encode_state,
    encode_state_flush,
    encode_state_id,
)

A, B = Address.parse("192.0.2.1"), Address.parse("192.0.2.2")
NOTHING, FORGET, RESYNC = Consequence
NUMBERS = MarkerFlag.HAS_REQID_SA | MarkerFlag.HAS_ANY_REQID
ALL = MarkerFlag.HAS_MODE_ANY | MarkerFlag.HAS_TUNNEL_USE | NUMBERS


def policy(mode: int = 0) -> Policy:
    template = Template(B, A, protocol=50, mode=mode, family=AF_INET)
    return Policy(
        Selector(B, A, family=AF_INET, destination_prefix=32, source_prefix=32),
        1,
        priority=5,
        templates=(template,),
    )


def state(mode: int = 0, reqid: int = 0) -> State:
    return State(
        Selector(B, A, family=AF_INET),
        B,
        0x1000,
        51,
        A,
        reqid=reqid,
        family=AF_INET,
        mode=mode,
        lifetime=LifetimeConfig(),
        authentication=AuthAlgorithm("hmac(sha1)", bytes(20), 160, 96),
    )


def event_of(*operations: Operation) -> Event:
    """Return the event of the last of some operations."""
    kernel = FakeKernel()
    events = kernel.subscribe(GROUPS)
    assert kernel.apply(operations) == []
    *_, last = events.receive()
    kernel.close()
    return last


def added(sa: State) -> Event:
    return event_of(Operation(XfrmMsg.NEWSA, encode_state(sa)))


def written(*policies: Policy) -> Event:
    return event_of(*[Operation(XfrmMsg.NEWPOLICY, encode_policy(p)) for p in policies])


def deleted(of: Policy) -> Event:
    return event_of(Operation(XfrmMsg.NEWPOLICY, encode_policy(of)), delete_by_index(of))


@pytest.mark.parametrize(
    ("sa", "flags", "wanted"),
    [
        (state(), NO_FLAGS, FORGET),
        (state(), MarkerFlag.HAS_TUNNEL_USE, FORGET),
        (state(), MarkerFlag.HAS_MODE_ANY, FORGET),
        (state(), MarkerFlag.HAS_ANY_REQID, FORGET),
        (state(mode=1), NO_FLAGS, FORGET),
        (state(mode=1), MarkerFlag.HAS_TUNNEL_USE, RESYNC),
        (state(reqid=5), NO_FLAGS, FORGET),
        (state(reqid=5), MarkerFlag.HAS_ANY_REQID, RESYNC),
        (state(), NUMBERS, RESYNC),
    ],
)
def test_an_sa_matters_to_policies_that_may_use_it(
    sa: State, flags: MarkerFlag, wanted: Consequence
) -> None:
    assert consequence(added(sa), flags) is wanted
    end = Event(XfrmMsg.EXPIRE, encode_expire(Expire(sa, hard=1)), 0, 0)
    assert consequence(end, flags) is (RESYNC if wanted is RESYNC else NOTHING)
    warning = Event(XfrmMsg.EXPIRE, encode_expire(Expire(sa, hard=0)), 0, 0)
    assert consequence(warning, flags) is NOTHING


@pytest.mark.parametrize(
    "flags",
    [
        NO_FLAGS,
        MarkerFlag.HAS_ANY_REQID,
        MarkerFlag.HAS_TUNNEL_USE,
        MarkerFlag.HAS_MODE_ANY,
        NUMBERS,
    ],
)
def test_the_end_of_sas_matters_where_policies_depend_on_them(flags: MarkerFlag) -> None:
    new = Operation(XfrmMsg.NEWSA, encode_state(state()))
    flush = Operation(XfrmMsg.FLUSHSA, encode_state_flush(0))
    name = encode_state_id(StateId(B, 0x1000, 51, AF_INET))
    wanted = NOTHING if flags in (NO_FLAGS, MarkerFlag.HAS_ANY_REQID) else RESYNC
    assert consequence(event_of(new, Operation(XfrmMsg.DELSA, name)), flags) is wanted
    assert consequence(event_of(new, flush), flags) is wanted


def test_foreign_policies_matter_to_sas_of_mode_any_alone() -> None:
    for one in (policy(), policy(mode=1)):
        assert consequence(written(one), ALL & ~MarkerFlag.HAS_MODE_ANY) is NOTHING
        assert consequence(deleted(one), ALL & ~MarkerFlag.HAS_MODE_ANY) is FORGET
        ended = encode_policy_expire(PolicyExpire(one, hard=1))
        assert (
            consequence(Event(XfrmMsg.POLEXPIRE, ended, 0, 0), ALL & ~MarkerFlag.HAS_MODE_ANY)
            is FORGET
        )
        assert consequence(Event(XfrmMsg.POLEXPIRE, ended, 0, 0), MarkerFlag.HAS_MODE_ANY) is RESYNC
        assert consequence(deleted(one), MarkerFlag.HAS_MODE_ANY) is RESYNC
    assert consequence(written(policy()), MarkerFlag.HAS_MODE_ANY) is NOTHING
    assert consequence(written(policy(mode=1)), MarkerFlag.HAS_MODE_ANY) is RESYNC


def test_what_is_ours_alone_is_missed() -> None:
    assert consequence(deleted(catch_all(AF_INET, 1)), NO_FLAGS) is RESYNC
    assert consequence(deleted(marker_policy(Marker())), NO_FLAGS) is RESYNC
    flush = event_of(
        Operation(XfrmMsg.NEWPOLICY, encode_policy(policy())),
        Operation(XfrmMsg.FLUSHPOLICY, encode_policy_flush()),
    )
    assert consequence(flush, NO_FLAGS) is RESYNC


def test_a_marker_is_known_among_policies() -> None:
    marker = marker_policy(Marker(order=7))
    event = written(marker)
    found = written_marker(event)
    assert found is not None
    assert found.lifetime == marker.lifetime
    for other in (policy(), catch_all(AF_INET, 2), catch_all(AF_INET, 1)):
        assert written_marker(written(other)) is None
    assert written_marker(added(state())) is None


def test_what_cannot_be_read_is_an_error_of_its_own() -> None:
    for number in (XfrmMsg.NEWSA, XfrmMsg.DELPOLICY, XfrmMsg.EXPIRE):
        with pytest.raises(WireError):
            consequence(Event(number, b"short", 0, 0), ALL)
    assert consequence(Event(0x99, b"", 0, 0), ALL) is NOTHING


def test_a_catch_all_that_is_not_exactly_ours_asks_for_a_resync() -> None:
    ours = catch_all(AF_INET, 1)
    ten = ours.selector._replace(destination_prefix=8)
    for flags in (NO_FLAGS, ALL):
        assert consequence(written(ours), flags) is NOTHING
        for forged in (
            ours._replace(action=0),
            ours._replace(priority=7),
            ours._replace(lifetime=LifetimeConfig()),
            ours._replace(selector=ten),
        ):
            assert consequence(written(forged), flags) is RESYNC
            assert consequence(Event(XfrmMsg.NEWPOLICY, encode_policy(forged), 0, 0), flags) is (
                RESYNC
            )


def test_dropping_routes_without_setdefault_asks_for_nothing() -> None:
    kernel = FakeKernel(has_default=False)
    events = kernel.subscribe(GROUPS)
    assert kernel.apply(renewal(kernel)) == []
    seen = events.receive()
    assert [event.type for event in seen].count(XfrmMsg.DELPOLICY) == 2
    assert {consequence(event, ALL) for event in seen} == {NOTHING}
