"""A policy for many hosts whose SAs have different reqids: what it leaves without an SA is told."""

import pytest

from kamexfrm.engine.engine import Engine
from kamexfrm.engine.requests import SaAdd, SaDelete, SpdAdd, Write, Written
from kamexfrm.kernel.fake import FakeKernel
from kamexfrm.model.association import SecurityAssociation
from kamexfrm.model.policy import SecurityPolicy, Selector
from kamexfrm.net import Address
from kamexfrm.setkey.error_hints import unserved_text
from tests.engine.engine_samples import ESP, OUT, REQUIRE, TRANSPORT, UNIQUE, association, ipsec
from tests.engine.engine_samples import request as asking

NETWORK = Address.parse("10.0.0.0")
NET = Selector(NETWORK, 24, NETWORK, 24)
POLICY = ipsec(NET, OUT, asking(REQUIRE))


def sa(number: int, reqid: int) -> SecurityAssociation:
    """Return an SA from 10.0.0.1 to another host."""
    peer = Address.parse(f"10.0.0.{number}")
    return association(number, TRANSPORT, destination=peer, reqid=reqid)


@pytest.fixture
def engine() -> Engine:
    return Engine(FakeKernel())


def wrote(engine: Engine, *requests: Write) -> Written:
    for one in requests:
        engine.submit(one)
    return engine.flush()


def four() -> list[Write]:
    return [SaAdd(sa(number, number)) for number in (2, 3, 4, 5)]


def test_it_is_told_when_the_policy_is_added(engine: Engine) -> None:
    assert wrote(engine, *four()).unserved == ()
    (found,) = wrote(engine, SpdAdd(POLICY)).unserved
    assert (found.selector, found.protocol) == (NET, ESP)
    assert (found.reqid, found.others, found.pairs) == (5, (2, 3, 4), 3)


def test_it_is_told_when_an_sa_is_added(engine: Engine) -> None:
    assert wrote(engine, SpdAdd(POLICY), SaAdd(sa(2, 2))).unserved == ()
    (found,) = wrote(engine, SaAdd(sa(3, 3))).unserved
    assert (found.reqid, found.others, found.pairs) == (3, (2,), 1)
    assert wrote(engine, SaDelete(sa(2, 2).id)).unserved == ()


@pytest.mark.parametrize("reqid", [0, 7])
def test_sas_of_one_reqid_serve_all(engine: Engine, reqid: int) -> None:
    added = [SaAdd(sa(number, reqid)) for number in (2, 3)]
    assert wrote(engine, SpdAdd(POLICY), *added).unserved == ()


@pytest.mark.parametrize(
    "policy",
    [
        ipsec(NET, OUT, asking(UNIQUE, reqid=5)),
        ipsec(Selector(Address.parse("10.0.0.1"), 32, Address.parse("10.0.0.2"), 32), OUT),
    ],
)
def test_nothing_is_said_of_a_policy_that_means_one(engine: Engine, policy: SecurityPolicy) -> None:
    assert wrote(engine, SpdAdd(policy), *four()).unserved == ()


def test_the_warning_names_the_policy_the_reqids_and_the_cure(engine: Engine) -> None:
    (found,) = wrote(engine, SpdAdd(POLICY), *four()).unserved
    assert unserved_text(found) == (
        "the policy for 10.0.0.0/24 10.0.0.0/24 uses SAs of esp with reqid 5 only,"
        " since Linux takes one reqid for a request;"
        " 3 pairs of hosts have none of that but of 2, 3, 4:"
        " give their SAs one reqid or none, or write a policy for each pair"
    )
