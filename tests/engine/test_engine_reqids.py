"""Requests without a number take SAs of any reqid: the entry's templates follow the SAs."""

from collections.abc import Callable
from typing import Any

import pytest

from kamexfrm.engine.requests import (
    SaAdd,
    SaDelete,
    SaFlush,
    SetKnob,
    SpdAdd,
    SpdDelete,
    SpdFlush,
    Write,
)
from kamexfrm.kernel.fake import FakeKernel
from kamexfrm.kernel.interface import Kernel
from kamexfrm.model.association import SecurityAssociation
from kamexfrm.model.knobs import knob
from kamexfrm.model.policy import Mode, SecurityPolicy, Selector
from kamexfrm.net import Address
from kamexfrm.translate.xfrm.policy_to_kernel import TRIGGER_REQID
from kamexfrm.translate.xfrm.sa_to_kernel import sa_id_to_kernel, sa_to_kernel
from kamexfrm.translate.xfrm.tag import MARKER_IF_ID
from kamexfrm.xfrm import XfrmMsg, encode_state, encode_state_id
from tests.engine.engine_samples import (
    AH,
    DEFAULT,
    IN,
    OUT,
    REQUIRE,
    TRANSPORT,
    TUNNEL,
    UNIQUE,
    USE,
    A,
    Asker,
    B,
    Clock,
    DumpCounter,
    Killed,
    Mortal,
    association,
    helpers,
    ipsec,
    perform,
    request,
)

C = Address.parse("10.0.0.3")
HOSTS = Selector(A, 32, B, 32)
NET = Selector(A, 32, Address.parse("10.0.0.0"), 24)


@pytest.fixture(params=["fake", pytest.param("guest", marks=pytest.mark.dataplane)])
def kernel(request: pytest.FixtureRequest, kernel_of_kind: Callable[[str], Kernel]) -> Kernel:
    return kernel_of_kind(request.param)


def transport(spi: int, reqid: int = 0, to: Address = B, **fields: Any) -> SecurityAssociation:
    return association(spi, TRANSPORT, reqid=reqid, destination=to, **fields)


def tunnel(spi: int, reqid: int = 0, **fields: Any) -> SecurityAssociation:
    return association(spi, TUNNEL, reqid=reqid, **fields)


def numbers(asker: Asker, policy: SecurityPolicy) -> list[int]:
    """Return the reqids that the kernel looks for."""
    return [t.reqid for t in asker.installed(policy).templates]


def by_somebody_else(asker: Asker, sa: SecurityAssociation) -> None:
    state = sa_to_kernel(sa, sa.mode)
    perform(asker.kernel, XfrmMsg.NEWSA, encode_state(state))


@pytest.mark.parametrize("level", [DEFAULT, USE, REQUIRE])
@pytest.mark.parametrize("mode", [TRANSPORT, TUNNEL])
def test_an_entry_follows_its_sa_to_a_reqid_and_back(asker: Asker, mode: Any, level: Any) -> None:
    policy = ipsec(HOSTS, OUT, request(level, mode=mode))
    asker.add(policy)
    id = asker.entry(policy).id
    without = numbers(asker, policy)
    assert without in ([0], [TRIGGER_REQID])
    asker.must(SaAdd(association(mode=mode, reqid=5)))
    assert numbers(asker, policy) == [5]
    assert asker.written() == {policy}
    asker.must(SaDelete(association().id))
    assert numbers(asker, policy) == without
    assert asker.entry(policy).id == id


@pytest.mark.parametrize("mode", [TRANSPORT, TUNNEL])
def test_an_entry_that_comes_after_its_sa_is_written_with_its_reqid(
    asker: Asker, mode: Any
) -> None:
    policy = ipsec(HOSTS, OUT, request(USE, mode=mode))
    asker.must(SaAdd(association(mode=mode, reqid=5)), SpdAdd(policy))
    assert numbers(asker, policy) == [5]
    other = policy._replace(requests=(request(REQUIRE, mode=mode),))
    Asker(asker.kernel).must(SpdAdd(other, replace=True))
    assert numbers(asker, other) == [5]


def test_sas_of_others_are_seen_by_the_next_command(asker: Asker) -> None:
    policy = ipsec(HOSTS, OUT, request(REQUIRE))
    asker.add(policy)
    by_somebody_else(asker, transport(0x2000, 0xFFFFFFFF))
    assert numbers(asker, policy) == [0]
    Asker(asker.kernel).must(SaAdd(association(0x3000, destination=C)))
    assert numbers(asker, policy) == [0xFFFFFFFF]
    other = ipsec(Selector(A, 32, B, 32, upper=17), OUT, request(REQUIRE))
    Asker(asker.kernel).add(other)
    assert numbers(asker, other) == [0xFFFFFFFF]


def test_unique_requests_and_inbound_ones_keep_what_they_say(asker: Asker) -> None:
    unique = ipsec(HOSTS, OUT, request(UNIQUE, reqid=9), request(REQUIRE, AH))
    inbound = ipsec(HOSTS, IN, request(REQUIRE))
    asker.add(unique, inbound)
    asker.must(
        SaAdd(transport(0x1000, 5)),
        SaAdd(transport(0x1000, 6, protocol=AH, encryption=None)),
    )
    assert numbers(asker, unique) == [9, 6]
    assert numbers(asker, inbound) == [0]


def test_one_sa_serves_both_a_unique_request_and_one_without_a_number(asker: Asker) -> None:
    unique = ipsec(HOSTS._replace(upper=6), OUT, request(UNIQUE, reqid=5))
    plain = ipsec(HOSTS, OUT, request(REQUIRE))
    asker.add(unique, plain)
    asker.must(SaAdd(transport(0x1000, 5)))
    assert (numbers(asker, unique), numbers(asker, plain)) == ([5], [5])


def test_of_several_reqids_the_newest_heads_is_taken(asker: Asker) -> None:
    policy = ipsec(HOSTS, OUT, request(REQUIRE))
    asker.add(policy)
    for spi, reqid in ((1, 5), (2, 0), (3, 6), (4, 5)):
        asker.must(SaAdd(transport(0x1000 + spi, reqid)))
    assert numbers(asker, policy) == [6]
    asker.must(SaDelete(transport(0x1003).id))
    assert numbers(asker, policy) == [0]
    asker.must(SaDelete(transport(0x1002).id))
    assert numbers(asker, policy) == [5]


def test_an_entry_for_many_hosts_takes_the_reqid_that_most_of_them_have(asker: Asker) -> None:
    policy = ipsec(NET, OUT, request(REQUIRE))
    asker.add(policy)
    hosts = [Address(2, bytes((10, 0, 0, n))) for n in range(20, 25)]
    for n, host in enumerate(hosts):
        asker.must(SaAdd(transport(0x1000 + n, 5 if n < 2 else 6, host)))
    assert numbers(asker, policy) == [6]
    outside = Address.parse("10.0.1.1")
    asker.must(*[SaAdd(transport(0x2000 + n, 5, outside)) for n in range(9)])
    assert numbers(asker, policy) == [6]
    asker.must(*[SaDelete(transport(0x1000 + n, to=hosts[n]).id) for n in (2, 3)])
    assert numbers(asker, policy) == [5]


def test_behind_a_tunnel_the_tunnels_ends_are_looked_at(asker: Asker) -> None:
    wide = Selector(Address.unspecified(2), 0, Address.unspecified(2), 0)
    policy = ipsec(wide, OUT, request(REQUIRE, mode=TUNNEL), request(REQUIRE, AH))
    asker.add(policy)
    asker.must(
        SaAdd(tunnel(0x1000, 3)),
        SaAdd(transport(0x1000, 4, protocol=AH, encryption=None)),
        *[
            SaAdd(
                transport(
                    0x1001 + n, 8, Address(2, bytes((10, 0, 0, 30 + n))), protocol=AH
                )._replace(encryption=None)
            )
            for n in range(3)
        ],
    )
    assert numbers(asker, policy) == [3, 4]


def test_a_tunnel_of_level_use_comes_in_with_the_reqid_of_its_sa(asker: Asker) -> None:
    policy = ipsec(HOSTS, OUT, request(USE, mode=TUNNEL))
    asker.add(policy)
    asker.must(SaAdd(tunnel(0x1000, 5)))
    assert numbers(asker, policy) == [5]
    assert helpers(asker.kernel) == [MARKER_IF_ID]
    asker.must(SaFlush())
    assert numbers(asker, policy) == [TRIGGER_REQID]
    assert asker.written() == {policy}


def test_a_larval_sa_serves_nobody(asker: Asker) -> None:
    policy = ipsec(HOSTS, OUT, request(USE, mode=TUNNEL))
    asker.add(policy)
    asker.engine.get_spi(tunnel(0, 5), 0x1000, 0x1000)
    asker.must(SaAdd(association(0x3000, destination=C)))
    assert numbers(asker, policy) == [TRIGGER_REQID]


def test_an_sa_of_mode_any_with_a_reqid_serves_a_tunnel_without(asker: Asker) -> None:
    policy = ipsec(HOSTS, OUT, request(USE, mode=TUNNEL))
    asker.must(SpdAdd(policy), SaAdd(association(mode=Mode.ANY, reqid=5)))
    assert [e.kernel_mode for e in asker.engine.sad()] == [TUNNEL]
    assert numbers(asker, policy) == [5]


ANYTHING: dict[str, list[Write]] = {
    "an entry": [SpdAdd(ipsec(3, IN, request(REQUIRE)))],
    "an entry's end": [SpdDelete(ipsec(4).selector, OUT)],
    "an SA": [SaAdd(association(0x7000, destination=C))],
    "a flush of SAs": [SaFlush(AH)],
    "a level": [SetKnob(knob("net.inet6.ipsec6.ah_net_deflev"), 2)],
    "a variable": [SetKnob(knob("net.inet.ipsec.dfbit"), 0)],
}


@pytest.mark.parametrize("mode", [TRANSPORT, TUNNEL])
@pytest.mark.parametrize("command", ANYTHING)
def test_any_command_that_writes_lets_entries_follow_the_sas_of_others(
    asker: Asker, command: str, mode: Any
) -> None:
    policy = ipsec(HOSTS, OUT, request(USE, mode=mode))
    asker.add(policy, ipsec(4, OUT, request(REQUIRE)))
    without = numbers(asker, policy)
    other = association(0x2000, mode, reqid=5)
    by_somebody_else(asker, other)
    Asker(asker.kernel).must(*ANYTHING[command])
    assert numbers(asker, policy) == [5]
    perform(asker.kernel, XfrmMsg.DELSA, encode_state_id(sa_id_to_kernel(other.id)))
    Asker(asker.kernel).add(ipsec(5, OUT, request(REQUIRE)))
    assert numbers(asker, policy) == without


def test_a_kill_between_sa_and_entry_is_made_good_by_the_next_command() -> None:
    policy = ipsec(HOSTS, OUT, request(REQUIRE))
    for life in range(1, 12):
        kernel = FakeKernel(Clock())
        asker = Asker(Mortal(kernel, life))
        try:
            asker.must(SpdAdd(policy))
            asker.must(SaAdd(transport(0x1000, 5)))
        except Killed:
            pass
        other = Asker(kernel)
        other.add(ipsec(9, IN))
        if list(other.kernel.states()) and other.written() >= {policy}:
            assert numbers(other, policy) == [5]


def test_what_nobody_needs_is_not_looked_at() -> None:
    kernel = DumpCounter(Clock())
    asker = Asker(kernel)
    asker.add(*[ipsec(n, OUT, request(UNIQUE, reqid=n + 1)) for n in range(5)])
    asker.must(SaAdd(transport(0x1000, 5)))
    asker.must(SaAdd(transport(0x1001, 6)))
    assert kernel.dumps == 0
    asker.must(SpdFlush(), SaFlush())
    asker.add(*[ipsec(n, OUT, request(REQUIRE)) for n in range(5)])
    before = kernel.dumps
    asker.must(SaAdd(transport(0x1000)))
    Asker(kernel).must(SaAdd(transport(0x1001)))
    assert kernel.dumps <= before + 1  # the first of them learns that the numbered SAs are gone


def test_a_command_that_changes_nothing_about_sas_reads_no_policies() -> None:
    kernel = DumpCounter(Clock())
    asker = Asker(kernel)
    asker.must(SaAdd(tunnel(0x1000)))
    asker.add(*[ipsec(n, OUT, request(USE, mode=TUNNEL)) for n in range(5)])
    before = kernel.dumps  # without a marker, an SA might be one of mode any
    Asker(kernel).add(ipsec(9, OUT, request(USE, mode=TUNNEL)))
    Asker(kernel).add(ipsec(10, OUT, request(REQUIRE)))
    assert kernel.dumps == before
