"""net.key.preferred_oldsa 1: outbound templates name the oldest SA, as SAs come and go."""

from collections.abc import Callable
from typing import Any

import pytest

from kamexfrm.algorithms import Kind, by_name
from kamexfrm.engine.load import LoadPlan
from kamexfrm.engine.requests import (
    InterfaceAdd,
    SaAdd,
    SaDelete,
    SaDeleteAll,
    SaFlush,
    SetKnob,
    SpdAdd,
    Write,
)
from kamexfrm.kernel.fake import FakeKernel
from kamexfrm.kernel.interface import Failure, Kernel
from kamexfrm.model.association import Key, SecurityAssociation
from kamexfrm.model.knobs import knob
from kamexfrm.model.policy import Mode, SecurityPolicy, Selector
from kamexfrm.net import Address
from kamexfrm.translate.xfrm.interface_policies import InterfaceTunnel
from kamexfrm.translate.xfrm.sa_to_kernel import sa_id_to_kernel, sa_to_kernel
from kamexfrm.xfrm import (
    Mark,
    Operation,
    XfrmMsg,
    decode_policy,
    encode_state,
    encode_state_id,
)
from tests.engine.engine_samples import (
    AH,
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
    association,
    ipsec,
    perform,
    request,
)

OLDSA = knob("net.key.prefered_oldsa")
HOSTS = Selector(A, 32, B, 32)
NET = Selector(A, 32, Address.parse("10.0.0.0"), 24)
WIDE = Selector(Address.unspecified(2), 0, Address.unspecified(2), 0)


@pytest.fixture(params=["fake", pytest.param("guest", marks=pytest.mark.dataplane)])
def kernel(request: pytest.FixtureRequest, kernel_of_kind: Callable[[str], Kernel]) -> Kernel:
    return kernel_of_kind(request.param)


def transport(spi: int, **fields: Any) -> SecurityAssociation:
    return association(spi, TRANSPORT, **fields)


def ah(spi: int, **fields: Any) -> SecurityAssociation:
    return transport(spi, protocol=AH, encryption=None, **fields)


def spis(asker: Asker, policy: SecurityPolicy) -> list[int]:
    """Return the SPIs that the kernel looks for."""
    return [t.spi for t in asker.installed(policy).templates]


def prefer_old(asker: Asker, value: int = 1) -> None:
    asker.must(SetKnob(OLDSA, value))


@pytest.mark.parametrize("mode", [TRANSPORT, TUNNEL])
@pytest.mark.parametrize("level", [USE, REQUIRE])
def test_an_entry_names_its_oldest_sa_and_the_next_one_after_that(
    asker: Asker, mode: Mode, level: Any
) -> None:
    policy = ipsec(HOSTS, OUT, request(level, mode=mode))
    prefer_old(asker)
    asker.add(policy)
    asker.must(*[SaAdd(association(spi, mode)) for spi in (0x1000, 0x2000, 0x3000)])
    assert spis(asker, policy) == [0x1000]
    asker.must(SaDelete(association(0x1000, mode).id))
    assert spis(asker, policy) == [0x2000]
    asker.must(SaDelete(association(0x3000, mode).id))
    assert spis(asker, policy) == [0x2000]
    asker.must(SaFlush())
    assert spis(asker, policy) == [0]
    assert asker.written() == {policy}


def test_the_variable_rewrites_what_is_there_both_ways(asker: Asker) -> None:
    hosts, tunnel = ipsec(HOSTS, OUT, request(REQUIRE)), ipsec(2, OUT, request(USE, mode=TUNNEL))
    asker.add(hosts, tunnel)
    asker.must(*[SaAdd(transport(spi)) for spi in (0x1000, 0x2000)])
    asker.must(*[SaAdd(association(spi)) for spi in (0x3000, 0x4000)])
    assert (spis(asker, hosts), spis(asker, tunnel)) == ([0], [0])
    prefer_old(asker)
    assert (spis(asker, hosts), spis(asker, tunnel)) == ([0x1000], [0x3000])
    assert Asker(asker.kernel).engine.knobs().preferred_oldsa == 1
    prefer_old(asker, 0)
    assert (spis(asker, hosts), spis(asker, tunnel)) == ([0], [0])


def test_an_entry_that_comes_after_its_sas_names_the_oldest(asker: Asker) -> None:
    policy = ipsec(HOSTS, OUT, request(REQUIRE), request(USE, AH))
    prefer_old(asker)
    asker.must(*[SaAdd(transport(spi)) for spi in (0x1000, 0x2000)], SaAdd(ah(0x3000)))
    asker.add(policy)
    assert spis(asker, policy) == [0x1000, 0x3000]


def test_an_entry_for_many_hosts_names_none_but_those_of_its_tunnel(asker: Asker) -> None:
    many = ipsec(NET, OUT, request(REQUIRE))
    behind = ipsec(WIDE, OUT, request(REQUIRE), request(REQUIRE, mode=TUNNEL), request(REQUIRE, AH))
    prefer_old(asker)
    asker.add(many, behind)
    asker.must(SaAdd(transport(0x1000)), SaAdd(association(0x2000)), SaAdd(ah(0x3000)))
    assert spis(asker, many) == [0]
    assert spis(asker, behind) == [0, 0x2000, 0x3000]


def test_inbound_entries_name_none_and_unique_requests_an_sa_of_their_reqid(asker: Asker) -> None:
    unique = ipsec(HOSTS, OUT, request(UNIQUE, reqid=9))
    inbound = ipsec(HOSTS, IN, request(REQUIRE))
    prefer_old(asker)
    asker.add(unique, inbound)
    asker.must(*[SaAdd(transport(0x1000 + n, reqid=n)) for n in (5, 9)])
    asker.must(SaAdd(transport(0x2000, reqid=9)))
    assert (spis(asker, unique), spis(asker, inbound)) == ([0x1009], [0])


def test_an_sa_of_mode_any_and_one_with_a_larval_before_it_are_named(asker: Asker) -> None:
    tunnel = ipsec(WIDE, OUT, request(USE, mode=TUNNEL))
    prefer_old(asker)
    asker.add(tunnel)
    asker.engine.get_spi(association(0), 0x800, 0x800)
    asker.must(SaAdd(association(0x1000, Mode.ANY)))
    asker.must(SaAdd(association(0x2000)))
    assert spis(asker, tunnel) == [0x1000]


@pytest.mark.parametrize(
    "narrow", [{"mark": Mark(1, 0xFF)}, {"selector": {"protocol": 6}}], ids=["mark", "selector"]
)
def test_sas_for_some_packets_only_are_left_to_the_kernel(
    asker: Asker, narrow: dict[str, Any]
) -> None:
    policy = ipsec(HOSTS, OUT, request(REQUIRE))
    prefer_old(asker)
    asker.add(policy)
    asker.must(SaAdd(transport(0x1000)))
    state = sa_to_kernel(transport(0x2000), TRANSPORT)
    if "selector" in narrow:
        state = state._replace(selector=state.selector._replace(**narrow["selector"]))
    else:
        state = state._replace(**narrow)
    perform(asker.kernel, XfrmMsg.NEWSA, encode_state(state))
    asker.must(SaAdd(ah(0x3000)))
    assert spis(asker, policy) == [0]


def test_the_next_command_follows_what_others_did(asker: Asker) -> None:
    policy = ipsec(HOSTS, OUT, request(REQUIRE))
    prefer_old(asker)
    asker.add(policy)
    asker.must(*[SaAdd(transport(spi)) for spi in (0x1000, 0x2000)])
    gone = sa_id_to_kernel(transport(0x1000).id)
    perform(asker.kernel, XfrmMsg.DELSA, encode_state_id(gone))
    assert spis(asker, policy) == [0x1000]
    Asker(asker.kernel).add(ipsec(3, IN, request(REQUIRE)))
    assert spis(asker, policy) == [0x2000]


def test_the_policies_of_an_interface_name_the_oldest_of_its_sas(asker: Asker) -> None:
    prefer_old(asker)
    asker.must(
        SaAdd(association(0x1000, reqid=7)),
        SaAdd(association(0x900)),
        InterfaceAdd(InterfaceTunnel(7, A, B)),
        SaAdd(association(0x2000, reqid=7)),
    )
    outbound = [p for p in asker.kernel.policies() if p.if_id == 7 and p.direction == 1]
    assert [t.spi for p in outbound for t in p.templates] == [0x1000, 0x1000]


class NeverUnserved(FakeKernel):
    """A kernel that minds if an SA goes while a policy names it."""

    def apply(self, operations: Any, ends: Any = ()) -> list[Failure]:
        for operation in operations:
            failures = super().apply([operation])
            assert not failures
            there = {state.spi for state in self.states()}
            named = {t.spi for p in self.policies() if p.direction < 3 for t in p.templates}
            named -= {0, 0x100}  # the second is in the marker
            assert named <= there, Operation(*operation)
        return []


def _delete(asker: Asker) -> None:
    asker.must(SaDelete(transport(0x1000).id))


def _delete_all(asker: Asker) -> None:
    asker.must(SaDeleteAll(A, B))


def _flush(asker: Asker) -> None:
    asker.must(SaFlush())


def _load(asker: Asker) -> None:
    other = Key(by_name(Kind.ENCRYPTION, "aes-cbc"), bytes(16))
    again: list[Write] = [SaFlush(), SaAdd(transport(0x4000)), SaAdd(transport(0x2000))]
    asker.engine.begin_load(LoadPlan())
    asker.must(*again, SaAdd(transport(0x3000, encryption=other)))
    asker.engine.end_load()


@pytest.mark.parametrize("change", [_delete, _delete_all, _flush, _load])
def test_no_policy_names_an_sa_that_is_gone_at_any_moment(change: Callable[[Asker], None]) -> None:
    kernel = NeverUnserved(lambda: 1_700_000_000.0)
    asker = Asker(kernel)
    policy = ipsec(HOSTS, OUT, request(USE))
    prefer_old(asker)
    asker.must(SpdAdd(policy), *[SaAdd(transport(spi)) for spi in (0x1000, 0x2000, 0x3000)])
    change(asker)
    assert spis(asker, policy) != [0x1000]


def test_a_policy_is_only_rewritten_when_its_oldest_sa_changes(asker: Asker) -> None:
    policy = ipsec(HOSTS, OUT, request(REQUIRE))
    prefer_old(asker)
    asker.add(policy)
    asker.must(SaAdd(transport(0x1000)))
    events = asker.kernel.subscribe((4,))
    asker.must(SaAdd(transport(0x2000)))
    written = [decode_policy(e.payload) for e in events.receive() if e.type == XfrmMsg.UPDPOLICY]
    events.close()
    assert not [p for p in written if p.direction == 1]
