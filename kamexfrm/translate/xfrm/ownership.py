"""Policies of other programs are tagged in place, and ours lose their tags. Pure.

A policy of another program becomes an entry of ours by one UPDPOLICY that changes its tag and what
the tag stands for, but not what it does with packets. One that would do something else is left.
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from kamexfrm.model.knobs import Knobs
from kamexfrm.model.policy import Direction, Owner, SpdEntry
from kamexfrm.translate.xfrm import tag as tags
from kamexfrm.translate.xfrm.catch_all import is_catch_all
from kamexfrm.translate.xfrm.marker import MARKER_ID
from kamexfrm.translate.xfrm.policy_from_kernel import (
    is_ordinary,
    is_sidecar,
    read_tag,
    spd_entry_from_kernel,
)
from kamexfrm.translate.xfrm.policy_name import selector_to_kernel
from kamexfrm.translate.xfrm.policy_to_kernel import Placement, policy_to_kernel
from kamexfrm.translate.xfrm.rewrite import delete_by_index, remaining
from kamexfrm.xfrm import (
    ANY_ALGORITHM,
    UNLIMITED,
    XFRM_MODE_TRANSPORT,
    XFRM_POLICY_FWD,
    XFRM_POLICY_IN,
    XFRM_POLICY_OUT,
    XFRM_POLICY_TYPE_MAIN,
    Operation,
    Policy,
    Template,
    XfrmMsg,
    encode_policy,
    encode_policy_id,
)


class Left(NamedTuple):
    """A policy of another program that stays one, and why."""

    entry: SpdEntry
    reason: str


class Adoption(NamedTuple):
    """What tags foreign policies: ``entries`` as they will be, ``operations`` with their twins."""

    operations: tuple[Operation, ...]
    entries: tuple[SpdEntry, ...]
    left: tuple[Left, ...]


def adoption(policies: Sequence[Policy], knobs: Knobs, last_order: int, now: int) -> Adoption:
    """Return what makes the foreign policies of a dump ours, in the order in which they match.

    ``last_order`` is the highest insertion number that is in use; ``now`` in seconds since the
    epoch. A fwd policy that equals an in policy becomes its twin.
    """
    foreign = sorted(filter(_is_foreign, policies), key=_match_order)
    by_name = {
        (p.selector, p.direction, p.security_context): p
        for p in foreign
        if not p.if_id and p.mark is None
    }
    operations: list[Operation] = []
    entries: list[SpdEntry] = []
    left: list[Left] = []
    twins: set[tuple[object, ...]] = set()
    number = 0
    for policy in foreign:
        name = (policy.selector, policy.direction, policy.security_context)
        if name in twins and by_name.get(name) is policy:
            continue
        entry = spd_entry_from_kernel(policy)
        number = max(policy.priority, number + 1)
        placement = Placement(number, last_order + 1)
        tagged = _tagged(policy, entry, knobs, placement, now)
        if reason := _difference(policy, tagged):
            left.append(Left(entry, reason))
            continue
        last_order += 1
        operations.append(Operation(XfrmMsg.UPDPOLICY, encode_policy(tagged)))
        entries.append(spd_entry_from_kernel(tagged)._replace(id=entry.id))
        forward = (policy.selector, XFRM_POLICY_FWD, policy.security_context)
        there = by_name.get(forward)
        if policy.direction == XFRM_POLICY_IN and there and _is_twin(policy, there):
            twins.add(forward)
            meant = entry._replace(policy=entry.policy._replace(direction=Direction.FWD))
            twin = _tagged(there, meant, knobs, placement, now, twin=True)
            operations.append(Operation(XfrmMsg.UPDPOLICY, encode_policy(twin)))
    return Adoption(tuple(operations), tuple(entries), tuple(left))


def _is_foreign(policy: Policy) -> bool:
    return (
        policy.direction <= XFRM_POLICY_FWD
        and is_ordinary(policy)
        and spd_entry_from_kernel(policy).owner is Owner.FOREIGN
    )


def _match_order(policy: Policy) -> tuple[int, int, int]:
    """Sort by priority, then by age; an in policy is before its fwd policy."""
    return policy.priority, policy.index >> 3, policy.direction


def _is_twin(policy: Policy, forward: Policy) -> bool:
    return forward._replace(direction=policy.direction)[:4] == policy[:4] and (
        forward.templates == policy.templates
    )


def _tagged(
    policy: Policy,
    entry: SpdEntry,
    knobs: Knobs,
    placement: Placement,
    now: int,
    *,
    twin: bool = False,
) -> Policy:
    """Return a foreign policy as one of ours."""
    made = policy_to_kernel(
        entry.policy,
        knobs,
        placement,
        entry.created,
        twin=twin,
        remaining=remaining(policy, entry, now),
    )
    return made.policy._replace(index=policy.index)


def _difference(policy: Policy, tagged: Policy) -> str:
    """Return why a policy would do something else as an entry of ours, or nothing."""
    if policy.if_id:
        return "it belongs to an interface (if_id)"
    if policy.mark is not None:
        return "it has a mark"
    if policy.policy_type != XFRM_POLICY_TYPE_MAIN:
        return "it is a sub policy"
    if policy.attributes or policy.flags:
        return "it has attributes or flags that KAME's policies lack"
    if selector_to_kernel(spd_entry_from_kernel(policy).policy.selector) != policy.selector:
        return "its selector has a user, or part of a port"
    says = spd_entry_from_kernel(tagged).policy.requests  # after any later rewrite, too
    meant = spd_entry_from_kernel(policy).policy.requests
    if tagged.action != policy.action or _acting(tagged) != _acting(policy) or says != meant:
        return "KAME has no level or request that does the same"
    return ""


def _acting(policy: Policy) -> tuple[Template, ...]:
    """Return what templates do, without what an entry of ours only stores in them."""
    return tuple(
        _plain(template, policy.direction)
        for template in policy.templates
        if not ((share := tags.read_share(template.share)) and share.transparent)
    )


def _plain(template: Template, direction: int) -> Template:
    if template.mode == XFRM_MODE_TRANSPORT:  # no address is compared
        template = template._replace(source=template.destination, share=0)
        template = template._replace(
            source=type(template.source).unspecified(template.family),
            destination=type(template.source).unspecified(template.family),
        )
    if direction != XFRM_POLICY_OUT:  # KAME compares no reqid on input
        template = template._replace(reqid=0, calgos=ANY_ALGORITHM)
    return template._replace(share=0)


def untagged(policies: Sequence[Policy], now: int, *, keep: bool) -> Iterator[Operation]:
    """Yield what takes tags and sidecars away, or the entries themselves where ``keep`` is false.

    Then def_policy's catch-alls go, and the marker last.
    """
    for policy in policies:
        if not is_ordinary(policy) or policy.direction > XFRM_POLICY_FWD:
            continue
        if read_tag(policy).tag is None:
            continue
        if keep:
            yield Operation(XfrmMsg.UPDPOLICY, encode_policy(_untagged(policy, now)))
        else:
            yield delete_by_index(policy)
    for policy in policies:
        if is_sidecar(policy) or is_catch_all(policy):
            yield delete_by_index(policy)
    yield Operation(XfrmMsg.DELPOLICY, encode_policy_id(MARKER_ID))


def _untagged(policy: Policy, now: int) -> Policy:
    add, use = remaining(policy, spd_entry_from_kernel(policy), now)
    templates = tuple(
        template._replace(
            share=0,
            calgos=template.calgos if policy.direction == XFRM_POLICY_OUT else ANY_ALGORITHM,
        )
        for template in policy.templates
        if not ((share := tags.read_share(template.share)) and share.trigger)
    )
    lifetime = UNLIMITED._replace(hard_add=add, hard_use=use)
    return policy._replace(lifetime=lifetime, templates=templates)
