"""Carries out a difference: made before broken, and taken back as a whole at any refusal.

SAs come first, then policies in the order of matching, each at its final place; what depends on
them is reconciled before anything is deleted. A load carries it out, with places that are known.
"""

import errno
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from itertools import chain
from typing import NamedTuple

from kamexfrm.engine import knobs, sad, sad_load, spd_load
from kamexfrm.engine.difference import Difference, difference
from kamexfrm.engine.load import EntryName, Load, LoadPlan
from kamexfrm.engine.policy_difference import Write
from kamexfrm.engine.requests import Rejected, SaAdd, SetKnob, SpdAdd, SpdAddRun
from kamexfrm.engine.sa_difference import SaChange
from kamexfrm.engine.session import Session
from kamexfrm.engine.snapshot import Snapshot, put_back, take
from kamexfrm.engine.spd_add import spd_add
from kamexfrm.engine.wanted import Wanted
from kamexfrm.engine.wanted_sas import state_id
from kamexfrm.engine.writer import Writer
from kamexfrm.errors import KamexfrmError, KernelError
from kamexfrm.kernel.interface import Kernel
from kamexfrm.model.policy import Direction, SecurityPolicy
from kamexfrm.translate.xfrm.marker import MarkerFlag
from kamexfrm.translate.xfrm.rewrite import moved
from kamexfrm.translate.xfrm.sa_to_kernel import sa_id_to_kernel
from kamexfrm.xfrm import State, decode_policy

#: Requests that are sent before the next ones are made.
_AT_ONCE = 1024


class Applied(NamedTuple):
    """What came of a difference: nothing was done where a part of it was ``rejected``."""

    difference: Difference
    rejected: tuple[Rejected, ...] = ()


class Hooks(NamedTuple):
    """What a caller does on the way.

    ``check`` may reject requests before anything is written. ``before`` gets what there was, once
    it is sure that something will be written. ``step`` is told how many more requests are written.
    """

    check: Callable[[Difference], tuple[Rejected, ...]] = lambda _: ()
    before: Callable[[Snapshot], None] = lambda _: None
    step: Callable[[int], None] = lambda _: None


def apply(writer: Writer, kernel: Kernel, wanted: Wanted, hooks: Hooks, *, prune: bool) -> Applied:
    """Bring a namespace to what is wanted, or leave it as it is; raises KamexfrmError.

    EBUSY where another process has the namespace's lock.
    """
    writer.begin_load(LoadPlan(forwards=_forwards(wanted)))
    try:
        session, load, lock = writer.open_in_load()
        if lock.holder:
            raise KernelError(
                errno.EBUSY, f"{lock.holder} holds this namespace's lock: try again once it is done"
            )
        found = difference(kernel, wanted, session.now, prune=prune)
        rejected = found.rejected or hooks.check(found)
        if rejected:
            return Applied(found, rejected)
        if found.is_empty:
            writer.finish_earlier(session)
            return Applied(found)
        snapshot = take(kernel, found.policies.messages)
        hooks.before(snapshot)
        try:
            writer.finish_earlier(session)
            done = carry_out(session, load, found, lambda: writer.reconcile_written(session), hooks)
            if done:
                writer.close(session)
        except BaseException:
            put_back(kernel, snapshot, session.time())
            raise
        if not done:
            put_back(kernel, snapshot, session.time())
            return Applied(found, session.transactions.rejected())
        return Applied(found)
    finally:
        writer.end_load()


def _forwards(wanted: Wanted) -> frozenset[EntryName]:
    """Return the names of the explicit fwd entries."""
    policies = chain.from_iterable(
        (each.policy,) if isinstance(each, SpdAdd) else _forwards_of(each)
        for each in wanted.policies
    )
    return frozenset(
        (policy.selector, policy.label) for policy in policies if policy.direction is Direction.FWD
    )


def _forwards_of(request: SpdAddRun) -> Iterable[SecurityPolicy]:
    """Return the fwd policies of a run."""
    for group in request.run.groups:
        if group.first.direction is Direction.FWD:
            yield from map(group.policy, range(len(group.at)))


def carry_out(
    session: Session,
    load: Load,
    found: Difference,
    reconcile: Callable[[], object],
    hooks: Hooks,
) -> bool:
    """Carry out a difference; return false, with a part of it done, where something was rejected.

    ``reconcile`` brings entries and SAs to what depends on both. Raises KernelError for what
    concerns no single request.
    """
    step = hooks.step
    for change in found.knobs:
        _try(session, change.request, partial(knobs.set_knob, session, change.request))
    _add_sas(session, load, found.associations.changes, step)
    session.send()
    if session.transactions.rejected() or not _write_policies(session, load, found, step):
        return False
    reconcile()
    gone = [change.there for change in found.associations.changes if change.request is None]
    _announce(session, found, gone)
    load.deleted = {
        (at, policy.direction): policy
        for at, policy in enumerate(map(decode_policy, found.policies.gone))
    }
    spd_load.finish(session, load)
    step(len(load.deleted))
    load.states = {state_id(state): state for state in gone if state is not None}
    sad_load.finish(session, load)
    step(len(gone))
    session.send()
    reconcile()
    session.priorities.set_last(*found.policies.last)
    return True


def _announce(session: Session, found: Difference, gone: Sequence[State | None]) -> None:
    """Write down that deletions come on which something depends: a kill may come between."""
    session.tunnels_changed |= bool(found.policies.gone)
    if gone:
        session.mark_sad_changed()
    if session.needs_reconcile(session.marker.flags):
        session.set_flags(MarkerFlag.UNFINISHED)
        session.write_marker()


def steps_of(found: Difference) -> int:
    """Return how many requests a difference takes."""
    policies = found.policies
    return len(policies.writes) + len(policies.gone) + len(found.associations.changes)


def _try(session: Session, request: SetKnob | SaAdd | SpdAdd, write: Callable[[], None]) -> None:
    session.transactions.number += 1
    try:
        write()
    except KamexfrmError as error:
        session.transactions.reject(request, error)


def _add_sas(
    session: Session, load: Load, changes: Sequence[SaChange], step: Callable[[int], None]
) -> None:
    load.states = {
        sa_id_to_kernel(change.request.association.id): change.there
        for change in changes
        if change.replaces and change.request is not None and change.there is not None
    }
    for at, (request, there, replaces) in enumerate(changes):
        if request is None:
            continue
        if there is not None and not replaces:
            request = request._replace(replace=True)  # noqa: PLW2901 - its lifetimes alone
        _try(session, request, partial(sad.sa_add, session, request))
        if at % _AT_ONCE == 0:
            session.send()
            step(_AT_ONCE)


def _write_policies(
    session: Session, load: Load, found: Difference, step: Callable[[int], None]
) -> bool:
    policies = found.policies
    if policies.moves:
        session.make_room(
            operation
            for payload, number in policies.moves
            for operation in moved((decode_policy(payload),), number, session.time())
        )
    if policies.writes:
        top = max(policies.writes, key=lambda write: write.place.number)
        session.priorities.reserve(policies.newest, top.request.policy.priority, top.place.number)
    load.places = {write.key: write.place for write in policies.writes}
    load.sidecars = set(policies.stale)
    for at, write in enumerate(policies.writes, 1):
        _write(session, write)
        if at % _AT_ONCE == 0:
            session.send()
            step(_AT_ONCE)
            if session.transactions.rejected():
                return False
    session.send()
    return not session.transactions.rejected()


def _write(session: Session, write: Write) -> None:
    _try(session, write.request, partial(spd_add, session, write.request))
