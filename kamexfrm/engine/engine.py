"""The engine: requests are queued, written in batches, and answered in the order they came."""

from __future__ import annotations

import time
from collections import deque

# The writing half, and what only policies or SAs need, is loaded when it is used: `setkey -D` and
# `kame-sysctl` have to start in tens of milliseconds.
TYPE_CHECKING = False  # typing takes long to load
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from kamexfrm.engine.apply import Applied, Hooks
    from kamexfrm.engine.difference import Difference
    from kamexfrm.engine.load import LoadPlan
    from kamexfrm.engine.requests import Write, WriteRun, Written
    from kamexfrm.engine.wanted import Wanted
    from kamexfrm.engine.writer import Reconciled, Writer
    from kamexfrm.kernel.interface import Kernel
    from kamexfrm.model.association import SadEntry, SaId, SecurityAssociation
    from kamexfrm.model.knobs import Knobs
    from kamexfrm.model.policy import (
        Direction,
        IpsecProtocol,
        IpsecRequest,
        SecurityContext,
        SecurityPolicy,
        Selector,
        SpdEntry,
    )
    from kamexfrm.translate.xfrm.interface_policies import InterfaceTunnel
    from kamexfrm.translate.xfrm.marker import Marker
    from kamexfrm.xfrm import Policy, Run, State
    from kamexfrm.xfrm import Selector as XfrmSelector

#: Requests written under one hold of the lock.
QUEUE_LENGTH = 1024


class Engine:
    """A namespace's IPsec with KAME's meaning.

    Writes are queued, carried out in order and in batches, and answered in that order. submit() and
    flush() raise the error of the first write that was rejected; try_submit() and try_flush()
    return all that were. Reads write what is queued first. ``clock`` returns seconds since the
    epoch.
    """

    def __init__(self, kernel: Kernel, clock: Callable[[], float] = time.time) -> None:
        self._kernel = kernel
        self._clock = clock
        self._queue: deque[Write | WriteRun] = deque()
        #: The writes of runs in the queue, beyond one each.
        self._in_runs = 0
        self._writer: Writer | None = None

    @property
    def port(self) -> int:
        """The netlink port that our changes come from, as events name it."""
        return self._kernel.port

    @property
    def pending_reconcile(self) -> bool:
        """Whether SAs of mode any or tunnel entries are still to be reconciled with what we wrote.

        The next flush() does that.
        """
        return self._writer is not None and self._writer.pending_reconcile

    # Writes

    def submit(self, request: Write) -> None:
        """Queue a write; it is carried out at the next flush() or read, or when the queue is long.

        Raises KamexfrmError where the queue was written and a request rejected.
        """
        if written := self.try_submit(request):
            written.raise_first()

    def flush(self, *, reconcile: bool = True) -> Written:
        """Write what is queued; then ``reconcile`` what depends on it, or leave that for later.

        Raises KamexfrmError where a request was rejected, KernelError for what concerns no single
        request, e.g. EPERM.
        """
        written = self.try_flush(reconcile=reconcile)
        written.raise_first()
        return written

    def try_submit(self, request: Write | WriteRun) -> Written | None:
        """Queue a write; where the queue was long enough to be written, return what came of it.

        Raises KernelError for what concerns no single request.
        """
        queue = self._queue
        queue.append(request)
        if len(queue) + self._in_runs < QUEUE_LENGTH:
            return None
        return self._write(reconcile=False)

    def try_submit_run(self, run: WriteRun) -> Written | None:
        """Queue many writes at once, as try_submit() does one."""
        self._in_runs += run.run.total - 1
        return self.try_submit(run)

    def try_flush(self, *, reconcile: bool = True) -> Written:
        """Write what is queued as flush() does, but return the rejected requests.

        Raises KernelError for what concerns no single request.
        """
        from kamexfrm.engine.requests import Written

        return self._write(reconcile=reconcile) if self._is_due(reconcile) else Written()

    def begin_load(self, plan: LoadPlan) -> None:
        """Begin a load: until its end, what is deleted and comes again is replaced in place.

        Nothing may be queued before it. Raises KernelError.
        """
        self._get_writer().begin_load(plan)

    def end_load(self) -> Written:
        """Write what is queued, then delete what has not come again; see try_flush()."""
        writer = self._get_writer()
        try:
            return writer.write(self._queue, reconcile=True, ends_load=True)
        finally:
            self._clear_queue()
            writer.end_load()

    def difference(self, wanted: Wanted, *, prune: bool = True) -> Difference:
        """Return what apply() would do now; raises KamexfrmError."""
        from kamexfrm.engine.difference import difference

        self._write_queued()
        return difference(self._kernel, wanted, int(self._clock()), prune=prune)

    def apply(self, wanted: Wanted, hooks: Hooks, *, prune: bool = True) -> Applied:
        """Bring the namespace to what is wanted, or leave it as it is.

        Without ``prune``, entries of ours that are not wanted stay. Foreign ones always do. Raises
        KamexfrmError: EBUSY where another process has the namespace's lock.
        """
        from kamexfrm.engine.apply import apply

        self._write_queued()
        writer = self._get_writer()
        return apply(writer, self._kernel, wanted, hooks, prune=prune)

    def _is_due(self, reconcile: bool) -> bool:
        return bool(self._queue) or (reconcile and self.pending_reconcile)

    def _write(self, *, reconcile: bool) -> Written:
        writer = self._get_writer()
        try:
            return writer.write(self._queue, reconcile=reconcile)
        finally:
            self._clear_queue()

    def _clear_queue(self) -> None:
        self._queue.clear()
        self._in_runs = 0

    def _write_queued(self) -> None:
        """Write what is queued before a read; raises KamexfrmError."""
        if self._is_due(reconcile=True):
            self.flush()

    def _get_writer(self) -> Writer:
        if self._writer is None:
            from kamexfrm.engine.writer import Writer

            self._writer = Writer(self._kernel, self._clock)
        return self._writer

    def reconcile(self, known: Marker | None) -> Reconciled:
        """Bring all to what others' changes require; see Writer.reconcile(). Raises KernelError."""
        self._write_queued()
        return self._get_writer().reconcile(known)

    def invalidate_routes(self) -> None:
        """Make connected flows look policies and SAs up again. Raises KernelError."""
        self._get_writer().invalidate_routes()

    def assign_reqids(self, requests: tuple[IpsecRequest, ...]) -> tuple[IpsecRequest, ...]:
        """Give each `unique` request without a reqid one that is not in use. Raises KernelError."""
        self._write_queued()
        return self._get_writer().assign_reqids(requests)

    def with_sa_reqids(self, policy: SecurityPolicy) -> tuple[IpsecRequest, ...]:
        """Return a policy's requests, those without a reqid with that of their SA.

        That is what the kernel needs of a policy that is not in the SPD. Raises KernelError.
        """
        self._write_queued()
        return self._get_writer().with_sa_reqids(policy)

    def get_spi(self, association: SecurityAssociation, low: int = 0, high: int = 0) -> int:
        """Make a larval SA and return its SPI; see larval()."""
        return self.larval(association, low, high).association.spi

    def larval(
        self, association: SecurityAssociation, low: int = 0, high: int = 0, sequence: int = 0
    ) -> SadEntry:
        """Make a larval SA with an SPI and return it (KAME key_getspi()).

        ``low`` and ``high`` bound the SPI, the association's own by default; 0 there leaves the
        choice to the kernel, between net.key.spi_minval and spi_maxval. ``sequence`` is that of the
        ACQUIRE that this answers: the larval SA that it left gets the SPI. Raises KernelError:
        ENOENT when no SPI of the range is free.
        """
        from kamexfrm.model.policy import Mode
        from kamexfrm.translate.xfrm.sa_from_kernel import sad_entry_from_kernel
        from kamexfrm.translate.xfrm.sa_to_kernel import sa_to_kernel

        if self._queue:
            self.flush(reconcile=False)
        if not low:
            low = high = association.spi
        if not low:
            from kamexfrm.translate.xfrm.sa_defaults import spi_range

            low, high = spi_range(association.protocol, self._stored_knobs())
        mode = Mode.TRANSPORT if association.mode is Mode.ANY else association.mode
        wanted = sa_to_kernel(association, mode)._replace(sequence=sequence)
        if association.reqid and association.mode is not Mode.TRANSPORT:
            wanted = wanted._replace(if_id=self._interface_of(association.reqid))
        made = self._kernel.allocate_spi(wanted, low, high)
        return sad_entry_from_kernel(made, self._clock())

    def _interface_of(self, reqid: int) -> int:
        """Return the number of the interface that gets an SA of a reqid, 0 for none."""
        from kamexfrm.engine.lookup import find_marker, has_interface
        from kamexfrm.translate.xfrm.marker import MarkerFlag

        marker = find_marker(self._kernel)
        if marker is None or MarkerFlag.HAS_INTERFACE not in marker.flags:
            return 0
        return reqid if has_interface(self._kernel, reqid) else 0

    # Reads

    def interfaces(self) -> dict[int, InterfaceTunnel]:
        """Return the tunnels of XFRM interfaces by their numbers; raises KernelError."""
        from kamexfrm.translate.xfrm.interface_policies import tunnels_of

        self._write_queued()
        return tunnels_of(self._kernel.policies(stream=True))

    def knobs(self) -> Knobs:
        """Return the knobs in force in this namespace."""
        self._write_queued()
        return self._stored_knobs()._replace(larval_lifetime=self._kernel.larval_lifetime())

    def _stored_knobs(self) -> Knobs:
        from kamexfrm.engine.lookup import find_marker
        from kamexfrm.model.knobs import Knobs

        marker = find_marker(self._kernel)
        return marker.knobs if marker else Knobs()

    def spd(self) -> Iterator[SpdEntry]:
        """Return the SPD in the kernel's order, per-socket and foreign policies included."""
        from kamexfrm.translate.xfrm.policy_from_kernel import spd_entries_from_kernel

        self._write_queued()
        return spd_entries_from_kernel(self._kernel.policies(), self.sidecar)

    def spd_runs(self) -> Sequence[Run]:
        """Return what spd() decodes, as the kernel's messages."""
        self._write_queued()
        return self._kernel.policy_runs()

    def iter_spd(self) -> Iterator[SpdEntry]:
        """Return the SPD as it is read bit by bit, where spd() has all of it at one moment."""
        from kamexfrm.translate.xfrm.policy_from_kernel import spd_entries_from_kernel

        self._write_queued()
        return spd_entries_from_kernel(self._kernel.policies(stream=True), self.sidecar)

    def sidecar(self, selector: XfrmSelector) -> Policy | None:
        """Return the sidecar with a selector, None where there is none. Raises KernelError."""
        from kamexfrm.engine.lookup import find_sidecar

        return find_sidecar(self._kernel, selector)

    def spd_entry(
        self, selector: Selector, direction: Direction, label: SecurityContext | None = None
    ) -> SpdEntry:
        """Return the policy with exactly this selector and label; raises KernelError (ENOENT)."""
        from kamexfrm.translate.xfrm.policy_from_kernel import spd_entry_from_kernel
        from kamexfrm.translate.xfrm.policy_name import policy_id

        self._write_queued()
        wanted = policy_id(selector, direction, label)
        return spd_entry_from_kernel(self._kernel.policy(wanted), self.sidecar)

    def spd_entry_by_id(self, id: int) -> SpdEntry:
        """Return the policy with this id; raises KernelError (ENOENT, EINVAL)."""
        from kamexfrm.engine.lookup import spd_policy_by_id
        from kamexfrm.translate.xfrm.policy_from_kernel import spd_entry_from_kernel

        self._write_queued()
        return spd_entry_from_kernel(spd_policy_by_id(self._kernel, id), self.sidecar)

    def sad(self, protocol: IpsecProtocol | None = None) -> Iterator[SadEntry]:
        """Return the SAs, of one protocol or of all, in the kernel's order."""
        self._write_queued()
        return self._associations(self._kernel.states(protocol or 0))

    def iter_sad(self, protocol: IpsecProtocol | None = None) -> Iterator[SadEntry]:
        """Return the SAs as they are read bit by bit, where sad() has all at one moment."""
        self._write_queued()
        return self._associations(self._kernel.states(protocol or 0, stream=True))

    def _associations(self, states: Iterator[State]) -> Iterator[SadEntry]:
        from kamexfrm.model.policy import IPSEC_PROTOCOLS
        from kamexfrm.translate.xfrm.sa_from_kernel import sad_entry_from_kernel

        now = self._clock()
        return (sad_entry_from_kernel(s, now) for s in states if s.protocol in IPSEC_PROTOCOLS)

    def sa(self, id: SaId) -> SadEntry:
        """Return one SA; raises KernelError (ESRCH)."""
        from kamexfrm.translate.xfrm.sa_from_kernel import sad_entry_from_kernel
        from kamexfrm.translate.xfrm.sa_to_kernel import sa_id_to_kernel

        self._write_queued()
        return sad_entry_from_kernel(self._kernel.state(sa_id_to_kernel(id)), self._clock())
