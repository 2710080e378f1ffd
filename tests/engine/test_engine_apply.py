"""What a namespace is wanted to hold: the difference from what it holds, and carrying it out."""

import contextlib
import errno
import os
from collections.abc import Sequence
from typing import Any, NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kamexfrm.algorithms import Kind, by_name
from kamexfrm.engine.apply import Applied, Hooks
from kamexfrm.engine.engine import Engine
from kamexfrm.engine.policy_difference import PolicyChange
from kamexfrm.engine.requests import SaAdd, SaAddRun, SetKnob, SpdAdd, SpdAddRun, Write, WriteRun
from kamexfrm.engine.sa_difference import SaChange
from kamexfrm.engine.snapshot import put_back, take
from kamexfrm.engine.wanted import Wanted
from kamexfrm.engine.wanted_policies import WantedPolicies
from kamexfrm.errors import KernelError
from kamexfrm.kernel.fake import FakeKernel
from kamexfrm.kernel.interface import Failure
from kamexfrm.model.association import Key, Lifetime, LinuxParts, SecurityAssociation
from kamexfrm.model.association_run import AssociationRun
from kamexfrm.model.knobs import KNOBS, knob
from kamexfrm.model.language import parse_policy
from kamexfrm.model.policy import Direction, Mode, Owner, SecurityPolicy, Selector
from kamexfrm.model.policy_run import PolicyGroup, PolicyRun
from kamexfrm.net import Address
from kamexfrm.translate.xfrm.policy_name import selector_to_kernel
from kamexfrm.xfrm import (
    XFRM_MODE_TRANSPORT,
    XFRM_MODE_TUNNEL,
    LifetimeCurrent,
    Operation,
    Policy,
    ReplayState,
    State,
    XfrmMsg,
    decode_state,
    encode_policy,
    encode_state,
)
from tests.engine.engine_samples import ESP, A, B, Clock, Killed
from tests.engine.faulty_kernel import Fault, FaultyKernel, Way, picture

ENDS = "10.0.0.1-10.0.0.2"

TEXTS = (
    "out ipsec esp/transport//require",
    "out prio high none",
    "out discard",
    f"out ipsec esp/tunnel/{ENDS}/use",
    f"out prio low ipsec esp/tunnel/{ENDS}/default ah/transport//use",
    "out ipsec esp/transport//unique",
    "in ipsec esp/transport//require",
    "in ipsec esp/transport//default",
    f"in prio high ipsec esp/tunnel/{ENDS}/require",
    "in none",
    "fwd none",
    "fwd ipsec esp/transport//use",
)


def policy(text: str, host: int = 9, bits: int = 32, **fields: Any) -> SecurityPolicy:
    read = parse_policy(text)
    assert read.type is not None
    selector = Selector(Address.parse(f"10.0.0.{host}"), bits, B, 32)
    return SecurityPolicy(
        selector, read.direction, read.type, read.requests, read.priority, **fields
    )


def sa(spi: int = 0x100, key: int = 0, **fields: Any) -> SecurityAssociation:
    name = "aes-gcm-16" if spi & 1 else "aes-cbc"
    algorithm = by_name(Kind.AEAD if spi & 1 else Kind.ENCRYPTION, name)
    material = bytes(range(key, key + (20 if spi & 1 else 16)))
    values = {"mode": Mode.TRANSPORT, "encryption": Key(algorithm, material), **fields}
    return SecurityAssociation(A, B, ESP, spi, **values)


policies = st.builds(policy, st.sampled_from(TEXTS), st.integers(0, 3), st.sampled_from([32, 24]))
associations = st.builds(
    sa,
    st.integers(0x100, 0x104),
    st.integers(0, 1),
    mode=st.sampled_from([Mode.ANY, Mode.TRANSPORT, Mode.TUNNEL]),
    reqid=st.just(0),  # of several heads the newest counts, and one that stays is older
    hard=st.sampled_from([Lifetime(), Lifetime(0, 10**6, 3600)]),
)
settings_of_knobs = st.lists(
    st.tuples(st.sampled_from(KNOBS[:5]), st.sampled_from([1, 2])), max_size=2
)


class Files(NamedTuple):
    """What files want."""

    policies: list[SecurityPolicy]
    associations: list[SecurityAssociation]
    knobs: list[tuple[Any, int]]

    def wanted(self) -> Wanted:
        names = {(p.selector, p.direction): p for p in self.policies}
        sas = {each.id: each for each in self.associations}
        values = {k: v for k, v in self.knobs if k.field != "def_policy" or v == 1}
        return Wanted(
            tuple(map(SpdAdd, names.values())),
            tuple(map(SaAdd, sas.values())),
            tuple(SetKnob(k, v) for k, v in values.items()),
        )


files = st.builds(
    Files,
    st.lists(policies, max_size=6),
    st.lists(associations, max_size=3),
    settings_of_knobs,
)

FOREIGN = (
    Operation(
        XfrmMsg.NEWPOLICY,
        encode_policy(Policy(selector_to_kernel(policy("out none", 77).selector), 1, priority=5)),
    ),
)


def apply(kernel: Any, wanted: Wanted, clock: Clock | None = None, **how: Any) -> Applied:
    return Engine(kernel, clock or Clock()).apply(wanted, Hooks(), **how)


def made(wanted: Wanted) -> FakeKernel:
    """Return a kernel into which all was loaded that is wanted."""
    kernel = FakeKernel(Clock())
    engine = Engine(kernel, Clock())
    requests: tuple[Write | WriteRun, ...] = (*wanted.knobs, *wanted.associations, *wanted.policies)
    for request in requests:
        if isinstance(request, SpdAddRun | SaAddRun):
            engine.try_submit_run(request)
        else:
            engine.submit(request)
    engine.flush()
    return kernel


def written_reqid(reqid: int) -> int:
    """Return a reqid that was written, 0 for one that was generated."""
    return reqid if reqid < 0x4000 or reqid >= 0xF0000000 else 0


def shown(kernel: FakeKernel) -> object:
    """Return what a kernel means, without ids, times and generated reqids."""
    entries = sorted(
        (e for e in Engine(kernel).spd() if e.owner is Owner.OURS),
        key=lambda e: (e.policy.direction, e.kernel_priority),
    )
    return (
        [
            (
                e.policy._replace(
                    requests=tuple(
                        r._replace(reqid=written_reqid(r.reqid)) for r in e.policy.requests
                    )
                ),
                e.twin,
            )
            for e in entries
        ],
        {
            (s.destination, s.spi, s.mode, s.reqid, s.encryption, s.aead, s.lifetime)
            for s in kernel.states()
        },
        Engine(kernel).knobs(),
    )


def templates(kernel: FakeKernel) -> object:
    """Return what the kernel does with packets, in order, generated reqids apart."""
    return [
        (
            p.direction,
            p.selector,
            p.action,
            [t._replace(reqid=written_reqid(t.reqid), calgos=0) for t in p.templates],
        )
        for p in sorted(kernel.policies(), key=lambda p: (p.direction, p.priority))
        if not p.if_id
    ]


def dump(kernel: FakeKernel) -> object:
    return list(kernel.policies()), list(kernel.states()), kernel.default()


@given(files, files)
@settings(deadline=None, max_examples=25)
def test_applying_is_loading_into_nothing(first: Files, second: Files) -> None:
    kernel = made(first.wanted())
    wanted = second.wanted()
    keeps = tuple(
        SetKnob(each.knob, each.value)
        for each in first.wanted().knobs
        if each.knob not in {k.knob for k in wanted.knobs}
    )
    assert apply(kernel, wanted).rejected == ()
    fresh = made(wanted._replace(knobs=(*keeps, *wanted.knobs)))
    assert shown(kernel) == shown(fresh)
    assert templates(kernel) == templates(fresh)
    before = dump(kernel)
    assert Engine(kernel, Clock()).difference(wanted).is_empty
    assert apply(kernel, wanted).difference.is_empty
    assert dump(kernel) == before


@given(files, files)
@settings(deadline=None, max_examples=25)
def test_foreign_entries_are_never_touched(first: Files, second: Files) -> None:
    kernel = made(first.wanted())
    theirs = sa(0x900)._replace(destination=Address.parse("10.9.9.9"))
    kernel.apply(FOREIGN)
    engine = Engine(kernel, Clock())
    engine.submit(SaAdd(theirs, by_program=True))
    engine.flush()

    def foreign() -> object:
        return (
            [p for p in kernel.policies() if p.selector.source == Address.parse("10.0.0.77")],
            [s for s in kernel.states() if s.spi == 0x900],
        )

    before = foreign()
    applied = apply(kernel, second.wanted())
    assert applied.rejected == ()
    assert applied.difference.foreign == 2
    assert foreign() == before


@given(files, files, st.data())
@settings(deadline=None, max_examples=25)
def test_a_refusal_takes_all_back(first: Files, second: Files, data: st.DataObject) -> None:
    clock = Clock()
    kernel = made(first.wanted())
    before = shown(kernel), picture(kernel).unordered()
    counted = FaultyKernel(made(first.wanted()))
    apply(counted, second.wanted(), clock)
    number = data.draw(st.integers(0, max(0, counted.points - 1)))
    way = data.draw(st.sampled_from([Way.REFUSED, Way.UNSENT]))
    code = data.draw(st.sampled_from([errno.ENOMEM, errno.EINVAL, errno.EEXIST]))
    faulty = FaultyKernel(kernel, Fault(number, code, way))
    try:
        applied = apply(faulty, second.wanted(), clock)
    except KernelError:
        assert shown(kernel) == before[0]
        return
    if applied.rejected:
        assert (shown(kernel), picture(kernel).unordered()) == before
    else:
        assert Engine(kernel, clock).difference(second.wanted()).is_empty


class Dying:
    """A kernel whose user is killed at the given operation: nothing is done from there on."""

    def __init__(self, kernel: FakeKernel, life: int) -> None:
        self._kernel = kernel
        self._life = life

    def apply(self, operations: Sequence[Operation], ends: Sequence[int] = ()) -> list[Failure]:
        done = operations[: max(0, self._life)]
        self._life -= len(operations)
        failures = self._kernel.apply(done) if done else []
        if len(done) < len(operations):
            raise Killed
        return failures

    def __getattr__(self, name: str) -> Any:
        return getattr(self._kernel, name)


@given(files, files, st.integers(0, 25))
@settings(deadline=None, max_examples=25)
def test_after_a_kill_the_next_apply_ends_in_the_wanted_state(
    first: Files, second: Files, life: int
) -> None:
    kernel = made(first.wanted())
    wanted = second.wanted()
    with contextlib.suppress(Killed):
        apply(Dying(kernel, life), wanted)
    apply(kernel, wanted)
    straight = made(first.wanted())
    apply(straight, wanted)
    assert shown(kernel) == shown(straight)
    assert templates(kernel) == templates(straight)


def test_an_sa_that_stays_keeps_counters_and_numbers() -> None:
    first = Wanted(associations=(SaAdd(sa(0x100)), SaAdd(sa(0x101))))
    kernel = made(first)
    used = [
        state._replace(
            current=LifetimeCurrent(1000, 10, state.current.add_time, 5),
            replay=ReplayState(10, 20, 0xFF),
        )
        for state in kernel.states()
    ]
    for state in used:
        kernel.sad.change(state)
    added = SaAdd(sa(0x102))
    assert apply(kernel, first._replace(associations=(*first.associations, added))).rejected == ()
    assert [s for s in kernel.states() if s.spi != 0x102] == used


def only(kernel: FakeKernel) -> State:
    [state] = kernel.states()
    return state


def test_other_lifetimes_are_set_in_place() -> None:
    kernel = made(Wanted(associations=(SaAdd(sa()),)))
    kernel.sad.change(only(kernel)._replace(replay=ReplayState(10, 0, 0)))
    limited = sa(hard=Lifetime(0, 5000, 60))
    apply(kernel, Wanted(associations=(SaAdd(limited),)))
    assert only(kernel).replay == ReplayState(10, 0, 0)
    assert (only(kernel).lifetime.hard_add, only(kernel).lifetime.hard_bytes) == (60, 5000)


def test_what_a_kernel_does_not_keep_is_no_difference(monkeypatch: pytest.MonkeyPatch) -> None:
    kernel = made(Wanted(associations=(SaAdd(sa()),)))
    wanted = Wanted(associations=(SaAdd(sa(linux=LinuxParts(direction=Direction.IN))),))
    system = os.uname()
    monkeypatch.setattr("os.uname", lambda: os.uname_result((*system[:2], "6.9.7", *system[3:])))
    assert Engine(kernel, Clock()).difference(wanted).is_empty
    monkeypatch.setattr("os.uname", lambda: os.uname_result((*system[:2], "6.10.0", *system[3:])))
    assert not Engine(kernel, Clock()).difference(wanted).is_empty


def test_limits_that_were_saved_later_are_those_that_are_left() -> None:
    clock = Clock()
    kernel = made(Wanted(associations=(SaAdd(sa(hard=Lifetime(0, 5000, 3600))),)))
    kernel.sad.change(only(kernel)._replace(current=only(kernel).current._replace(bytes=1000)))
    left = SaAdd(sa(hard=Lifetime(0, 4000, 3500)))
    saved = Wanted(associations=(left,), moment=int(clock.now) + 100)
    clock.now += 200
    assert Engine(kernel, clock).difference(saved).is_empty
    assert not Engine(kernel, clock).difference(saved._replace(moment=0)).is_empty
    again = SaAdd(sa(hard=Lifetime(0, 4000, 60)))
    apply(kernel, Wanted(associations=(again,), moment=int(clock.now)), clock)
    assert only(kernel).lifetime.hard_add == 260


def test_a_foreign_entry_of_a_wanted_name_is_in_the_way() -> None:
    kernel = FakeKernel(Clock())
    kernel.apply(FOREIGN)
    wanted = Wanted((SpdAdd(policy("out discard", 77)), SpdAdd(policy("out none", 1))))
    before = dump(kernel)
    applied = apply(kernel, wanted)
    assert [error.errno for _, error in applied.rejected] == [errno.EEXIST]
    assert dump(kernel) == before


def test_a_program_s_sa_that_is_the_same_is_no_difference() -> None:
    kernel = FakeKernel(Clock())
    engine = Engine(kernel, Clock())
    engine.submit(SaAdd(sa(), by_program=True))
    engine.flush()
    assert engine.difference(Wanted(associations=(SaAdd(sa()),))).is_empty
    assert apply(kernel, Wanted(associations=(SaAdd(sa(key=1)),))).rejected
    assert apply(kernel, Wanted()).difference.is_empty


def test_without_pruning_what_is_not_wanted_stays_in_its_place() -> None:
    first = [policy("out none", host) for host in range(4)]
    kernel = made(Wanted(tuple(map(SpdAdd, first)), (SaAdd(sa()),)))
    second = [first[1], policy("out discard", 8), first[3]]
    wanted = Wanted(tuple(map(SpdAdd, second)))
    apply(kernel, wanted, prune=False)
    assert [row[0] for row in shown(kernel)[0]] == [  # type: ignore[index]  # a tuple
        first[0],
        first[1],
        first[2],
        second[1],
        first[3],
    ]
    assert only(kernel).spi == 0x100
    assert Engine(kernel, Clock()).difference(wanted, prune=False).is_empty


def test_one_entry_more_among_many_writes_one() -> None:
    first = [policy("in ipsec esp/transport//require", host) for host in range(40)]
    kernel = made(Wanted(tuple(map(SpdAdd, first))))
    second = [*first[:20], policy("in none", 99), *first[20:]]
    before = list(kernel.policies())
    applied = apply(kernel, Wanted(tuple(map(SpdAdd, second))))
    assert len(applied.difference.policies.writes) == 1
    assert [p for p in kernel.policies() if p.selector.source.packed[-1] != 99] == before
    for _ in range(300):  # there is always room
        second.insert(20, policy("in none", 99)._replace(selector=_selector(len(second))))
    apply(kernel, Wanted(tuple(map(SpdAdd, second))))
    assert [row[0] for row in shown(kernel)[0] if row[0].direction is Direction.IN] == second  # type: ignore[index]  # a tuple


def _selector(number: int) -> Selector:
    return Selector(Address.parse(f"10.1.{number >> 8}.{number & 255}"), 32, B, 32)


def test_a_namespace_whose_lock_is_held_is_left_alone() -> None:
    kernel = FakeKernel(Clock())
    kernel.lock_holder = "process 7 (setkey)"
    with pytest.raises(KernelError, match="process 7") as caught:
        apply(kernel, Wanted((SpdAdd(policy("out none")),)))
    assert caught.value.errno == errno.EBUSY
    assert list(kernel.policies()) == []


def test_def_policy_is_written_between_additions_and_deletions() -> None:
    discards = SetKnob(knob("net.inet.ipsec.def_policy"), 0)
    kernel = made(Wanted((SpdAdd(policy("out discard", 1)),)))
    order: list[tuple[int, int]] = []

    class Watched:
        def apply(self, operations: Sequence[Operation], ends: Sequence[int] = ()) -> Any:
            order.extend((int(operation.type), len(operation.payload)) for operation in operations)
            return kernel.apply(operations, ends)

        def __getattr__(self, name: str) -> Any:
            return getattr(kernel, name)

    apply(Watched(), Wanted((SpdAdd(policy("out none", 2)),), (), (discards,)))
    types = [kind for kind, _ in order]
    assert types.index(XfrmMsg.DELPOLICY) > types.index(XfrmMsg.NEWPOLICY)
    assert Engine(kernel).knobs().inet.def_policy == 0


@given(files, files)
@settings(deadline=None, max_examples=25)
def test_a_snapshot_is_put_back(first: Files, second: Files) -> None:
    clock = Clock()
    kernel = made(first.wanted())
    for state in list(kernel.states()):
        kernel.sad.change(state._replace(current=state.current._replace(bytes=9, packets=1)))
    snapshot = take(kernel)
    before = shown(kernel), picture(kernel).unordered(), templates(kernel)
    counters = {s.spi: s.current for s in kernel.states()}
    ids = {(p.selector, p.direction, p.if_id): p.index for p in kernel.policies()}
    apply(kernel, second.wanted(), clock)
    put_back(kernel, snapshot, int(clock.now))
    assert (shown(kernel), picture(kernel).unordered(), templates(kernel)) == before
    assert {s.spi: s.current for s in kernel.states()} == counters
    assert {(p.selector, p.direction, p.if_id): p.index for p in kernel.policies()} == ids


def test_numbers_of_an_sa_that_is_put_back_jump_ahead() -> None:
    kernel = made(Wanted(associations=(SaAdd(sa()),)))
    kernel.sad.change(only(kernel)._replace(replay=ReplayState(10, 20, 3)))
    snapshot = take(kernel)
    apply(kernel, Wanted())
    put_back(kernel, snapshot, 1_700_000_000)
    replay = only(kernel).replay
    assert replay is not None
    assert replay.oseq > 10
    assert (replay.seq, replay.bitmap) == (20, 3)


def test_a_foreign_sa_is_not_put_back() -> None:
    kernel = FakeKernel(Clock())
    snapshot = take(kernel)
    engine = Engine(kernel, Clock())
    engine.submit(SaAdd(sa(), by_program=True))
    engine.flush()
    put_back(kernel, snapshot, 1_700_000_000)
    assert len(list(kernel.states())) == 1
    assert encode_state(only(kernel))


@pytest.mark.parametrize("life", [*range(25), 1000])
def test_an_sa_of_mode_any_follows_the_policies_that_go(life: int) -> None:
    tunnel = SpdAdd(policy(f"out ipsec esp/tunnel/{ENDS}/use", 1))
    kept = SaAdd(sa(0x100, mode=Mode.ANY))
    kernel = made(Wanted((tunnel,), (kept,)))
    assert only(kernel).mode == XFRM_MODE_TUNNEL
    wanted = Wanted((), (kept,))
    with contextlib.suppress(Killed):
        apply(Dying(kernel, life), wanted)
    apply(kernel, wanted)
    assert only(kernel).mode == XFRM_MODE_TRANSPORT


def run_of(policies: Sequence[SecurityPolicy]) -> SpdAddRun:
    """Return one request for policies that differ in their sources alone."""
    sources = b"".join(each.selector.source.packed for each in policies)
    destinations = b"".join(each.selector.destination.packed for each in policies)
    group = PolicyGroup(policies[0], range(len(policies)), sources, destinations)
    return SpdAddRun(PolicyRun((group,), len(policies)), True, lambda at: at)


#: A row of edits: the hosts of entries that go, move, change and are new.
edits = st.lists(
    st.tuples(st.sampled_from(("drop", "move", "change", "add")), st.integers(0, 39)), max_size=6
)


def edited(hosts: list[tuple[int, str]], steps: list[tuple[str, int]]) -> list[tuple[int, str]]:
    found = list(hosts)
    for step, at in steps:
        at %= len(found)  # noqa: PLW2901
        if step == "drop" and len(found) > 1:
            del found[at]
        elif step == "move":
            found.insert((at * 7) % len(found), found.pop(at))
        elif step == "change":
            found[at] = found[at][0], "in none"
        elif step == "add":
            found.insert(at, (100 + len(found), "in discard"))
    return list(dict(found).items())


@given(edits, st.booleans())
@settings(deadline=None, max_examples=40)
def test_edits_of_many_entries_are_what_loading_the_edited_ones_gives(
    steps: list[tuple[str, int]], prune: bool
) -> None:
    hosts = [(host, TEXTS[6]) for host in range(40)]
    kernel = made(Wanted(tuple(SpdAdd(policy(text, host)) for host, text in hosts)))
    wanted = Wanted(tuple(SpdAdd(policy(text, host)) for host, text in edited(hosts, steps)))
    assert apply(kernel, wanted, prune=prune).rejected == ()
    if prune:
        fresh = made(wanted)
        assert shown(kernel) == shown(fresh)
        assert templates(kernel) == templates(fresh)
    assert Engine(kernel, Clock()).difference(wanted, prune=prune).is_empty


def test_of_many_entries_only_those_that_differ_become_requests(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    first = [policy(TEXTS[6], host) for host in range(200)]
    second = [*first[:70], policy("in discard", 70), *first[71:150], *first[151:]]
    kernel = made(Wanted((run_of(first),)))
    monkeypatch.setattr(WantedPolicies, "requests", lambda _: pytest.fail("all became requests"))
    wanted = Wanted((run_of(second[:70]), SpdAdd(second[70]), run_of(second[71:])))
    found = Engine(kernel, Clock()).difference(wanted)
    assert [change.request and change.request.policy for change in found.policies.changes] == [
        second[70],
        None,
    ]
    assert found.unchanged == 198
    assert apply(kernel, wanted).rejected == ()
    monkeypatch.undo()
    assert shown(kernel) == shown(made(wanted))


@given(files, files)
@settings(deadline=None, max_examples=25)
def test_a_run_is_compared_as_its_policies_are(first: Files, second: Files) -> None:
    kernel = made(first.wanted())
    singles = second.wanted()
    runs = tuple(run_of([request.policy]) for request in singles_of(singles))
    found = Engine(kernel, Clock()).difference(singles)
    other = Engine(kernel, Clock()).difference(singles._replace(policies=runs))
    assert [bare(change) for change in other.policies.changes] == [
        bare(change) for change in found.policies.changes
    ]
    assert other.unchanged == found.unchanged


def singles_of(wanted: Wanted) -> list[SpdAdd]:
    return [each for each in wanted.policies if isinstance(each, SpdAdd)]


def bare(change: PolicyChange) -> object:
    return change._replace(request=change.request and change.request._replace(cookie=None))


def sa_run_of(associations: Sequence[SecurityAssociation]) -> SaAddRun:
    """Return one request for SAs that differ in addresses, SPIs and keys alone."""
    keys = [each.encryption.material for each in associations if each.encryption]
    run = AssociationRun(
        associations[0],
        len(associations),
        b"".join(each.source.packed for each in associations),
        b"".join(each.destination.packed for each in associations),
        b"".join(each.spi.to_bytes(4, "big") for each in associations),
        b"".join(keys),
    )
    return SaAddRun(run, lambda at: at)


@given(
    st.lists(associations, max_size=6, unique_by=lambda each: each.spi),
    st.lists(associations, max_size=6, unique_by=lambda each: each.spi),
    st.booleans(),
    st.sampled_from([0, 2000]),
)
@settings(deadline=None, max_examples=40)
def test_a_run_of_sas_is_compared_as_each_is(
    first: list[SecurityAssociation],
    second: list[SecurityAssociation],
    prune: bool,
    moment: int,
) -> None:
    kernel = made(Wanted(associations=tuple(map(SaAdd, first))))
    kernel.apply(FOREIGN)
    singles = Wanted(associations=tuple(map(SaAdd, second)), moment=moment)
    runs = Wanted(associations=tuple(sa_run_of([each]) for each in second), moment=moment)
    found = Engine(kernel, Clock()).difference(singles, prune=prune).associations
    other = Engine(kernel, Clock()).difference(runs, prune=prune).associations
    assert [bare_sa(each) for each in other.changes] == [bare_sa(each) for each in found.changes]
    assert other[1:] == found[1:]
    apply(kernel, runs, prune=prune)
    if not moment:  # what was saved then has lived since
        assert shown(kernel)[1] >= shown(made(singles))[1]  # type: ignore[index]  # a tuple


def bare_sa(change: SaChange) -> object:
    return change._replace(request=change.request and change.request._replace(cookie=None))


def test_of_many_sas_only_those_that_differ_are_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    first = [sa(spi) for spi in range(0x100, 0x300, 2)]
    kernel = made(Wanted(associations=(sa_run_of(first),)))
    second = [*first[:70], sa(first[70].spi, key=9), *first[71:150], *first[151:]]
    decoded = []

    def decode(payload: bytes) -> State:
        decoded.append(payload)
        return decode_state(payload)

    monkeypatch.setattr("kamexfrm.engine.sa_difference.decode_state", decode)
    wanted = Wanted(associations=(sa_run_of(second[:100]), sa_run_of(second[100:])))
    found = Engine(kernel, Clock()).difference(wanted)
    assert len(decoded) == 4  # those two, and one to compare with each run
    assert [each.request and each.request.association for each in found.associations.changes] == [
        second[70],
        None,
    ]
    assert found.unchanged == len(first) - 2


def test_while_a_key_changes_and_is_put_back_an_sa_serves_its_flow() -> None:
    kernel = made(Wanted(associations=(SaAdd(sa()),)))
    other = Wanted(associations=(SaAdd(sa(key=1)),))
    there: list[int] = []

    class Watched:
        def apply(self, operations: Sequence[Operation], ends: Sequence[int] = ()) -> list[Failure]:
            failures: list[Failure] = []
            for operation in operations:
                failures += kernel.apply([operation])
                there.append(len(list(kernel.states())))
            return failures

        def __getattr__(self, name: str) -> Any:
            return getattr(kernel, name)

    watched: Any = Watched()
    snapshot = take(watched)
    assert apply(watched, other).rejected == ()
    changed = only(kernel).encryption
    put_back(watched, snapshot, 1_700_000_000)
    assert only(kernel).encryption != changed
    assert len(there) > 6
    assert min(there) >= 1
