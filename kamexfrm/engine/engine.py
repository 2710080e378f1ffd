"""The one door: requests are queued, written in batches, and answered in the order they came."""

import time
from collections import deque
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from kamexfrm.kernel.interface import Kernel
from kamexfrm.model.association import SadEntry, SaId, SecurityAssociation
from kamexfrm.model.policy import (
    IPSEC_PROTOCOLS,
    Direction,
    IpsecProtocol,
    Mode,
    Selector,
    SpdEntry,
)
from kamexfrm.translate.xfrm.sa_from_kernel import sad_entry_from_kernel

# The writing half, and what only policies need, is loaded when it is used: `setkey -D` has to
# start in tens of milliseconds.
if TYPE_CHECKING:
    from kamexfrm.engine.requests import Rejected, Write
    from kamexfrm.engine.writer import Writer
    from kamexfrm.model.knobs import Knobs
    from kamexfrm.model.policy import IpsecRequest, SecurityContext, SecurityPolicy
    from kamexfrm.translate.xfrm.marker import Marker
    from kamexfrm.xfrm import Policy, State
    from kamexfrm.xfrm import Selector as XfrmSelector

#: Requests written under one hold of the lock.
QUEUE = 1024


def _raise(refused: "Rejected") -> None:
    raise refused.error


class Engine:
    """A namespace's IPsec with KAME's meaning.

    ``on_refusal`` hears of each write that did not happen, in the order of the requests; without
    one, the first refusal is raised. ``clock`` returns seconds since the epoch.
    """

    def __init__(
        self,
        kernel: Kernel,
        on_refusal: Callable[["Rejected"], None] = _raise,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._kernel = kernel
        self.on_refusal = on_refusal
        self._clock = clock
        self._queue: deque[Write] = deque()
        self._writer: Writer | None = None
        #: Whether the last reconcile() had to put the marker back.
        self.restored = False
        self._reporting = False  # whoever hears of a refusal may read, but that writes nothing

    @property
    def port(self) -> int:
        """The netlink port that our changes come from, as events name it."""
        return self._kernel.port

    @property
    def lock_holder(self) -> str:
        """Who kept the namespace's lock past its deadline while we wrote; empty for nobody."""
        return self._writer.lock_holder if self._writer else ""

    def submit(self, request: "Write") -> None:
        """Queue a write; it happens at the next flush() or read, or when the queue is long."""
        queue = self._queue
        queue.append(request)
        if len(queue) >= QUEUE:
            self._write(last=False)

    @property
    def pending_reconcile(self) -> bool:
        """Whether modes of SAs or tunnels have yet to follow what was written."""
        return self._writer is not None and self._writer.pending_reconcile

    @property
    def has_resynced(self) -> bool:
        """Whether the last write took a look at everything, for what follows from it."""
        return self._writer is not None and self._writer.resynced

    def flush(self, *, follow: bool = True) -> None:
        """Write what is queued, and let what depends on it follow, or leave that for the next time.

        What fails goes to ``on_refusal``. Raises KernelError, e.g. EPERM.
        """
        if (self._queue or (follow and self.pending_reconcile)) and not self._reporting:
            self._write(last=follow)

    def reconcile(self, known: "Marker | None") -> "Marker | None":
        """Let everything follow what others did; see Writer.reconcile(). Raises KernelError."""
        self.flush()
        marker, self.restored = self._ready().reconcile(int(self._clock()), known)
        return marker

    def forget_routes(self) -> None:
        """Let connected flows look at policies and SAs again. Raises KernelError."""
        self._ready().forget_routes()

    def assign_reqids(self, requests: tuple["IpsecRequest", ...]) -> tuple["IpsecRequest", ...]:
        """Give `unique` requests without a reqid one each that nothing uses. Raises KernelError."""
        self.flush()
        return self._ready().assign_reqids(requests, int(self._clock()))

    def with_sa_reqids(self, policy: "SecurityPolicy") -> tuple["IpsecRequest", ...]:
        """Return a policy's requests, those without a number with the reqid of their SA.

        That is what the kernel needs of a policy that is not in the SPD. Raises KernelError.
        """
        self.flush()
        return self._ready().with_sa_reqids(policy, int(self._clock()))

    def _ready(self) -> "Writer":
        if self._writer is None:
            from kamexfrm.engine.writer import Writer

            self._writer = Writer(self._kernel)
        return self._writer

    def _write(self, *, last: bool) -> None:
        writer = self._ready()
        refused: list[Rejected] = []
        try:
            writer.write(self._queue, int(self._clock()), refused, last=last)
        finally:
            self._queue.clear()
            self._reporting = True
            try:
                for one in refused:
                    self.on_refusal(one)
            finally:
                self._reporting = False

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
        from kamexfrm.translate.xfrm.sa_to_kernel import sa_to_kernel

        self.flush(follow=False)
        if not low:
            low = high = association.spi
        if not low:
            from kamexfrm.translate.xfrm.sa_defaults import spi_range

            low, high = spi_range(association.protocol, self._stored_knobs())
        mode = Mode.TRANSPORT if association.mode is Mode.ANY else association.mode
        wanted = sa_to_kernel(association, mode)._replace(sequence=sequence)
        made = self._kernel.allocate_spi(wanted, low, high)
        return sad_entry_from_kernel(made, self._clock())

    # Reads

    def knobs(self) -> "Knobs":
        """Return the knobs in force in this namespace."""
        self.flush()
        return self._stored_knobs()._replace(larval_lifetime=self._kernel.larval_lifetime())

    def _stored_knobs(self) -> "Knobs":
        from kamexfrm.engine.lookup import find_marker
        from kamexfrm.model.knobs import Knobs

        marker = find_marker(self._kernel)
        return marker.knobs if marker else Knobs()

    def spd(self) -> Iterator[SpdEntry]:
        """Return the SPD in the kernel's order, per-socket and foreign policies included."""
        from kamexfrm.translate.xfrm.policy_from_kernel import spd_entries_from_kernel

        self.flush()
        return spd_entries_from_kernel(self._kernel.policies(), self._sidecar)

    def iter_spd(self) -> Iterator[SpdEntry]:
        """Return the SPD as it is read on, where spd() has all of it at one moment."""
        from kamexfrm.translate.xfrm.policy_from_kernel import spd_entries_from_kernel

        self.flush()
        return spd_entries_from_kernel(self._kernel.iter_policies(), self._sidecar)

    def _sidecar(self, selector: "XfrmSelector") -> "Policy | None":
        from kamexfrm.engine.lookup import find_sidecar

        return find_sidecar(self._kernel, selector)

    def spd_entry(
        self, selector: Selector, direction: Direction, label: "SecurityContext | None" = None
    ) -> SpdEntry:
        """Return the policy with exactly this selector and label; raises KernelError (ENOENT)."""
        from kamexfrm.translate.xfrm.numbers import direction_to_kernel, label_to_kernel
        from kamexfrm.translate.xfrm.policy_from_kernel import spd_entry_from_kernel
        from kamexfrm.translate.xfrm.policy_to_kernel import selector_to_kernel
        from kamexfrm.xfrm import PolicyId

        self.flush()
        wanted = PolicyId(
            selector_to_kernel(selector),
            index=0,
            direction=direction_to_kernel(direction),
            security_context=label_to_kernel(label),
        )
        return spd_entry_from_kernel(self._kernel.policy(wanted), self._sidecar)

    def spd_entry_by_id(self, id: int) -> SpdEntry:
        """Return the policy with this id; raises KernelError (ENOENT, EINVAL)."""
        from kamexfrm.engine.lookup import spd_policy_by_id
        from kamexfrm.translate.xfrm.policy_from_kernel import spd_entry_from_kernel

        self.flush()
        return spd_entry_from_kernel(spd_policy_by_id(self._kernel, id), self._sidecar)

    def sad(self, protocol: IpsecProtocol | None = None) -> Iterator[SadEntry]:
        """Return the SAs, of one protocol or of all, in the kernel's order."""
        self.flush()
        return self._associations(self._kernel.states(protocol or 0))

    def iter_sad(self, protocol: IpsecProtocol | None = None) -> Iterator[SadEntry]:
        """Return the SAs as they are read on, where sad() has all of them at one moment."""
        self.flush()
        return self._associations(self._kernel.iter_states(protocol or 0))

    def _associations(self, states: "Iterator[State]") -> Iterator[SadEntry]:
        now = self._clock()
        return (sad_entry_from_kernel(s, now) for s in states if s.protocol in IPSEC_PROTOCOLS)

    def sa(self, id: SaId) -> SadEntry:
        """Return one SA; raises KernelError (ESRCH)."""
        from kamexfrm.translate.xfrm.sa_to_kernel import sa_id_to_kernel

        self.flush()
        return sad_entry_from_kernel(self._kernel.state(sa_id_to_kernel(id)), self._clock())
