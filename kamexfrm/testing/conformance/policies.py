"""What a kernel does with policies: the fake, the running kernel and the guest's, all the same."""

import errno
from typing import Any

import pytest

from kamexfrm import xfrm
from kamexfrm.errors import KernelError
from kamexfrm.kernel.interface import Kernel
from kamexfrm.net import Address
from kamexfrm.rig import until
from kamexfrm.testing.conformance.samples import (
    A6,
    ANY6,
    B6,
    FWD,
    IN,
    OUT,
    A,
    B,
    delete,
    destinations,
    flush,
    hear,
    heard,
    must,
    named,
    new,
    numbered,
    policy,
    refusals,
    selector,
    template,
    update,
    without_time,
)
from kamexfrm.xfrm import (
    EMPTY_SELECTOR,
    XFRM_INF,
    XFRMNLGRP_EXPIRE,
    XFRMNLGRP_POLICY,
    Default,
    DeletedPolicy,
    LifetimeConfig,
    Mark,
    Operation,
    Policy,
    PolicyExpire,
    PolicyFlush,
    PolicyId,
    XfrmMsg,
    decode_event,
    decode_policy,
    encode_default,
    encode_policy,
    lasting_policy,
    policy_index,
)


def test_a_policy_comes_back_as_it_was_written(kernel: Kernel) -> None:
    words = (1, 2, 3, XFRM_INF - 1)
    written = [
        policy(
            selector(destination_port=80, destination_port_mask=0xFFFF, protocol=6, user=77),
            priority=5,
            lifetime=LifetimeConfig(*words, 10, 20, 30, 40),
            templates=(
                template(reqid=9, share=0x81, calgos=7, optional=1),
                template(protocol=51, mode=1, source=A6, destination=B6, family=10),
            ),
        ),
        policy(direction=IN, action=1, priority=0xFFFFFFFF, if_id=8),
        policy(
            selector(A6, B6), FWD, templates=(template(source=ANY6, destination=ANY6, family=10),)
        ),
    ]
    must(kernel, *map(new, written))
    dumped = [p._replace(index=0) for p in map(without_time, kernel.policies())]
    assert dumped == written[::-1]


def test_a_policy_knows_when_it_was_written(kernel: Kernel) -> None:
    must(kernel, new(policy()))
    (found,) = kernel.policies()
    assert found.current.add_time > 1_500_000_000
    assert (found.current.use_time, found.current.bytes, found.current.packets) == (0, 0, 0)


def test_a_template_without_a_family_gets_the_selectors(kernel: Kernel) -> None:
    nowhere = Address(0, bytes(16))
    must(kernel, new(policy(templates=(template(source=nowhere, destination=nowhere, family=0),))))
    assert [p.templates for p in kernel.policies()] == [(template(),)]


def test_a_policys_share_is_forgotten(kernel: Kernel) -> None:
    must(kernel, new(policy(share=3)))
    assert [p.share for p in kernel.policies()] == [0]


def test_selector_direction_if_id_mark_and_type_tell_policies_apart(kernel: Kernel) -> None:
    variants = [
        policy(),
        policy(direction=IN),
        policy(direction=FWD),
        policy(direction=FWD, if_id=3),
        policy(mark=Mark(5, 0xFF)),
        policy(mark=Mark(5, 0x0F)),
        policy(selector(user=1)),
        policy(selector(source_prefix=24)),
        policy(policy_type=1),
    ]
    must(kernel, *map(new, variants))
    assert len(list(kernel.policies())) == len(variants)


@pytest.mark.parametrize(
    "again",
    [
        policy(priority=9, action=1),
        policy(mark=Mark(5, 0)),
        policy(index=0x8001),
        policy(templates=(template(),)),
    ],
    ids=["other verdict", "mark that is none", "other index", "other templates"],
)
def test_the_same_identity_again_is_refused_and_changes_nothing(
    kernel: Kernel, again: Policy
) -> None:
    must(kernel, new(policy(priority=5)))
    before = list(kernel.policies())
    assert refusals(kernel, new(again)) == [(0, "EEXIST", "")]
    assert list(kernel.policies()) == before


def test_marks_are_compared_under_their_mask(kernel: Kernel) -> None:
    must(kernel, new(policy(mark=Mark(0x105, 0xFF))))
    assert refusals(kernel, new(policy(mark=Mark(5, 0xFF)))) == [(0, "EEXIST", "")]
    assert [p.mark for p in kernel.policies()] == [Mark(5, 0xFF)]


def test_an_update_keeps_the_index_and_one_policy_and_moves_to_the_head_of_dumps(
    kernel: Kernel,
) -> None:
    must(kernel, *[new(policy(numbered(n), priority=n)) for n in range(3)])
    before = {p.selector: p.index for p in kernel.policies()}
    must(kernel, update(policy(numbered(1), priority=9, index=0x8001, templates=(template(),))))
    after = list(kernel.policies())
    assert {p.selector: p.index for p in after} == before
    assert destinations(after) == destinations([policy(numbered(n)) for n in (1, 2, 0)])
    assert (after[0].priority, after[0].templates) == (9, (template(),))


def test_an_update_of_nothing_makes_it(kernel: Kernel) -> None:
    must(kernel, update(policy(priority=3)))
    assert [p.priority for p in kernel.policies()] == [3]


def test_indices_rise_by_eight_with_the_direction_in_their_low_bits(kernel: Kernel) -> None:
    must(kernel, *[new(policy(numbered(n), d)) for n in range(3) for d in (OUT, IN, FWD)])
    indices = [p.index for p in kernel.policies()][::-1]
    assert [i & 7 for i in indices] == [OUT, IN, FWD] * 3
    assert [i & ~7 for i in indices] == [(indices[0] & ~7) + 8 * n for n in range(9)]


def test_a_wished_index_is_given_once(kernel: Kernel) -> None:
    must(kernel, *[new(policy(numbered(n), index=0x8001)) for n in (0, 1)])
    second, first = (p.index for p in kernel.policies())
    assert first == 0x8001 != second


def test_a_refused_policy_uses_no_index_up(kernel: Kernel) -> None:
    must(kernel, new(policy(numbered(0))))
    assert refusals(kernel, new(policy(numbered(0)))) == [(0, "EEXIST", "")]
    must(kernel, new(policy(numbered(1))))
    second, first = (p.index for p in kernel.policies())
    assert second == first + 8


REFUSED: dict[str, tuple[Policy, str]] = {
    "share": (policy(share=4), "Invalid policy share"),
    "action": (policy(action=2), "Invalid policy action"),
    "prefix": (
        policy(selector(destination_prefix=33)),
        "Invalid prefix length in selector (must be <= 32 for IPv4)",
    ),
    "source prefix": (
        policy(selector(source_prefix=33)),
        "Invalid prefix length in selector (must be <= 32 for IPv4)",
    ),
    "prefix of IPv6": (
        policy(selector(A6, B6, destination_prefix=129)),
        "Invalid prefix length in selector (must be <= 128 for IPv6)",
    ),
    "family": (policy(EMPTY_SELECTOR), "Invalid selector family"),
    "direction": (policy(direction=3), "Invalid policy direction"),
    "index": (policy(direction=OUT, index=8), "Policy index doesn't match direction"),
    "type": (policy(policy_type=9), "Invalid policy type"),
    "templates": (
        policy(templates=(template(),) * 7),
        "Template count must be <= XFRM_MAX_DEPTH (6)",
    ),
    "optional tunnel": (
        policy(templates=(template(mode=1, optional=1, source=A, destination=B),)),
        "Mode in optional template not allowed in outbound policy",
    ),
    "optional BEET": (
        policy(templates=(template(mode=4, optional=1),)),
        "Mode in optional template not allowed in outbound policy",
    ),
    "family change": (
        policy(templates=(template(source=ANY6, destination=ANY6, family=10),)),
        "Mode in template doesn't support a family change",
    ),
    "family change after a tunnel": (
        policy(templates=(template(mode=1, source=A6, destination=B6, family=10), template())),
        "Mode in template doesn't support a family change",
    ),
    "template family": (
        policy(
            templates=(
                template(
                    mode=1,
                    family=99,
                    source=Address(99, bytes(16)),
                    destination=Address(99, bytes(16)),
                ),
            )
        ),
        "Invalid family in template",
    ),
    "template protocol 0": (
        policy(templates=(template(protocol=0),)),
        "Invalid XFRM protocol in template",
    ),
    "template protocol 255": (
        policy(templates=(template(protocol=255),)),
        "Invalid XFRM protocol in template",
    ),
}


@pytest.mark.parametrize("why", REFUSED)
def test_what_linux_refuses_is_refused_with_its_words(kernel: Kernel, why: str) -> None:
    bad, reason = REFUSED[why]
    assert refusals(kernel, new(bad)) == [(0, "EINVAL", reason)]
    assert refusals(kernel, update(bad)) == [(0, "EINVAL", reason)]
    assert list(kernel.policies()) == []


@pytest.mark.parametrize("direction", [IN, FWD])
def test_an_optional_tunnel_is_accepted_where_packets_come_in(
    kernel: Kernel, direction: int
) -> None:
    optional = template(mode=1, optional=1, source=A, destination=B)
    must(kernel, new(policy(direction=direction, templates=(optional,))))


def test_a_message_that_is_too_short_or_of_no_known_type_is_refused(kernel: Kernel) -> None:
    short = [Operation(XfrmMsg.NEWPOLICY, bytes(100)), Operation(XfrmMsg.DELPOLICY, bytes(10))]
    assert refusals(kernel, *short, Operation(0x50, b"")) == [
        (0, "EINVAL", "Invalid header length"),
        (1, "EINVAL", "Invalid header length"),
        (2, "EINVAL", ""),
    ]


@pytest.mark.parametrize("name", ["XFRMA_IF_ID", "XFRMA_MARK", "XFRMA_POLICY_TYPE", "XFRMA_TMPL"])
def test_an_error_names_the_attribute_that_the_kernel_does_not_like(
    kernel: Kernel, name: str
) -> None:
    short = (getattr(xfrm, name), b"\x01\0")
    operations = [new(policy(numbered(1))), new(policy(numbered(2), attributes=(short,)))]
    (failure,) = kernel.apply(operations)
    assert failure.position == 1
    error = failure.error
    assert (error.errno, error.reason) == (errno.ERANGE, "Attribute failed policy validation")
    assert error.attribute == name
    assert repr(error) == f"KernelError(ERANGE, {error.reason!r}, attribute={name})"
    assert str(error) == f"Numerical result out of range ({error.reason})"


def test_an_error_of_the_whole_request_names_no_attribute(kernel: Kernel) -> None:
    (failure,) = kernel.apply([new(policy(share=4))])
    assert failure.error.attribute == ""
    assert repr(failure.error) == "KernelError(EINVAL, 'Invalid policy share')"


def test_all_of_a_long_batch_is_done_and_each_refusal_finds_its_request(kernel: Kernel) -> None:
    must(kernel, *[new(policy(numbered(n))) for n in (3, 64, 130, 299)])
    requests = [new(policy(numbered(n))) for n in range(300)]
    requests[200] = new(policy(share=4))
    assert refusals(kernel, *requests) == [
        (3, "EEXIST", ""),
        (64, "EEXIST", ""),
        (130, "EEXIST", ""),
        (200, "EINVAL", "Invalid policy share"),
        (299, "EEXIST", ""),
    ]
    assert len(list(kernel.policies())) == 299


def test_no_requests_are_no_refusals(kernel: Kernel) -> None:
    assert kernel.apply([]) == []


@pytest.mark.not_unit("takes seconds")
def test_thousands_of_policies_come_back_newest_first(kernel: Kernel) -> None:
    must(kernel, *[new(policy(numbered(n), templates=(template(),))) for n in range(3000)])
    assert destinations(kernel.policies()) == destinations(
        policy(numbered(n)) for n in reversed(range(3000))
    )


def get(kernel: Kernel, id: PolicyId) -> Any:
    try:
        return kernel.policy(id).index
    except KernelError as error:
        return errno.errorcode[error.errno], error.reason


def test_one_policy_is_found_by_all_of_its_identity(kernel: Kernel) -> None:
    kinds = [policy(), policy(if_id=3), policy(mark=Mark(5, 0xFF)), policy(mark=Mark(5, 0x0F))]
    must(kernel, *map(new, kinds))
    indices = [p.index for p in kernel.policies()][::-1]
    assert [get(kernel, named(kind)) for kind in kinds] == indices
    nothing = ("ENOENT", "")
    assert get(kernel, named(policy(if_id=4))) == nothing
    assert get(kernel, named(policy(mark=Mark(6, 0xFF)))) == nothing
    assert get(kernel, named(policy(mark=Mark(5)))) == nothing
    assert get(kernel, named(policy(direction=IN))) == nothing
    assert get(kernel, named(policy(selector(source_prefix=31)))) == nothing
    assert get(kernel, named(policy(EMPTY_SELECTOR))) == nothing


def test_one_policy_is_found_by_its_index_with_if_id_and_mark_whatever_the_selector(
    kernel: Kernel,
) -> None:
    kinds = [policy(), policy(if_id=3), policy(mark=Mark(5, 0xFF))]
    must(kernel, *map(new, kinds))
    plain, with_if_id, with_mark = [p.index for p in kernel.policies()][::-1]
    assert get(kernel, named(kinds[0], index=plain, selector=EMPTY_SELECTOR)) == plain
    assert get(kernel, named(kinds[0], index=plain, selector=numbered(7))) == plain
    assert get(kernel, named(kinds[1], index=with_if_id)) == with_if_id
    assert get(kernel, named(kinds[2], index=with_mark)) == with_mark
    nothing = ("ENOENT", "")
    assert get(kernel, named(kinds[0], index=with_if_id)) == nothing
    assert get(kernel, named(kinds[0], index=with_mark)) == nothing
    assert get(kernel, named(kinds[0], index=plain, direction=IN)) == nothing
    assert get(kernel, named(kinds[0], index=0x7001)) == nothing


def test_no_policy_is_found_in_a_socket_s_direction(kernel: Kernel) -> None:
    assert get(kernel, named(policy(direction=3))) == ("EINVAL", "Invalid policy direction")
    assert refusals(kernel, delete(policy(direction=4))) == [
        (0, "EINVAL", "Invalid policy direction")
    ]


def test_a_policy_is_deleted_by_selector_or_by_index_and_only_once(kernel: Kernel) -> None:
    kinds = [policy(), policy(if_id=3), policy(mark=Mark(5, 0xFF)), policy(direction=IN)]
    must(kernel, *map(new, kinds))
    must(kernel, delete(kinds[0]))
    assert refusals(kernel, delete(kinds[0])) == [(0, "ENOENT", "")]
    for found in kernel.policies():
        must(kernel, delete(found, index=found.index))
        assert refusals(kernel, delete(found, index=found.index)) == [(0, "ENOENT", "")]
    assert list(kernel.policies()) == []


def test_a_flush_takes_all_of_one_type(kernel: Kernel) -> None:
    must(kernel, *map(new, [policy(), policy(if_id=3), policy(policy_type=1)]))
    must(kernel, flush())
    assert [p.policy_type for p in kernel.policies()] == [1]
    must(kernel, flush(), flush(1), flush(1))
    assert list(kernel.policies()) == []
    assert refusals(kernel, flush(9)) == [(0, "EINVAL", "Invalid policy type")]


def test_policies_are_counted_by_direction(kernel: Kernel) -> None:
    must(kernel, *[new(policy(numbered(n), d)) for n in range(3) for d in range(3) if n <= d])
    info = kernel.spd_info()
    assert (info.in_count, info.out_count, info.fwd_count) == (1, 2, 3)


def test_the_default_is_set_by_direction_and_survives_a_flush(kernel: Kernel) -> None:
    assert kernel.default() == Default(2, 2, 2)
    must(kernel, Operation(XfrmMsg.SETDEFAULT, encode_default(Default(1, 0, 2))), flush())
    assert kernel.default() == Default(1, 2, 2)
    must(kernel, Operation(XfrmMsg.SETDEFAULT, encode_default(Default(0, 7, 0))))
    assert kernel.default() == Default(1, 2, 2)
    must(kernel, Operation(XfrmMsg.SETDEFAULT, encode_default(Default(2, 1, 1))))
    assert kernel.default() == Default(2, 1, 1)


def test_writes_are_told_to_who_listens_with_what_is_kept(kernel: Kernel) -> None:
    events = kernel.subscribe([XFRMNLGRP_POLICY])
    must(
        kernel, new(policy(templates=(template(share=0x81),), if_id=4)), update(policy(priority=7))
    )
    second, first = kernel.policies()
    told = heard(events, 2)
    assert [(e.type, decode_event(e.type, e.payload)) for e in told] == [
        (XfrmMsg.NEWPOLICY, first),
        (XfrmMsg.UPDPOLICY, second),
    ]
    assert told[1].sequence == told[0].sequence + 1
    events.close()


def test_deletions_are_told_by_the_name_that_was_asked_for_with_what_was_there(
    kernel: Kernel,
) -> None:
    must(kernel, new(policy()), new(policy(direction=IN)))
    inward, outward = kernel.policies()
    events = kernel.subscribe([XFRMNLGRP_POLICY])
    must(kernel, delete(policy()), delete(inward, index=inward.index))
    assert [decode_event(e.type, e.payload) for e in heard(events, 2)] == [
        DeletedPolicy(PolicyId(selector(), index=0, direction=OUT), outward),
        DeletedPolicy(PolicyId(EMPTY_SELECTOR, index=inward.index, direction=IN), inward),
    ]
    events.close()


def test_a_flush_is_told_when_it_took_something(kernel: Kernel) -> None:
    events = kernel.subscribe([XFRMNLGRP_POLICY])
    must(kernel, flush(), new(policy()), flush(), flush())
    told = heard(events, 2)
    assert decode_event(told[1].type, told[1].payload) == PolicyFlush(0)
    events.close()


def test_refusals_are_told_to_nobody(kernel: Kernel) -> None:
    events = kernel.subscribe([XFRMNLGRP_POLICY])
    assert len(refusals(kernel, new(policy(share=4)), delete(policy()))) == 2
    must(kernel, new(policy()))
    assert [e.type for e in heard(events, 1)] == [XfrmMsg.NEWPOLICY]
    events.close()


def test_a_new_default_is_told_whole_even_if_it_changes_nothing(kernel: Kernel) -> None:
    events = kernel.subscribe([XFRMNLGRP_POLICY])
    must(kernel, Operation(XfrmMsg.SETDEFAULT, encode_default(Default(0, 0, 0))))
    (told,) = heard(events, 1)
    assert told.type == XfrmMsg.GETDEFAULT
    assert decode_event(told.type, told.payload) == Default(2, 2, 2)
    events.close()


def test_who_listens_to_nothing_hears_nothing(kernel: Kernel) -> None:
    events = kernel.subscribe([XFRMNLGRP_EXPIRE])
    must(kernel, new(policy()))
    assert events.receive() == []
    events.close()


@pytest.mark.parametrize("life", [LifetimeConfig(hard_add=1), LifetimeConfig(hard_use=1)])
def test_a_policy_ends_with_its_lifetime_and_that_is_told(
    kernel: Kernel, life: LifetimeConfig
) -> None:
    events = kernel.subscribe([XFRMNLGRP_EXPIRE])
    must(kernel, new(policy(lifetime=life)))
    until(lambda: not list(kernel.policies()), 10)
    (told,) = hear(events, bool)
    event = decode_event(told.type, told.payload)
    assert isinstance(event, PolicyExpire)
    assert (event.hard, event.policy.selector) == (1, selector())
    events.close()


def test_byte_and_packet_limits_end_no_policy(kernel: Kernel) -> None:
    must(kernel, new(policy(lifetime=LifetimeConfig(0, 0, 1, 1))))
    assert len(list(kernel.policies())) == 1


def test_an_update_restarts_the_clock(kernel: Kernel) -> None:
    must(kernel, new(policy()))
    (before,) = kernel.policies()

    def written_later() -> bool:
        must(kernel, update(policy()))
        (after,) = kernel.policies()
        return after.current.add_time > before.current.add_time

    until(written_later, 10)


def test_a_walk_and_a_raw_dump_show_what_a_dump_shows(kernel: Kernel) -> None:
    must(kernel, *(new(policy(selector(user=n), priority=n)) for n in range(300)))
    dumped = list(kernel.policies())
    assert list(kernel.policies(stream=True)) == dumped
    assert [decode_policy(payload) for payload in kernel.raw_policies()] == dumped
    assert next(kernel.policies(stream=True)) == dumped[0]  # the rest is given up


def test_a_raw_policy_tells_its_index_and_what_lasts(kernel: Kernel) -> None:
    must(kernel, new(policy(priority=7)))
    (raw,) = kernel.raw_policies()
    (found,) = kernel.policies()
    assert policy_index(raw) == found.index
    same = encode_policy(found)
    used = encode_policy(found._replace(current=found.current._replace(use_time=9)))
    assert used != same
    assert lasting_policy(used) == lasting_policy(same)
    other = encode_policy(found._replace(priority=8))
    assert lasting_policy(other) != lasting_policy(same)
    must(kernel, update(policy(priority=7)))
    assert lasting_policy(kernel.raw_policies()[0]) == lasting_policy(raw)


def test_groups_are_joined_and_left(kernel: Kernel) -> None:
    events = kernel.subscribe([])
    must(kernel, new(policy(priority=1)))
    assert events.receive() == []
    events.join(XFRMNLGRP_POLICY)
    must(kernel, update(policy(priority=2)))
    heard(events, 1)
    events.leave(XFRMNLGRP_POLICY)
    must(kernel, update(policy(priority=3)))
    assert events.receive() == []
    events.close()
