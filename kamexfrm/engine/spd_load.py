"""Policies within a load: deleted and flushed ones stay until the new ones are in place."""

import errno
from collections.abc import Iterator
from itertools import islice

from kamexfrm.engine.load import Load
from kamexfrm.engine.requests import SpdAdd, SpdAddRun, SpdDelete, SpdDeleteId
from kamexfrm.engine.session import Session
from kamexfrm.engine.spd_places import order_all, place_staying, policy_name
from kamexfrm.errors import KernelError
from kamexfrm.model.policy import Direction, IpsecRequest, Level
from kamexfrm.translate.xfrm import tag as tags
from kamexfrm.translate.xfrm.brief_policy import brief_policy
from kamexfrm.translate.xfrm.catch_all import stands_for_one
from kamexfrm.translate.xfrm.fast_path import group_names
from kamexfrm.translate.xfrm.interface_policies import refuse_interface
from kamexfrm.translate.xfrm.marker import FIRST_GENERATED_REQID
from kamexfrm.translate.xfrm.numbers import direction_to_kernel
from kamexfrm.translate.xfrm.old_policies import OldPolicies, OldPolicy, add_old
from kamexfrm.translate.xfrm.policy_from_kernel import (
    has_sidecar,
    is_sidecar,
    read_tag,
    spd_entry_from_kernel,
)
from kamexfrm.translate.xfrm.policy_name import name_of, policy_id, sidecar_selector
from kamexfrm.translate.xfrm.replacement import Replacement
from kamexfrm.translate.xfrm.rewrite import catch_alls, delete_by_index, delete_sidecar
from kamexfrm.xfrm import (
    EMPTY_SELECTOR,
    XFRM_POLICY_FWD,
    XFRM_POLICY_IN,
    XFRM_POLICY_OUT,
    Operation,
    Policy,
    Run,
    decode_policy,
)

#: Policies that are deleted at once.
_AT_ONCE = 1024

#: The highest priority as written.
PRIORITY_MAX = 0xFFFFFFFF


class _Found:
    """A dump: the entries of the SPD, and the payloads of what read_old() returns besides."""

    def __init__(self) -> None:
        self.old = OldPolicies()
        self.others: list[bytes] = []

    def add(self, run: Run) -> None:
        """Add some answers; raises WireError."""
        self.others += add_old(self.old, run)


def flush(session: Session, load: Load) -> None:
    """Count all policies that are there as old, and put catch-alls right; raises KernelError."""
    session.send()
    session.tunnels_changed = True
    standing = []
    load.deletions.clear()
    load.deleted.clear()
    load.spared.clear()
    load.fleeting.clear()
    found = session.kernel.gather_policies(_Found, _Found.add)
    for payload in found.others:
        policy = decode_policy(payload)
        brief = brief_policy(payload)
        if brief is not None:
            load.deletions[hash(brief.name), brief.direction] = delete_by_index(policy)
        elif is_sidecar(policy):
            load.sidecars.add(policy.selector)
        elif stands_for_one(policy):
            standing.append(policy)
    load.replacement = Replacement(found.old, load.todo) if len(found.old) else None
    session.apply(catch_alls(standing, session.knobs))


def is_fleeting(load: Load, request: SpdAdd) -> bool:
    """Count a policy as added, and return whether this load deletes it again."""
    load.added += 1
    policy = request.policy
    name = (policy.selector, policy.label), policy.direction
    return load.added <= max(load.plan.flushed, load.plan.again.get(name, 0))


def add_fleeting(session: Session, load: Load, request: SpdAdd) -> None:
    """Take a policy that goes again for added, without writing it: no packet may meet it.

    Raises KamexfrmError: EEXIST where one of its name is there.
    """
    policy = request.policy
    name = policy_name(policy.selector, policy.label), direction_to_kernel(policy.direction)
    is_taken = name in load.fleeting and not load.fleeting[name]
    if is_taken or (not request.replace and _is_there(session, load, request, name)):
        raise KernelError(errno.EEXIST)
    load.fleeting[name] = False
    twin = name[0], XFRM_POLICY_FWD
    if makes_twin(load, request) and not _is_there(session, load, request, twin):
        load.fleeting.setdefault(twin, True)


def _is_there(session: Session, load: Load, request: SpdAdd, name: tuple[int, int]) -> bool:
    """Whether an entry of a name is there that this load has not deleted."""
    if load.replacement is not None or name in load.deleted:
        return False
    id = policy_id(request.policy.selector, request.policy.direction, request.policy.label)
    there = session.find_policy(id._replace(direction=name[1]))
    tag = read_tag(there).tag if there else None
    is_twin = tag is not None and tag.flags & tags.TWIN != 0
    return there is not None and not is_twin


def delete(session: Session, load: Load, request: SpdDelete) -> bool:
    """Count a policy and its twin as old; raises KernelError (ENOENT).

    Return false where it was added in this load: such a one is deleted at once.
    """
    direction = direction_to_kernel(request.direction)
    name = policy_name(request.selector, request.label)
    load.spared.difference_update(((name, direction), (name, XFRM_POLICY_FWD)))
    if load.plan.deleted and load.replacement is None:
        order_all(session, load)
    is_pair = request.twin and request.direction is Direction.IN
    was_fleeting = load.fleeting.pop((name, direction), None) is not None
    if is_pair and load.fleeting.get((name, XFRM_POLICY_FWD)):
        del load.fleeting[name, XFRM_POLICY_FWD]
    if load.expected.pop((name, direction), None) is not None:
        session.tunnels_changed = True
        if is_pair and load.expected.get((name, XFRM_POLICY_FWD)):
            del load.expected[name, XFRM_POLICY_FWD]
        return True
    if load.replacement is not None:
        if (name, direction) in load.replacement:
            if was_fleeting:
                return True
            raise KernelError(errno.ENOENT)
        id = policy_id(request.selector, request.direction, request.label)
        return was_fleeting and session.find_policy(id) is None
    if (name, direction) in load.deleted:
        if was_fleeting:
            return True
        raise KernelError(errno.ENOENT)
    there = session.find_policy(policy_id(request.selector, request.direction, request.label))
    refuse_interface(there)
    if there is None and was_fleeting:
        return True
    if there is None:
        raise KernelError(errno.ENOENT)
    session.tunnels_changed = True
    load.deleted[name, direction] = there
    if has_sidecar(there):
        load.sidecars.add(sidecar_selector(there))
    if is_pair:
        twin = session.find_policy(name_of(there, XFRM_POLICY_FWD))
        if twin and goes_along(request, twin):
            load.deleted[name, XFRM_POLICY_FWD] = twin
    return True


def goes_along(request: SpdDelete | SpdDeleteId, forward: Policy) -> bool:
    """Whether an fwd policy is deleted together with the in policy of its selector.

    With ``all_fwd`` that is one of another program too, as ipsec-tools' setkey deletes it.
    """
    reading = read_tag(forward)
    if reading.tag is None:
        return request.all_fwd and not reading.newer
    return bool(reading.tag.flags & (tags.TWIN | (tags.COMPANION if request.all_fwd else 0)))


def must_wait(load: Load, request: SpdAdd) -> bool:
    """Whether a policy waits for the end of the load, to be written in the order of matching.

    One that replaces another that waits does not. Raises KernelError (EEXIST) for the second of a
    name.
    """
    if load.plan.is_sorted:
        return False
    policy = request.policy
    name = hash((policy_name(policy.selector, policy.label), policy.direction))
    if not load.waiting_names.add_new((name,)):
        if request.replace:
            return False
        raise KernelError(errno.EEXIST)
    load.number += 1
    load.waiting.append((policy.priority, load.number, request))
    return True


def must_wait_all(load: Load, request: SpdAddRun) -> bool:
    """Whether all policies of a run wait; not where a name is there twice: see must_wait()."""
    if load.plan.is_sorted:
        return False
    names = {
        hash((hash(name), group.first.direction))
        for group in request.run.groups
        if group.first.selector.scope is None and group.first.label is None
        for name in group_names(group)
    }
    if len(names) < request.run.total or not load.waiting_names.add_new(names):
        return False
    for priority, places, run in request.run.by_priority():
        part = request._replace(run=run, places=places)
        load.waiting.append((priority, load.number, part))
    load.number += request.run.total
    return True


def makes_twin(load: Load | None, request: SpdAdd) -> bool:
    """Whether an entry gets an automatic fwd twin: not where the load adds an explicit one."""
    if not request.twin or request.policy.direction is not Direction.IN:
        return False
    if load is None or not load.plan.forwards:
        return True
    return (request.policy.selector, request.policy.label) not in load.plan.forwards


def kept_reqids(
    session: Session, load: Load, request: SpdAdd, name: int
) -> tuple[IpsecRequest, ...]:
    """Return an entry's requests with the reqids that were generated for the one it replaces."""
    requests = request.policy.requests
    direction = direction_to_kernel(request.policy.direction)
    if not any(r.level is Level.UNIQUE and not r.reqid for r in requests):
        return requests
    there = load.deleted.get((name, direction))
    if load.replacement is not None and (name, direction) in load.replacement:
        policy = request.policy
        there = session.find_policy(policy_id(policy.selector, policy.direction, policy.label))
    if there is None:
        return requests
    old = spd_entry_from_kernel(there).policy.requests
    if [r._replace(reqid=0) for r in old] != [r._replace(reqid=0) for r in requests]:
        return requests
    return tuple(
        was if not r.reqid and was.reqid >= FIRST_GENERATED_REQID else r
        for r, was in zip(requests, old, strict=True)
    )


def refuse_second(session: Session, load: Load, name: int, request: SpdAdd) -> None:
    """Refuse an in entry that is there, and whose twin alone was deleted: it must not come again.

    Raises KernelError (EEXIST).
    """
    policy = request.policy
    if policy.direction is not Direction.IN or (name, XFRM_POLICY_FWD) not in load.deleted:
        return
    if (name, XFRM_POLICY_IN) in load.deleted:
        return
    if session.find_policy(policy_id(policy.selector, Direction.IN, policy.label)):
        raise KernelError(errno.EEXIST)


def spare(load: Load, request: SpdAdd) -> None:
    """Let the old policies stay in whose place a rejected one would have come.

    Less would be protected than the load asks for: it asks for a policy of that name. Where that
    was not deleted, or has come again, none would have come, and a twin that was deleted goes.
    """
    policy = request.policy
    name = policy_name(policy.selector, policy.label)
    direction = direction_to_kernel(policy.direction)
    if not _was_deleted(load, name, direction):
        return
    load.spared.add((name, direction))
    if request.twin and policy.direction is Direction.IN:
        load.spared.add((name, XFRM_POLICY_FWD))


def _was_deleted(load: Load, name: int, direction: int) -> bool:
    """Whether a policy was deleted in this load, and nothing has come in its place."""
    if load.replacement is None:
        return (name, direction) in load.deleted
    return not _stays(load, name, direction) and (name, direction) in load.replacement


def _stays(load: Load, name: int, direction: int) -> bool:
    """Whether an entry of a name has yet to get its place, since it stays."""
    return any(
        policy.direction == direction
        for entry in load.staying
        if entry.name == name
        for policy in entry.policies
    )


def _gone(load: Load) -> Iterator[tuple[int, Operation]]:
    """Yield direction and deletion of each old policy that goes, the last one first."""
    if load.replacement is not None:
        for entry in load.replacement.left():
            if (entry.name, entry.direction) not in load.spared:
                yield entry.direction, _deletion(load, entry)
        return
    gone = [policy for row, policy in load.deleted.items() if row not in load.spared]
    for policy in sorted(gone, key=lambda policy: policy.priority, reverse=True):
        yield policy.direction, delete_by_index(policy)


def _deletion(load: Load, entry: OldPolicy) -> Operation:
    special = load.deletions.get((entry.name, entry.direction))
    if special is not None:
        return special
    return delete_by_index(Policy(EMPTY_SELECTOR, entry.direction, index=entry.id))


def finish(session: Session, load: Load) -> None:
    """Delete the old policies that have not come again, the last one first; raises KernelError."""
    place_staying(session, load, PRIORITY_MAX)
    session.send()
    is_outbound = False
    gone = _gone(load)
    while some := list(islice(gone, _AT_ONCE)):
        is_outbound |= any(direction == XFRM_POLICY_OUT for direction, _ in some)
        for failure in session.kernel.apply([operation for _, operation in some]):
            if failure.error.errno != errno.ENOENT:
                raise failure.error
    # A deletion does not make the kernel drop cached routes.
    if is_outbound:
        session.apply(session.renewal())
    _delete_sidecars(session, load)
    if load.replacement is not None:
        session.priorities.set_last(*load.last)


def _delete_sidecars(session: Session, load: Load) -> None:
    """Delete the sidecars to which no entry refers any more; raises KernelError."""
    if not load.sidecars:
        return
    session.send()
    kept = {sidecar_selector(p) for p in session.kernel.policies() if has_sidecar(p)}
    for selector in load.sidecars:
        if selector not in kept:
            session.kernel.apply([delete_sidecar(selector)])
