"""Cached routes are dropped where they must be, by kernels with SETDEFAULT and by older ones."""

from collections.abc import Sequence

import pytest

from kamexfrm.engine.requests import SaAdd, SaFlush, SpdAdd, SpdDelete, SpdFlush, Write
from kamexfrm.kernel.fake import FakeKernel
from kamexfrm.kernel.interface import Failure
from kamexfrm.net import AF_INET, AF_INET6
from kamexfrm.translate.event import broadcast
from kamexfrm.translate.xfrm.tag import OUR_IF_IDS, ROUTES_IF_ID
from kamexfrm.xfrm import XFRMNLGRP_POLICY, Operation, XfrmMsg, decode_event, decode_policy
from tests.engine.engine_samples import Asker, association, ipsec
from tests.engine.test_engine_load import load

OLD = ipsec(1)
PARTS: list[tuple[Write, ...]] = [
    (SaAdd(association()),),
    (SpdFlush(), SpdAdd(ipsec(2)), SaAdd(association(0x2000))),
    (SpdDelete(OLD.selector, OLD.direction),),
    (SpdFlush(), SaFlush()),
]


class Recorded(FakeKernel):
    """A kernel of before SETDEFAULT, or not, with all that it was asked to do."""

    def __init__(self, *, has_default: bool) -> None:
        super().__init__(has_default=has_default)
        self.operations: list[Operation] = []

    def apply(self, operations: Sequence[Operation], ends: Sequence[int] = ()) -> list[Failure]:
        self.operations += operations
        return super().apply(operations, ends)

    def families(self) -> set[int]:
        """Return the families whose routes were dropped since the last call."""
        operations, self.operations = self.operations, []
        if any(operation.type == XfrmMsg.SETDEFAULT for operation in operations):
            return {AF_INET, AF_INET6}
        added = [decode_policy(o.payload) for o in operations if o.type == XfrmMsg.UPDPOLICY]
        return {policy.selector.family for policy in added if policy.if_id == ROUTES_IF_ID}


@pytest.mark.parametrize("has_default", [True, False])
@pytest.mark.parametrize("part", PARTS)
def test_routes_are_dropped_and_nothing_is_rejected(
    part: tuple[Write, ...], has_default: bool
) -> None:
    kernel = Recorded(has_default=has_default)
    asker = Asker(kernel)
    asker.add(OLD)
    kernel.families()
    assert load(asker, *part) == []
    assert kernel.families() == {AF_INET, AF_INET6}
    assert not [policy for policy in kernel.policies() if policy.if_id == ROUTES_IF_ID]


def test_def_policy_is_kept_by_catch_alls_alone_without_setdefault() -> None:
    asker = Asker(FakeKernel(has_default=False))
    for name in ("def_policy", "6.def_policy"):
        asker.turn(name, 0)
    blocking = [p for p in asker.kernel.policies() if p.if_id not in OUR_IF_IDS]
    assert len(blocking) == 6
    for name in ("def_policy", "6.def_policy"):
        asker.turn(name, 1)
    assert not [p for p in asker.kernel.policies() if p.if_id not in OUR_IF_IDS]


def test_dropping_routes_by_policies_is_seen_by_nobody() -> None:
    kernel = FakeKernel(has_default=False)
    events = kernel.subscribe([XFRMNLGRP_POLICY])
    Asker(kernel).must(SaAdd(association()))
    seen = events.receive()
    assert len(seen) >= 4
    for event in seen:
        decoded = decode_event(event.type, event.payload)
        assert broadcast(event.type, decoded, now=0, sequence=0, pid=0) is None
