"""What holds while the engine writes: the lock is had, the marker is read, operations gather."""

from collections.abc import Sequence
from typing import NamedTuple

from kamexfrm.engine.lookup import find_marker, find_policy
from kamexfrm.engine.priority_allocator import PriorityAllocator
from kamexfrm.engine.reqids import Reqids
from kamexfrm.engine.transactions import Transactions
from kamexfrm.kernel.interface import Kernel
from kamexfrm.model.knobs import Knobs
from kamexfrm.model.policy import Direction, IpsecRequest, PolicyType, SecurityPolicy
from kamexfrm.translate.xfrm.fast_path import FastPathTemplate, fast_path_template
from kamexfrm.translate.xfrm.marker import (
    HAS_ANY_REQID,
    HAS_MODE_ANY,
    HAS_REQID_SA,
    HAS_TUNNEL_USE,
    UNFINISHED,
    Marker,
    follows_sas,
    marker_policy,
)
from kamexfrm.translate.xfrm.order import Order, Position
from kamexfrm.translate.xfrm.policy_from_kernel import placed_tag, spd_entry_from_kernel
from kamexfrm.translate.xfrm.rewrite import renumbered
from kamexfrm.translate.xfrm.sa_lookup import SaLookup
from kamexfrm.xfrm import (
    Default,
    Operation,
    Policy,
    PolicyId,
    SecurityContext,
    Selector,
    XfrmMsg,
    brief_state,
    encode_default,
    encode_policy,
)

#: A SETDEFAULT that changes nothing but makes the kernel forget cached routes: without it a
#: connected flow that went out in clear does not notice a new SA.
FORGET_ROUTES = Operation(XfrmMsg.SETDEFAULT, encode_default(Default(0, 0, 0)))


class Memory(NamedTuple):
    """What a session has learnt, for the next one.

    ``order`` and ``reqids`` are good if ``marker`` is still there: then nobody of ours has written
    in between. ``reqids_known`` is whether it was looked for SAs with a reqid that others made.
    """

    marker: Marker | None = None
    order: Order | None = None
    reqids: set[int] | None = None
    reqids_known: bool = False


class Session:
    """One flush of the engine's queue, under the namespace's lock."""

    def __init__(self, kernel: Kernel, now: int, memory: Memory = Memory()) -> None:  # noqa: B008 - an immutable tuple
        self.kernel = kernel
        self.now = now
        self.transactions = Transactions(kernel)
        self.tunnels_changed = False
        self.knobs_changed = False
        self.sad_changed = False
        self.forget_routes = False
        #: Whether somebody wrote that packets without a policy are to pass.
        self.opens = False
        self.stored = find_marker(kernel)
        self.marker = self.stored or Marker()
        self._templates: dict[tuple[int, int, int, int], tuple[object, FastPathTemplate]] = {}
        self._sa_lookup: SaLookup | None = None
        _, order, used, self._reqids_known = memory
        if self.stored != memory.marker:
            order = used = None
        self.priorities = PriorityAllocator(self.marker, order, self._read_order, self._renumber)
        self.reqids = Reqids(self.marker, used, self._read_reqids)
        #: Flags that a lost marker may have had.
        self.assumed = 0
        if self.stored is None:
            if any(kernel.spd_info()[:3]):
                self.priorities.recover()
                self.assumed |= HAS_TUNNEL_USE | HAS_ANY_REQID
            if kernel.sad_info().states:
                self.assumed |= HAS_MODE_ANY

    def memory(self) -> Memory:
        """Return what was learnt."""
        return Memory(self.stored, self.priorities.order, self.reqids.used, self._reqids_known)

    @property
    def knobs(self) -> Knobs:
        """The knobs in force."""
        return self.marker.knobs

    def note(self, flags: int) -> None:
        """Set flags of the marker, which is written with what is sent next."""
        if flags & ~self.marker.flags:
            self.marker = self.marker._replace(flags=self.marker.flags | flags)

    def begin_to_follow(self, flag: int) -> None:
        """Set a flag for an entry that follows the SAs, and was just fitted to them."""
        if not follows_sas(self.marker.flags):
            self.marker = self.marker._replace(sa_digest=self.sa_lookup().digest)
        self.note(flag)

    def needs_reconcile(self, flags: int) -> bool:
        """Whether what was written has consequences that are yet to be seen to."""
        if self.sad_changed and follows_sas(flags):
            return True
        return self.tunnels_changed and flags & HAS_MODE_ANY != 0

    def is_stale(self, flags: int) -> bool:
        """Whether others have changed SAs since entries were last fitted to them."""
        return follows_sas(flags) and self.sa_lookup().digest != self.marker.sa_digest

    def template(
        self,
        type_: PolicyType,
        requests: tuple[IpsecRequest, ...],
        direction: Direction,
        family: int,
    ) -> FastPathTemplate:
        """Return what entries with these requests come to under the knobs in force.

        Entries of a file mostly share their requests, the very objects: looking at who they are
        takes a third of the time of looking at what they say.
        """
        key = (id(requests), type_, direction, family)
        found = self._templates.get(key)
        if found is None:
            template = fast_path_template(type_, requests, direction, family, self.knobs.of(family))
            found = self._templates[key] = (requests, template)
        return found[1]

    def forget_templates(self) -> None:
        """Note that the knobs have changed."""
        self._templates.clear()

    # Sending

    def send(self) -> None:
        """Send what has gathered, the marker first if it changed, and settle refusals."""
        if not self.transactions:
            return
        if self.needs_reconcile(self.marker.flags):
            self.note(UNFINISHED)
        head = self._marker_operations()
        tail = [FORGET_ROUTES] if self.forget_routes else []
        self.forget_routes = False
        if not self.transactions.send(head, tail):
            self.stored = None

    def _marker_operations(self) -> list[Operation]:
        self.marker = marker = self._with_counters()
        if marker == (self.stored or Marker()):
            return []
        self.stored = marker
        return [Operation(XfrmMsg.UPDPOLICY, encode_policy(marker_policy(marker)))]

    def _with_counters(self) -> Marker:
        return self.reqids.note(self.priorities.note(self.marker))

    def write_marker(self) -> None:
        """Send the marker now; raises KernelError."""
        self.send()
        self.must(self._marker_operations())

    def must(self, operations: Sequence[Operation]) -> None:
        """Send operations that belong to no job; raises the first KernelError."""
        failures = self.kernel.apply(operations) if operations else []
        if failures:
            raise failures[0].error

    # What is there

    def find(
        self,
        selector: Selector,
        direction: int,
        if_id: int = 0,
        label: SecurityContext | None = None,
    ) -> Policy | None:
        """Return the kernel's policy with exactly this selector and label, or None."""
        self.send()
        wanted = PolicyId(
            selector, index=0, direction=direction, if_id=if_id, security_context=label
        )
        return find_policy(self.kernel, wanted)

    def policies(self) -> list[Policy]:
        """Return a dump of the SPD, after all that was issued."""
        self.send()
        return list(self.kernel.policies())

    def sa_lookup(self) -> SaLookup:
        """Return what the SAs serve, read once until an SA is written."""
        if self._sa_lookup is None:
            self.send()
            self._sa_lookup = SaLookup(self.kernel.states())
        return self._sa_lookup

    def has_reqids(self) -> bool:
        """Whether some SA has a reqid; those of others are looked for once."""
        if not self.marker.flags & HAS_REQID_SA and not self._reqids_known:
            self._reqids_known = True
            self.send()
            if self.kernel.sad_info().states and any(self._reqids_of_states()):
                self.note(HAS_REQID_SA)
        return self.marker.flags & HAS_REQID_SA != 0

    def _reqids_of_states(self) -> set[int]:
        # Undecoded: of a large SAD nothing else is wanted.
        return {brief_state(payload)[0] for payload in self.kernel.raw_states()}

    def with_sa_reqids(
        self, policy: SecurityPolicy, missing: Sequence[IpsecRequest] = ()
    ) -> tuple[IpsecRequest, ...]:
        """Return an outbound entry's requests with the reqids of the SAs that are to serve them."""
        return (
            self.sa_lookup().with_sa_reqids(policy, missing)
            if self.has_reqids()
            else policy.requests
        )

    def without_sa(self, requests: Sequence[IpsecRequest]) -> tuple[IpsecRequest, ...]:
        """Return those of some tunnel requests that no SA serves now."""
        return self.sa_lookup().without_sa(requests)

    def sad_touched(self) -> None:
        """Note that an SA is written: cached routes and what was known of SAs are stale."""
        self.sad_changed = True
        self.forget_routes = True
        self._sa_lookup = None

    # Numbers: what Placing and Reqids ask for

    def _read_order(self) -> Order:
        self.send()
        positions = set()
        for policy in self.kernel.policies():
            if tag := placed_tag(policy):
                positions.add(Position(tag.priority, tag.order, policy.priority))
        return Order(list(positions))

    def _renumber(self, order: Order) -> None:
        """Give all entries new kernel priorities; at no moment do two change places."""
        steps = order.renumber()
        moves = {
            (position.priority, position.order): (at, number)
            for at, (position, number) in enumerate(steps)
        }
        policies = self.policies()
        self._write_ahead(max((number for _, number in steps), default=0))
        self.must(renumbered(policies, moves, self.now))

    def _write_ahead(self, number: int) -> None:
        """Let the marker count from the highest kernel priority that is about to be given.

        Whoever goes on after a writer that was killed in between then gives none of them again.
        """
        marker = self._with_counters()
        highest = max(number, marker.last_kernel_priority)
        self.stored = marker._replace(last_kernel_priority=highest)
        self.must([Operation(XfrmMsg.UPDPOLICY, encode_policy(marker_policy(self.stored)))])

    def _read_reqids(self) -> set[int]:
        """Return the reqids that SAs and entries use, as written and as installed."""
        self.send()
        used = self._reqids_of_states()
        for policy in self.policies():
            used.update(t.reqid for t in policy.templates)
            used.update(r.reqid for r in spd_entry_from_kernel(policy).policy.requests)
        return used
