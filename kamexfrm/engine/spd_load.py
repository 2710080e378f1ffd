"""Policies within a load: deleted and flushed ones stay until the new ones are in place."""

import errno
from collections.abc import Sequence
from typing import NamedTuple

from kamexfrm.engine.load import Load, PolicyName
from kamexfrm.engine.requests import SpdAdd, SpdDelete
from kamexfrm.engine.session import INVALIDATE_ROUTES, Session
from kamexfrm.errors import KamexfrmError, KernelError
from kamexfrm.model.policy import Direction, IpsecRequest, Level
from kamexfrm.translate.xfrm import tag as tags
from kamexfrm.translate.xfrm.catch_all import stands_for_one
from kamexfrm.translate.xfrm.marker import FIRST_GENERATED_REQID
from kamexfrm.translate.xfrm.numbers import direction_to_kernel, label_to_kernel
from kamexfrm.translate.xfrm.policy_from_kernel import (
    has_sidecar,
    is_ordinary,
    is_sidecar,
    read_tag,
    spd_entry_from_kernel,
)
from kamexfrm.translate.xfrm.policy_to_kernel import selector_to_kernel
from kamexfrm.translate.xfrm.replacement import OldEntry, Replacement
from kamexfrm.translate.xfrm.rewrite import catch_alls, delete_by_index, delete_sidecar
from kamexfrm.xfrm import (
    XFRM_POLICY_FWD,
    XFRM_POLICY_OUT,
    Operation,
    Policy,
    SecurityContext,
    Selector,
    XfrmMsg,
    encode_policy,
)


class Slot(NamedTuple):
    """Where an entry goes: kernel priority, insertion number, and how each policy is written.

    ``types`` are UPDPOLICY where a policy takes the place of an old one, else NEWPOLICY.
    """

    number: int
    order: int
    types: tuple[int, ...]

    def replaces(self) -> bool:
        """Whether the entry takes the place of an old one."""
        return XfrmMsg.UPDPOLICY in self.types


def policy_name(selector: Selector, label: SecurityContext | None = None) -> PolicyName:
    """Return the name of a policy as setkey writes them: without mark and interface."""
    return selector if label is None else (selector, label)


def _name_of(policy: Policy) -> PolicyName:
    if policy.if_id or policy.mark is not None or policy.policy_type:
        return (policy.index, "foreign")
    return policy_name(policy.selector, policy.security_context)


def flush(session: Session, load: Load) -> None:
    """Count all policies that are there as old, and put catch-alls right; raises KernelError."""
    session.send()
    session.tunnels_changed = True
    old, standing = [], []
    load.deletions.clear()
    load.deleted.clear()
    for policy in session.kernel.policies():
        if policy.direction > XFRM_POLICY_FWD:
            continue
        if is_sidecar(policy):
            load.sidecars.add(policy.selector)
        elif policy.selector.user and stands_for_one(policy):
            standing.append(policy)
        elif is_ordinary(policy):
            name = _name_of(policy)
            old.append(OldEntry(name, policy.direction, policy.priority))
            load.deletions[name, policy.direction] = delete_by_index(policy)
    load.replacement = Replacement(old, load.todo)
    session.apply(catch_alls(standing, session.knobs))


def delete(session: Session, load: Load, request: SpdDelete) -> bool:
    """Count a policy and its twin as old; raises KernelError (ENOENT).

    Return false where it was added in this load: such a one is deleted at once.
    """
    selector = selector_to_kernel(request.selector)
    label = label_to_kernel(request.label)
    direction = direction_to_kernel(request.direction)
    name = policy_name(selector, label)
    if load.replacement is not None:
        if (name, direction) in load.replacement:
            raise KernelError(errno.ENOENT)
        return False
    if (name, direction) in load.deleted:
        raise KernelError(errno.ENOENT)
    there = session.find_policy(selector, direction, label=label)
    if there is None:
        raise KernelError(errno.ENOENT)
    session.tunnels_changed = True
    load.deleted[name, direction] = there
    if has_sidecar(there):
        load.sidecars.add(there.selector)
    if request.twin and request.direction is Direction.IN:
        twin = session.find_policy(selector, XFRM_POLICY_FWD, label=label)
        tag = read_tag(twin).tag if twin else None
        if twin and tag and tag.flags & tags.TWIN:
            load.deleted[name, XFRM_POLICY_FWD] = twin
    return True


def must_wait(load: Load, request: SpdAdd) -> bool:
    """Whether a policy waits for the end of the load, to be written in the order of matching.

    Raises KernelError (EEXIST) for the second of a name.
    """
    if load.plan.is_sorted or load.replacement is None:
        return False
    name = (request.policy.selector, request.policy.direction, request.policy.label)
    if name in load.names:
        raise KernelError(errno.EEXIST)
    load.names.add(name)
    load.number += 1
    load.waiting.append((load.number, request))
    return True


def place(
    session: Session, load: Load, name: PolicyName, directions: Sequence[int], priority: int
) -> Slot:
    """Return the place of the next entry; raises KamexfrmError (ENOSPC) when there is none."""
    load.todo = max(0, load.todo - 1)
    replacement = load.replacement
    if replacement is None:
        types = tuple(
            XfrmMsg.UPDPOLICY if load.deleted.pop((name, d), None) else XfrmMsg.NEWPOLICY
            for d in directions
        )
        return Slot(*session.priorities.place(priority), types)
    types = tuple(
        XfrmMsg.UPDPOLICY if (name, d) in replacement else XfrmMsg.NEWPOLICY for d in directions
    )
    number = replacement.place(name, directions, priority)
    if number is None:
        _make_room(session, replacement)
        number = replacement.place(name, directions, priority)
        if number is None:
            raise KamexfrmError("no kernel priority is left", errno=errno.ENOSPC)
    load.last = priority, number
    return Slot(number, session.priorities.next_order(), types)


def _make_room(session: Session, replacement: Replacement) -> None:
    """Move the old policies up, the last one first."""
    policies = {(_name_of(p), p.direction): p for p in session.policies()}
    session.apply(
        [
            Operation(XfrmMsg.UPDPOLICY, encode_policy(policy._replace(priority=move.number)))
            for move in replacement.make_room()
            if (policy := policies.get((move.name, move.direction)))
        ]
    )


def kept_reqids(
    session: Session, load: Load, request: SpdAdd, name: PolicyName
) -> tuple[IpsecRequest, ...]:
    """Return an entry's requests with the reqids that were generated for the one it replaces."""
    requests = request.policy.requests
    direction = direction_to_kernel(request.policy.direction)
    if not any(r.level is Level.UNIQUE and not r.reqid for r in requests):
        return requests
    there = load.deleted.get((name, direction))
    if load.replacement is not None and (name, direction) in load.replacement:
        selector = selector_to_kernel(request.policy.selector)
        label = label_to_kernel(request.policy.label)
        there = session.find_policy(selector, direction, label=label)
    if there is None:
        return requests
    old = spd_entry_from_kernel(there).policy.requests
    if [r._replace(reqid=0) for r in old] != [r._replace(reqid=0) for r in requests]:
        return requests
    return tuple(
        was if not r.reqid and was.reqid >= FIRST_GENERATED_REQID else r
        for r, was in zip(requests, old, strict=True)
    )


def spare(load: Load, request: SpdAdd) -> None:
    """Let the old policies stay in whose place a rejected one would have come.

    Less would be protected than the load asks for: it asks for a policy of that name.
    """
    policy = request.policy
    name = policy_name(selector_to_kernel(policy.selector), label_to_kernel(policy.label))
    load.spared.add((name, direction_to_kernel(policy.direction)))
    if request.twin and policy.direction is Direction.IN:
        load.spared.add((name, XFRM_POLICY_FWD))


def finish(session: Session, load: Load) -> None:
    """Delete the old policies that have not come again, the last one first; raises KernelError."""
    session.send()
    operations = []
    if load.replacement is not None:
        left = [e for e in load.replacement.left() if (e.name, e.direction) not in load.spared]
        operations += [load.deletions[entry.name, entry.direction] for entry in left]
        directions = {entry.direction for entry in left}
    else:
        gone = [policy for row, policy in load.deleted.items() if row not in load.spared]
        old = sorted(gone, key=lambda policy: policy.priority, reverse=True)
        operations += [delete_by_index(policy) for policy in old]
        directions = {policy.direction for policy in old}
    # A deletion does not make the kernel drop cached routes.
    if XFRM_POLICY_OUT in directions:
        operations.append(INVALIDATE_ROUTES)
    for failure in session.kernel.apply(operations) if operations else ():
        if failure.error.errno != errno.ENOENT:
            raise failure.error
    _delete_sidecars(session, load)
    if load.replacement is not None:
        session.priorities.set_last(*load.last)


def _delete_sidecars(session: Session, load: Load) -> None:
    """Delete the sidecars to which no entry refers any more; raises KernelError."""
    for selector in load.sidecars:
        entry = session.find_policy(selector, XFRM_POLICY_OUT)
        if entry is None or not has_sidecar(entry):
            session.kernel.apply([delete_sidecar(selector)])
