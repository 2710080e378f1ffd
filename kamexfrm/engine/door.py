"""The one door: requests are queued, written in batches, and answered in the order they came."""

import errno
import time
from collections import deque
from collections.abc import Callable, Iterator
from typing import assert_never

from kamexfrm.engine import knobs as knob_requests
from kamexfrm.engine import sad, spd
from kamexfrm.engine.requests import (
    Refused,
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
from kamexfrm.engine.session import Session
from kamexfrm.errors import KamexfrmError, Refusal
from kamexfrm.kernel.interface import Kernel
from kamexfrm.model.association import SadEntry, SaId, SecurityAssociation
from kamexfrm.model.knobs import Knobs
from kamexfrm.model.policy import Direction, IpsecProtocol, Mode, Selector, SpdEntry
from kamexfrm.translate.marker import (
    HAS_MODE_ANY,
    HAS_TUNNEL_USE,
    MARKER_ID,
    UNFINISHED,
    Marker,
    read_marker,
)
from kamexfrm.translate.order import Order
from kamexfrm.translate.plan import entries_of
from kamexfrm.translate.policy import selector_to_kernel
from kamexfrm.translate.state import entry_from_kernel, state_to_kernel
from kamexfrm.xfrm import PolicyId

#: Requests written under one hold of the lock.
QUEUE = 1024

#: SPIs that the kernel may choose from (KAME net.key.spi_minval and spi_maxval).
SPI_MIN, SPI_MAX = 0x100, 0x0FFFFFFF

_PROTOCOLS = frozenset((IpsecProtocol.ESP, IpsecProtocol.AH, IpsecProtocol.IPCOMP))


def _raise(refused: Refused) -> None:
    raise refused.error


class Engine:
    """A namespace's IPsec with KAME's meaning.

    ``on_refusal`` hears of each write that did not happen, in the order of the requests; without
    one, the first refusal is raised. ``clock`` returns seconds since the epoch.
    """

    def __init__(
        self,
        kernel: Kernel,
        on_refusal: Callable[[Refused], None] = _raise,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._kernel = kernel
        self.on_refusal = on_refusal
        self._clock = clock
        self._queue: deque[Write] = deque()
        self._order: Order | None = None
        self._marker: Marker | None = None
        self._to_follow = False
        #: Who kept the namespace's lock past its deadline while we wrote, if anybody did.
        self.lock_holder = ""

    def submit(self, request: Write) -> None:
        """Queue a write; it happens at the next flush() or read, or when the queue is long."""
        queue = self._queue
        queue.append(request)
        if len(queue) >= QUEUE:
            self._write_queue(last=False)

    def flush(self) -> None:
        """Write what is queued; what fails goes to ``on_refusal``. Raises Refusal, e.g. EPERM."""
        if self._queue or self._to_follow:
            self._write_queue(last=True)

    def _write_queue(self, *, last: bool) -> None:
        """Write the queue under the lock; after the last one, let follow what has to."""
        refused: list[tuple[int, Refused]] = []
        try:
            with self._kernel.lock() as lock:
                session = Session(self._kernel, int(self._clock()), self._order, self._marker)
                refused = session.refused
                if session.marker.flags & UNFINISHED and not self._to_follow:
                    knob_requests.finish(session, defaults=True)
                while self._queue:
                    session.turn += 1
                    self._write(session, self._queue.popleft())
                session.send()
                self._follow(session, last=last)
                if lock.holder:
                    self.lock_holder = lock.holder
                    session.placing.untangle()
                session.write_marker()
                self._order, self._marker = session.placing.order, session.stored
        finally:
            self._queue.clear()
            for _, one in sorted(refused, key=lambda turn_and_one: turn_and_one[0]):
                self.on_refusal(one)

    def _write(self, session: Session, request: Write) -> None:
        try:
            match request:
                case SpdAdd():
                    spd.spd_add(session, request)
                case SaAdd():
                    sad.sa_add(session, request)
                case SpdDelete():
                    spd.spd_delete(session, request)
                case SpdDeleteId():
                    spd.spd_delete_id(session, request)
                case SpdFlush():
                    spd.spd_flush(session, request)
                case SaDelete():
                    sad.sa_delete(session, request)
                case SaDeleteAll():
                    sad.sa_delete_all(session, request)
                case SaFlush():
                    sad.sa_flush(session, request)
                case SetKnob():
                    knob_requests.set_knob(session, request)
                case _:
                    assert_never(request)
        except KamexfrmError as error:
            session.refuse(request, error)

    def _follow(self, session: Session, *, last: bool) -> None:
        """Let what depends on both databases follow their change.

        It costs a look at all of both, so a long run of writes does it once, at its end; until
        then the marker says that something is unfinished.
        """
        flags = session.marker.flags
        changed = session.sad_changed or session.tunnels_changed
        if flags & (HAS_MODE_ANY | HAS_TUNNEL_USE) and changed:
            self._to_follow = True
        if not self._to_follow:
            return
        if not last:
            session.marker = session.marker._replace(flags=flags | UNFINISHED)
            return
        if flags & HAS_MODE_ANY:
            sad.choose_modes(session)
        knob_requests.finish(session)
        self._to_follow = False

    def get_spi(self, association: SecurityAssociation, low: int = 0, high: int = 0) -> int:
        """Make a larval SA and return its SPI (KAME key_getspi()).

        ``low`` and ``high`` bound the SPI, the association's own by default; 0 there leaves the
        choice to the kernel. Raises Refusal (ENOENT) when no SPI of the range is free.
        """
        self.flush()
        if not low:
            own = association.spi
            low, high = (own, own) if own else (SPI_MIN, SPI_MAX)
        mode = Mode.TRANSPORT if association.mode is Mode.ANY else association.mode
        return self._kernel.allocate_spi(state_to_kernel(association, mode), low, high).spi

    # Reads

    def knobs(self) -> Knobs:
        """Return the knobs in force in this namespace."""
        self.flush()
        try:
            marker = read_marker(self._kernel.policy(MARKER_ID))
        except Refusal as refusal:
            if refusal.errno != errno.ENOENT:
                raise
            marker = None
        return marker.knobs if marker else Knobs()

    def spd(self) -> Iterator[SpdEntry]:
        """Return the SPD in the kernel's order, per-socket and foreign policies included."""
        self.flush()
        return entries_of(list(self._kernel.policies()))

    def spd_entry(self, selector: Selector, direction: Direction) -> SpdEntry:
        """Return the policy with exactly this selector; raises Refusal (ENOENT)."""
        self.flush()
        wanted = PolicyId(selector_to_kernel(selector), index=0, direction=direction - 1)
        policy = self._kernel.policy(wanted)
        return next(e for e in self.spd() if e.id == policy.index)

    def sad(self, protocol: IpsecProtocol | None = None) -> Iterator[SadEntry]:
        """Return the SAs, of one protocol or of all, in the kernel's order."""
        self.flush()
        states = self._kernel.states(protocol or 0)
        return (entry_from_kernel(s) for s in states if s.protocol in _PROTOCOLS)

    def sa(self, id: SaId) -> SadEntry:
        """Return one SA; raises Refusal (ESRCH)."""
        self.flush()
        return entry_from_kernel(self._kernel.state(sad.state_id(id)))
