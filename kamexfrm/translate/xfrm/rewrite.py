"""The operations that bring what the kernel holds to what it should hold. Pure.

An entry is rewritten by one UPDPOLICY, which the kernel does atomically and under which the policy
keeps its index; its clock restarts, so the remaining lifetime is written with it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from kamexfrm.model.knobs import Knobs
from kamexfrm.model.policy import IpsecRequest, Owner, SecurityPolicy, SpdEntry
from kamexfrm.net import AF_INET, AF_INET6
from kamexfrm.records import NamedTuple, Protocol
from kamexfrm.translate.xfrm.any_reqid import has_any_reqid
from kamexfrm.translate.xfrm.catch_all import catch_all, is_catch_all, stands_for_one
from kamexfrm.translate.xfrm.marker import NO_FLAGS, MarkerFlag
from kamexfrm.translate.xfrm.oldest_sa import may_name_spi, with_spis
from kamexfrm.translate.xfrm.order import Position
from kamexfrm.translate.xfrm.policy_from_kernel import (
    has_sidecar,
    is_ordinary,
    placed_tag,
    read_tag,
    sidecars_of,
    spd_entry_from_kernel,
)
from kamexfrm.translate.xfrm.policy_name import name_of, sidecar_id, sidecar_selector
from kamexfrm.translate.xfrm.policy_to_kernel import (
    Placement,
    policy_to_kernel,
    templates_to_kernel,
    tunnel_uses,
)
from kamexfrm.xfrm import (
    XFRM_POLICY_OUT,
    Operation,
    Policy,
    PolicyId,
    Selector,
    XfrmMsg,
    encode_policy,
)
from kamexfrm.xfrm import encode_policy_id as encode_id


class SaFinder(Protocol):
    """Finds SAs for requests, as ``sa_lookup`` and ``oldest_sa`` do."""

    def without_sa(self, requests: Sequence[IpsecRequest]) -> tuple[IpsecRequest, ...]:
        """Return those of some tunnel requests that have no SA."""
        ...

    def with_sa_reqids(
        self, policy: SecurityPolicy, without_sa: Sequence[IpsecRequest] = ()
    ) -> tuple[IpsecRequest, ...]:
        """Return an entry's requests with the reqids of their SAs."""
        ...

    def spis(
        self,
        policy: SecurityPolicy,
        requests: Sequence[IpsecRequest],
        without_sa: Sequence[IpsecRequest] = (),
    ) -> tuple[int, ...]:
        """Return the SPIs that the templates of an entry name, none for no such."""
        ...


class Rewriting(NamedTuple):
    """The operations, and the marker's flags for entries that depend on SAs.

    ``after`` has the positions of operations that may only be carried out once the one before them
    was: an entry whose sidecar is not written, or whose sidecar is deleted while the entry still
    refers to it, loses what it was written as.
    """

    operations: list[Operation]
    after: frozenset[int] = frozenset()
    flags: MarkerFlag = NO_FLAGS


def remaining(policy: Policy, entry: SpdEntry, now: int) -> tuple[int, int]:
    """Return the seconds left of an entry's lifetime and validtime, 0 for no limit.

    An entry that was not used since it was last written has what was left at that time.
    """
    ends, unused_until = _ends(policy, entry)
    return (
        max(1, ends - now) if ends else 0,
        max(1, unused_until - now) if unused_until else 0,
    )


def _ends(policy: Policy, entry: SpdEntry) -> tuple[int, int]:
    """Return when lifetime and validtime are over, in seconds since the epoch, 0 for no limit."""
    lifetime, validtime = entry.policy.lifetime, entry.policy.validtime
    current = policy.current
    if current.use_time:
        unused_until = current.use_time + validtime
    else:
        unused_until = current.add_time + policy.lifetime.hard_use
    return entry.created + lifetime if lifetime else 0, unused_until if validtime else 0


def _is_over(policy: Policy, entry: SpdEntry, now: int) -> bool:
    """Whether an entry's time is over: rewriting it would give it one second more each time."""
    if not (entry.policy.lifetime or entry.policy.validtime):
        return False
    return any(end and end <= now for end in _ends(policy, entry))


class _Served(NamedTuple):
    """What the SAs make of an entry.

    ``flags`` are the marker's for what depends on them. ``without_sa`` are tunnels that are left
    out, ``requests`` have the reqids of their SAs, ``spis`` are what their templates name.
    """

    flags: MarkerFlag
    without_sa: tuple[IpsecRequest, ...]
    requests: tuple[IpsecRequest, ...]
    spis: tuple[int, ...]


def _served(written: SecurityPolicy, knobs: Knobs, sas: SaFinder) -> _Served:
    flags = NO_FLAGS
    without_sa: tuple[IpsecRequest, ...] = ()
    if uses := tunnel_uses(written, knobs):
        flags |= MarkerFlag.HAS_TUNNEL_USE
        without_sa = sas.without_sa(uses)
    requests = written.requests
    if has_any_reqid(written):
        flags |= MarkerFlag.HAS_ANY_REQID
        requests = sas.with_sa_reqids(written, without_sa)
    spis: tuple[int, ...] = ()
    if knobs.preferred_oldsa and may_name_spi(written):
        flags |= MarkerFlag.HAS_OLDEST_SA
        spis = sas.spis(written, requests, without_sa)
    return _Served(flags, without_sa, requests, spis)


def rewritten(policies: Sequence[Policy], knobs: Knobs, sas: SaFinder, now: int) -> Rewriting:
    """Return what adapts our entries of a dump to the knobs and to the SAs."""
    sidecars = sidecars_of(policies)
    operations = _orphans(sidecars, policies) if sidecars else []
    after: set[int] = set()
    found = NO_FLAGS
    for policy in policies:
        if not is_ordinary(policy):
            continue
        entry = spd_entry_from_kernel(policy, sidecars.get)
        if entry.owner is not Owner.OURS:
            continue
        written = entry.policy
        flags, without_sa, requests, spis = served = _served(written, knobs, sas)
        found |= flags
        family = written.selector.family
        wanted = templates_to_kernel(
            written.type, requests, written.direction, family, knobs.of(family), without_sa
        )
        wanted = with_spis(wanted, spis)
        if wanted == policy.templates or _is_over(policy, entry, now):
            continue
        if without_sa or has_sidecar(policy):
            has_one = sidecar_selector(policy) in sidecars
            steps = _rewrite(policy, entry, knobs, served, now, has_one=has_one)
            after.update(range(len(operations) + 1, len(operations) + len(steps)))
            operations += steps
        else:
            left = _with_remaining(policy, entry, now)
            left = left._replace(templates=wanted)
            operations.append(Operation(XfrmMsg.UPDPOLICY, encode_policy(left)))
    return Rewriting(operations, frozenset(after), found)


def _orphans(sidecars: Mapping[Selector, Policy], policies: Iterable[Policy]) -> list[Operation]:
    """Return what deletes sidecars without their entry: it expired, or its writer was killed."""
    kept = {
        sidecar_selector(p) for p in policies if p.direction == XFRM_POLICY_OUT and has_sidecar(p)
    }
    return [
        delete_sidecar(selector)
        for selector, sidecar in sidecars.items()
        if selector not in kept and read_tag(sidecar).tag
    ]


def _with_remaining(policy: Policy, entry: SpdEntry, now: int) -> Policy:
    """Return a policy with its remaining lifetimes, so that rewriting does not prolong it."""
    if not (entry.policy.lifetime or entry.policy.validtime):
        return policy
    add, use = remaining(policy, entry, now)
    return policy._replace(lifetime=policy.lifetime._replace(hard_add=add, hard_use=use))


def _rewrite(
    policy: Policy, entry: SpdEntry, knobs: Knobs, served: _Served, now: int, *, has_one: bool
) -> list[Operation]:
    """Rewrite an entry; its sidecar is written before it, or deleted after it.

    ``has_one`` is whether there is a sidecar now: another process may have deleted it.
    """
    placement = Placement(entry.kernel_priority, entry.order)
    new = policy_to_kernel(
        entry.policy,
        knobs,
        placement,
        entry.created,
        twin=entry.twin,
        without_sa=served.without_sa,
        with_sa_reqids=served.requests,
        spis=served.spis,
        remaining=remaining(policy, entry, now),
    )
    operations = [Operation(XfrmMsg.UPDPOLICY, encode_policy(new.policy))]
    if new.sidecar:
        operations.insert(0, Operation(XfrmMsg.UPDPOLICY, encode_policy(new.sidecar)))
    elif has_one:
        operations.append(delete_sidecar(sidecar_selector(policy)))
    return operations


def renumbered(
    policies: Sequence[Policy], moves: Mapping[Position, tuple[int, int]], now: int
) -> list[Operation]:
    """Return the operations that give entries new kernel priorities, in a safe sequence.

    ``moves`` gives (place in the sequence, new number).
    """
    steps = []
    for policy in policies:
        tag = placed_tag(policy)
        move = moves.get(Position(tag.priority, tag.order, policy.priority)) if tag else None
        if move is None:
            continue
        entry = spd_entry_from_kernel(policy)
        if _is_over(policy, entry, now):
            continue
        left = _with_remaining(policy, entry, now)
        steps.append((move[0], left._replace(priority=move[1])))
    steps.sort(key=lambda step: step[0])
    return [Operation(XfrmMsg.UPDPOLICY, encode_policy(policy)) for _, policy in steps]


def moved(policies: Iterable[Policy], number: int, now: int) -> list[Operation]:
    """Return the operations that give the policies of an entry another kernel priority."""
    return [
        Operation(
            XfrmMsg.UPDPOLICY,
            encode_policy(
                _with_remaining(p, spd_entry_from_kernel(p), now)._replace(priority=number)
            ),
        )
        for p in policies
    ]


def delete_sidecar(selector: Selector) -> Operation:
    """Return the operation that deletes the sidecar with a selector."""
    return Operation(XfrmMsg.DELPOLICY, encode_id(sidecar_id(selector)))


def delete_policy(name: PolicyId) -> Operation:
    """Return the operation that deletes the policy of a name."""
    return Operation(XfrmMsg.DELPOLICY, encode_id(name))


def delete_by_index(policy: Policy) -> Operation:
    """Return the operation that deletes this one policy of a dump."""
    wanted = PolicyId(
        policy.selector,
        index=policy.index,
        direction=policy.direction,
        if_id=policy.if_id,
        mark=policy.mark,
        policy_type=policy.policy_type,
    )
    return Operation(XfrmMsg.DELPOLICY, encode_id(wanted))


def catch_alls(policies: Iterable[Policy], knobs: Knobs) -> list[Operation]:
    """Return what brings def_policy's catch-alls to what the knobs of each family say.

    A policy that stands in the place of one, and is not exactly it, is replaced or deleted.
    """
    there = {
        (p.selector.family, p.direction): is_catch_all(p) for p in policies if stands_for_one(p)
    }
    operations: list[Operation] = []
    for family in (AF_INET, AF_INET6):
        for direction in range(3):
            block = catch_all(family, direction)
            if knobs.of(family).def_policy == 0:
                if not there.get((family, direction)):
                    operations.append(Operation(XfrmMsg.UPDPOLICY, encode_policy(block)))
            elif (family, direction) in there:
                operations.append(delete_policy(name_of(block, direction)))
    return operations
