"""The engine's writing half: a queue of requests, carried out under the namespace's lock.

What carries out a request is loaded with the first of its kind.
"""

from __future__ import annotations

from itertools import islice
from operator import itemgetter

from kamexfrm.engine.requests import (
    IncompleteWrite,
    InterfaceAdd,
    InterfaceDelete,
    SaAdd,
    SaAddRun,
    SaDelete,
    SaDeleteAll,
    SaFlush,
    SetKnob,
    SpdAdd,
    SpdAddRun,
    SpdDelete,
    SpdDeleteId,
    SpdFlush,
    Written,
)
from kamexfrm.engine.session import Session, SessionCache
from kamexfrm.engine.spd_add import check, spd_add
from kamexfrm.errors import KamexfrmError, KernelError
from kamexfrm.model.knobs import Knobs
from kamexfrm.model.policy import Level
from kamexfrm.records import NamedTuple
from kamexfrm.translate.xfrm.any_reqid import has_any_reqid
from kamexfrm.translate.xfrm.marker import Marker, MarkerFlag

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections import deque
    from collections.abc import Callable, Iterator
    from types import ModuleType

    from kamexfrm.engine.load import Load, LoadPlan
    from kamexfrm.engine.requests import Write, WriteRun
    from kamexfrm.kernel.interface import Kernel, Lock
    from kamexfrm.model.policy import IpsecRequest, SecurityPolicy

#: Requests of a run that are gathered, each with its operations, before they are sent.
_MOST_GATHERED = 128

#: Policies for fwd in an SPD without entries: the marker.
_MARKERS = 1


class Reconciled(NamedTuple):
    """What a reconciliation found.

    ``marker`` is the marker as it is now, None where there is none; ``restored`` is whether it was
    lost and had to be put back, from what was known or from the namespace's own default.
    ``mended`` is whether def_policy's catch-alls alone had to be put right.
    """

    marker: Marker | None
    restored: bool
    mended: bool


class Writer:
    """Writes queues, one session each, and keeps in between what saves the next one a dump.

    ``pending_reconcile`` is whether SAs of mode any or tunnel entries are still to be reconciled
    with what was written. It stays set when a write fails.
    """

    def __init__(self, kernel: Kernel, clock: Callable[[], float]) -> None:
        self.pending_reconcile = False
        self._kernel = kernel
        self._clock = clock
        self._cache = SessionCache()
        #: Whether the lock was waited for in vain: it is tried once from then on.
        self._waited = False
        self._load: Load | None = None
        self._lock: Lock | None = None

    def _open(self, lock: Lock | None = None) -> Session:
        return Session(self._kernel, self._clock, self._cache, self._load, lock)

    def begin_load(self, plan: LoadPlan) -> None:
        """Begin a load: the lock is held to its end. Raises KernelError.

        Where none is there and none is deleted, no flow is protected yet: the policies are then
        written as they stand, and dumps list them so.
        """
        from kamexfrm.engine.load import Load

        self._lock = self._kernel.lock(wait=not self._waited)
        self._lock.__enter__()
        self._waited |= self._lock.is_taken
        if plan.only_adds:
            there = self._kernel.spd_info()
            if not there.in_count + there.out_count and there.fwd_count <= _MARKERS:
                plan = plan._replace(is_sorted=True)
        self._load = Load(plan)

    def end_load(self) -> None:
        """Give the lock back; what a failed load has left undone stays so."""
        lock, self._load, self._lock = self._lock, None, None
        if lock is not None:
            lock.__exit__(None, None, None)

    def open_in_load(self) -> tuple[Session, Load, Lock]:
        """Return a session of the load that was begun, that load, and its lock."""
        lock, load = self._lock, self._load
        assert lock is not None and load is not None  # noqa: S101, PT018  (a load has both)
        return self._open(lock), load, lock

    def finish_earlier(self, session: Session) -> None:
        """Reconcile what a writer that was killed has left; raises KernelError."""
        if MarkerFlag.UNFINISHED in session.marker.flags:
            if MarkerFlag.HAS_MODE_ANY in session.marker.flags:
                _choose_modes(session)
            _finish_knobs(session)

    def reconcile_written(self, session: Session) -> None:
        """Reconcile at once what depends on what a session wrote; raises KernelError."""
        session.send()
        self._reconcile_written(session, at_once=True)

    def close(self, session: Session) -> None:
        """End a session: write the marker, and keep what the next one can use."""
        session.write_marker()
        self._cache = session.cache()

    def _open_fresh(self) -> Session:
        """Open a session that looks for SAs with a reqid again."""
        return Session(self._kernel, self._clock, self._cache._replace(reqids_known=False))

    def write(
        self, queue: deque[Write | WriteRun], *, reconcile: bool, ends_load: bool = False
    ) -> Written:
        """Write a queue; then ``reconcile`` what depends on it, or leave that to a later write.

        With the last write of a load, ``ends_load``, the old entries go that have not come again.

        Raises KernelError for what concerns no single request: IncompleteWrite where some were
        rejected before.
        """
        if self._lock is not None:  # held as long as the load that this write is a part of
            return self._write_under(self._lock, queue, reconcile=reconcile, ends=ends_load)
        with self._kernel.lock(wait=not self._waited) as lock:
            self._waited |= lock.is_taken
            return self._write_under(lock, queue, reconcile=reconcile, ends=ends_load)

    def _write_under(
        self, lock: Lock, queue: deque[Write | WriteRun], *, reconcile: bool, ends: bool
    ) -> Written:
        session: Session | None = None
        try:
            session = self._open(lock)
            resynced = self._write(session, queue, reconcile=reconcile, ends=ends)
            if lock.holder:
                session.priorities.resolve_ties()
                if session.read_marker_again():
                    _finish_knobs(session)
            session.write_marker()
            self._cache = session.cache()
        except KernelError as error:
            rejected = session.transactions.rejected() if session else ()
            if rejected:
                raise IncompleteWrite(error, rejected) from error
            raise
        unserved = tuple(session.unserved.values())
        return Written(session.transactions.rejected(), resynced, lock.holder, unserved)

    def _write(
        self, session: Session, queue: deque[Write | WriteRun], *, reconcile: bool, ends: bool
    ) -> bool:
        """Write a queue; return whether both databases were read to reconcile."""
        if not self.pending_reconcile:
            self.finish_earlier(session)
        while queue:
            request = queue.popleft()
            if isinstance(request, SpdAddRun | SaAddRun):
                _write_run(session, request)
            else:
                session.transactions.number += 1
                _write(session, request)
        if ends and session.load is not None:
            _finish_load(session, session.load)
        session.send()
        return self._reconcile_written(session, at_once=reconcile)

    def assign_reqids(self, requests: tuple[IpsecRequest, ...]) -> tuple[IpsecRequest, ...]:
        """Give `unique` requests a reqid, for policies that are not in the SPD."""
        if all(r.level is not Level.UNIQUE or r.reqid for r in requests):
            return requests
        with self._kernel.lock():
            session = self._open()
            found = session.reqids.assign_reqids(requests)
            session.write_marker()
            self._cache = session.cache()
            return found

    def with_sa_reqids(self, policy: SecurityPolicy) -> tuple[IpsecRequest, ...]:
        """Return the requests of a policy that is not in the SPD, with the reqids of their SAs."""
        if not has_any_reqid(policy):
            return policy.requests
        return self._open_fresh().with_sa_reqids(policy)

    def reconcile(self, known: Marker | None) -> Reconciled:
        """Bring all entries and SAs to what the knobs and both databases require.

        ``known`` is the marker as it was last seen: where there is none now, its knobs are put
        back. Raises KernelError.
        """
        with self._kernel.lock():
            session = self._open_fresh()
            if session.stored is None and known is not None:
                session.reset(Marker(known.knobs))
            if MarkerFlag.HAS_INTERFACE in session.marker.flags | session.assumed_flags:
                session.set_flags(MarkerFlag.HAS_INTERFACE)
                _interfaces().claim(session)
            lost = session.stored is None and session.knobs != Knobs()
            if lost:
                session.set_flags(MarkerFlag.UNFINISHED)
            if MarkerFlag.HAS_MODE_ANY in session.marker.flags | session.assumed_flags:
                _choose_modes(session)
            due = MarkerFlag.UNFINISHED in session.marker.flags
            mended = _finish_knobs(session)
            self.invalidate_routes()
            self._cache = session.cache()
            return Reconciled(session.stored, lost, mended and not due)

    def invalidate_routes(self) -> None:
        """Make connected flows look policies up again: deletion and expiry do not do it."""
        from kamexfrm.engine import routes

        self._kernel.apply(self._cache.renewal or routes.renewal(self._kernel))

    def _reconcile_written(self, session: Session, *, at_once: bool) -> bool:
        """Reconcile what depends on both databases with what was written, if anything does.

        It reads both, so a long run of writes does it once, at its end; until then, and not
        ``at_once``, the marker says that something is unfinished. Return whether it was done.
        """
        if session.knobs_changed:
            _finish_knobs(session)
        flags = session.marker.flags | session.assumed_flags
        if at_once and MarkerFlag.HAS_ANY_REQID in flags and session.has_reqids():
            flags |= MarkerFlag.HAS_REQID_SA
        self.pending_reconcile |= session.needs_reconcile(flags) or (
            at_once and session.is_stale(flags)
        )
        if not self.pending_reconcile:
            return False
        if not at_once:
            session.set_flags(MarkerFlag.UNFINISHED)
            return False
        if MarkerFlag.HAS_MODE_ANY in flags:
            _choose_modes(session)
        _finish_knobs(session)
        self.pending_reconcile = False
        return True


def _choose_modes(session: Session) -> None:
    from kamexfrm.engine import sad

    sad.choose_modes(session)


def _finish_knobs(session: Session) -> bool:
    from kamexfrm.engine import knobs

    return knobs.finish(session)


def _interfaces() -> ModuleType:
    """Return the code of interfaces, which few namespaces need."""
    from kamexfrm.engine import interfaces

    return interfaces


def _write_run(session: Session, run: WriteRun, *, waits: bool = True) -> None:
    """Write many requests, at once where none of them needs care."""
    before = session.transactions.number
    added = _write_at_once(session, run, waits=waits)
    if added == run.run.total:
        session.transactions.number = before + added
        return
    requests: Iterator[Write] = run.requests()
    for at, request in enumerate(islice(requests, added, None), added):
        session.transactions.number = before + run.place(at) + 1
        _write(session, request, waits=waits)
        if at % _MOST_GATHERED == 0:
            session.send()


def _write_at_once(session: Session, run: WriteRun, *, waits: bool) -> int:
    """Write the requests that need no care, and return how many: the first ones, or none."""
    if isinstance(run, SaAddRun):
        from kamexfrm.engine.sad_add_run import sa_add_run

        return run.run.total if sa_add_run(session, run) else 0
    from kamexfrm.engine.spd_add_run import spd_add_run

    if waits and session.load is not None:
        from kamexfrm.engine.spd_load import must_wait_all

        if session.load.plan.again or session.load.added < session.load.plan.flushed:
            return 0  # some go again
        if must_wait_all(session.load, run):
            session.load.added += run.run.total
            return run.run.total
    added = spd_add_run(session, run)
    if waits and session.load is not None:
        session.load.added += added
    return added


def _finish_load(session: Session, load: Load) -> None:
    """Add the policies that wait, then delete what has not come again."""
    from kamexfrm.engine import sad_load, spd_load

    _write_waiting(session, load)
    spd_load.finish(session, load)
    if load.is_split:
        session.priorities.resolve_ties()
    sad_load.finish(session, load)


def _write_waiting(session: Session, load: Load) -> None:
    """Add the policies that wait, in the order of matching."""
    number = session.transactions.number
    load.waiting_names.clear()
    for _, at, request in sorted(load.waiting, key=itemgetter(0, 1)):
        session.transactions.number = at
        if isinstance(request, SpdAddRun):
            _write_run(session, request, waits=False)
        else:
            _write(session, request, waits=False)
    session.transactions.number = number
    load.waiting.clear()


def _stop_waiting(session: Session, load: Load) -> None:
    """Add the policies that wait before their time: what comes next may be about one of them."""
    if load.waiting:
        load.is_split = True
        _write_waiting(session, load)


def _write(session: Session, request: Write, *, waits: bool = True) -> None:
    try:
        match request:
            case SpdAdd():
                if not (waits and session.load is not None and _is_put_off(session, request)):
                    spd_add(session, request)
            case SpdDelete() | SpdDeleteId() | SpdFlush():
                _delete_policies(session, request)
            case SaAdd() | SaDelete() | SaDeleteAll() | SaFlush():
                _write_sas(session, request)
            case SetKnob():
                from kamexfrm.engine import knobs

                knobs.set_knob(session, request)
            case InterfaceAdd():
                _interfaces().add(session, request)
            case InterfaceDelete():
                _interfaces().delete(session, request)
            case _:
                from typing import assert_never

                assert_never(request)
    except KamexfrmError as error:
        if session.load is not None and isinstance(request, SpdAdd):
            from kamexfrm.engine import spd_load

            spd_load.spare(session.load, request)
        session.transactions.reject(request, error)


def _is_put_off(session: Session, request: SpdAdd) -> bool:
    """Whether a load writes a policy later, or never as it goes again."""
    from kamexfrm.engine import spd_load

    load = session.load
    assert load is not None  # noqa: S101
    if spd_load.is_fleeting(load, request):
        check(request.policy)
        spd_load.add_fleeting(session, load, request)
        return True
    if spd_load.must_wait(load, request):
        return True
    if request.replace:
        _stop_waiting(session, load)
    return False


def _delete_policies(session: Session, request: SpdDelete | SpdDeleteId | SpdFlush) -> None:
    from kamexfrm.engine import spd_delete

    if isinstance(request, SpdDelete):
        if session.load is not None:
            _stop_waiting(session, session.load)
        spd_delete.spd_delete(session, request)
    elif isinstance(request, SpdDeleteId):
        spd_delete.spd_delete_id(session, request)
    else:
        if session.load is not None:
            _write_waiting(session, session.load)
        spd_delete.spd_flush(session, request)


def _write_sas(session: Session, request: SaAdd | SaDelete | SaDeleteAll | SaFlush) -> None:
    from kamexfrm.engine import sad

    if isinstance(request, SaAdd):
        sad.sa_add(session, request)
    elif isinstance(request, SaDelete):
        sad.sa_delete(session, request)
    elif isinstance(request, SaDeleteAll):
        sad.sa_delete_all(session, request)
    else:
        sad.sa_flush(session, request)
