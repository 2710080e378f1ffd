"""What a kernel does with policies that are written, looked for and deleted."""

import errno
from typing import Any

import pytest

from kamexfrm import xfrm
from kamexfrm.errors import KernelError
from kamexfrm.kernel.interface import Kernel
from kamexfrm.net import Address
from kamexfrm.testing.conformance import refused
from kamexfrm.testing.conformance.differences import (
    MARKS_AS_WRITTEN,
    NO_DEFAULT,
    OPTIONAL_TUNNELS,
    words,
)
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
    XFRM_MODE_BEET,
    XFRM_MODE_TUNNEL,
    Default,
    LifetimeConfig,
    Mark,
    Operation,
    Policy,
    PolicyId,
    XfrmMsg,
    encode_default,
)


def get(kernel: Kernel, id: PolicyId) -> Any:
    try:
        return kernel.policy(id).index
    except KernelError as error:
        return errno.errorcode[error.errno], error.reason


def default_of(kernel: Kernel) -> Default | str:
    try:
        return kernel.default()
    except KernelError as error:
        return errno.errorcode[error.errno]


class PolicyConformance:
    """What a kernel does with policies; the fixture ``kernel`` gives an empty one."""

    def test_a_policy_comes_back_as_it_was_written(self, kernel: Kernel) -> None:
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
                selector(A6, B6),
                FWD,
                templates=(template(source=ANY6, destination=ANY6, family=10),),
            ),
        ]
        must(kernel, *map(new, written))
        dumped = [p._replace(index=0) for p in map(without_time, kernel.policies())]
        assert dumped == written[::-1]

    def test_a_policy_knows_when_it_was_written(self, kernel: Kernel) -> None:
        must(kernel, new(policy()))
        (found,) = kernel.policies()
        assert found.current.add_time > 1_500_000_000
        assert (found.current.use_time, found.current.bytes, found.current.packets) == (0, 0, 0)

    def test_a_template_without_a_family_gets_the_selectors(self, kernel: Kernel) -> None:
        nowhere = Address(0, bytes(16))
        must(
            kernel,
            new(policy(templates=(template(source=nowhere, destination=nowhere, family=0),))),
        )
        assert [p.templates for p in kernel.policies()] == [(template(),)]

    def test_a_policys_share_is_forgotten(self, kernel: Kernel) -> None:
        must(kernel, new(policy(share=3)))
        assert [p.share for p in kernel.policies()] == [0]

    def test_selector_direction_if_id_mark_and_type_tell_policies_apart(
        self, kernel: Kernel
    ) -> None:
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
            policy(index=0x8001),
            policy(templates=(template(),)),
        ],
        ids=["other verdict", "other index", "other templates"],
    )
    def test_the_same_identity_again_is_refused_and_changes_nothing(
        self, kernel: Kernel, again: Policy
    ) -> None:
        must(kernel, new(policy(priority=5)))
        before = list(kernel.policies())
        assert refusals(kernel, new(again)) == [(0, "EEXIST", "")]
        assert list(kernel.policies()) == before

    @pytest.mark.parametrize(
        ("written", "again", "kept"),
        [(Mark(0x105, 0xFF), Mark(5, 0xFF), Mark(5, 0xFF)), (None, Mark(5, 0), None)],
        ids=["bits outside", "mark that is none"],
    )
    def test_marks_are_compared_under_their_mask(
        self, kernel: Kernel, written: Mark | None, again: Mark, kept: Mark | None
    ) -> None:
        must(kernel, new(policy(mark=written)))
        two = MARKS_AS_WRITTEN.holds(kernel)
        assert refusals(kernel, new(policy(mark=again))) == ([] if two else [(0, "EEXIST", "")])
        assert [p.mark for p in kernel.policies()] == ([again, written] if two else [kept])

    def test_an_update_keeps_the_index_and_one_policy_and_moves_to_the_head_of_dumps(
        self,
        kernel: Kernel,
    ) -> None:
        must(kernel, *[new(policy(numbered(n), priority=n)) for n in range(3)])
        before = {p.selector: p.index for p in kernel.policies()}
        must(kernel, update(policy(numbered(1), priority=9, index=0x8001, templates=(template(),))))
        after = list(kernel.policies())
        assert {p.selector: p.index for p in after} == before
        assert destinations(after) == destinations([policy(numbered(n)) for n in (1, 2, 0)])
        assert (after[0].priority, after[0].templates) == (9, (template(),))

    def test_an_update_of_nothing_makes_it(self, kernel: Kernel) -> None:
        must(kernel, update(policy(priority=3)))
        assert [p.priority for p in kernel.policies()] == [3]

    def test_indices_rise_by_eight_with_the_direction_in_their_low_bits(
        self, kernel: Kernel
    ) -> None:
        must(kernel, *[new(policy(numbered(n), d)) for n in range(3) for d in (OUT, IN, FWD)])
        indices = [p.index for p in kernel.policies()][::-1]
        assert [i & 7 for i in indices] == [OUT, IN, FWD] * 3
        assert [i & ~7 for i in indices] == [(indices[0] & ~7) + 8 * n for n in range(9)]

    def test_a_wished_index_is_given_once(self, kernel: Kernel) -> None:
        must(kernel, *[new(policy(numbered(n), index=0x8001)) for n in (0, 1)])
        second, first = (p.index for p in kernel.policies())
        assert first == 0x8001 != second

    def test_a_refused_policy_uses_no_index_up(self, kernel: Kernel) -> None:
        must(kernel, new(policy(numbered(0))))
        assert refusals(kernel, new(policy(numbered(0)))) == [(0, "EEXIST", "")]
        must(kernel, new(policy(numbered(1))))
        second, first = (p.index for p in kernel.policies())
        assert second == first + 8

    @pytest.mark.parametrize("why", refused.POLICIES)
    def test_what_linux_refuses_is_refused_with_its_words(self, kernel: Kernel, why: str) -> None:
        bad, reason = refused.POLICIES[why]
        told = words(kernel, reason)
        assert refusals(kernel, new(bad)) == [(0, "EINVAL", told)]
        assert refusals(kernel, update(bad)) == [(0, "EINVAL", told)]
        assert list(kernel.policies()) == []

    @pytest.mark.parametrize("mode", [XFRM_MODE_TUNNEL, XFRM_MODE_BEET])
    def test_an_optional_tunnel_is_refused_where_packets_go_out(
        self, kernel: Kernel, mode: int
    ) -> None:
        optional = policy(templates=(template(mode=mode, optional=1, source=A, destination=B),))
        refusal = (0, "EINVAL", "Mode in optional template not allowed in outbound policy")
        accepted = OPTIONAL_TUNNELS.holds(kernel)
        assert refusals(kernel, new(optional)) == ([] if accepted else [refusal])

    @pytest.mark.parametrize("direction", [IN, FWD])
    def test_an_optional_tunnel_is_accepted_where_packets_come_in(
        self, kernel: Kernel, direction: int
    ) -> None:
        optional = template(mode=1, optional=1, source=A, destination=B)
        must(kernel, new(policy(direction=direction, templates=(optional,))))

    def test_a_message_that_is_too_short_or_of_no_known_type_is_refused(
        self, kernel: Kernel
    ) -> None:
        short = [Operation(XfrmMsg.NEWPOLICY, bytes(100)), Operation(XfrmMsg.DELPOLICY, bytes(10))]
        assert refusals(kernel, *short, Operation(0x50, b"")) == [
            (0, "EINVAL", "Invalid header length"),
            (1, "EINVAL", "Invalid header length"),
            (2, "EINVAL", ""),
        ]

    @pytest.mark.parametrize(
        "name", ["XFRMA_IF_ID", "XFRMA_MARK", "XFRMA_POLICY_TYPE", "XFRMA_TMPL"]
    )
    def test_an_error_names_the_attribute_that_the_kernel_does_not_like(
        self, kernel: Kernel, name: str
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

    def test_an_error_of_the_whole_request_names_no_attribute(self, kernel: Kernel) -> None:
        (failure,) = kernel.apply([new(policy(share=4))])
        assert failure.error.attribute == ""
        assert failure.error.reason == words(kernel, "Invalid policy share")

    def test_all_of_a_long_batch_is_done_and_each_refusal_finds_its_request(
        self, kernel: Kernel
    ) -> None:
        must(kernel, *[new(policy(numbered(n))) for n in (3, 64, 130, 299)])
        requests = [new(policy(numbered(n))) for n in range(300)]
        requests[200] = new(policy(share=4))
        assert refusals(kernel, *requests) == [
            (3, "EEXIST", ""),
            (64, "EEXIST", ""),
            (130, "EEXIST", ""),
            (200, "EINVAL", words(kernel, "Invalid policy share")),
            (299, "EEXIST", ""),
        ]
        assert len(list(kernel.policies())) == 299

    def test_no_requests_are_no_refusals(self, kernel: Kernel) -> None:
        assert kernel.apply([]) == []

    def test_thousands_of_policies_come_back_newest_first(self, kernel: Kernel) -> None:
        must(kernel, *[new(policy(numbered(n), templates=(template(),))) for n in range(3000)])
        assert destinations(kernel.policies()) == destinations(
            policy(numbered(n)) for n in reversed(range(3000))
        )

    def test_one_policy_is_found_by_all_of_its_identity(self, kernel: Kernel) -> None:
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
        self,
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

    def test_no_policy_is_found_in_a_socket_s_direction(self, kernel: Kernel) -> None:
        told = words(kernel, "Invalid policy direction")
        assert get(kernel, named(policy(direction=3))) == ("EINVAL", told)
        assert refusals(kernel, delete(policy(direction=4))) == [(0, "EINVAL", told)]

    def test_a_policy_is_deleted_by_selector_or_by_index_and_only_once(
        self, kernel: Kernel
    ) -> None:
        kinds = [policy(), policy(if_id=3), policy(mark=Mark(5, 0xFF)), policy(direction=IN)]
        must(kernel, *map(new, kinds))
        must(kernel, delete(kinds[0]))
        assert refusals(kernel, delete(kinds[0])) == [(0, "ENOENT", "")]
        for found in kernel.policies():
            must(kernel, delete(found, index=found.index))
            assert refusals(kernel, delete(found, index=found.index)) == [(0, "ENOENT", "")]
        assert list(kernel.policies()) == []

    def test_a_flush_takes_all_of_one_type(self, kernel: Kernel) -> None:
        must(kernel, *map(new, [policy(), policy(if_id=3), policy(policy_type=1)]))
        must(kernel, flush())
        assert [p.policy_type for p in kernel.policies()] == [1]
        must(kernel, flush(), flush(1), flush(1))
        assert list(kernel.policies()) == []
        assert refusals(kernel, flush(9)) == [(0, "EINVAL", words(kernel, "Invalid policy type"))]

    def test_policies_are_counted_by_direction(self, kernel: Kernel) -> None:
        must(kernel, *[new(policy(numbered(n), d)) for n in range(3) for d in range(3) if n <= d])
        info = kernel.spd_info()
        assert (info.in_count, info.out_count, info.fwd_count) == (1, 2, 3)

    @pytest.mark.parametrize(
        ("written", "kept"),
        [
            ([], Default(2, 2, 2)),
            ([Default(1, 0, 2)], Default(1, 2, 2)),
            ([Default(1, 0, 2), Default(0, 7, 0)], Default(1, 2, 2)),
            ([Default(1, 0, 2), Default(2, 1, 1)], Default(2, 1, 1)),
        ],
        ids=["at first", "one", "numbers that mean nothing", "two"],
    )
    def test_the_default_is_set_by_direction_and_survives_a_flush(
        self, kernel: Kernel, written: list[Default], kept: Default
    ) -> None:
        unknown = NO_DEFAULT.holds(kernel)
        for default in written:
            done = refusals(kernel, Operation(XfrmMsg.SETDEFAULT, encode_default(default)), flush())
            assert done == ([(0, "EINVAL", "")] if unknown else [])
        assert default_of(kernel) == ("EINVAL" if unknown else kept)
