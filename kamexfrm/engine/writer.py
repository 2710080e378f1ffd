"""The writing half of the engine: a queue of requests, under the namespace's lock."""

from collections import deque
from typing import assert_never

from kamexfrm.engine import knobs, sad
from kamexfrm.engine.requests import (
    Rejected,
    SaAdd,
    SaDelete,
    SaDeleteAll,
    SaFlush,
    SetKnob,
    SpdAdd,
    SpdDelete,
    SpdDeleteId,
    SpdFlush,
    Write,
)
from kamexfrm.engine.session import FORGET_ROUTES, Memory, Session
from kamexfrm.engine.spd_add import spd_add
from kamexfrm.engine.spd_delete import spd_delete, spd_delete_id, spd_flush
from kamexfrm.errors import KamexfrmError
from kamexfrm.kernel.interface import Kernel
from kamexfrm.model.knobs import Knobs
from kamexfrm.model.policy import IpsecRequest, Level, SecurityPolicy
from kamexfrm.translate.xfrm.marker import (
    HAS_ANY_REQID,
    HAS_MODE_ANY,
    HAS_REQID_SA,
    UNFINISHED,
    Marker,
)
from kamexfrm.translate.xfrm.sa_lookup import has_any_reqid


class Writer:
    """Writes queues, one session each, and remembers in between what saves it a look.

    ``pending_reconcile`` says that modes or tunnels have yet to follow what was written,
    ``resynced`` that the last write read both databases for that. ``lock_holder`` is who kept the
    lock past its deadline, if anybody did.
    """

    def __init__(self, kernel: Kernel) -> None:
        self.pending_reconcile = False
        self.resynced = False
        self.lock_holder = ""
        self._kernel = kernel
        self._memory = Memory()

    def _begin(self, now: int) -> Session:
        return Session(self._kernel, now, self._memory)

    def _begin_afresh(self, now: int) -> Session:
        """Open a session that looks for SAs with a reqid again."""
        return Session(self._kernel, now, self._memory._replace(reqids_known=False))

    def write(self, queue: deque[Write], now: int, refused: list[Rejected], *, last: bool) -> None:
        """Write a queue; after the ``last`` one, let follow what has to.

        ``now`` is in seconds since the epoch. Rejected requests are added to ``refused``, in the
        order of the queue. Raises KernelError for what concerns no single request.
        """
        turns: list[tuple[int, Rejected]] = []
        self.resynced = False
        try:
            with self._kernel.lock() as lock:
                session = self._begin(now)
                turns = session.transactions.refused
                if session.marker.flags & UNFINISHED and not self.pending_reconcile:
                    if session.marker.flags & HAS_MODE_ANY:
                        sad.choose_modes(session)
                    knobs.finish(session)
                while queue:
                    session.transactions.turn += 1
                    _write(session, queue.popleft())
                session.send()
                self._follow(session, last=last)
                if lock.holder:
                    self.lock_holder = lock.holder
                    session.priorities.resolve_ties()
                session.write_marker()
                self._memory = session.memory()
        finally:
            turns.sort(key=lambda turn_and_one: turn_and_one[0])
            refused += (one for _, one in turns)

    def assign_reqids(
        self, requests: tuple[IpsecRequest, ...], now: int
    ) -> tuple[IpsecRequest, ...]:
        """Give `unique` requests a number, for policies that are not in the SPD."""
        if all(r.level is not Level.UNIQUE or r.reqid for r in requests):
            return requests
        with self._kernel.lock():
            session = self._begin(now)
            found = session.reqids.assign_reqids(requests)
            session.write_marker()
            self._memory = session.memory()
            return found

    def with_sa_reqids(self, policy: SecurityPolicy, now: int) -> tuple[IpsecRequest, ...]:
        """Return the requests of a policy that is not in the SPD, with the reqids of their SAs."""
        if not has_any_reqid(policy):
            return policy.requests
        return self._begin_afresh(now).with_sa_reqids(policy)

    def reconcile(self, now: int, known: Marker | None) -> tuple[Marker | None, bool]:
        """Bring everything to where the knobs and both databases want it.

        ``known`` is the marker as it was last seen: where it has gone, its knobs are put back.
        Return the marker as it is now, and whether it had to be put back. Raises KernelError.
        """
        with self._kernel.lock():
            session = self._begin_afresh(now)
            lost = session.stored is None and known is not None and known.knobs != Knobs()
            if lost and known is not None:
                flags = session.marker.flags | UNFINISHED
                session.marker = session.marker._replace(knobs=known.knobs, flags=flags)
            if (session.marker.flags | session.assumed) & HAS_MODE_ANY:
                sad.choose_modes(session)
            knobs.finish(session)
            self.forget_routes()
            self._memory = session.memory()
            return session.stored, lost

    def forget_routes(self) -> None:
        """Make connected flows look again: who deletes a policy, or lets one expire, has not."""
        self._kernel.apply([FORGET_ROUTES])

    def _follow(self, session: Session, *, last: bool) -> None:
        """Let what depends on both databases follow their change.

        It costs a look at all of both, so a long run of writes does it once, at its end; until
        then the marker says that something is unfinished.
        """
        if session.knobs_changed:
            knobs.finish(session)
        flags = session.marker.flags | session.assumed
        if last and flags & HAS_ANY_REQID and session.has_reqids():
            flags |= HAS_REQID_SA
        self.pending_reconcile |= session.needs_reconcile(flags) or (
            last and session.is_stale(flags)
        )
        if not self.pending_reconcile:
            return
        if not last:
            unfinished = session.marker.flags | UNFINISHED
            session.marker = session.marker._replace(flags=unfinished)
            return
        if flags & HAS_MODE_ANY:
            sad.choose_modes(session)
        knobs.finish(session)
        self.pending_reconcile = False
        self.resynced = True


def _write(session: Session, request: Write) -> None:
    try:
        match request:
            case SpdAdd():
                spd_add(session, request)
            case SaAdd():
                sad.sa_add(session, request)
            case SpdDelete():
                spd_delete(session, request)
            case SpdDeleteId():
                spd_delete_id(session, request)
            case SpdFlush():
                spd_flush(session, request)
            case SaDelete():
                sad.sa_delete(session, request)
            case SaDeleteAll():
                sad.sa_delete_all(session, request)
            case SaFlush():
                sad.sa_flush(session, request)
            case SetKnob():
                knobs.set_knob(session, request)
            case _:
                assert_never(request)
    except KamexfrmError as error:
        session.transactions.refuse(request, error)
