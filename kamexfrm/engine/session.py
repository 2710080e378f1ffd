"""One run of writes: the lock is held, the marker is read, and operations are gathered."""

from __future__ import annotations

from kamexfrm.engine.lookup import default_blocks, find_marker, find_policy, has_interface
from kamexfrm.engine.priority_allocator import PriorityAllocator
from kamexfrm.engine.reqids import Reqids
from kamexfrm.engine.transactions import Transactions
from kamexfrm.model.knobs import FamilyKnobs, Knobs
from kamexfrm.model.policy import Direction, IpsecRequest, PolicyType, SecurityPolicy
from kamexfrm.records import NamedTuple
from kamexfrm.translate.xfrm.fast_path import FastPathTemplate, fast_path_template
from kamexfrm.translate.xfrm.marker import (
    NO_FLAGS,
    Marker,
    MarkerFlag,
    changed_marker,
    depends_on_sas,
    marker_policy,
)
from kamexfrm.translate.xfrm.order import Order, Position
from kamexfrm.xfrm import (
    Operation,
    PackedOperations,
    Policy,
    PolicyId,
    XfrmMsg,
    encode_policy,
)

TYPE_CHECKING = False  # what few writes need is loaded where it is used
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from kamexfrm.engine.load import Load
    from kamexfrm.kernel.interface import Failure, Kernel, Lock
    from kamexfrm.translate.xfrm.brief_state import BriefState, SaName
    from kamexfrm.translate.xfrm.oldest_sa import OldestSas
    from kamexfrm.translate.xfrm.sa_lookup import SaLookup, Unserved


def _unwritten_marker(kernel: Kernel) -> Marker:
    """Return what holds in a namespace without a marker.

    Where its own default blocks, another program has flushed while def_policy was 0 in both
    families: so it still is, and writing one of them must not open the other. The marker that is
    written next says so, and the catch-alls are restored.
    """
    if not default_blocks(kernel):
        return Marker()
    discards = FamilyKnobs(def_policy=0)
    flags = MarkerFlag.OWN_DEFAULT | MarkerFlag.UNFINISHED
    return Marker(Knobs(discards, discards), flags=flags)


class SessionCache(NamedTuple):
    """What a session has read that saves the next one a dump.

    ``order`` and ``reqids`` are valid while the kernel's marker is still ``marker``: then no writer
    of ours was at work in between. ``reqids_known`` is whether SAs with a reqid that others made
    were looked for. ``renewal`` is how this kernel drops cached routes.
    """

    marker: Marker | None = None
    order: Order | None = None
    reqids: set[int] | None = None
    reqids_known: bool = False
    renewal: tuple[Operation, ...] | None = None


class Session:
    """One write of the engine's queue, under the namespace's lock."""

    def __init__(
        self,
        kernel: Kernel,
        clock: Callable[[], float],
        cache: SessionCache = SessionCache(),  # noqa: B008 - an immutable tuple
        load: Load | None = None,
        lock: Lock | None = None,
    ) -> None:
        self.kernel = kernel
        self.lock = lock
        #: The load that this write is a part of.
        self.load = load
        self._clock = clock
        #: When the session was opened, in seconds since the epoch: its entries are made then.
        self.now = int(clock())
        self.transactions = Transactions(kernel)
        self.tunnels_changed = False
        self.knobs_changed = False
        self.sad_changed = False
        self.invalidates_routes = False
        #: Whether def_policy was written to let packets pass that match no policy.
        self.default_accepts = False
        self.stored = find_marker(kernel)
        self.marker = self.stored or _unwritten_marker(kernel)
        self._templates: dict[tuple[int, int, int, int], tuple[object, FastPathTemplate]] = {}
        self._sa_lookup: SaLookup | None = None
        self._oldest_sas: OldestSas | None = None
        self._interfaces: dict[int, int] = {0: 0}
        #: What policies for many pairs of hosts leave without an SA.
        self.unserved: dict[tuple[int, tuple[object, ...]], Unserved] = {}
        self._has_reqids: bool | None = None  # not known yet
        _, order, used, self._reqids_known, self._renewal = cache
        if self.stored != cache.marker:
            order = used = None
        self.priorities = PriorityAllocator(self.marker, order, self._read_order, self._renumber)
        self.reqids = Reqids(self.marker, used, self._read_reqids)
        #: Flags that a lost marker may have had.
        self.assumed_flags = NO_FLAGS
        if self.stored is None:
            spd = kernel.spd_info()
            if spd.in_count or spd.out_count or spd.fwd_count:
                self.priorities.recover()
                self.assumed_flags |= MarkerFlag.HAS_TUNNEL_USE | MarkerFlag.HAS_ANY_REQID
                self.assumed_flags |= MarkerFlag.HAS_INTERFACE
            if kernel.sad_info().states:
                self.assumed_flags |= MarkerFlag.HAS_MODE_ANY

    def cache(self) -> SessionCache:
        """Return what the next session can use."""
        order, used = self.priorities.order, self.reqids.used
        return SessionCache(self.stored, order, used, self._reqids_known, self._renewal)

    @property
    def knobs(self) -> Knobs:
        """The knobs in force."""
        return self.marker.knobs

    def set_knobs(self, knobs: Knobs) -> None:
        """Change the knobs in the marker, which is written with what is sent next."""
        self.reset(self.marker._replace(knobs=knobs))

    def set_flags(self, flags: MarkerFlag) -> None:
        """Set flags of the marker."""
        if flags not in self.marker.flags:
            self.marker = self.marker._replace(flags=self.marker.flags | flags)
            self._has_reqids = None

    def clear_flags(self, flags: MarkerFlag) -> None:
        """Clear flags of the marker."""
        self.reset(self.marker._replace(flags=self.marker.flags & ~flags))

    def reset(self, marker: Marker) -> None:
        """Take a marker that may have fewer flags or other knobs than before."""
        self.marker = marker
        self._has_reqids = None
        self._templates.clear()  # each has set its flag once, when it was made

    def set_sa_dependent(self, flag: MarkerFlag) -> None:
        """Set a flag for an entry that depends on the SAs, and was written for those of now."""
        if not depends_on_sas(self.marker.flags):
            self.marker = self.marker._replace(sa_digest=self._digest())
        self.set_flags(flag)

    def set_sa_digest(self) -> None:
        """Write down the SAs that all entries were just reconciled with, if any depends on SAs."""
        digest = self._digest() if depends_on_sas(self.marker.flags) else 0
        self.marker = self.marker._replace(sa_digest=digest)

    def needs_reconcile(self, flags: MarkerFlag) -> bool:
        """Whether something depends on what was written and is not reconciled with it yet."""
        if self.sad_changed and depends_on_sas(flags):
            return True
        return self.tunnels_changed and MarkerFlag.HAS_MODE_ANY in flags

    def is_stale(self, flags: MarkerFlag) -> bool:
        """Whether others have changed SAs since entries were last reconciled with them."""
        return depends_on_sas(flags) and self._digest() != self.marker.sa_digest

    def _digest(self) -> int:
        """Return a checksum of what entries depend on in the SAD."""
        digest = self.sa_lookup().digest
        return digest ^ self.oldest_sas().digest if self.knobs.preferred_oldsa else digest

    def template(
        self,
        type_: PolicyType,
        requests: tuple[IpsecRequest, ...],
        direction: Direction,
        family: int,
    ) -> FastPathTemplate:
        """Return what entries with these requests become under the knobs in force.

        Sets the marker's flag where they take SAs of any reqid.
        Entries of a file mostly share their request objects: a lookup by identity takes a third of
        the time of one by value.
        """
        key = (id(requests), type_, direction, family)
        found = self._templates.get(key)
        if found is None:
            template = fast_path_template(type_, requests, direction, family, self.knobs.of(family))
            if template.any_reqid:
                self.set_flags(MarkerFlag.HAS_ANY_REQID)
            found = self._templates[key] = (requests, template)
        return found[1]

    # Sending

    def send(self) -> None:
        """Send the gathered operations, the marker first if it changed, and handle failures."""
        if not self.transactions:
            return
        head = self._head()
        tail = self.renewal() if self.invalidates_routes else ()
        self.invalidates_routes = False
        if not self.transactions.send(head, tail):
            self.stored = None

    def renewal(self) -> tuple[Operation, ...]:
        """Return the operations that make the kernel drop cached routes."""
        if self._renewal is None:
            from kamexfrm.engine import routes

            self._renewal = routes.renewal(self.kernel)
        return self._renewal

    def send_packed(self, operations: PackedOperations, ends: Sequence[int]) -> list[Failure]:
        """Send requests that are messages already, after what was gathered; return the failures.

        ``ends`` are where a request ends: see Kernel.apply(). Raises KernelError.
        """
        self.send()
        head = self._head()
        if head and self.kernel.apply(head):
            self.stored = None
        failures = self.kernel.apply(operations, ends)
        if self.invalidates_routes:
            self.invalidates_routes = False
            self.kernel.apply(self.renewal())
        return failures

    def _head(self) -> list[Operation]:
        """Return what is sent before requests: the marker, if they change it."""
        if self.needs_reconcile(self.marker.flags):
            self.set_flags(MarkerFlag.UNFINISHED)
        return self._marker_operations()

    def _marker_operations(self) -> list[Operation]:
        marker = self._with_counters()
        base = self.stored or Marker()
        if marker == base:
            self.marker = marker
            return []
        # Another process may have written it since: the difference is carried over.
        there = find_marker(self.kernel)
        self.marker = marker = changed_marker(base, marker, there or Marker())
        self.stored = marker
        if marker == there:
            return []
        return [Operation(XfrmMsg.UPDPOLICY, encode_policy(marker_policy(marker)))]

    def _with_counters(self) -> Marker:
        return self.reqids.with_last(self.priorities.with_counters(self.marker))

    def read_marker_again(self) -> bool:
        """Take over what another process wrote into the marker; return whether knobs changed."""
        before = self.knobs
        base = self.stored or Marker()
        there = find_marker(self.kernel)
        self.marker = changed_marker(base, self._with_counters(), there or Marker())
        self.stored = there
        return self.knobs != before

    def write_marker(self) -> None:
        """Send the marker now; raises KernelError."""
        self.send()
        self.apply(self._marker_operations())

    def apply(self, operations: Sequence[Operation]) -> None:
        """Send operations of no transaction now; raises the first KernelError."""
        failures = self.kernel.apply(operations) if operations else []
        if failures:
            raise failures[0].error

    # Reads

    def find_policy(
        self,
        name: PolicyId,
    ) -> Policy | None:
        """Return the kernel's policy of exactly this name, or None."""
        self.send()
        return find_policy(self.kernel, name)

    def policies(self) -> list[Policy]:
        """Return a dump of the SPD, after sending what was gathered."""
        self.send()
        return list(self.kernel.policies())

    def raw_policies(self) -> Sequence[bytes]:
        """Return a dump of the SPD undecoded, after sending what was gathered."""
        self.send()
        return self.kernel.raw_policies()

    def sa_lookup(self) -> SaLookup:
        """Return which SA serves which request, read once until an SA is written."""
        if self._sa_lookup is None:
            from kamexfrm.translate.xfrm.sa_lookup import SaLookup

            self._sa_lookup = SaLookup(self._states())
        return self._sa_lookup

    def oldest_sas(self) -> OldestSas:
        """Return the oldest SA of each kind, read once until an SA is written."""
        if self._oldest_sas is None:
            from kamexfrm.translate.xfrm.oldest_sa import OldestSas

            self._oldest_sas = OldestSas(self._states())
        return self._oldest_sas

    def leave_out(self, is_doomed: Callable[[SaName], bool]) -> None:
        """Count some SAs as deleted already where the oldest is wanted, until that is done."""
        from kamexfrm.translate.xfrm.oldest_sa import OldestSas

        self._oldest_sas = OldestSas(s for s in self._states() if not is_doomed(s.name))

    def _states(self) -> Iterator[BriefState]:
        from kamexfrm.translate.xfrm.brief_state import brief_states

        self.send()
        return (state for state, _ in brief_states(self.kernel.state_runs()))

    def has_reqids(self) -> bool:
        """Whether some SA has a reqid; those that others made are looked for once."""
        if self._has_reqids is None:
            if not self._reqids_known and MarkerFlag.HAS_REQID_SA not in self.marker.flags:
                self._reqids_known = True
                self.send()
                if self.kernel.sad_info().states and any(self._reqids_of_states()):
                    self.set_flags(MarkerFlag.HAS_REQID_SA)
            self._has_reqids = MarkerFlag.HAS_REQID_SA in self.marker.flags
        return self._has_reqids

    def _reqids_of_states(self) -> set[int]:
        from kamexfrm.xfrm import brief_state

        # Undecoded, as a SAD may be large and nothing else of it is needed.
        return {brief_state(payload)[0] for payload in self.kernel.raw_states()}

    def with_sa_reqids(
        self, policy: SecurityPolicy, without_sa: Sequence[IpsecRequest] = ()
    ) -> tuple[IpsecRequest, ...]:
        """Return an outbound entry's requests with the reqids of their SAs."""
        if not self.has_reqids():
            return policy.requests
        lookup = self.sa_lookup()
        found = lookup.with_sa_reqids(policy, without_sa)
        if lookup.unserved:
            self.unserved.update(lookup.unserved)
        return found

    def spis(
        self,
        policy: SecurityPolicy,
        requests: Sequence[IpsecRequest],
        without_sa: Sequence[IpsecRequest] = (),
    ) -> tuple[int, ...]:
        """Return the SPIs that the templates of an entry name, none where no oldest SA is wanted.

        ``requests`` are the entry's with the reqids of their SAs.
        """
        if not self.names_spis(policy):
            return ()
        return self.oldest_sas().spis(policy, requests, without_sa)

    def names_spis(self, policy: SecurityPolicy) -> bool:
        """Whether the templates of an entry name SPIs, under the knobs in force."""
        if not self.knobs.preferred_oldsa:
            return False
        from kamexfrm.translate.xfrm.oldest_sa import may_name_spi

        return may_name_spi(policy)

    def without_sa(self, requests: Sequence[IpsecRequest]) -> tuple[IpsecRequest, ...]:
        """Return those of some tunnel requests that have no SA now."""
        return self.sa_lookup().without_sa(requests)

    def interface_of(self, reqid: int) -> int:
        """Return the number of the XFRM interface that SAs of a reqid belong to, 0 for none."""
        if MarkerFlag.HAS_INTERFACE not in self.marker.flags | self.assumed_flags:
            return 0
        found = self._interfaces.get(reqid)
        if found is None:
            found = self._interfaces[reqid] = reqid if has_interface(self.kernel, reqid) else 0
        return found

    def mark_sad_changed(self) -> None:
        """Drop what is stale once an SA is written: cached routes and the SA lookup."""
        self.sad_changed = True
        self.invalidates_routes = True
        self._sa_lookup = self._oldest_sas = None

    # What the priority allocator and the reqids read and write

    def _read_order(self) -> Order:
        from kamexfrm.translate.xfrm.policy_from_kernel import placed_tag

        self.send()
        positions = set()
        for policy in self.kernel.policies():
            if tag := placed_tag(policy):
                positions.add(Position(tag.priority, tag.order, policy.priority))
        return Order(list(positions))

    def _renumber(self, order: Order) -> None:
        """Give all entries new kernel priorities; the order stays the same at every moment."""
        from kamexfrm.translate.xfrm.rewrite import renumbered

        steps = order.renumber()
        moves = {position: (at, number) for at, (position, number) in enumerate(steps)}
        policies = self.policies()
        self._write_ahead(max((number for _, number in steps), default=0))
        self.apply(renumbered(policies, moves, self.time()))

    def time(self) -> int:
        """Return the seconds since the epoch, for what is left of a lifetime that is written now.

        A session may have read large databases since it was opened.
        """
        return int(self._clock())

    def make_room(self, operations: Iterable[Operation]) -> None:
        """Give old entries other kernel priorities; raises the first KernelError."""
        self.send()
        self.apply(list(operations))

    def _write_ahead(self, number: int) -> None:
        """Write the highest kernel priority that is about to be given into the marker.

        The next writer after one that was killed in between then gives none of them again.
        """
        marker = self._with_counters()
        highest = max(number, marker.last_kernel_priority)
        self.stored = marker._replace(last_kernel_priority=highest)
        self.apply([Operation(XfrmMsg.UPDPOLICY, encode_policy(marker_policy(self.stored)))])

    def _read_reqids(self) -> set[int]:
        """Return the reqids that SAs and entries use, as written and as installed."""
        from kamexfrm.translate.xfrm.policy_from_kernel import spd_entry_from_kernel

        self.send()
        used = self._reqids_of_states()
        for policy in self.policies():
            used.update(t.reqid for t in policy.templates)
            used.update(r.reqid for r in spd_entry_from_kernel(policy).policy.requests)
        return used
