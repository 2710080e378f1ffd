"""Many policies are added at once: what spd_add() does with each, without an object for each."""

from bisect import bisect_right
from collections.abc import Sequence
from itertools import groupby

from kamexfrm.engine.load import Load
from kamexfrm.engine.requests import MAX_REQUESTS, SpdAddRun
from kamexfrm.engine.session import Session
from kamexfrm.engine.spd_add import add_pair
from kamexfrm.errors import KamexfrmError, KernelError
from kamexfrm.kernel.interface import Failure
from kamexfrm.model.policy import Direction, PolicyType
from kamexfrm.model.policy_run import PolicyGroup
from kamexfrm.translate.xfrm.fast_path import FastPathTemplate, encode_group
from kamexfrm.xfrm import PackedOperations, pack_requests


def spd_add_run(session: Session, request: SpdAddRun) -> bool:
    """Add policies whose messages depend on nothing that is there.

    Return false, and nothing is done, where those of one may: each is to be added by itself then.
    Raises KernelError for what concerns no single policy.
    """
    run = request.run
    if not _suits(session.load):
        return False
    templates = [_template(session, group) for group in run.groups]
    plain = [template for template in templates if template is not None]
    if len(plain) < len(templates):
        return False
    if any(template.any_reqid for template in plain) and session.has_reqids():
        return False
    places = session.priorities.place_run(run.priorities())
    if places is None:
        return False
    for template in plain:
        session.tunnels_changed |= template.tunnel
        session.reqids.claim(template.reqids)
    groups = [
        encode_group(
            group,
            template,
            places,
            session.now,
            twins=request.twin and group.first.direction is Direction.IN,
        )
        for group, template in zip(run.groups, plain, strict=True)
    ]
    operations, ends = pack_requests(groups, session.kernel.port)
    failures = session.send_packed(operations, ends)
    if failures:
        _settle(session, request, operations, ends, failures)
    session.transactions.number += run.total
    return True


def _suits(load: Load | None) -> bool:
    """Whether the entries go to the end of what is there, as they come, each in with a twin."""
    if load is None:
        return True
    return load.plan.is_sorted and not load.plan.forwards and not load.has_policies()


def _template(session: Session, group: PolicyGroup) -> FastPathTemplate | None:
    """Return the template of a group, None where its entries need care."""
    selector, direction, type_, requests, _, lifetime, validtime, label = group.first
    if type_ not in (PolicyType.IPSEC, PolicyType.DISCARD, PolicyType.NONE):
        return None
    if type_ is PolicyType.IPSEC and not 0 < len(requests) <= MAX_REQUESTS:
        return None
    if direction is Direction.FWD or lifetime or validtime or label is not None:
        return None
    try:
        template = session.template(type_, requests, direction, selector.family)
    except KamexfrmError:
        return None
    return template if template.plain else None


def _settle(
    session: Session,
    request: SpdAddRun,
    operations: PackedOperations,
    ends: Sequence[int],
    failures: Sequence[Failure],
) -> None:
    """Handle the failures of a run as those of policies that were added one by one."""
    transactions = session.transactions
    number, added = transactions.number, 0
    errors: dict[int, KernelError] = {}
    for at, mine in groupby(failures, lambda failure: bisect_right(ends, failure.position)):
        start = ends[at - 1] if at else 0
        errors |= {added + position - start: error for position, error in mine}
        sent = operations[start : ends[at]]
        transactions.number = number + at + 1
        if len(sent) > 1:
            add_pair(session, request.request(at), *sent)
        else:
            transactions.add(request.request(at), sent)
        added += len(sent)
    transactions.settle(errors)
    transactions.number = number
