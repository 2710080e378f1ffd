"""The engine as a whole: any sequence of requests against a model, and writers that are killed."""

import fcntl
import os
from typing import Any, NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kamexfrm.engine.requests import (
    SaAdd,
    SaDelete,
    SetKnob,
    SpdAdd,
    SpdDelete,
    SpdDeleteId,
    SpdFlush,
)
from kamexfrm.errors import KernelError
from kamexfrm.kernel.fake import FakeKernel
from kamexfrm.kernel.netlink import NetlinkKernel
from kamexfrm.model.knobs import KNOBS, POLICY_KNOBS, Knob, Knobs, knob
from kamexfrm.model.policy import (
    Direction,
    IpsecRequest,
    Owner,
    PolicyType,
    SecurityPolicy,
    Selector,
    SpdEntry,
)
from kamexfrm.rig import Namespace
from kamexfrm.translate.xfrm.policy_to_kernel import Placement, policy_to_kernel, tunnel_uses
from kamexfrm.translate.xfrm.tag import CATCH_ALL_USER, MARKER_IF_ID, SIDECAR_IF_ID
from kamexfrm.xfrm import Default, Policy
from tests.engine.engine_samples import (
    AH,
    DEFAULT,
    ESP,
    FWD,
    IN,
    IPCOMP,
    OUT,
    REQUIRE,
    TUNNEL,
    UNIQUE,
    USE,
    A,
    Asker,
    B,
    Clock,
    Killed,
    Mortal,
    assert_first_match,
    association,
    blocks,
    foreign,
    foreign_template,
    in_order,
    ipsec,
    request,
    selector,
    selector6,
    verdict,
    write,
)
from tests.examples_of_laws import examples

# A model of what the requests mean

Key = tuple[Selector, Direction]


class Row(NamedTuple):
    """What the model knows of one entry; ``theirs`` is a foreign one as it was written.

    ``companion`` is an fwd entry of a program that writes its own.
    """

    policy: SecurityPolicy
    order: int
    twin: bool = False
    theirs: Policy | None = None
    companion: bool = False


class Foreign(NamedTuple):
    """A step of the sequence: somebody else writes a policy."""

    number: int
    direction: Direction


class Model:
    """The SPD, the knobs and the SAs as the requests made them."""

    def __init__(self) -> None:
        self.rows: dict[Key, Row] = {}
        self.knobs = Knobs()
        self.sas: list[int] = []
        self.order = 0

    def do(self, step: Any) -> str | None:
        """Carry out a request; return the errno's name of its refusal."""
        match step:
            case SpdAdd():
                return self.add(step)
            case SpdDelete():
                return self.delete(step)
            case SpdFlush():
                self.rows.clear()
            case SetKnob():
                self.knobs = self.knobs.replace(step.knob, step.value)
            case SaAdd():
                spi = step.association.spi
                if spi in self.sas:
                    return "EEXIST"
                self.sas.append(spi)
            case SaDelete():
                if step.id.spi not in self.sas:
                    return "ESRCH"
                self.sas.remove(step.id.spi)
            case Foreign():
                theirs = foreign(step.number, step.direction - 1, templates=(foreign_template(),))
                self.rows[selector(step.number), step.direction] = Row(ipsec(), 0, theirs=theirs)
        return None

    def add(self, step: SpdAdd) -> str | None:
        policy, twin, replace, _ = step
        key, forward = (policy.selector, policy.direction), (policy.selector, FWD)
        old, copy = self.rows.get(key), self.rows.get(forward)
        wants_copy = twin and policy.direction is IN
        if old and not replace and not (policy.direction is FWD and old.twin):
            return "EEXIST"
        if wants_copy and copy and copy.theirs:
            return "EEXIST"
        self.order += 1
        companion = policy.direction is FWD and not twin
        self.rows[key] = Row(policy, self.order, companion=companion)
        if wants_copy and (not copy or copy.twin):
            self.rows[forward] = Row(policy._replace(direction=FWD), self.order, twin=True)
        return None

    def delete(self, step: SpdDelete) -> str | None:
        of, direction, twin, *_ = step
        copy = self.rows.get((of, FWD))
        if twin and direction is IN and copy and copy.twin:
            del self.rows[of, FWD]
        return None if self.rows.pop((of, direction), None) else "ENOENT"

    def without_sa(self, policy: SecurityPolicy) -> tuple[IpsecRequest, ...]:
        return tuple(r for r in tunnel_uses(policy, self.knobs) if not self.sas or r.protocol is AH)

    def with_sa_reqids(self, policy: SecurityPolicy) -> tuple[IpsecRequest, ...]:
        """Give ESP tunnels without a number that of the newest head of SAs; there are no others."""
        heads = dict.fromkeys(REQIDS[spi] for spi in self.sas)
        number = ([0, *heads])[-1]
        return tuple(
            r._replace(reqid=number)
            if (r.mode, r.protocol) == (TUNNEL, ESP) and r.level is not UNIQUE
            else r
            for r in policy.requests
        )


def timeless(policy: Policy) -> Policy:
    """Return a policy without what does not matter; no packet asks for a sidecar's priority."""
    priority = 0 if policy.if_id == SIDECAR_IF_ID else policy.priority
    current = policy.current._replace(add_time=0)
    return policy._replace(index=0, current=current, priority=priority)


def check(model: Model, asker: Asker) -> None:
    """Hold that the kernel has what the model says, and nothing else."""
    entries = asker.entries()
    policies = {p.index: timeless(p) for p in asker.kernel.policies()}
    by_key = {(e.policy.selector, e.policy.direction): e for e in entries}
    assert set(by_key) == set(model.rows)
    assert len(by_key) == len(entries)
    expected = []
    for key, row in model.rows.items():
        entry = by_key[key]
        if row.theirs:
            assert entry.owner is Owner.FOREIGN
            expected.append(row.theirs)
            continue
        assert (entry.policy, entry.twin, entry.owner) == (row.policy, row.twin, Owner.OURS)
        expected += translated(model, row, entry)
    ours = [p for p in policies.values() if not is_for_our_sake(p)]
    assert set(ours) - set(expected) == set()
    assert set(expected) - set(ours) == set()
    assert len(ours) == len(expected)
    check_order(model, entries)
    check_knobs(model, asker, list(policies.values()))


def is_for_our_sake(policy: Policy) -> bool:
    return policy.if_id == MARKER_IF_ID or policy.selector.user == CATCH_ALL_USER


def translated(model: Model, row: Row, entry: SpdEntry) -> list[Policy]:
    installed = policy_to_kernel(
        row.policy,
        model.knobs,
        Placement(entry.kernel_priority, entry.order),
        entry.created,
        twin=row.twin,
        companion=row.companion,
        without_sa=model.without_sa(row.policy),
        with_sa_reqids=model.with_sa_reqids(row.policy) if row.policy.direction is OUT else None,
    )
    return [timeless(p) for p in installed if p]


def check_order(model: Model, entries: list[SpdEntry]) -> None:
    assert_first_match(entries)
    found = [(e.policy.selector, e.policy.direction) for e in in_order(entries) if not e.twin]
    rows = [(k, r) for k, r in model.rows.items() if not r.twin and not r.theirs]
    rows.sort(key=lambda pair: (pair[1].policy.priority, pair[1].order))
    assert found == [key for key, _ in rows]


def check_knobs(model: Model, asker: Asker, policies: list[Policy]) -> None:
    assert asker.engine.knobs() == model.knobs
    blocked = {p.selector.family for p in policies if p.selector.user == CATCH_ALL_USER}
    assert blocked == {f for f in (2, 10) if not model.knobs.of(f).def_policy}
    assert sum(p.selector.user == CATCH_ALL_USER for p in policies) == 3 * len(blocked)
    block = 1 if len(blocked) == 2 else 2
    assert asker.kernel.default() == Default(block, block, block)


REQUESTS = [
    (request(),),
    (request(REQUIRE, AH),),
    (request(USE, ends=(A, B)),),
    (request(UNIQUE, reqid=77),),
    (request(mode=TUNNEL),),
    (request(USE, mode=TUNNEL), request(DEFAULT, AH)),
    (request(DEFAULT, AH, TUNNEL), request(UNIQUE, IPCOMP, reqid=5)),
]
#: SAs of the one ESP tunnel, by SPI.
REQIDS = {1: 0, 2: 0, 3: 7, 4: 8}

selectors = st.sampled_from(
    [selector(0), selector(1, upper=6, source_port=5), selector(2), selector6()]
)
directions = st.sampled_from(list(Direction))


@st.composite
def policies(draw: st.DrawFn) -> SecurityPolicy:
    of, direction = draw(selectors), draw(directions)
    priority = draw(st.sampled_from([0x80000000, 0x80000000, 5, 6, 0, 0xFFFFFFFF]))
    type_ = draw(st.sampled_from([PolicyType.IPSEC] * 4 + [PolicyType.NONE, PolicyType.DISCARD]))
    if type_ is not PolicyType.IPSEC:
        return verdict(type_, of, direction, priority=priority)
    requests = draw(st.sampled_from(REQUESTS))
    if of.family == 10:
        requests = tuple(r for r in requests if r.source is None) or (request(),)
    return ipsec(of, direction, *requests, priority=priority)


@st.composite
def knob_writes(draw: st.DrawFn) -> SetKnob:
    each: Knob = draw(st.sampled_from(KNOBS))
    few = each.high - each.low < 100
    return SetKnob(
        each, draw(st.sampled_from(each.numbers) if few else st.integers(each.low, each.high))
    )


steps = st.one_of(
    st.builds(SpdAdd, policies(), st.booleans(), st.just(False)),
    st.builds(SpdAdd, policies(), st.booleans(), st.just(False)),
    st.builds(SpdAdd, policies(), st.booleans(), st.booleans()),
    st.builds(SpdDelete, selectors, directions, st.booleans()),
    st.builds(SpdDelete, selectors, directions, st.booleans()),
    st.builds(SpdFlush),
    knob_writes(),
    knob_writes(),
    st.sampled_from([SaAdd(association(n, reqid=reqid)) for n, reqid in REQIDS.items()]),
    st.sampled_from([SaDelete(association(n).id) for n in REQIDS]),
)
runs = st.lists(
    st.one_of(
        st.lists(steps, min_size=1, max_size=6),
        st.builds(Foreign, st.sampled_from([0, 2]), directions),
        st.just("a new engine"),
    ),
    max_size=12,
)


@given(runs)
@settings(max_examples=examples(300), deadline=None)
def test_after_any_requests_the_kernel_holds_the_model_translated_with_the_knobs(
    sequence: list[Any],
) -> None:
    kernel = FakeKernel(Clock())
    asker = Asker(kernel, Clock())
    model = Model()
    for run in sequence:
        match run:
            case "a new engine":
                asker = Asker(kernel, Clock())
            case Foreign(number, direction):
                if (selector(number), direction) not in model.rows:
                    model.do(run)
                    theirs = model.rows[selector(number), direction].theirs
                    assert theirs is not None
                    write(kernel, theirs)
            case list():
                expected = [(step, model.do(step)) for step in run]
                refused = [(step, name) for step, name in expected if name]
                names = asker.ask(*run)
                assert [(one.request, n) for one, n in zip(asker.rejected, names, strict=True)] == (
                    refused
                )
        check(model, asker)


# Killed writers

SCRIPT: list[Any] = [
    SpdAdd(ipsec(0, IN)),
    SpdAdd(ipsec(1, OUT, request(ends=(A, B)))),
    SpdAdd(ipsec(2, OUT, request(USE, mode=TUNNEL))),
    SpdAdd(ipsec(3, IN, request(UNIQUE), priority=5)),
    SpdAdd(ipsec(3, FWD, request(REQUIRE))),
    SaAdd(association()),
    SpdDelete(selector(0), IN),
    SpdAdd(ipsec(0, IN, request(REQUIRE))),
    SpdAdd(ipsec(1, OUT, request(REQUIRE)), replace=True),
    SetKnob(knob("net.inet.ipsec.esp_trans_deflev"), 2),
    SpdAdd(ipsec(5, OUT)),
    SetKnob(knob("net.inet.ipsec.def_policy"), 0),
    SpdAdd(ipsec(6, OUT, priority=1)),
    *[SpdAdd(ipsec(n, OUT, priority=1)) for n in range(10, 24)],
    SpdAdd(ipsec(7, OUT, priority=1)),
]


def written_by(script: list[Any]) -> set[SecurityPolicy]:
    """Return all that the script ever writes, without generated numbers."""
    return {
        without_numbers(step.policy._replace(direction=direction))
        for step in script
        if isinstance(step, SpdAdd)
        for direction in (step.policy.direction, FWD)
    }


def without_numbers(policy: SecurityPolicy) -> SecurityPolicy:
    return policy._replace(requests=tuple(r._replace(reqid=0) for r in policy.requests))


def survivors(life: int, script: list[Any]) -> tuple[FakeKernel, bool]:
    """Run a script on a kernel until its writer is killed; return whether it was."""
    kernel = FakeKernel(Clock())
    asker = Asker(Mortal(kernel, life), Clock())
    try:
        for step in script:
            asker.ask(step)
    except Killed:
        return kernel, True
    return kernel, False


@pytest.mark.parametrize("life", range(1, 60))
def test_a_killed_writer_leaves_what_the_next_one_reads_and_completes(life: int) -> None:
    kernel, _ = survivors(life, SCRIPT)
    asker = Asker(kernel, Clock())
    found = asker.entries()
    assert {without_numbers(e.policy) for e in found} <= written_by(SCRIPT)
    assert_first_match(found)
    knobs = asker.engine.knobs()
    asker.add(ipsec(99, IN))
    assert asker.engine.knobs() == knobs
    assert_first_match(asker.entries())
    for entry in asker.entries():
        installed = next(p for p in kernel.policies() if p.index == entry.id)
        uses = tunnel_uses(entry.policy, knobs)
        served = any(s.spi == 0x1000 for s in kernel.states())
        wanted = policy_to_kernel(
            entry.policy,
            knobs,
            Placement(entry.kernel_priority, entry.order),
            entry.created,
            twin=entry.twin,
            without_sa=() if served else uses,
        )
        assert timeless(installed).templates == wanted.policy.templates
    assert len(blocks(kernel)) == (0 if knobs.inet.def_policy else 3)


@pytest.mark.parametrize("life", range(1, 60, 7))
def test_after_a_kill_a_whole_run_gives_the_whole(life: int) -> None:
    kernel, _ = survivors(life, SCRIPT)
    whole, killed = survivors(100_000, SCRIPT)
    assert not killed
    again = Asker(kernel, Clock())
    again.ask(SpdFlush(), *[SetKnob(each, 1) for each in POLICY_KNOBS], SaDelete(association().id))
    for step in SCRIPT:
        again.must(step)
    for asker in (again, Asker(whole, Clock())):
        assert_first_match(asker.entries())
    assert {without_numbers(p) for p in again.written()} == {
        without_numbers(p) for p in Asker(whole).written()
    }
    assert again.engine.knobs() == Asker(whole).engine.knobs()
    sidecars = [p.selector for p in kernel.policies() if p.if_id == SIDECAR_IF_ID]
    assert sidecars == [p.selector for p in whole.policies() if p.if_id == SIDECAR_IF_ID]


@pytest.mark.not_unit("takes seconds")
def test_a_long_run_that_is_killed_between_two_batches_is_read_and_completed() -> None:
    kernel = FakeKernel(Clock())
    asker = Asker(Mortal(kernel, 3000), Clock())
    with pytest.raises(Killed):
        asker.ask(*[SpdAdd(ipsec(n, IN)) for n in range(4000)], SaAdd(association()))
    found = Asker(kernel).entries()
    assert 2900 < len(found) <= 3000
    assert_first_match(found)
    other = Asker(kernel, Clock())
    refused = other.ask(*[SpdAdd(ipsec(n, IN)) for n in range(4000)])
    assert set(refused) == {"EEXIST"}
    assert len(other.entries()) == 8000
    assert_first_match(other.entries())


# Locks and privilege


@pytest.mark.not_unit("makes network namespaces")
def test_a_lock_that_is_held_past_the_deadline_is_named_and_work_goes_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("kamexfrm.kernel.lock.NamespaceLock.__init__.__defaults__", (0.05,))
    namespace = Namespace()
    with namespace.enter():
        file = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
        fcntl.flock(file, fcntl.LOCK_EX)
        kernel = NetlinkKernel()
        asker = Asker(kernel)
        asker.add(ipsec(0), ipsec(1))
        assert asker.lock_holder.startswith(f"process {os.getpid()} (")
        assert_first_match(asker.entries())
        os.close(file)
        other = Asker(kernel)
        other.add(ipsec(2))
        assert other.lock_holder == ""
        kernel.close()
    namespace.close()


def test_without_privilege_nothing_is_done_and_the_reason_is_raised() -> None:
    asker = Asker(FakeKernel(privileged=False))
    for step in (SpdAdd(ipsec()), SpdFlush(), SaAdd(association()), SpdDeleteId(1)):
        with pytest.raises(KernelError, match="not permitted"):
            asker.ask(step)
    with pytest.raises(KernelError, match="not permitted"):
        asker.engine.knobs()
    with pytest.raises(KernelError, match="not permitted"):
        asker.entries()


def test_what_could_not_be_written_is_not_tried_again() -> None:
    kernel = FakeKernel(privileged=False)
    asker = Asker(kernel)
    with pytest.raises(KernelError):
        asker.ask(SpdAdd(ipsec(0)))
    kernel.privileged = True
    asker.add(ipsec(1))
    assert asker.written() == {ipsec(1)}


@pytest.mark.not_unit("makes network namespaces")
def test_two_namespaces_know_nothing_of_each_other() -> None:
    first, second = Namespace(), Namespace()
    askers = []
    for namespace in (first, second):
        with namespace.enter():
            askers.append(Asker(NetlinkKernel()))
    with first.enter():
        askers[0].turn("def_policy", 0)
        askers[0].add(ipsec(0))
    with second.enter():
        assert askers[1].entries() == []
        assert askers[1].engine.knobs() == Knobs()
    for asker, namespace in zip(askers, (first, second), strict=True):
        asker.kernel.close()
        namespace.close()
