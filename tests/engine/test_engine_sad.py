"""SAs through the engine, and the policies that follow them: tunnels at level use, mode any."""

from collections.abc import Callable
from typing import Any

import pytest

from kamexfrm.algorithms import Kind, by_name
from kamexfrm.engine.requests import (
    SaAdd,
    SaDelete,
    SaDeleteAll,
    SaFlush,
    SpdAdd,
    SpdDelete,
    SpdFlush,
    Write,
)
from kamexfrm.errors import KernelError
from kamexfrm.kernel.fake import FakeKernel
from kamexfrm.kernel.interface import Failure, Kernel
from kamexfrm.model.association import Key, Lifetime, SadEntry, SaId, SaState, SecurityAssociation
from kamexfrm.model.policy import IpsecProtocol, Mode, PolicyType, SecurityPolicy
from kamexfrm.net import Address
from kamexfrm.translate.xfrm.policy_to_kernel import TRIGGER_REQID
from kamexfrm.translate.xfrm.tag import MARKER_IF_ID, SIDECAR_IF_ID, created_tag
from kamexfrm.xfrm import (
    XFRMNLGRP_POLICY,
    LifetimeCurrent,
    Operation,
    ReplayState,
    ReplayStateEsn,
    XfrmMsg,
    decode_state,
    encode_state,
    encode_state_flush,
)
from tests.engine.engine_samples import (
    A6,
    AH,
    B6,
    DEFAULT,
    ESP,
    IN,
    IPCOMP,
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
    association,
    foreign,
    helpers,
    ipsec,
    lose_marker,
    perform,
    request,
    selector,
    verdict,
    write,
)

ANY = Mode.ANY
AUTH = association().authentication
CIPHER = association().encryption
DEFLATE = Key(by_name(Kind.COMPRESSION, "deflate"), b"")


@pytest.fixture(params=["fake", pytest.param("guest", marks=pytest.mark.dataplane)])
def kernel(request: pytest.FixtureRequest, kernel_of_kind: Callable[[str], Kernel]) -> Kernel:
    return kernel_of_kind(request.param)


def sas(asker: Asker) -> list[SadEntry]:
    return list(asker.engine.sad())


def seen(asker: Asker) -> list[tuple[IpsecProtocol, int]]:
    return sorted((e.association.protocol, e.association.spi) for e in sas(asker))


AEAD = Key(by_name(Kind.AEAD, "aes-gcm-16"), bytes(range(20)))
WRITTEN: dict[str, SecurityAssociation] = {
    "tunnel": association(),
    "transport": association(mode=TRANSPORT),
    "any": association(mode=ANY),
    "AH": association(mode=TRANSPORT, protocol=AH, encryption=None),
    "IPComp": association(
        mode=TRANSPORT,
        protocol=IPCOMP,
        encryption=None,
        authentication=None,
        compression=DEFLATE,
    ),
    "AEAD": association(encryption=AEAD, authentication=None),
    "lifetimes": association(hard=Lifetime(1, 2, 300, 400), soft=Lifetime(5, 6, 70, 80)),
    "reqid and window": association(reqid=77, replay_window=32),
    "wide window": association(replay_window=96),
    "ESN": association(replay_window=64, esn=True),
    "IPv6 transport": association(source=A6, destination=B6, mode=TRANSPORT),
}


def comparable(written: SecurityAssociation) -> tuple[Any, ...]:
    keys = [
        (k.algorithm.name, k.material)
        for k in (written.encryption, written.authentication, written.compression)
        if k and k.algorithm
    ]
    return (*written._replace(encryption=None, authentication=None, compression=None), keys)


@pytest.mark.parametrize("kind", WRITTEN)
def test_what_was_written_is_what_is_read(asker: Asker, kind: str) -> None:
    asker.must(SaAdd(WRITTEN[kind]))
    (found,) = sas(asker)
    assert comparable(found.association) == comparable(WRITTEN[kind])
    assert (found.state, found.bytes, found.packets) == (SaState.MATURE, 0, 0)
    assert asker.engine.sa(WRITTEN[kind].id) == found
    asker.must(SaDelete(WRITTEN[kind].id))
    assert sas(asker) == []


def test_a_second_one_is_refused(asker: Asker) -> None:
    asker.must(SaAdd(association()))
    assert asker.ask(SaAdd(association(reqid=9)), SaAdd(association(mode=ANY))) == ["EEXIST"] * 2
    assert [e.association.reqid for e in sas(asker)] == [0]


def test_a_second_one_stays_refused_when_policies_before_it_are_taken_back() -> None:
    asker = Asker(FakeKernel())
    write(asker.kernel, foreign(0, 2))  # a fwd one is in the way of the pair
    requests: list[Write] = [SpdAdd(ipsec(0, IN)), SaAdd(association()), SaAdd(association())]
    assert asker.ask(*requests, SaDelete(association().id)) == ["EEXIST", "EEXIST"]
    assert list(asker.kernel.states()) == []


def test_an_update_changes_lifetimes_and_needs_something_to_update(asker: Asker) -> None:
    longer = association(hard=Lifetime(addtime=1000))
    assert asker.ask(SaAdd(longer, replace=True)) == ["ESRCH"]
    asker.must(SaAdd(association()), SaAdd(longer, replace=True))
    assert [e.association.hard for e in sas(asker)] == [Lifetime(addtime=1000)]


def test_what_is_not_there_cannot_be_deleted(asker: Asker) -> None:
    asker.must(SaAdd(association()))
    assert (
        asker.ask(
            SaDelete(SaId(B, ESP, 0x999)),
            SaDelete(SaId(B, AH, 0x1000)),
            SaDeleteAll(B, A),
            SaDeleteAll(A, B, AH),
        )
        == ["ESRCH"] * 4
    )
    assert seen(asker) == [(ESP, 0x1000)]


def test_all_between_two_addresses_are_deleted(asker: Asker) -> None:
    ah = association(0x2000, TRANSPORT, protocol=AH, encryption=None)
    other = association(0x3000, source=B, destination=A)
    asker.must(*map(SaAdd, (association(), association(0x1001), ah, other)))
    asker.must(SaDeleteAll(A, B, ESP))
    assert seen(asker) == [(ESP, 0x3000), (AH, 0x2000)]
    asker.must(SaDeleteAll(A, B))
    assert seen(asker) == [(ESP, 0x3000)]


def test_a_flush_takes_one_protocol_or_all(asker: Asker) -> None:
    ah = association(0x2000, TRANSPORT, protocol=AH, encryption=None)
    asker.must(SaAdd(association()), SaAdd(ah), SaFlush(AH))
    assert seen(asker) == [(ESP, 0x1000)]
    asker.must(SaFlush(), SaFlush())
    assert sas(asker) == []


def test_one_protocol_can_be_asked_for(asker: Asker) -> None:
    ah = association(0x2000, TRANSPORT, protocol=AH, encryption=None)
    asker.must(SaAdd(association()), SaAdd(ah))
    assert [e.association.spi for e in asker.engine.sad(AH)] == [0x2000]


def test_what_kame_refuses_is_refused(asker: Asker) -> None:
    null = Key(by_name(Kind.AUTHENTICATION, "null"), b"")
    keyless = association(0x2000, TRANSPORT, protocol=AH, encryption=None, authentication=null)
    assert asker.ask(SaAdd(association(0)), SaAdd(keyless)) == ["EINVAL", "EINVAL"]
    assert sas(asker) == []


def test_an_algorithm_that_linux_has_not_is_refused_by_name(asker: Asker) -> None:
    old = Key(by_name(Kind.AUTHENTICATION, "md5"), bytes(range(16)))
    assert asker.ask(SaAdd(association(authentication=old))) == ["ENOSYS"]
    assert "md5" in str(asker.rejected[0].error)


def test_an_allocated_spi_is_larval_until_its_keys_come(asker: Asker) -> None:
    wanted = association(0, encryption=None, authentication=None)
    spi = asker.engine.get_spi(wanted, 0x2000, 0x20FF)
    assert 0x2000 <= spi <= 0x20FF
    assert [e.state for e in sas(asker)] == [SaState.LARVAL]
    asker.must(SaAdd(association(spi), replace=True))
    assert [(e.association.spi, e.state) for e in sas(asker)] == [(spi, SaState.MATURE)]


def test_a_new_sa_makes_cached_routes_forgotten_and_an_old_one_does_not(asker: Asker) -> None:
    events = asker.kernel.subscribe([XFRMNLGRP_POLICY])
    asker.must(SaAdd(association()))
    assert XfrmMsg.GETDEFAULT in {e.type for e in events.receive()}
    sas(asker)
    assert events.receive() == []
    events.close()


# Outbound tunnels at level use


def tunnel(*levels: Any, number: int = 0, **fields: Any) -> SecurityPolicy:
    return ipsec(number, OUT, *[request(level, mode=TUNNEL, **fields) for level in levels])


def modes(asker: Asker, policy: SecurityPolicy) -> list[tuple[int, int, bool]]:
    """Return mode, optional and "is a trigger" of what is installed for a policy."""
    return [
        (t.mode, t.optional, t.reqid == TRIGGER_REQID) for t in asker.installed(policy).templates
    ]


CLEAR, SERVED = [(0, 1, True)], [(1, 0, False)]


@pytest.mark.parametrize("level", [USE, DEFAULT])
def test_a_tunnel_at_level_use_is_clear_until_its_sa_comes_and_after_it_goes(
    asker: Asker, level: Any
) -> None:
    policy = tunnel(level)
    asker.add(policy)
    id = asker.entry(policy).id
    assert modes(asker, policy) == CLEAR
    asker.must(SaAdd(association()))
    assert modes(asker, policy) == SERVED
    asker.must(SaDelete(association().id))
    assert modes(asker, policy) == CLEAR
    asker.must(SaAdd(association()))
    asker.must(SaFlush())
    assert modes(asker, policy) == CLEAR
    assert asker.written() == {policy}
    assert asker.entry(policy).id == id


def test_a_tunnel_is_served_from_the_start_when_its_sa_is_there(asker: Asker) -> None:
    asker.must(SaAdd(association()), SpdAdd(tunnel(USE)))
    assert modes(asker, tunnel(USE)) == SERVED


def test_sa_and_policy_in_one_run_find_each_other_in_either_order(asker: Asker) -> None:
    asker.must(SpdAdd(tunnel(USE)), SaAdd(association()))
    assert modes(asker, tunnel(USE)) == SERVED
    asker.must(SaFlush(), SpdFlush(), SaAdd(association()), SpdAdd(tunnel(USE)))
    assert modes(asker, tunnel(USE)) == SERVED
    asker.must(SaFlush(), SaAdd(association()))
    assert modes(asker, tunnel(USE)) == SERVED


@pytest.mark.parametrize(
    "other",
    [
        association(mode=TRANSPORT),
        association(source=B, destination=A),
        association(protocol=AH, encryption=None),
    ],
    ids=["transport", "other way", "protocol"],
)
def test_an_sa_that_does_not_fit_serves_no_tunnel(asker: Asker, other: SecurityAssociation) -> None:
    asker.add(tunnel(USE))
    asker.must(SaAdd(other))
    assert modes(asker, tunnel(USE)) == CLEAR


def test_an_sa_of_another_reqid_serves_no_unique_tunnel(asker: Asker) -> None:
    number = request(USE, mode=TUNNEL)._replace(level=UNIQUE, reqid=6)
    policy = ipsec(0, OUT, request(USE, mode=TUNNEL), number)
    asker.must(SpdAdd(policy), SaAdd(association(reqid=5)))
    assert [t.reqid for t in asker.installed(policy).templates] == [5, 6]


def test_of_a_bundle_what_is_served_and_what_insists_is_installed(asker: Asker) -> None:
    policy = ipsec(0, OUT, request(USE, AH), request(USE, mode=TUNNEL), request(REQUIRE, AH))
    asker.add(policy)
    assert modes(asker, policy) == [(0, 1, False), (0, 1, True), (0, 0, False)]
    asker.must(SaAdd(association()))
    assert modes(asker, policy) == [(0, 1, False), (1, 0, False), (0, 0, False)]
    assert asker.written() == {policy}


def test_a_sidecar_is_there_just_as_long_as_it_is_needed(asker: Asker) -> None:
    asker.add(tunnel(USE))
    assert helpers(asker.kernel) == [MARKER_IF_ID, SIDECAR_IF_ID]
    asker.must(SaAdd(association()))
    assert helpers(asker.kernel) == [MARKER_IF_ID]
    asker.must(SaFlush())
    assert helpers(asker.kernel) == [MARKER_IF_ID, SIDECAR_IF_ID]
    asker.delete(tunnel(USE))
    assert helpers(asker.kernel) == [MARKER_IF_ID]


def test_a_knob_makes_a_default_tunnel_insist_or_not(asker: Asker) -> None:
    policy = tunnel(DEFAULT)
    asker.add(policy)
    asker.turn("esp_net_deflev", 2)
    assert modes(asker, policy) == SERVED
    asker.must(SaAdd(association()), SaFlush())
    assert modes(asker, policy) == SERVED
    asker.turn("esp_net_deflev", 1)
    assert modes(asker, policy) == CLEAR
    assert asker.written() == {policy}


def test_a_tunnel_that_a_knob_made_use_follows_its_sa_in_another_engine(asker: Asker) -> None:
    asker.turn("esp_net_deflev", 2)
    asker.add(tunnel(DEFAULT))
    asker.turn("esp_net_deflev", 1)
    assert modes(asker, tunnel(DEFAULT)) == CLEAR
    other = Asker(asker.kernel)
    other.must(SaAdd(association()))
    assert modes(other, tunnel(DEFAULT)) == SERVED


def test_a_tunnel_follows_its_sa_after_a_flush_and_in_another_engine(asker: Asker) -> None:
    asker.add(tunnel(USE))
    asker.must(SpdFlush())
    Asker(asker.kernel).add(tunnel(USE))
    Asker(asker.kernel).must(SaAdd(association()))
    assert modes(asker, tunnel(USE)) == SERVED


def test_a_tunnel_follows_its_sa_after_the_loss_of_the_marker(asker: Asker) -> None:
    asker.add(tunnel(USE))
    lose_marker(asker.kernel)
    other = Asker(asker.kernel)
    other.must(SaAdd(association()))
    assert modes(other, tunnel(USE)) == SERVED


def test_a_unique_tunnel_has_an_sa_of_its_own(asker: Asker) -> None:
    policy = tunnel(UNIQUE, reqid=77)
    asker.add(policy)
    assert [(t.mode, t.optional, t.reqid) for t in asker.installed(policy).templates] == [
        (1, 0, 77)
    ]


def test_an_inbound_tunnel_at_level_use_needs_no_help(asker: Asker) -> None:
    policy = ipsec(0, IN, request(USE, mode=TUNNEL))
    asker.add(policy)
    assert modes(asker, policy) == [(1, 1, False)]
    assert helpers(asker.kernel) == [MARKER_IF_ID]


def test_swapping_keeps_place_and_age(asker: Asker) -> None:
    asker.add(verdict(PolicyType.NONE, 1), tunnel(USE), verdict(PolicyType.NONE, 2))
    before = asker.entry(tunnel(USE))
    asker.must(SaAdd(association()))
    assert asker.entry(tunnel(USE)) == before


def test_a_foreign_policy_and_other_entries_are_not_touched_by_a_swap(asker: Asker) -> None:
    write(asker.kernel, foreign(9))
    asker.add(tunnel(USE), ipsec(3), tunnel(REQUIRE, number=4))
    before = {
        p
        for p in asker.kernel.policies()
        if p.selector.destination != asker.installed(tunnel(USE)).selector.destination
        and not p.if_id
    }
    asker.must(SaAdd(association()))
    assert before <= set(asker.kernel.policies())


# SAs of mode any


def modes_of_sas(asker: Asker) -> list[Mode]:
    return [e.kernel_mode for e in sas(asker)]


def test_an_sa_of_mode_any_is_a_transport_one_while_no_tunnel_asks(asker: Asker) -> None:
    asker.must(SaAdd(association(mode=ANY)))
    assert modes_of_sas(asker) == [TRANSPORT]
    asker.add(ipsec())
    assert modes_of_sas(asker) == [TRANSPORT]
    assert [e.association.mode for e in sas(asker)] == [ANY]


@pytest.mark.parametrize("direction", [IN, OUT])
@pytest.mark.parametrize("level", [USE, REQUIRE, DEFAULT])
def test_an_sa_of_mode_any_follows_the_tunnels_of_the_spd(
    asker: Asker, direction: Any, level: Any
) -> None:
    policy = ipsec(0, direction, request(level, mode=TUNNEL))
    asker.must(SaAdd(association(mode=ANY)))
    asker.add(policy)
    assert modes_of_sas(asker) == [TUNNEL]
    asker.delete(policy)
    assert modes_of_sas(asker) == [TRANSPORT]
    asker.must(SpdAdd(policy), SpdFlush())
    assert modes_of_sas(asker) == [TRANSPORT]
    assert [e.association.mode for e in sas(asker)] == [ANY]


def test_an_sa_of_mode_any_is_a_tunnel_one_when_the_tunnel_was_there_first(asker: Asker) -> None:
    asker.add(tunnel(REQUIRE))
    asker.must(SaAdd(association(mode=ANY)))
    assert modes_of_sas(asker) == [TUNNEL]
    other = Asker(asker.kernel)
    other.must(SaDelete(association().id), SaAdd(association(mode=ANY)))
    assert modes_of_sas(asker) == [TUNNEL]


def test_an_sa_of_mode_any_serves_a_tunnel_at_level_use(asker: Asker) -> None:
    asker.must(SpdAdd(tunnel(USE)), SaAdd(association(mode=ANY)))
    assert modes_of_sas(asker) == [TUNNEL]
    assert modes(asker, tunnel(USE)) == SERVED


def test_an_sa_of_mode_any_follows_its_number_too(asker: Asker) -> None:
    asker.add(tunnel(UNIQUE, reqid=77))
    asker.must(SaAdd(association(mode=ANY)), SaAdd(association(0x2000, ANY, reqid=77)))
    assert {e.association.spi: e.kernel_mode for e in sas(asker)} == {
        0x1000: TRANSPORT,
        0x2000: TUNNEL,
    }


def test_an_inbound_unique_tunnel_needs_no_number_of_its_sa(asker: Asker) -> None:
    asker.add(ipsec(0, IN, request(UNIQUE, mode=TUNNEL, reqid=77)))
    asker.must(SaAdd(association(mode=ANY)))
    assert modes_of_sas(asker) == [TUNNEL]


def test_what_the_kernel_puts_beneath_an_ipcomp_tunnel_of_mode_any_is_left_alone(
    asker: Asker,
) -> None:
    compressing = association(mode=ANY, protocol=IPCOMP, encryption=None, authentication=None)
    deflate = Key(by_name(Kind.COMPRESSION, "deflate"), b"")
    asker.must(SaAdd(compressing._replace(compression=deflate)))
    wanted = ipsec(0, OUT, request(REQUIRE, IPCOMP, TUNNEL))
    for _ in range(2):
        asker.add(wanted)
        assert modes_of_sas(asker) == [TUNNEL]
        asker.delete(wanted)
        assert modes_of_sas(asker) == [TRANSPORT]


def test_an_sa_with_a_mode_of_its_own_keeps_it(asker: Asker) -> None:
    asker.must(SaAdd(association(mode=TRANSPORT)), SpdAdd(tunnel(REQUIRE)))
    assert modes_of_sas(asker) == [TRANSPORT]


def test_an_sa_of_mode_any_can_be_updated_without_losing_its_mode(asker: Asker) -> None:
    asker.must(SaAdd(association(mode=ANY)), SpdAdd(tunnel(REQUIRE)))
    asker.must(SaAdd(association(mode=ANY, hard=Lifetime(addtime=1000)), replace=True))
    (found,) = sas(asker)
    assert (found.kernel_mode, found.association.mode) == (TUNNEL, ANY)
    assert found.association.hard.addtime == 1000


def raw_states(asker: Asker) -> Any:
    return list(asker.kernel.states())


def test_a_remade_sa_keeps_keys_and_goes_on_with_its_numbers(asker: Asker) -> None:
    asker.must(SaAdd(association(mode=ANY, replay_window=32)))
    (state,) = raw_states(asker)
    spent = state._replace(replay=ReplayState(oseq=1000, seq=55, bitmap=7))
    perform(asker.kernel, XfrmMsg.FLUSHSA, encode_state_flush())
    perform(asker.kernel, XfrmMsg.NEWSA, encode_state(spent))
    asker.add(tunnel(REQUIRE))
    (state,) = raw_states(asker)
    assert state.mode == 1
    assert state.replay.oseq > 1000
    assert (state.replay.seq, state.replay.bitmap) == (55, 7)
    assert (state.authentication, state.encryption) == (spent.authentication, spent.encryption)
    assert state.replay_window == 32


def test_a_remade_sa_with_extended_numbers_goes_on_past_32_bits(asker: Asker) -> None:
    asker.must(SaAdd(association(mode=ANY, replay_window=64, esn=True)))
    (state,) = raw_states(asker)
    esn = ReplayStateEsn((3, 1), oseq=0xFFFFFFFF, oseq_hi=1, seq=9, seq_hi=2, replay_window=64)
    perform(asker.kernel, XfrmMsg.FLUSHSA, encode_state_flush())
    perform(asker.kernel, XfrmMsg.NEWSA, encode_state(state._replace(replay_esn=esn)))
    asker.add(tunnel(REQUIRE))
    (state,) = raw_states(asker)
    found = state.replay_esn
    assert found.oseq_hi << 32 | found.oseq > 0x1FFFFFFFF
    assert (found.bitmap, found.seq, found.seq_hi) == ((3, 1), 9, 2)


def test_a_remade_sa_lives_no_longer() -> None:
    clock = Clock()
    kernel = FakeKernel(clock)
    asker = Asker(kernel, clock)
    hard, soft = Lifetime(1000, 10000, 500, 300), Lifetime(900, 9000, 400, 200)
    asker.must(SaAdd(association(mode=ANY, hard=hard, soft=soft)))
    clock.now += 100
    (state,) = kernel.states()
    started = int(clock.now) - 100
    kernel.sad.change(state._replace(current=LifetimeCurrent(4000, 40, started, started + 50)))
    asker.add(tunnel(REQUIRE))
    (entry,) = sas(asker)
    assert entry.created == started
    assert entry.association.hard == Lifetime(960, 6000, 500, 250)
    assert entry.association.soft == Lifetime(860, 5000, 400, 150)
    clock.now += 99
    asker.delete(tunnel(REQUIRE))
    assert sas(asker)[0].created == started
    assert sas(asker)[0].association.hard.addtime == 500
    clock.now += 300
    assert len(sas(asker)) == 1
    clock.now += 1
    assert sas(asker) == []


@pytest.mark.parametrize("ends", [(A, B), (A6, B6)], ids=["inet", "inet6"])
@pytest.mark.parametrize("protocol", ["esp", "ah", "ipcomp"])
def test_a_remade_sa_shows_when_it_was_created(asker: Asker, ends: Any, protocol: str) -> None:
    sa = association(mode=ANY, source=ends[0], destination=ends[1])
    if protocol == "ah":
        sa = sa._replace(protocol=AH, encryption=None)
    elif protocol == "ipcomp":
        sa = sa._replace(protocol=IPCOMP, encryption=None, authentication=None, compression=DEFLATE)
    asker.must(SaAdd(sa._replace(hard=Lifetime(addtime=5000))))
    (made,) = asker.kernel.states()
    past = created_tag(made.current.add_time - 1000, made.family)
    older = made._replace(care_of_address=past)
    perform(asker.kernel, XfrmMsg.FLUSHSA, encode_state_flush())
    perform(asker.kernel, XfrmMsg.NEWSA, encode_state(older))
    asker.add(ipsec(0, OUT, request(REQUIRE, sa.protocol, TUNNEL, ends=ends)))
    assert modes_of_sas(asker) == [TUNNEL]
    (entry,) = sas(asker)
    assert abs(made.current.add_time - 1000 - entry.created) <= 2
    assert abs(entry.association.hard.addtime - 6000) <= 2


@pytest.mark.parametrize("forged", ["not yet", "not of mode any"])
def test_a_forged_time_of_creation_is_none(asker: Asker, forged: str) -> None:
    asker.must(SaAdd(association(mode=ANY)))
    (made,) = asker.kernel.states()
    made = made._replace(care_of_address=created_tag(1000, 2))
    if forged == "not yet":
        made = made._replace(care_of_address=Address.parse("255.0.0.1"))
    else:
        made = made._replace(selector=made.selector._replace(user=0))
    perform(asker.kernel, XfrmMsg.FLUSHSA, encode_state_flush())
    perform(asker.kernel, XfrmMsg.NEWSA, encode_state(made))
    (again,) = asker.kernel.states()
    assert again.care_of_address == made.care_of_address
    assert sas(asker)[0].created == again.current.add_time


def test_a_remade_sa_that_the_kernel_refuses_is_put_back() -> None:
    kernel = FakeKernel()
    asker = Asker(kernel)
    asker.must(SaAdd(association(mode=ANY)))

    class Refusing:
        def apply(self, requests: Any, ends: Any = ()) -> Any:
            failures = []
            for at, (type_, payload) in enumerate(requests):
                if type_ == XfrmMsg.NEWSA and decode_state(payload).mode == 1:
                    failures.append(Failure(at, KernelError(22, "no tunnels here")))
                else:
                    failures += kernel.apply([Operation(type_, payload)])
            return failures

        def __getattr__(self, name: str) -> Any:
            return getattr(kernel, name)

    refusing = Asker(Refusing())
    with pytest.raises(KernelError, match="no tunnels here"):
        refusing.ask(SpdAdd(tunnel(REQUIRE)))
    assert modes_of_sas(asker) == [TRANSPORT]


def test_deletion_of_everything_leaves_nothing_to_follow(asker: Asker) -> None:
    asker.must(SaAdd(association(mode=ANY)), SpdAdd(tunnel(USE)))
    asker.must(SaFlush(), SpdFlush(), SpdAdd(ipsec()), SpdDelete(selector(), OUT))
    assert asker.entries() == []
    assert sas(asker) == []


def test_a_flush_leaves_the_states_of_mobile_ipv6() -> None:
    kernel = FakeKernel()
    asker = Asker(kernel)
    key = Key(by_name(Kind.ENCRYPTION, "aes-cbc"), bytes(16))
    ends = Address.parse("::1"), Address.parse("::2")
    asker.must(SaAdd(SecurityAssociation(*ends, IpsecProtocol.ESP, 0x1000, encryption=key)))
    [state] = kernel.states()
    routing = state._replace(protocol=43, spi=0, encryption=None)
    kernel.sad._states[kernel.sad._key(routing)] = routing  # ip xfrm has no fake
    asker.must(SaFlush())
    assert [left.protocol for left in kernel.states()] == [43]
