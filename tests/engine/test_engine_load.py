"""Loads: what is deleted and comes again is replaced, and a packet meets the old or the new."""

import contextlib
import errno
import random
from collections.abc import Callable, Sequence
from itertools import combinations
from typing import Any

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from kamexfrm.algorithms import Kind, by_name
from kamexfrm.engine.load import LoadPlan
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
from kamexfrm.kernel.fake import FakeKernel
from kamexfrm.kernel.interface import Failure, Kernel
from kamexfrm.model.association import Key, Lifetime, SecurityAssociation
from kamexfrm.model.language import parse_policy
from kamexfrm.model.policy import Direction, Owner, SecurityPolicy, Selector
from kamexfrm.net import Address
from kamexfrm.translate.xfrm.policy_name import selector_to_kernel
from kamexfrm.xfrm import Operation, Policy, XfrmMsg
from tests.engine.engine_samples import ESP, A, Asker, B, Clock, Killed, Mortal, write

OTHERS = "10.0.0.9"


def policy(
    text: str = "out ipsec esp/transport//require", source: str = "10.0.0.1", bits: int = 32
) -> SecurityPolicy:
    read = parse_policy(text)
    assert read.type is not None
    selector = Selector(Address.parse(source), bits, B, 32)
    return SecurityPolicy(selector, read.direction, read.type, read.requests, read.priority)


def plan_of(requests: Sequence[Write]) -> LoadPlan:
    """Return what setkey says of a script: of what stands behind its last flush."""
    flushes = [at for at, request in enumerate(requests) if isinstance(request, SpdFlush)]
    behind = requests[flushes[-1] :] if flushes else requests
    added = [request.policy for request in behind if isinstance(request, SpdAdd)]
    priorities = [policy.priority for policy in added]
    count = sum(isinstance(request, SpdAdd) for request in requests)
    forwards = {(p.selector, p.label) for p in added if p.direction is Direction.FWD}
    if len(added) < count:
        forwards.clear()
    first = next((at for at, r in enumerate(behind) if isinstance(r, SpdAdd)), len(behind))
    if any(isinstance(r, SpdDelete) and r.direction is Direction.FWD for r in behind[first:]):
        forwards.clear()
    deleted = () if flushes else [r for r in requests if isinstance(r, SpdDelete)]
    names = frozenset(((r.selector, r.label), r.direction) for r in deleted)
    going = {(r.selector, r.direction) for r in deleted}
    going |= {(selector, Direction.FWD) for selector, _ in forwards}
    if not any(
        (a[1] is b[1] or Direction.OUT not in (a[1], b[1])) and a[0].overlaps(b[0])
        for a, b in combinations(going, 2)
    ):
        names = frozenset()
    flushed = sum(isinstance(r, SpdAdd) for r in requests[: flushes[-1]]) if flushes else 0
    again: dict[Any, int] = {}
    number = 0
    for r in requests:
        number += isinstance(r, SpdAdd)
        if isinstance(r, SpdDelete) and number:
            again[(r.selector, r.label), r.direction] = number
    if again:
        names = frozenset()
    is_sorted = priorities == sorted(priorities)
    only_adds = not is_sorted and all(isinstance(r, SpdAdd) for r in requests)
    return LoadPlan(count, is_sorted, frozenset(forwards), names, flushed, again, only_adds)


def load(asker: Asker, *requests: Write) -> list[str]:
    """Carry out requests as one load; return the errno's names of the rejected."""
    asker.engine.begin_load(plan_of(requests))
    asker.rejected.clear()
    try:
        for request in requests:
            asker._take(asker.engine.try_submit(request))
    finally:
        asker._take(asker.engine.end_load())
    return [errno.errorcode[one.error.errno] for one in asker.rejected]


class Writes:
    """A kernel that counts what is written, but for the marker."""

    def __init__(self, kernel: Kernel) -> None:
        self._kernel = kernel
        self.operations: list[int] = []

    def apply(self, operations: Sequence[Operation], ends: Sequence[int] = ()) -> list[Failure]:
        self.operations += [operation.type for operation in operations]
        return self._kernel.apply(operations, ends)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._kernel, name)


PAIR = (policy(), policy("in ipsec esp/transport//require"), policy("out none", OTHERS))


def shown(asker: Asker) -> list[tuple[SecurityPolicy, Owner, bool]]:
    """Return the SPD in the order of matching, without ids and times."""
    entries = [entry for entry in asker.entries() if not entry.socket]
    entries.sort(key=lambda entry: (entry.policy.direction, entry.kernel_priority))
    return [(entry.policy, entry.owner, entry.twin) for entry in entries]


def test_what_comes_again_unchanged_is_left_as_it_is(kernel: Kernel) -> None:
    Asker(kernel).add(*PAIR)
    before = Asker(kernel).entries()
    counted = Writes(kernel)
    assert load(Asker(counted), SpdFlush(), *map(SpdAdd, PAIR)) == []
    assert counted.operations == []
    assert Asker(kernel).entries() == before


def test_what_is_not_added_again_goes(asker: Asker) -> None:
    asker.add(*PAIR)
    assert load(asker, SpdFlush(), SpdAdd(PAIR[0])) == []
    assert shown(asker) == [(PAIR[0], *shown(asker)[0][1:])]


def test_a_changed_entry_keeps_its_id(asker: Asker) -> None:
    asker.add(*PAIR)
    ids = {entry.policy.selector: entry.id for entry in asker.entries() if entry.policy == PAIR[0]}
    changed = policy("out ipsec esp/transport//use")
    assert load(asker, SpdFlush(), SpdAdd(changed), SpdAdd(PAIR[2])) == []
    found = next(entry for entry in asker.entries() if entry.policy == changed)
    assert found.id == ids[changed.selector]


def test_a_second_entry_of_a_name_is_rejected(asker: Asker) -> None:
    asker.add(*PAIR)
    again = [SpdAdd(PAIR[0]), SpdAdd(PAIR[0]._replace(priority=7))]
    assert load(asker, SpdFlush(), *again) == ["EEXIST"]
    assert load(asker, SpdFlush(), *again[::-1]) == ["EEXIST"]
    assert len(asker.entries()) == 1


def test_entries_come_in_the_order_of_their_priorities_however_they_are_written(
    asker: Asker,
) -> None:
    low = policy("out prio low none", "10.0.1.0", 24)
    high = policy("out prio high discard", "10.0.2.0", 24)
    asker.add(*PAIR)
    assert load(asker, SpdFlush(), SpdAdd(low), SpdAdd(PAIR[0]), SpdAdd(high)) == []
    assert [row[0] for row in shown(asker)] == [high, PAIR[0], low]
    asker.add(PAIR[2])
    assert [row[0] for row in shown(asker)] == [high, PAIR[0], PAIR[2], low]


def test_what_is_deleted_twice_or_is_not_there_is_rejected(asker: Asker) -> None:
    asker.add(*PAIR)
    gone = SpdDelete(PAIR[0].selector, PAIR[0].direction)
    nothing = SpdDelete(policy(source="10.3.3.3").selector, PAIR[0].direction)
    assert load(asker, gone, gone, nothing, SpdAdd(PAIR[0]), SpdAdd(PAIR[0])) == [
        "ENOENT",
        "ENOENT",
        "EEXIST",
    ]
    assert load(asker, SpdFlush(), gone, SpdAdd(PAIR[1])) == ["ENOENT"]
    assert shown(asker)[0][0].direction == PAIR[1].direction


def test_an_entry_of_this_load_can_be_deleted_again(asker: Asker) -> None:
    asker.add(*PAIR)
    gone = SpdDelete(PAIR[2].selector, PAIR[2].direction)
    assert load(asker, SpdFlush(), *map(SpdAdd, PAIR), gone) == []
    assert PAIR[2] not in [row[0] for row in shown(asker)]


def test_generated_reqids_stay_with_their_entries(asker: Asker) -> None:
    unique = policy("out ipsec esp/transport//unique")
    other = policy("out ipsec esp/transport//unique", OTHERS)
    asker.add(unique, other)
    before = {row[0].selector: row[0].requests for row in shown(asker)}
    assert load(asker, SpdFlush(), SpdAdd(other), SpdAdd(unique)) == []
    assert {row[0].selector: row[0].requests for row in shown(asker)} == before


def test_foreign_policies_go_with_a_flush_and_are_replaced(asker: Asker) -> None:
    there = selector_to_kernel(PAIR[0].selector)
    write(asker.kernel, Policy(there, 1, priority=7), Policy(there, 1, priority=9, if_id=5))
    assert len(asker.entries()) == 2
    assert load(asker, SpdFlush(), SpdAdd(PAIR[0])) == []
    assert [row[0] for row in shown(asker)] == [PAIR[0]]


@pytest.mark.parametrize("life", range(1, 12))
def test_a_killed_load_leaves_old_or_new_and_the_next_one_completes_it(
    kernel: Kernel, life: int
) -> None:
    Asker(kernel).add(*PAIR)
    changed = [
        SpdAdd(policy("out ipsec ah/transport//require")),
        SpdAdd(policy("in ipsec ah/transport//require")),
        SpdAdd(policy("out discard", "10.0.0.7")),
    ]
    with contextlib.suppress(Killed):
        load(Asker(Mortal(kernel, life)), SpdFlush(), *changed)
    names = {(row[0].selector, row[0].direction) for row in shown(Asker(kernel))}
    assert {(PAIR[0].selector, PAIR[0].direction), (PAIR[1].selector, PAIR[1].direction)} <= names
    asker = Asker(kernel)
    assert load(asker, SpdFlush(), *changed) == []
    assert {row[0] for row in shown(asker) if not row[2]} == {one.policy for one in changed}


# SAs


def cipher(material: bytes = bytes(range(16))) -> Key:
    return Key(by_name(Kind.ENCRYPTION, "aes-cbc"), material)


def sa(**fields: Any) -> SecurityAssociation:
    return SecurityAssociation(A, B, ESP, 0x1000, encryption=cipher())._replace(**fields)


def test_an_sa_that_comes_again_is_not_made_again() -> None:
    clock = Clock()
    kernel = FakeKernel(clock)
    counted = Writes(kernel)
    asker = Asker(counted, clock)
    asker.must(SaAdd(sa()))
    counted.operations.clear()
    clock.now += 100
    assert load(asker, SaFlush(), SaAdd(sa(hard=Lifetime(0, 0, 60, 0)))) == []
    assert XfrmMsg.DELSA not in counted.operations
    assert XfrmMsg.NEWSA not in counted.operations
    entry = asker.engine.sa(sa().id)
    assert (entry.created, entry.association.hard.addtime) == (int(clock.now), 60)


@pytest.mark.parametrize(
    "deletion", [SaFlush(), SaDelete(sa().id), SaDeleteAll(A, B)], ids=["flush", "delete", "all"]
)
def test_an_sa_with_another_key_replaces_the_old_one(deletion: Write) -> None:
    asker = Asker(FakeKernel())
    asker.must(SaAdd(sa()), SaAdd(sa(spi=0x2000)))
    other = sa(encryption=cipher(bytes(16)))
    assert load(asker, deletion, SaAdd(other)) == []
    found = asker.engine.sa(sa().id).association.encryption
    assert found is not None
    assert found.material == bytes(16)
    left = {entry.association.spi for entry in asker.engine.sad()}
    assert left == ({0x1000, 0x2000} if isinstance(deletion, SaDelete) else {0x1000})


def test_while_an_sa_gets_another_key_there_is_always_one() -> None:
    kernel = FakeKernel()
    there: list[int] = []
    asker = Asker(Watched(kernel, lambda: there.append(sum(1 for _ in kernel.states()))))
    asker.must(SaAdd(sa()))
    there.clear()
    assert load(asker, SaFlush(), SaAdd(sa(encryption=cipher(bytes(16))))) == []
    assert min(there) >= 1
    assert [entry.association.spi for entry in asker.engine.sad()] == [0x1000]


def test_sas_that_are_not_there_are_rejected() -> None:
    asker = Asker(FakeKernel())
    asker.must(SaAdd(sa()))
    gone = SaDelete(sa().id)
    assert load(asker, gone, gone, SaDeleteAll(B, A), SaAdd(sa()), SaAdd(sa())) == [
        "ESRCH",
        "ESRCH",
        "EEXIST",
    ]


# Laws

prefixes = st.sampled_from([("10.0.0.1", 32), ("10.0.0.0", 31), ("10.0.0.0", 24), ("0.0.0.0", 0)])  # noqa: S104
texts = st.sampled_from(
    [
        *("out none", "out discard", "in none", "in discard", "fwd none"),
        *("out ipsec esp/transport//require", "in ipsec esp/transport//use"),
        *("out prio high none", "out prio low discard", "in prio low - 5 discard"),
        "out ipsec esp/tunnel/10.0.0.1-10.0.0.2/use",
    ]
)
policies = st.builds(lambda text, where: policy(text, *where), texts, prefixes)
named = st.lists(policies, max_size=8, unique_by=lambda p: (p.selector, p.direction))
deletions = st.builds(lambda p: SpdDelete(p.selector, p.direction), policies)
requests = st.lists(policies.map(SpdAdd) | deletions | st.just(SpdFlush()), max_size=12)


@given(named, requests)
@settings(max_examples=100, deadline=None)
def test_a_load_comes_to_what_its_requests_come_to_one_by_one(
    old: list[SecurityPolicy], asked: list[Write]
) -> None:
    one_by_one, at_once = Asker(FakeKernel()), Asker(FakeKernel())
    for asker in (one_by_one, at_once):
        asker.ask(*map(SpdAdd, old))
    expected = [name for request in asked for name in one_by_one.ask(request)]
    assert sorted(load(at_once, *asked)) == sorted(expected)
    assert shown(at_once) == shown(one_by_one)


class Watched:
    """A fake that is looked at after each operation."""

    def __init__(self, kernel: FakeKernel, look: Callable[[], None]) -> None:
        self._kernel = kernel
        self._look = look

    def apply(self, operations: Sequence[Operation], ends: Sequence[int] = ()) -> list[Failure]:
        failures = []
        for at, operation in enumerate(operations):
            failures += [f._replace(position=at) for f in self._kernel.apply([operation])]
            self._look()
        return failures

    def __getattr__(self, name: str) -> Any:
        return getattr(self._kernel, name)


def verdicts(kernel: FakeKernel) -> dict[tuple[str, int], tuple[object, ...]]:
    """Return what packets of some sources meet in each direction."""
    found: dict[tuple[str, int], tuple[object, ...]] = {}
    there = [p for p in kernel.policies() if not p.if_id and p.direction < 3]
    for source in ("10.0.0.0", "10.0.0.1", "10.0.0.2", "10.9.9.9"):
        for direction in range(3):
            met = [p for p in there if p.direction == direction and covers(p, source)]
            first = min(met, key=lambda p: p.priority, default=None)
            found[source, direction] = (first.action, first.templates) if first else ()
    return found


def covers(policy: Policy, source: str) -> bool:
    bits = policy.selector.source_prefix
    both = (policy.selector.source.packed, Address.parse(source).packed)
    network, address = (int.from_bytes(packed, "big") >> (32 - bits) for packed in both)
    return network == address


@given(named, named, st.randoms(use_true_random=False))
@settings(max_examples=100, deadline=None)
def test_at_every_moment_a_packet_meets_the_old_or_the_new(
    old: list[SecurityPolicy], new: list[SecurityPolicy], dice: random.Random
) -> None:
    kernel, fresh = FakeKernel(), FakeKernel()
    Asker(kernel).ask(*map(SpdAdd, old))
    Asker(fresh).ask(*map(SpdAdd, new))
    before, after = verdicts(kernel), verdicts(fresh)

    def look() -> None:
        for packet, verdict in verdicts(kernel).items():
            assert verdict in (before[packet], after[packet])

    load(Asker(Watched(kernel, look)), SpdFlush(), *map(SpdAdd, new))
    assert verdicts(kernel) == after


@given(named, named, st.randoms(use_true_random=False))
@settings(max_examples=100, deadline=None)
def test_at_every_moment_of_deletions_too(
    old: list[SecurityPolicy], new: list[SecurityPolicy], dice: random.Random
) -> None:
    gone = [SpdDelete(p.selector, p.direction) for p in old if dice.random() < 0.6]
    assume(gone)
    asked: list[Write] = [*gone, *map(SpdAdd, new)]
    kernel, fresh = FakeKernel(), FakeKernel()
    for one in (kernel, fresh):
        Asker(one).ask(*map(SpdAdd, old))
    before = verdicts(kernel)
    for request in asked:
        Asker(fresh).ask(request)
    after = verdicts(fresh)

    def look() -> None:
        for packet, verdict in verdicts(kernel).items():
            assert verdict in (before[packet], after[packet])

    load(Asker(Watched(kernel, look)), *asked)
    assert verdicts(kernel) == after


@given(named, named)
@settings(max_examples=100, deadline=None)
def test_at_every_moment_of_additions_too(
    old: list[SecurityPolicy], new: list[SecurityPolicy]
) -> None:
    assume(old)
    kernel, fresh = FakeKernel(), FakeKernel()
    for one in (kernel, fresh):
        Asker(one).ask(*map(SpdAdd, old))
    before = verdicts(kernel)
    Asker(fresh).ask(*map(SpdAdd, new))
    after = verdicts(fresh)

    def look() -> None:
        for packet, verdict in verdicts(kernel).items():
            assert verdict in (before[packet], after[packet])

    load(Asker(Watched(kernel, look)), *map(SpdAdd, new))
    assert verdicts(kernel) == after


def test_what_is_added_to_nothing_is_listed_as_it_was_written() -> None:
    first, second = policy("out none"), policy("out prio high discard", OTHERS)
    asker, plain = Asker(FakeKernel()), Asker(FakeKernel())
    plain.add(first, second)
    assert load(asker, SpdAdd(first), SpdAdd(second)) == []
    assert [row[0] for row in shown(asker)] == [second, first]
    assert [e.policy for e in asker.entries()] == [e.policy for e in plain.entries()]


@pytest.mark.parametrize("replaces", ["what waits", "nothing"])
def test_an_update_of_what_the_same_load_adds(replaces: str) -> None:
    asker = Asker(FakeKernel())
    asker.add(policy("in none", OTHERS))
    low, high = policy("out prio low none"), policy("out prio high none")
    other = policy("out prio low none", OTHERS)
    requests = [SpdAdd(low), SpdAdd(policy("in prio high none"))]
    requests.append(SpdAdd(high if replaces == "what waits" else other, replace=True))
    assert load(asker, *requests) == []
    found = [row[0] for row in shown(asker) if row[0].direction is Direction.OUT]
    assert found == ([high] if replaces == "what waits" else [low, other])


@pytest.mark.parametrize("flushes", [False, True])
def test_a_twin_that_was_deleted_goes_though_its_entry_is_refused_again(flushes: bool) -> None:
    asker = Asker(FakeKernel())
    inbound = policy("in ipsec esp/transport//require")
    asker.add(inbound, policy("in none", OTHERS))
    gone = SpdDelete(inbound.selector, Direction.FWD)
    first: list[Write] = [SpdFlush(), SpdAdd(inbound)] if flushes else []
    assert load(asker, *first, gone, SpdAdd(inbound)) == ["EEXIST"]
    assert [row[0].direction for row in shown(asker) if row[0].selector == inbound.selector] == [
        Direction.IN
    ]


@pytest.mark.parametrize("ends", ["spddelete", "spdflush"])
def test_what_one_load_adds_and_deletes_is_never_there(ends: str) -> None:
    kernel = FakeKernel()
    Asker(kernel).add(*PAIR)
    passing = policy("in none", "10.0.0.0", 24)
    gone = SpdFlush() if ends == "spdflush" else SpdDelete(passing.selector, Direction.IN)
    seen: set[object] = set()

    def look() -> None:
        seen.update(p.selector for p in kernel.policies())

    asker = Asker(Watched(kernel, look))
    assert load(asker, SpdAdd(passing), gone, SpdAdd(policy("out none", "10.0.0.8"))) == []
    assert seen
    assert selector_to_kernel(passing.selector) not in seen


def test_what_goes_again_is_refused_as_it_would_be_one_by_one() -> None:
    asker = Asker(FakeKernel())
    asker.add(PAIR[0])
    gone = SpdDelete(PAIR[0].selector, PAIR[0].direction)
    assert load(asker, SpdAdd(PAIR[0]), gone, gone, SpdAdd(PAIR[2])) == ["EEXIST", "ENOENT"]
    assert [row[0] for row in shown(asker)] == [PAIR[2]]
