"""What a kernel tells of its policies as they change and end, and how dumps compare."""

import pytest

from kamexfrm.kernel.interface import Kernel
from kamexfrm.rig import until
from kamexfrm.testing.conformance.differences import NO_DEFAULT
from kamexfrm.testing.conformance.samples import (
    IN,
    OUT,
    delete,
    flush,
    hear,
    heard,
    must,
    new,
    policy,
    refusals,
    selector,
    template,
    update,
)
from kamexfrm.xfrm import (
    EMPTY_SELECTOR,
    XFRMNLGRP_EXPIRE,
    XFRMNLGRP_POLICY,
    Default,
    DeletedPolicy,
    LifetimeConfig,
    Operation,
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


class PolicyEventConformance:
    """What a kernel tells of its policies; the fixture ``kernel`` gives an empty one."""

    def test_writes_are_told_to_who_listens_with_what_is_kept(self, kernel: Kernel) -> None:
        events = kernel.subscribe([XFRMNLGRP_POLICY])
        must(
            kernel,
            new(policy(templates=(template(share=0x81),), if_id=4)),
            update(policy(priority=7)),
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
        self,
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

    def test_a_flush_is_told_when_it_took_something(self, kernel: Kernel) -> None:
        events = kernel.subscribe([XFRMNLGRP_POLICY])
        must(kernel, flush(), new(policy()), flush(), flush())
        told = heard(events, 2)
        assert decode_event(told[1].type, told[1].payload) == PolicyFlush(0)
        events.close()

    def test_refusals_are_told_to_nobody(self, kernel: Kernel) -> None:
        events = kernel.subscribe([XFRMNLGRP_POLICY])
        assert len(refusals(kernel, new(policy(share=4)), delete(policy()))) == 2
        must(kernel, new(policy()))
        assert [e.type for e in heard(events, 1)] == [XfrmMsg.NEWPOLICY]
        events.close()

    def test_a_new_default_is_told_whole_even_if_it_changes_nothing(self, kernel: Kernel) -> None:
        wanted: list[object] = [] if NO_DEFAULT.holds(kernel) else [Default(2, 2, 2)]
        events = kernel.subscribe([XFRMNLGRP_POLICY])
        nothing = Operation(XfrmMsg.SETDEFAULT, encode_default(Default(0, 0, 0)))
        kernel.apply([nothing, new(policy())])
        *told, last = heard(events, len(wanted) + 1)
        assert last.type == XfrmMsg.NEWPOLICY
        assert {event.type for event in told} <= {XfrmMsg.GETDEFAULT}
        assert [decode_event(event.type, event.payload) for event in told] == wanted
        events.close()

    def test_who_listens_to_nothing_hears_nothing(self, kernel: Kernel) -> None:
        events = kernel.subscribe([XFRMNLGRP_EXPIRE])
        must(kernel, new(policy()))
        assert events.receive() == []
        events.close()

    @pytest.mark.parametrize("life", [LifetimeConfig(hard_add=1), LifetimeConfig(hard_use=1)])
    def test_a_policy_ends_with_its_lifetime_and_that_is_told(
        self, kernel: Kernel, life: LifetimeConfig
    ) -> None:
        events = kernel.subscribe([XFRMNLGRP_EXPIRE])
        must(kernel, new(policy(lifetime=life)))
        until(lambda: not list(kernel.policies()), 10)
        (told,) = hear(events, bool)
        event = decode_event(told.type, told.payload)
        assert isinstance(event, PolicyExpire)
        assert (event.hard, event.policy.selector) == (1, selector())
        events.close()

    def test_byte_and_packet_limits_end_no_policy(self, kernel: Kernel) -> None:
        must(kernel, new(policy(lifetime=LifetimeConfig(0, 0, 1, 1))))
        assert len(list(kernel.policies())) == 1

    def test_an_update_restarts_the_clock(self, kernel: Kernel) -> None:
        must(kernel, new(policy()))
        (before,) = kernel.policies()

        def written_later() -> bool:
            must(kernel, update(policy()))
            (after,) = kernel.policies()
            return after.current.add_time > before.current.add_time

        until(written_later, 10)

    def test_a_walk_and_a_raw_dump_show_what_a_dump_shows(self, kernel: Kernel) -> None:
        must(kernel, *(new(policy(selector(user=n), priority=n)) for n in range(300)))
        dumped = list(kernel.policies())
        assert list(kernel.policies(stream=True)) == dumped
        assert [decode_policy(payload) for payload in kernel.raw_policies()] == dumped
        assert next(kernel.policies(stream=True)) == dumped[0]  # the rest is given up

    def test_a_raw_policy_tells_its_index_and_what_lasts(self, kernel: Kernel) -> None:
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

    def test_groups_are_joined_and_left(self, kernel: Kernel) -> None:
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
