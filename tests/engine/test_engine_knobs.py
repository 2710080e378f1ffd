"""The knobs: what they change in the kernel, at once, for our entries and for no others."""

import contextlib
import errno

import pytest

from kamexfrm.engine.requests import SetKnob, SpdAdd, SpdDelete, SpdFlush
from kamexfrm.errors import UnsupportedError
from kamexfrm.kernel.fake import FakeKernel, FakeLock
from kamexfrm.kernel.interface import Kernel
from kamexfrm.model.knobs import KNOBS, FamilyKnobs, Knob, Knobs, knob
from kamexfrm.model.policy import Direction, IpsecProtocol, Level, Mode, PolicyType
from kamexfrm.net import AF_INET, AF_INET6
from kamexfrm.translate.xfrm.marker import MARKER_ID, MarkerFlag
from kamexfrm.translate.xfrm.tag import CATCH_ALL_USER, MARKER_IF_ID
from kamexfrm.xfrm import (
    Default,
    Operation,
    Policy,
    XfrmMsg,
    encode_default,
    encode_policy,
    encode_policy_id,
)
from tests.engine.engine_samples import (
    AH,
    DEFAULT,
    ESP,
    FWD,
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
    Killed,
    Mortal,
    blocks,
    everywhere,
    foreign,
    foreign_template,
    image,
    ipsec,
    marker_of,
    named,
    perform,
    request,
    selector,
    selector6,
    verdict,
    write,
)


def optional(asker: Asker, *policies: object) -> list[int]:
    return [t.optional for p in policies for t in asker.installed(p).templates]  # type: ignore[arg-type]  # policies all


def blocked(kernel: Kernel) -> list[tuple[int, int]]:
    """Return the family and direction of what def_policy discards."""
    return sorted((p.selector.family, p.direction) for p in blocks(kernel))


def shown_image(kernel: Kernel) -> set[Policy]:
    """Return all policies; the index of those that are never shown does not matter."""
    return {p._replace(index=0) if p.if_id else p for p in image(kernel)}


def test_the_knobs_start_at_kames_values(asker: Asker) -> None:
    assert asker.engine.knobs() == Knobs()
    assert set(Knobs().inet) == {1}


@pytest.mark.parametrize("each", KNOBS, ids=lambda k: k.name)
def test_each_knob_takes_each_of_its_values_and_keeps_it_for_the_next_engine(
    asker: Asker, each: Knob
) -> None:
    few = each.high - each.low < 100
    numbers = each.numbers if few else (each.low, each.low + 1, each.high)
    for value in (*numbers, numbers[0]):
        asker.must(SetKnob(each, value))
        found = Asker(asker.kernel).engine.knobs()
        assert found == Knobs().replace(each, value)


@pytest.mark.parametrize("each", KNOBS, ids=lambda k: k.name)
def test_a_value_out_of_range_is_refused_and_changes_nothing(asker: Asker, each: Knob) -> None:
    asker.add(ipsec(), ipsec(0, IN))
    before = image(asker.kernel)
    for value in (each.low - 1, each.high + 1, -2, 1 << 64):
        assert asker.ask(SetKnob(each, value)) == ["EINVAL"]
    for value, _ in each.impossible:
        assert asker.ask(SetKnob(each, value)) == [errno.errorcode[errno.EOPNOTSUPP]]
    assert image(asker.kernel) == before
    assert asker.engine.knobs() == Knobs()


DEFLEV = {
    (ESP, TRANSPORT): "esp_trans_deflev",
    (ESP, TUNNEL): "esp_net_deflev",
    (AH, TRANSPORT): "ah_trans_deflev",
    (AH, TUNNEL): "ah_net_deflev",
}


@pytest.mark.parametrize(("protocol", "mode"), DEFLEV)
@pytest.mark.parametrize("direction", [IN, FWD])
@pytest.mark.parametrize("family", [AF_INET, AF_INET6])
def test_each_default_level_follows_its_own_knob(
    asker: Asker, protocol: IpsecProtocol, mode: Mode, direction: Direction, family: int
) -> None:
    policies = {
        (f, p, m): ipsec(
            (selector if f == AF_INET else selector6)(10 * p + m),
            direction,
            request(DEFAULT, p, m),
        )
        for p, m in DEFLEV
        for f in (AF_INET, AF_INET6)
    }
    asker.add(*policies.values())
    assert set(optional(asker, *policies.values())) == {1}
    prefix = "" if family == AF_INET else "6."
    asker.turn(prefix + DEFLEV[protocol, mode], 2)
    changed = {key for key, p in policies.items() if optional(asker, p) == [0]}
    assert changed == {(family, protocol, mode)}
    asker.turn(prefix + DEFLEV[protocol, mode], 1)
    assert set(optional(asker, *policies.values())) == {1}


def test_a_knob_concerns_the_automatic_copy_too(asker: Asker) -> None:
    asker.add(ipsec(0, IN))
    asker.turn("esp_trans_deflev", 2)
    assert optional(asker, ipsec(0, IN), ipsec(0, FWD)) == [0, 0]


def test_a_knob_changes_no_level_that_was_written(asker: Asker) -> None:
    policies = [
        ipsec(0, OUT, request(USE)),
        ipsec(1, OUT, request(REQUIRE)),
        ipsec(2, OUT, request(UNIQUE, reqid=5)),
        ipsec(3, OUT, request(DEFAULT, IPCOMP)),
        verdict(PolicyType.NONE, 4, IN),
        verdict(PolicyType.DISCARD, 5, IN),
    ]
    asker.add(*policies)
    before = {p for p in asker.kernel.policies() if not p.if_id}
    for name in DEFLEV.values():
        asker.turn(name, 2)
        asker.turn("6." + name, 2)
    assert {p for p in asker.kernel.policies() if not p.if_id} == before


def test_a_knob_holds_for_entries_written_later(asker: Asker) -> None:
    asker.turn("esp_trans_deflev", 2)
    asker.add(ipsec(0), ipsec(1, IN))
    assert optional(asker, ipsec(0), ipsec(1, IN), ipsec(1, FWD)) == [0, 0, 0]
    other = Asker(asker.kernel)
    other.add(ipsec(2))
    assert optional(other, ipsec(2)) == [0]


def test_knobs_and_entries_take_effect_in_the_order_of_the_requests(asker: Asker) -> None:
    deflev = knob("net.inet.ipsec.esp_trans_deflev")
    asker.must(
        SpdAdd(ipsec(0)), SetKnob(deflev, 2), SpdAdd(ipsec(1)), SetKnob(deflev, 1), SpdAdd(ipsec(2))
    )
    assert optional(asker, ipsec(0), ipsec(1), ipsec(2)) == [1, 1, 1]
    asker.must(SetKnob(deflev, 2), SpdAdd(ipsec(3)))
    assert optional(asker, ipsec(0), ipsec(3)) == [0, 0]


def test_bundles_change_request_by_request(asker: Asker) -> None:
    policy = ipsec(0, IN, request(), request(DEFAULT, AH), request(USE, AH))
    asker.add(policy)
    asker.turn("ah_trans_deflev", 2)
    assert optional(asker, policy) == [1, 0, 1]
    assert asker.written() == {policy}


def test_there_and_back_is_where_it_was_but_for_the_clock(kernel: Kernel) -> None:
    clock = Clock()
    asker = Asker(kernel, clock)
    asker.add(
        ipsec(0, IN, lifetime=1000),
        ipsec(1, OUT, request(ends=(A, B))),
        ipsec(2, OUT, request(mode=TUNNEL)),
        ipsec(selector6(), IN),
    )
    before = shown_image(kernel)
    for name in ("esp_trans_deflev", "esp_net_deflev", "6.esp_trans_deflev", "def_policy"):
        value = asker.engine.knobs().value(knob("net.inet.ipsec.def_policy"))
        asker.turn(name, 0 if name == "def_policy" and value else 2)
    assert shown_image(kernel) != before
    for name in ("esp_trans_deflev", "esp_net_deflev", "6.esp_trans_deflev", "def_policy"):
        asker.turn(name, 1)
    assert shown_image(kernel) == before


def test_a_foreign_entry_is_left_alone(asker: Asker) -> None:
    theirs = [
        foreign(0, templates=(foreign_template(optional=1),)),
        foreign(1, 0, templates=(foreign_template(optional=1, share=0x80),)),
    ]
    write(asker.kernel, *theirs)
    before = {p for p in asker.kernel.policies() if p.priority == 7}
    asker.add(ipsec(5))
    asker.turn("esp_trans_deflev", 2)
    asker.turn("def_policy", 0)
    assert {p for p in asker.kernel.policies() if p.priority == 7} == before


def test_a_rewritten_entry_keeps_id_place_age_and_what_is_left_of_its_life(
    kernel: Kernel,
) -> None:
    clock = Clock()
    asker = Asker(kernel, clock)
    policy = ipsec(0, IN, lifetime=1000)
    asker.add(policy)
    before = asker.entry(policy)
    clock.now += 300
    asker.turn("esp_trans_deflev", 2)
    assert asker.entry(policy)._replace(last_used=0) == before
    assert asker.installed(policy).lifetime.hard_add == 700


def test_a_rewritten_entry_ends_when_it_was_unused_as_long_as_was_written() -> None:
    clock = Clock()
    kernel = FakeKernel(clock)
    asker = Asker(kernel, clock)
    policy = ipsec(0, IN, validtime=500)
    asker.add(policy)
    clock.now += 400
    kernel.spd.use(named(asker.installed(policy)), int(clock.now))
    used = clock.now
    for value in (2, 1, 2):
        clock.now += 150
        asker.turn("esp_trans_deflev", value)
        assert clock.now + asker.installed(policy).lifetime.hard_use == used + 500
    clock.now += 50
    assert asker.written() == set()


class SlowKernel(FakeKernel):
    """A kernel on a busy machine: its lock and its dumps take seconds."""

    def __init__(self, clock: Clock) -> None:
        super().__init__(clock)
        self._clock_by_hand = clock

    def lock(self, *, wait: bool = True) -> FakeLock:
        self._clock_by_hand.now += 2
        return super().lock(wait=wait)

    def raw_policies(self) -> list[bytes]:
        self._clock_by_hand.now += 3
        return super().raw_policies()


def test_a_knob_that_is_written_slowly_prolongs_nothing() -> None:
    clock = Clock()
    asker = Asker(SlowKernel(clock), clock)
    policy = ipsec(0, IN, lifetime=1000)
    asker.add(policy)
    ends = clock.now + 1000
    clock.now += 10
    asker.turn("esp_trans_deflev", 2)
    assert clock.now + asker.installed(policy).lifetime.hard_add == ends


def test_a_knob_prolongs_nothing() -> None:
    clock = Clock()
    kernel = FakeKernel(clock)
    asker = Asker(kernel, clock)
    asker.add(ipsec(0, IN, lifetime=100), ipsec(1, OUT, request(ends=(A, B)), lifetime=100))
    for step in range(9):
        clock.now += 10
        asker.turn("esp_trans_deflev", 2 - step % 2)
    assert len(asker.written()) == 2
    clock.now += 10
    assert asker.entries() == []
    assert {p.if_id for p in kernel.policies()} == {MARKER_IF_ID}


# def_policy


def test_discard_blocks_one_family_in_all_directions_behind_everything(asker: Asker) -> None:
    asker.add(ipsec(0, OUT, priority=0xFFFFFFFF))
    asker.turn("def_policy", 0)
    assert blocked(asker.kernel) == [(AF_INET, 0), (AF_INET, 1), (AF_INET, 2)]
    for policy in blocks(asker.kernel):
        assert (policy.action, policy.priority) == (1, 0xFFFFFFFF)
        assert (policy.selector.source_prefix, policy.selector.destination_prefix) == (0, 0)
        assert policy.selector.protocol == 0
    assert asker.kernel.default() == Default(2, 2, 2)
    asker.turn("6.def_policy", 0)
    assert len(blocks(asker.kernel)) == 6


def test_discard_for_both_families_blocks_the_namespaces_default_too(asker: Asker) -> None:
    asker.turn("def_policy", 0)
    asker.turn("6.def_policy", 0)
    assert asker.kernel.default() == Default(1, 1, 1)
    asker.turn("def_policy", 1)
    assert asker.kernel.default() == Default(2, 2, 2)
    assert blocked(asker.kernel) == [(AF_INET6, 0), (AF_INET6, 1), (AF_INET6, 2)]
    asker.turn("6.def_policy", 1)
    assert blocked(asker.kernel) == []


def test_the_blocks_are_not_shown(asker: Asker) -> None:
    asker.turn("def_policy", 0)
    assert asker.entries() == []


@pytest.mark.parametrize("direction", Direction)
@pytest.mark.parametrize("first", ["theirs", "ours"])
def test_a_users_own_entry_for_everything_stands_beside_the_block(
    asker: Asker, direction: Direction, first: str
) -> None:
    own = verdict(PolicyType.DISCARD, everywhere(), direction, priority=0xFFFFFFFF)
    if first == "theirs":
        asker.add(own)
        asker.turn("def_policy", 0)
    else:
        asker.turn("def_policy", 0)
        asker.add(own)
    assert asker.written() == {own}
    assert len(blocks(asker.kernel)) == 3
    asker.turn("def_policy", 1)
    assert asker.written() == {own}
    asker.turn("def_policy", 0)
    asker.delete(own)
    assert len(blocks(asker.kernel)) == 3


def test_a_flush_keeps_the_knobs(asker: Asker) -> None:
    asker.turn("esp_trans_deflev", 2)
    asker.add(ipsec(0))
    asker.must(SpdFlush())
    assert asker.engine.knobs().inet.esp_trans_deflev == 2
    asker.add(ipsec(0))
    assert optional(asker, ipsec(0)) == [0]


def test_a_flush_keeps_the_blocks_in_place_without_a_moment_in_between() -> None:
    kernel = FakeKernel()
    asker = Asker(kernel)
    asker.add(*[ipsec(n, IN) for n in range(50)], ipsec(99, OUT, request(ends=(A, B))))
    asker.turn("def_policy", 0)

    class Watched(FakeKernel):
        def apply(self, requests, ends=()):  # type: ignore[no-untyped-def]  # as the parent's
            for step in requests:
                assert kernel.apply([step]) == []
                assert len(blocks(kernel)) == 3
            return []

        def __getattribute__(self, name: str):  # type: ignore[no-untyped-def]  # a proxy
            return object.__getattribute__(self, name) if name == "apply" else getattr(kernel, name)

    Asker(Watched()).must(SpdFlush())
    assert asker.entries() == []
    assert len(list(kernel.policies())) == 4


def test_a_flush_under_both_discards_keeps_the_namespaces_default(asker: Asker) -> None:
    asker.turn("def_policy", 0)
    asker.turn("6.def_policy", 0)
    asker.add(ipsec(0))
    asker.must(SpdFlush())
    assert asker.kernel.default() == Default(1, 1, 1)
    assert len(blocks(asker.kernel)) == 6


def test_after_a_foreign_flush_the_knobs_are_kames_again_but_def_policy_stays(asker: Asker) -> None:
    asker.turn("def_policy", 0)
    asker.turn("6.def_policy", 0)
    perform(asker.kernel, XfrmMsg.FLUSHPOLICY)
    assert asker.engine.knobs() == Knobs()
    assert asker.kernel.default() == Default(1, 1, 1)
    asker.turn("def_policy", 0)
    assert len(blocked(asker.kernel)) == 6


def test_blocks_that_somebody_deleted_come_back_with_the_next_write_of_the_knob(
    asker: Asker,
) -> None:
    asker.turn("def_policy", 0)
    for policy in list(asker.kernel.policies()):
        if policy.selector.user == CATCH_ALL_USER and policy.direction == 1:
            gone = MARKER_ID._replace(selector=policy.selector, direction=policy.direction, if_id=0)
            perform(asker.kernel, XfrmMsg.DELPOLICY, encode_policy_id(gone))
    asker.turn("def_policy", 0)
    assert len(blocks(asker.kernel)) == 3


# Writers that did not get to the end


def spd_image(kernel: Kernel) -> set[Policy]:
    """Return all policies but the marker, without what depends on when it was written."""
    return {p._replace(index=0) for p in image(kernel) if p.if_id != MARKER_IF_ID}


def prepared() -> FakeKernel:
    clock = Clock()
    kernel = FakeKernel(clock)
    asker = Asker(kernel, clock)
    asker.add(
        *[ipsec(n, IN) for n in range(3)],
        ipsec(3, OUT, request(mode=TUNNEL)),
        ipsec(4, OUT, request(ends=(A, B))),
        ipsec(selector6(), OUT),
    )
    return kernel


@pytest.mark.parametrize(
    ("name", "value"),
    [("esp_trans_deflev", 2), ("esp_net_deflev", 2), ("6.esp_trans_deflev", 2), ("def_policy", 0)],
)
def test_what_a_killed_writer_of_a_knob_left_is_completed_by_the_next_writer(
    name: str, value: int
) -> None:
    whole = prepared()
    Asker(whole, Clock()).turn(name, value)
    Asker(whole, Clock()).add(ipsec(99))
    killed = 0
    for life in range(1, 100):
        kernel = prepared()
        before = Asker(kernel).engine.knobs()
        try:
            Asker(Mortal(kernel, life), Clock()).turn(name, value)
        except Killed:
            killed += 1
        after = Asker(kernel).engine.knobs()
        next_writer = Asker(kernel, Clock())
        next_writer.add(ipsec(99))
        if after != before:
            assert spd_image(kernel) == spd_image(whole)
        assert next_writer.engine.knobs() == after
        if killed < life:
            break
    assert killed >= 3


def test_an_entry_is_shown_as_written_while_a_knob_is_half_done() -> None:
    kernel = prepared()
    written = Asker(kernel).written()
    with pytest.raises(Killed):
        Asker(Mortal(kernel, 4), Clock()).turn("esp_trans_deflev", 2)
    assert Asker(kernel).written() == written


def test_a_marker_of_a_newer_version_is_left_alone(asker: Asker) -> None:
    asker.add(ipsec(0))
    marker = asker.kernel.policy(MARKER_ID)
    newer = marker._replace(
        lifetime=marker.lifetime._replace(soft_bytes=marker.lifetime.soft_bytes + (1 << 32))
    )
    perform(asker.kernel, XfrmMsg.UPDPOLICY, encode_policy(newer))
    before = image(asker.kernel)
    with pytest.raises(UnsupportedError):
        asker.ask(SpdAdd(ipsec(1)))
    with pytest.raises(UnsupportedError):
        asker.ask(SetKnob(KNOBS[0], 0))
    assert image(asker.kernel) == before
    assert len(asker.entries()) == 1


def test_setting_what_is_set_writes_no_entry_again(asker: Asker) -> None:
    asker.add(ipsec(0))
    asker.turn("esp_trans_deflev", 2)
    before = asker.installed(ipsec(0))
    order = [p.index for p in asker.kernel.policies()]
    asker.turn("esp_trans_deflev", 2)
    assert asker.installed(ipsec(0)) == before
    assert [p.index for p in asker.kernel.policies()] == order


def test_an_admins_own_default_is_left_alone_by_the_levels(asker: Asker) -> None:
    perform(asker.kernel, XfrmMsg.SETDEFAULT, encode_default(Default(1, 1, 1)))
    asker.add(ipsec(0))
    asker.turn("esp_trans_deflev", 2)
    asker.must(SpdFlush())
    assert asker.kernel.default() == Default(1, 1, 1)


@pytest.mark.parametrize("theirs", [Default(1, 1, 1), Default(2, 1, 2)])
def test_an_admins_own_default_outlives_what_follows_a_kill(theirs: Default) -> None:
    block = Operation(XfrmMsg.SETDEFAULT, encode_default(theirs))
    completed = 0
    for life in range(1, 10):
        kernel = FakeKernel()
        Asker(kernel).add(ipsec(0))
        assert kernel.apply([block]) == []
        with contextlib.suppress(Killed):
            Asker(Mortal(kernel, life)).turn("esp_trans_deflev", 2)
        completed += marker_of(kernel).flags & MarkerFlag.UNFINISHED
        Asker(kernel).add(ipsec(1))
        assert not marker_of(kernel).flags & MarkerFlag.UNFINISHED
        assert kernel.default() == theirs
    assert completed


def test_an_admins_own_default_ends_with_def_policy_and_not_by_a_family_that_discards(
    asker: Asker,
) -> None:
    perform(asker.kernel, XfrmMsg.SETDEFAULT, encode_default(Default(1, 1, 1)))
    asker.turn("def_policy", 0)
    assert asker.kernel.default() == Default(1, 1, 1)
    asker.turn("def_policy", 1)
    assert asker.kernel.default() == Default(2, 2, 2)


def test_at_each_point_of_leaving_both_discards_the_default_follows_in_the_end() -> None:
    for life in range(1, 12):
        kernel = FakeKernel()
        asker = Asker(kernel)
        asker.turn("def_policy", 0)
        asker.turn("6.def_policy", 0)
        with contextlib.suppress(Killed):
            Asker(Mortal(kernel, life)).turn("def_policy", 1)
        both = asker.engine.knobs().inet.def_policy == 0
        Asker(kernel).add(ipsec(1))
        assert kernel.default() == (Default(1, 1, 1) if both else Default(2, 2, 2))
        assert len(blocks(kernel)) == (6 if both else 3)


def test_deleting_the_last_entry_keeps_the_knobs(asker: Asker) -> None:
    asker.turn("ah_net_deflev", 2)
    asker.add(ipsec(0))
    asker.must(SpdDelete(selector(0), OUT))
    assert asker.engine.knobs() == Knobs(FamilyKnobs(ah_net_deflev=2))


def test_levels_are_numbers_of_kame() -> None:
    assert [int(level) for level in Level] == [0, 1, 2, 3]
