"""Policies through the engine: add, replace, delete, flush, twins, and what is in the way."""

from collections.abc import Sequence

import pytest

from kamexfrm.engine.engine import Engine
from kamexfrm.engine.requests import SaAdd, SpdAdd, SpdDelete, SpdDeleteId, SpdFlush, Write
from kamexfrm.errors import KernelError
from kamexfrm.kernel.fake import FakeKernel
from kamexfrm.kernel.interface import Failure, Kernel
from kamexfrm.model.policy import (
    Direction,
    Owner,
    PolicyType,
    Scope,
    SecurityContext,
    SecurityPolicy,
)
from kamexfrm.model.policy import Mark as EntryMark
from kamexfrm.translate.xfrm.marker import MARKER_ID
from kamexfrm.translate.xfrm.tag import MARKER_IF_ID, SIDECAR_IF_ID
from kamexfrm.xfrm import Mark, Operation, PolicyId, XfrmMsg, decode_policy_id
from tests.engine.engine_samples import (
    AH,
    DEFAULT,
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
    association,
    blocks,
    foreign,
    foreign_template,
    helpers,
    image,
    ipsec,
    request,
    selector,
    selector6,
    verdict,
    write,
)

WRITTEN: dict[str, SecurityPolicy] = {
    "default": ipsec(),
    "in default": ipsec(0, IN),
    "use": ipsec(0, OUT, request(USE)),
    "require": ipsec(0, OUT, request(REQUIRE, AH)),
    "unique with a number": ipsec(0, OUT, request(UNIQUE, reqid=77)),
    "in unique with a number": ipsec(0, IN, request(UNIQUE, reqid=77)),
    "unique over 32767": ipsec(0, IN, request(UNIQUE, reqid=0xFFFFFFFF)),
    "bundle": ipsec(0, OUT, request(), request(REQUIRE, AH), request(USE, IPCOMP)),
    "in bundle": ipsec(0, IN, request(), request(REQUIRE, AH), request(USE, IPCOMP)),
    "tunnel require": ipsec(0, OUT, request(REQUIRE, mode=TUNNEL)),
    "tunnel default": ipsec(0, OUT, request(mode=TUNNEL)),
    "tunnel use": ipsec(0, OUT, request(USE, mode=TUNNEL)),
    "in tunnel use": ipsec(0, IN, request(USE, mode=TUNNEL)),
    "transport with endpoints": ipsec(0, OUT, request(ends=(A, B))),
    "in transport with endpoints": ipsec(0, IN, request(REQUIRE, ends=(A, B))),
    "fwd": ipsec(0, FWD, request(REQUIRE)),
    "fwd with endpoints": ipsec(0, FWD, request(REQUIRE, ends=(A, B))),
    "discard": verdict(PolicyType.DISCARD),
    "in discard": verdict(PolicyType.DISCARD, 0, IN),
    "none": verdict(PolicyType.NONE),
    "in none": verdict(PolicyType.NONE, 0, IN),
    "priority": ipsec(0, OUT, priority=3),
    "lifetimes": ipsec(0, OUT, lifetime=1000, validtime=2000),
    "in lifetimes": ipsec(0, IN, lifetime=1000, validtime=2000),
    "lifetimes of a sidecar": ipsec(0, OUT, request(ends=(A, B)), lifetime=1000, validtime=2000),
    "IPv6": ipsec(selector6()),
    "in IPv6": ipsec(selector6(), IN),
    "ports": ipsec(selector(0, upper=6, source_port=1, destination_port=0)),
    "host bits": ipsec(selector()._replace(destination_prefix=8)),
    "six requests": ipsec(0, OUT, *[request(REQUIRE)] * 6),
}


@pytest.mark.parametrize("kind", WRITTEN)
def test_what_was_written_is_what_is_read(asker: Asker, kind: str) -> None:
    policy = WRITTEN[kind]
    asker.add(policy)
    assert asker.written() == {policy}
    found = asker.entry(policy)
    assert (found.owner, found.twin, found.socket, found.last_used) == (Owner.OURS, False, False, 0)
    assert found.id & 7 == policy.direction - 1
    assert asker.engine.spd_entry(policy.selector, policy.direction) == found


@pytest.mark.parametrize("kind", WRITTEN)
def test_what_was_deleted_leaves_only_the_marker(asker: Asker, kind: str) -> None:
    policy = WRITTEN[kind]
    asker.add(policy)
    asker.delete(policy)
    assert helpers(asker.kernel) == [MARKER_IF_ID]
    assert len(image(asker.kernel)) == 1


@pytest.mark.parametrize("kind", WRITTEN)
def test_what_was_deleted_by_id_leaves_only_the_marker(asker: Asker, kind: str) -> None:
    policy = WRITTEN[kind]
    asker.add(policy)
    asker.must(SpdDeleteId(asker.entry(policy).id))
    assert len(image(asker.kernel)) == 1


@pytest.mark.parametrize("kind", WRITTEN)
def test_a_second_one_is_refused_and_changes_nothing(asker: Asker, kind: str) -> None:
    policy = WRITTEN[kind]
    asker.add(policy)
    before = image(asker.kernel)
    again = policy._replace(priority=9) if policy.priority != 9 else policy
    other = SecurityPolicy(policy.selector, policy.direction, PolicyType.NONE)
    ends = (policy.selector.source, policy.selector.destination)
    sidecar = ipsec(policy.selector, policy.direction, request(USE, ends=ends))
    for second in (policy, again, other, sidecar):
        assert asker.ask(SpdAdd(second)) == ["EEXIST"]
    marker = MARKER_IF_ID
    assert {p for p in image(asker.kernel) if p.if_id != marker} == {
        p for p in before if p.if_id != marker
    }


@pytest.mark.parametrize("kind", WRITTEN)
def test_a_replacement_is_all_that_is_left_and_keeps_the_id(asker: Asker, kind: str) -> None:
    policy = WRITTEN[kind]
    for first in (
        SecurityPolicy(policy.selector, policy.direction, PolicyType.NONE),
        ipsec(policy.selector, policy.direction, request(USE, mode=TUNNEL), priority=4),
    ):
        asker.must(SpdFlush())
        asker.add(first)
        id = asker.entry(first).id
        asker.add(policy, replace=True)
        assert asker.written() == {policy}
        assert asker.entry(policy).id == id
        fresh = Asker(FakeKernel())
        fresh.add(policy)
        assert helpers(asker.kernel) == helpers(fresh.kernel)


def test_a_replacement_of_nothing_is_an_addition(asker: Asker) -> None:
    asker.add(ipsec(0, IN), ipsec(1), replace=True)
    assert asker.written() == {ipsec(0, IN), ipsec(1)}
    assert [e.twin for e in asker.entries()].count(True) == 1


def test_created_is_the_clock_of_the_writer(kernel: Kernel) -> None:
    clock = Clock()
    asker = Asker(kernel, clock)
    asker.add(ipsec())
    assert asker.entry(ipsec()).created == int(clock.now)


def test_identity_is_as_written_host_bits_and_all(asker: Asker) -> None:
    low = selector(0)._replace(destination_prefix=24)
    asker.add(ipsec(low), ipsec(selector(1)._replace(destination_prefix=24)))
    assert len(asker.written()) == 2
    asker.delete(ipsec(low))
    assert len(asker.written()) == 1


def test_none_lets_tunnelled_packets_in_and_shows_no_requests(asker: Asker) -> None:
    policy = verdict(PolicyType.NONE, 0, IN)
    asker.add(policy)
    installed = asker.installed(policy)
    assert [(t.mode, t.optional) for t in installed.templates] == [(1, 1)] * 3
    assert asker.entry(policy).policy.requests == ()


def test_inbound_requests_carry_no_reqid_and_no_condition_for_ipcomp(asker: Asker) -> None:
    policy = ipsec(0, IN, request(REQUIRE, IPCOMP), request(UNIQUE, reqid=77))
    asker.add(policy)
    templates = asker.installed(policy).templates
    assert [(t.optional, t.reqid) for t in templates] == [(1, 0), (0, 0)]


# What is refused


@pytest.mark.parametrize("type_", [PolicyType.ENTRUST, PolicyType.BYPASS])
def test_types_of_sockets_are_refused_in_the_spd(asker: Asker, type_: PolicyType) -> None:
    assert asker.ask(SpdAdd(verdict(type_))) == ["EINVAL"]
    assert image(asker.kernel) == set()


@pytest.mark.parametrize("name", ["lifetime", "validtime"])
def test_a_lifetime_over_32_bits_is_refused_and_not_cut(asker: Asker, name: str) -> None:
    limits = {name: 0xFFFFFFFF}
    asker.add(ipsec(0, OUT, **limits))
    (entry,) = asker.entries()
    assert getattr(entry.policy, name) == 0xFFFFFFFF
    longer = {name: 1 << 32}
    assert asker.ask(SpdAdd(ipsec(1, OUT, **longer))) == ["EINVAL"]


def test_more_requests_than_the_kernel_takes_are_refused(asker: Asker) -> None:
    assert asker.ask(SpdAdd(ipsec(0, OUT, *[request()] * 7))) == ["ELOOP"]
    assert image(asker.kernel) == set()


def test_a_refusal_by_the_kernel_keeps_its_text_and_leaves_nothing(asker: Asker) -> None:
    bad = selector()._replace(destination_prefix=33)
    assert asker.ask(
        SpdAdd(ipsec(bad, IN)), SpdAdd(ipsec(bad, OUT, request(USE, mode=TUNNEL)))
    ) == [
        "EINVAL",
        "EINVAL",
    ]
    error = asker.rejected[0].error
    assert isinstance(error, KernelError)
    assert error.reason == "Invalid prefix length in selector (must be <= 32 for IPv4)"
    assert helpers(asker.kernel) in ([], [MARKER_IF_ID])
    assert asker.entries() == []


def test_refusals_come_in_the_order_of_the_requests_with_their_context(asker: Asker) -> None:
    bad = selector()._replace(destination_prefix=33)
    requests: list[Write] = [
        SpdAdd(ipsec(0), cookie="fine"),
        SpdAdd(ipsec(0), cookie="again"),
        SpdAdd(verdict(PolicyType.BYPASS), cookie="bypass"),
        SpdAdd(ipsec(1, IN), cookie="fine"),
        SpdDelete(selector(7), OUT, cookie="not there"),
        SpdAdd(ipsec(1, IN), cookie="again in"),
        SpdAdd(ipsec(bad), cookie="prefix"),
        SpdDeleteId(0x7001, cookie="no such id"),
        SpdAdd(ipsec(1, OUT, request(ends=(A, B))), cookie="fine"),
        SpdAdd(ipsec(1, OUT, request(ends=(A, B))), cookie="again with sidecar"),
        SpdAdd(ipsec(2), cookie="fine"),
    ]
    assert asker.ask(*requests) == [
        "EEXIST",
        "EINVAL",
        "ENOENT",
        "EEXIST",
        "EINVAL",
        "ENOENT",
        "EEXIST",
    ]
    assert [one.request.cookie for one in asker.rejected] == [
        "again",
        "bypass",
        "not there",
        "again in",
        "prefix",
        "no such id",
        "again with sidecar",
    ]
    assert asker.written() == {
        ipsec(0),
        ipsec(1, IN),
        ipsec(1, OUT, request(ends=(A, B))),
        ipsec(2),
    }


def test_the_first_rejection_is_raised_by_a_flush(kernel: Kernel) -> None:
    engine = Engine(kernel)
    engine.submit(SpdAdd(ipsec()))
    engine.submit(SpdAdd(ipsec()))
    with pytest.raises(KernelError, match="File exists"):
        engine.flush()
    assert len(list(engine.spd())) == 1


def test_a_read_sees_what_was_submitted_before_it(kernel: Kernel) -> None:
    engine = Engine(kernel)
    engine.submit(SpdAdd(ipsec()))
    assert [e.policy for e in engine.spd()] == [ipsec()]
    engine.submit(SpdDelete(selector(), OUT))
    assert list(engine.spd()) == []


@pytest.mark.not_unit("takes seconds")
def test_thousands_of_requests_are_all_answered_for(asker: Asker) -> None:
    numbers = range(2500)
    asker.add(*[ipsec(n, IN) for n in numbers])
    found = asker.entries()
    assert len(found) == 5000
    assert asker.ask(*[SpdAdd(ipsec(n, IN)) for n in numbers]) == ["EEXIST"] * 2500
    assert [one.request for one in asker.rejected] == [SpdAdd(ipsec(n, IN)) for n in numbers]
    assert len(asker.entries()) == 5000


# The automatic fwd copy


def directions(asker: Asker) -> set[tuple[Direction, bool]]:
    return {(e.policy.direction, e.twin) for e in asker.entries()}


def test_an_in_entry_gets_a_fwd_copy_with_its_requests_and_place(asker: Asker) -> None:
    policy = ipsec(0, IN, request(REQUIRE, mode=TUNNEL), priority=5)
    asker.add(policy)
    twin = next(e for e in asker.entries() if e.twin)
    original = asker.entry(policy)
    assert twin.policy == policy._replace(direction=FWD)
    assert (twin.order, twin.kernel_priority) == (original.order, original.kernel_priority)


def test_no_copy_is_made_when_none_is_wanted(asker: Asker) -> None:
    asker.add(ipsec(0, IN), twin=False)
    asker.add(ipsec(1, OUT), ipsec(2, FWD))
    assert directions(asker) == {(IN, False), (OUT, False), (FWD, False)}


def test_a_delete_takes_the_copy_along(asker: Asker) -> None:
    asker.add(ipsec(0, IN))
    asker.delete(ipsec(0, IN))
    assert asker.entries() == []


def test_a_delete_that_is_told_to_leaves_the_copy_and_the_next_in_adopts_it(asker: Asker) -> None:
    asker.add(ipsec(0, IN, request(REQUIRE)))
    asker.delete(ipsec(0, IN), twin=False)
    assert directions(asker) == {(FWD, True)}
    asker.add(ipsec(0, IN, request(USE)), priority_after := ipsec(1, IN))
    twins = {e.policy for e in asker.entries() if e.twin}
    assert twins == {
        p._replace(direction=FWD) for p in (ipsec(0, IN, request(USE)), priority_after)
    }
    original = asker.entry(ipsec(0, IN))
    twin = asker.entry(ipsec(0, FWD))
    assert twin.order == original.order


def test_an_explicit_fwd_takes_the_copy_over_and_outlives_the_in(asker: Asker) -> None:
    asker.add(ipsec(0, IN, request(REQUIRE)))
    explicit = ipsec(0, FWD, request(USE))
    asker.add(explicit)
    assert asker.written() == {ipsec(0, IN, request(REQUIRE)), explicit}
    asker.delete(ipsec(0, IN))
    assert asker.written() == {explicit}


def test_what_other_programs_wrote_goes_together_where_setkey_deletes(asker: Asker) -> None:
    write(asker.kernel, foreign(0, 0), foreign(0, 2), foreign(1, 0), foreign(1, 2))
    asker.delete(ipsec(0, IN), all_fwd=True)
    asker.delete(ipsec(1, IN))
    assert [(p.direction, p.selector) for p in asker.kernel.policies()] == [
        (2, foreign(1, 2).selector)
    ]
    for policy in (ipsec(2, IN), ipsec(2, FWD)):  # as a PF_KEY program adds them
        asker.must(SpdAdd(policy, twin=False))
    asker.delete(ipsec(2, IN), all_fwd=True)
    assert not asker.written()


def test_entries_that_differ_in_their_scope_have_their_own_sidecars(asker: Asker) -> None:
    here = selector(0)
    tunnel = request(USE, mode=TUNNEL)
    scopes = (
        None,
        Scope(if_id=7),
        Scope(mark=EntryMark(5, 0xFF)),
        Scope(if_id=7, mark=EntryMark(5)),
    )
    entries = [ipsec(here._replace(scope=scope), OUT, tunnel) for scope in scopes]
    asker.add(*entries)
    assert asker.written() == set(entries)
    asker.delete(entries[1])
    assert asker.written() == {entries[0], *entries[2:]}
    assert asker.ask(SpdAdd(entries[2])) == ["EEXIST"]
    asker.must(SpdAdd(entries[2]._replace(priority=1), replace=True))
    assert {e.policy.priority for e in asker.entries()} == {1, 0x80000000}


def test_a_second_explicit_fwd_is_refused(asker: Asker) -> None:
    asker.add(ipsec(0, IN), ipsec(0, FWD))
    assert asker.ask(SpdAdd(ipsec(0, FWD, request(USE)))) == ["EEXIST"]
    assert asker.written() == {ipsec(0, IN), ipsec(0, FWD)}


def test_an_explicit_fwd_that_was_there_first_stays_and_outlives_the_in(asker: Asker) -> None:
    explicit = ipsec(0, FWD, request(USE))
    asker.add(explicit)
    before = asker.installed(explicit)
    asker.add(ipsec(0, IN, request(REQUIRE)))
    assert asker.installed(explicit) == before
    asker.delete(ipsec(0, IN))
    assert asker.written() == {explicit}


def test_a_foreign_fwd_in_the_way_fails_the_whole_statement(asker: Asker) -> None:
    write(asker.kernel, foreign(0, 2))
    before = image(asker.kernel)
    for how in (SpdAdd(ipsec(0, IN)), SpdAdd(ipsec(0, IN, request(UNIQUE)))):
        assert asker.ask(how) == ["EEXIST"]
        assert "foreign" in str(asker.rejected[0].error)
    assert asker.ask(SpdAdd(ipsec(0, FWD))) == ["EEXIST"]
    assert asker.ask(SpdAdd(ipsec(0, IN), replace=True)) == ["EEXIST"]
    assert {p for p in image(asker.kernel) if p.if_id != MARKER_IF_ID} == before
    asker.add(ipsec(0, IN), twin=False)


class Recording(FakeKernel):
    """A kernel that remembers which policies somebody deleted by name."""

    def __init__(self) -> None:
        super().__init__()
        self.deleted: list[PolicyId] = []

    def apply(self, operations: Sequence[Operation], ends: Sequence[int] = ()) -> list[Failure]:
        for type_, payload in operations:
            if type_ == XfrmMsg.DELPOLICY:
                self.deleted.append(decode_policy_id(payload))
        return super().apply(operations, ends)


def test_what_a_refused_statement_takes_back_is_named_with_its_label() -> None:
    """Linux deletes a labelled policy only if the label is named too (xfrm_sec_ctx_match())."""
    kernel = Recording()
    write(kernel, foreign(0, 2))
    labelled = ipsec(0, IN, label=SecurityContext(1, 1, b"label\0"))
    assert Asker(kernel).ask(SpdAdd(labelled)) == ["EEXIST"]
    [deleted] = kernel.deleted
    assert deleted.security_context == (1, 1, b"label\0")


def test_what_a_refused_statement_took_back_is_in_nobodys_way(asker: Asker) -> None:
    asker.add(ipsec(0, IN), twin=False)
    explicit = ipsec(0, FWD, request(USE))
    assert asker.ask(SpdAdd(ipsec(0, IN)), SpdAdd(explicit)) == ["EEXIST"]
    assert asker.written() == {ipsec(0, IN), explicit}
    write(asker.kernel, foreign(1, 2))
    alone = SpdAdd(ipsec(1, IN, request(USE)), twin=False)
    assert asker.ask(SpdAdd(ipsec(1, IN)), alone) == ["EEXIST"]
    assert alone.policy in asker.written()


def test_a_foreign_in_entry_is_not_ours_to_add_to(asker: Asker) -> None:
    write(asker.kernel, foreign(0, 0))
    assert asker.ask(SpdAdd(ipsec(0, IN))) == ["EEXIST"]
    assert [e.owner for e in asker.entries()] == [Owner.FOREIGN]


def test_an_in_entry_again_leaves_its_copy_alone(asker: Asker) -> None:
    asker.add(ipsec(0, IN, request(REQUIRE)))
    before = {p for p in image(asker.kernel) if p.if_id == 0}
    assert asker.ask(SpdAdd(ipsec(0, IN, request(USE)))) == ["EEXIST"]
    assert {p for p in image(asker.kernel) if p.if_id == 0} == before


def test_a_replacement_takes_the_copy_along(asker: Asker) -> None:
    asker.add(ipsec(0, IN, request(REQUIRE)))
    asker.add(ipsec(0, IN, request(USE)), replace=True)
    assert {e.policy.requests for e in asker.entries()} == {(request(USE),)}
    assert directions(asker) == {(IN, False), (FWD, True)}


def test_a_replacement_leaves_an_explicit_fwd_alone(asker: Asker) -> None:
    asker.add(ipsec(0, FWD, request(USE)), ipsec(0, IN, request(REQUIRE)))
    asker.add(ipsec(0, IN, request(DEFAULT)), replace=True)
    assert asker.written() == {ipsec(0, FWD, request(USE)), ipsec(0, IN)}


def test_a_replaced_fwd_is_explicit(asker: Asker) -> None:
    asker.add(ipsec(0, IN, request(REQUIRE)))
    asker.add(ipsec(0, FWD, request(USE)), replace=True)
    asker.delete(ipsec(0, IN))
    assert asker.written() == {ipsec(0, FWD, request(USE))}


def test_a_delete_of_an_out_entry_that_is_not_there_touches_no_copy(asker: Asker) -> None:
    asker.add(ipsec(0, IN))
    before = image(asker.kernel)
    assert asker.ask(SpdDelete(selector(0), OUT)) == ["ENOENT"]
    assert image(asker.kernel) == before


def test_a_delete_in_one_direction_leaves_the_others(asker: Asker) -> None:
    asker.add(ipsec(0, IN), ipsec(0, OUT))
    asker.delete(ipsec(0, OUT))
    assert directions(asker) == {(IN, False), (FWD, True)}


def test_a_deletion_of_an_explicit_fwd_leaves_the_in(asker: Asker) -> None:
    asker.add(ipsec(0, IN), ipsec(0, FWD))
    asker.delete(ipsec(0, FWD))
    assert directions(asker) == {(IN, False)}


def test_an_orphaned_copy_goes_when_its_in_is_deleted_once_more(asker: Asker) -> None:
    asker.add(ipsec(0, IN))
    asker.delete(ipsec(0, IN), twin=False)
    assert asker.ask(SpdDelete(selector(0), IN)) == ["ENOENT"]
    assert asker.entries() == []


# Foreign entries and flushes


def test_a_foreign_entry_is_shown_with_the_meaning_the_kernel_gives_it(asker: Asker) -> None:
    write(
        asker.kernel,
        foreign(0, templates=(foreign_template(), foreign_template(reqid=7))),
        foreign(1, templates=(foreign_template(optional=1),)),
        foreign(2, action=1),
        foreign(3),
    )
    shown = {e.policy.selector: e for e in asker.entries()}
    assert shown[selector(0)].policy.requests == (request(REQUIRE), request(UNIQUE, reqid=7))
    assert shown[selector(1)].policy.requests == (request(USE),)
    assert shown[selector(2)].policy.type is PolicyType.DISCARD
    assert shown[selector(3)].policy.type is PolicyType.NONE
    assert {e.owner for e in shown.values()} == {Owner.FOREIGN}


def test_a_foreign_entry_can_be_deleted_by_name_or_id(asker: Asker) -> None:
    write(asker.kernel, foreign(0), foreign(1), foreign(2, if_id=9), foreign(3, mark=Mark(5, 7)))
    asker.must(SpdDelete(selector(0), OUT))
    asker.must(*[SpdDeleteId(e.id) for e in asker.entries()])
    assert asker.entries() == []


def test_a_delete_of_what_is_not_there_is_refused(asker: Asker) -> None:
    assert (
        asker.ask(SpdDelete(selector(0), IN), SpdDelete(selector(0), FWD), SpdDeleteId(1))
        == ["ENOENT"] * 3
    )


def test_the_marker_cannot_be_deleted_by_its_id(asker: Asker) -> None:
    asker.add(ipsec())
    marker = asker.kernel.policy(MARKER_ID)
    assert asker.ask(SpdDeleteId(marker.index)) == ["ENOENT"]
    assert asker.kernel.policy(MARKER_ID).index == marker.index


def test_a_flush_takes_everything_foreign_too(asker: Asker) -> None:
    write(asker.kernel, foreign(0), foreign(2, if_id=9))
    asker.add(*[p for p in WRITTEN.values() if p.direction is FWD][:1], ipsec(5, IN))
    asker.must(SpdFlush())
    assert asker.entries() == []
    assert set(helpers(asker.kernel)) <= {MARKER_IF_ID}


def test_a_flush_of_nothing_is_fine(asker: Asker) -> None:
    asker.must(SpdFlush(), SpdFlush())
    assert asker.entries() == []


def test_a_flush_and_a_new_set_in_one_run(asker: Asker) -> None:
    asker.add(ipsec(0), ipsec(1, IN))
    asker.must(SpdFlush(), SpdAdd(ipsec(1)), SpdAdd(ipsec(0)))
    assert asker.written() == {ipsec(0), ipsec(1)}
    assert asker.entry(ipsec(1)).kernel_priority < asker.entry(ipsec(0)).kernel_priority


@pytest.mark.parametrize("family", ["def_policy", "6.def_policy"])
def test_a_flush_under_discard_keeps_the_blocks_and_takes_all_the_rest(
    asker: Asker, family: str
) -> None:
    write(asker.kernel, foreign(0), foreign(2, if_id=9), foreign(3, mark=Mark(5, 7)))
    asker.add(ipsec(5, IN), ipsec(6, OUT, request(ends=(A, B))))
    asker.turn(family, 0)
    asker.must(SpdFlush())
    assert asker.entries() == []
    assert sorted(p.direction for p in blocks(asker.kernel)) == [0, 1, 2]
    assert len(list(asker.kernel.policies())) == 4


def test_the_id_of_a_new_entry_is_not_the_one_of_another(asker: Asker) -> None:
    asker.add(ipsec(0), ipsec(1), ipsec(2, IN))
    ids = [e.id for e in asker.entries()]
    assert len(ids) == len(set(ids)) == 4


# Generated numbers


def reqids(asker: Asker) -> list[int]:
    entries = sorted(asker.entries(), key=lambda e: e.order)
    return [r.reqid for e in entries if not e.twin for r in e.policy.requests]


def test_unique_without_a_number_gets_the_next_from_16384(asker: Asker) -> None:
    asker.add(
        ipsec(0, OUT, request(UNIQUE), request(UNIQUE, AH)),
        ipsec(1, IN, request(UNIQUE)),
        ipsec(2, FWD, request(UNIQUE)),
    )
    assert reqids(asker) == [16384, 16385, 16386, 16387]
    assert asker.entry(ipsec(1, FWD)).policy.requests == asker.entry(ipsec(1, IN)).policy.requests


def test_a_number_in_use_is_not_generated(asker: Asker) -> None:
    write(asker.kernel, foreign(9, templates=(foreign_template(reqid=16385),)))
    asker.add(ipsec(0, IN, request(UNIQUE, reqid=16384)))
    asker.add(ipsec(1, OUT, request(UNIQUE)))
    assert asker.entry(ipsec(1)).policy.requests == (request(UNIQUE, reqid=16386),)


def test_numbers_go_on_in_the_next_engine(asker: Asker) -> None:
    asker.add(ipsec(0, OUT, request(UNIQUE)))
    other = Asker(asker.kernel)
    other.add(ipsec(1, OUT, request(UNIQUE)))
    assert reqids(other) == [16384, 16385]


def test_numbers_written_and_generated_in_one_run_differ(asker: Asker) -> None:
    asker.add(
        ipsec(0, OUT, request(UNIQUE)),
        ipsec(1, OUT, request(UNIQUE, reqid=16385)),
        ipsec(2, OUT, request(UNIQUE)),
    )
    assert len(set(reqids(asker))) == 3


def test_an_sas_number_is_not_generated() -> None:
    asker = Asker(FakeKernel())
    asker.must(SaAdd(association(reqid=16384)))
    asker.add(ipsec(0, OUT, request(UNIQUE)))
    assert reqids(asker) == [16385]


def test_a_sidecar_goes_with_its_entry_and_not_before(asker: Asker) -> None:
    asker.add(ipsec(0, OUT, request(ends=(A, B))))
    assert helpers(asker.kernel) == [MARKER_IF_ID, SIDECAR_IF_ID]
    asker.add(ipsec(0, IN, request(ends=(A, B))))
    asker.delete(ipsec(0, IN))
    assert helpers(asker.kernel) == [MARKER_IF_ID, SIDECAR_IF_ID]
    assert asker.written() == {ipsec(0, OUT, request(ends=(A, B)))}
    asker.delete(ipsec(0, OUT))
    assert helpers(asker.kernel) == [MARKER_IF_ID]
