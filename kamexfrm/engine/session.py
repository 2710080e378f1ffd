"""What holds while the engine writes: the lock is had, the marker is read, operations gather.

A *job* is the kernel operations of one request. They are sent together with other jobs'; when the
kernel refuses one of them, the job's others are undone: a request happens whole or not at all.
"""

import errno
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

from kamexfrm.engine.placing import Placing
from kamexfrm.engine.requests import Refused, SpdAdd, Write
from kamexfrm.errors import KamexfrmError, Refusal
from kamexfrm.kernel.interface import Kernel, Request
from kamexfrm.model.knobs import Knobs
from kamexfrm.model.policy import Direction, IpsecRequest, Level, PolicyType, SecurityPolicy
from kamexfrm.translate.entry import entry_from_kernel, tag_of_placed
from kamexfrm.translate.marker import (
    FIRST_GENERATED_REQID,
    HAS_MODE_ANY,
    HAS_NUMBERED_SA,
    HAS_TUNNEL_USE,
    HAS_UNNUMBERED,
    MARKER_ID,
    UNFINISHED,
    Marker,
    follows_sas,
    marker_policy,
    read_marker,
)
from kamexfrm.translate.order import Order, Position
from kamexfrm.translate.plan import renumbered
from kamexfrm.translate.policy import TRIGGER_REQID
from kamexfrm.translate.serving import Services
from kamexfrm.translate.shape import Shape, shape_of
from kamexfrm.xfrm import (
    Default,
    Policy,
    PolicyId,
    SecurityContext,
    Selector,
    XfrmMsg,
    brief_state,
    encode_default,
    encode_policy,
)

#: Decides over a job of which something failed: gets the refusals by operation, returns the
#: refusal to report or None when all is well after all.
Settle = Callable[[dict[int, Refusal]], KamexfrmError | None]

#: Makes the operation that takes back what a job's operation did; None where there is none.
Undo = Callable[[], Request] | None

#: A SETDEFAULT that changes nothing but makes the kernel forget cached routes: without it a
#: connected flow that went out in clear does not notice a new SA.
FORGET_ROUTES = Request(XfrmMsg.SETDEFAULT, encode_default(Default(0, 0, 0)))


#: Makes a NamedTuple from its fields in half the time of the class's own constructor.
_make = tuple.__new__


class _Job(NamedTuple):
    turn: int
    request: Write
    start: int
    size: int
    undo: Sequence[Undo]
    settle: Settle | None


def _reqid_after(reqid: int) -> int:
    """Return the next reqid that may be generated; after the last one comes the first."""
    return (
        reqid + 1 if FIRST_GENERATED_REQID <= reqid + 1 < TRIGGER_REQID else FIRST_GENERATED_REQID
    )


class Session:
    """One flush of the engine's queue, under the namespace's lock."""

    def __init__(self, kernel: Kernel, now: int, order: Order | None, known: Marker | None) -> None:
        """``order`` is what an earlier session left, good if the marker still is ``known``."""
        self.kernel = kernel
        self.now = now
        self.refused: list[tuple[int, Refused]] = []
        self.turn = 0
        self.tunnels_changed = False
        self.knobs_changed = False
        self._shapes: dict[tuple[int, int, int, int], tuple[object, Shape]] = {}
        #: Whether somebody wrote that packets without a policy are to pass.
        self.opens = False
        self.sad_changed = False
        self.stored = self._read_marker()
        self.marker = self.stored or Marker()
        self._operations: list[Request] = []
        self._jobs: list[_Job] = []
        self._services: Services | None = None
        #: Whether it was looked for SAs with a reqid that others made.
        self.numbers_known = False
        #: Reqids in use, where they had to be looked for.
        self.reqids: set[int] | None = None
        self.forget_routes = False
        kept = order if self.stored == known else None
        self.placing = Placing(self.marker, kept, self._read_order, self._spread)
        #: Flags that a lost marker may have had.
        self.assumed = 0
        if self.stored is None:
            if any(kernel.spd_info()[:3]):
                self.placing.recover()
                self.assumed |= HAS_TUNNEL_USE | HAS_UNNUMBERED
            if kernel.sad_info().states:
                self.assumed |= HAS_MODE_ANY

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
            self.marker = self.marker._replace(services=self.services().digest)
        self.note(flag)

    def is_behind(self, flags: int) -> bool:
        """Whether what was written has consequences that are yet to be seen to."""
        if self.sad_changed and follows_sas(flags):
            return True
        return self.tunnels_changed and flags & HAS_MODE_ANY != 0

    def is_overtaken(self, flags: int) -> bool:
        """Whether others have changed SAs since entries were last fitted to them."""
        return follows_sas(flags) and self.services().digest != self.marker.services

    def _read_marker(self) -> Marker | None:
        try:
            policy = self.kernel.policy(MARKER_ID)
        except Refusal as refusal:
            if refusal.errno == errno.ENOENT:
                return None
            raise
        return read_marker(policy)

    def shape(
        self,
        type_: PolicyType,
        requests: tuple[IpsecRequest, ...],
        direction: Direction,
        family: int,
    ) -> Shape:
        """Return what entries with these requests come to under the knobs in force.

        Entries of a file mostly share their requests, the very objects: looking at who they are
        takes a third of the time of looking at what they say.
        """
        key = (id(requests), type_, direction, family)
        found = self._shapes.get(key)
        if found is None:
            shape = shape_of(type_, requests, direction, family, self.knobs.of(family))
            found = self._shapes[key] = (requests, shape)
        return found[1]

    def forget_shapes(self) -> None:
        """Note that the knobs have changed."""
        self._shapes.clear()

    # Jobs

    def issue(
        self,
        request: Write,
        operations: Sequence[Request],
        undo: Sequence[Undo] = (),
        settle: Settle | None = None,
    ) -> None:
        """Add a request's operations to what is sent next."""
        self._jobs.append(
            _make(_Job, (self.turn, request, len(self._operations), len(operations), undo, settle))
        )
        self._operations += operations

    def refuse(self, request: Write, error: KamexfrmError) -> None:
        """Report a request that is refused without asking the kernel."""
        self.refused.append((self.turn, Refused(request, error)))

    def send(self) -> None:
        """Send what has gathered, the marker first if it changed, and settle refusals."""
        jobs, operations = self._jobs, self._operations
        if not jobs:
            return
        self._jobs, self._operations = [], []
        if self.is_behind(self.marker.flags):
            self.note(UNFINISHED)
        head = self._marker_operations()
        tail = [FORGET_ROUTES] if self.forget_routes else []
        self.forget_routes = False
        ends = [len(head) + job.start for job in jobs]
        failures = self.kernel.apply([*head, *operations, *tail], ends)
        by_index = {f.position - len(head): f.refusal for f in failures}
        if -1 in by_index:
            self.stored = None
        if any(0 <= index < len(operations) for index in by_index):
            self._settle(jobs, operations, by_index)

    def _marker_operations(self) -> list[Request]:
        self.marker = marker = self.placing.note(self.marker)
        if marker == (self.stored or Marker()):
            return []
        self.stored = marker
        return [Request(XfrmMsg.UPDPOLICY, encode_policy(marker_policy(marker)))]

    def write_marker(self) -> None:
        """Send the marker now; raises Refusal."""
        self.send()
        self.must(self._marker_operations())

    def must(self, operations: Sequence[Request]) -> None:
        """Send operations that belong to no job; raises the first Refusal."""
        failures = self.kernel.apply(operations) if operations else []
        if failures:
            raise failures[0].refusal

    def _settle(
        self, jobs: list[_Job], operations: list[Request], failures: dict[int, Refusal]
    ) -> None:
        undone = False
        for job in jobs:
            mine = {
                at: failures[job.start + at] for at in range(job.size) if job.start + at in failures
            }
            in_the_way = any(refusal.errno == errno.EEXIST for refusal in mine.values())
            if undone and in_the_way and isinstance(job.request, SpdAdd):
                # It may have been what an earlier job had to take back: try again. Not so an SA,
                # which none of them takes back and a later job may have deleted by now.
                self._take_back(job, mine)
                again = self.kernel.apply(operations[job.start : job.start + job.size])
                mine = {failure.position: failure.refusal for failure in again}
            if not mine:
                continue
            try:
                error = job.settle(mine) if job.settle else mine[min(mine)]
            except Refusal as refusal:
                error = refusal
            if error is not None:
                undone = self._take_back(job, mine) or undone
                self.refused.append((job.turn, Refused(job.request, error)))

    def _take_back(self, job: _Job, failed: dict[int, Refusal]) -> bool:
        """Undo those of a job's operations that did not fail; return whether there were any."""
        undo = [step() for at, step in enumerate(job.undo) if step and at not in failed]
        if undo:
            self.kernel.apply(undo[::-1])
        return bool(undo)

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
        try:
            return self.kernel.policy(wanted)
        except Refusal as refusal:
            if refusal.errno == errno.ENOENT:
                return None
            raise

    def policies(self) -> list[Policy]:
        """Return a dump of the SPD, after all that was issued."""
        self.send()
        return list(self.kernel.policies())

    def services(self) -> Services:
        """Return what the SAs serve, read once until an SA is written."""
        if self._services is None:
            self.send()
            self._services = Services(self.kernel.states())
        return self._services

    def has_numbers(self) -> bool:
        """Whether some SA has a reqid; those of others are looked for once."""
        if not self.marker.flags & HAS_NUMBERED_SA and not self.numbers_known:
            self.numbers_known = True
            self.send()
            if self.kernel.sad_info().states and any(self._reqids_of_states()):
                self.note(HAS_NUMBERED_SA)
        return self.marker.flags & HAS_NUMBERED_SA != 0

    def _reqids_of_states(self) -> set[int]:
        # Undecoded: of a large SAD nothing else is wanted.
        return {brief_state(payload)[0] for payload in self.kernel.raw_states()}

    def fitted(
        self, policy: SecurityPolicy, missing: Sequence[IpsecRequest] = ()
    ) -> tuple[IpsecRequest, ...]:
        """Return an outbound entry's requests with the reqids of the SAs that are to serve them."""
        return self.services().fitted(policy, missing) if self.has_numbers() else policy.requests

    def unserved(self, requests: Sequence[IpsecRequest]) -> tuple[IpsecRequest, ...]:
        """Return those of some tunnel requests that no SA serves now."""
        return self.services().unserved(requests)

    def sad_touched(self) -> None:
        """Note that an SA is written: cached routes and what was known of SAs are stale."""
        self.sad_changed = True
        self.forget_routes = True
        self._services = None

    # Numbers

    def _read_order(self) -> Order:
        self.send()
        positions = set()
        for policy in self.kernel.policies():
            if tag := tag_of_placed(policy):
                positions.add(Position(tag.priority, tag.order, policy.priority))
        return Order(list(positions))

    def _spread(self, order: Order) -> None:
        """Give all entries new kernel priorities; at no moment do two change places."""
        steps = order.spread()
        moves = {
            (position.priority, position.order): (at, number)
            for at, (position, number) in enumerate(steps)
        }
        policies = self.policies()
        self._write_ahead(max((number for _, number in steps), default=0))
        self.must([Request(*step) for step in renumbered(policies, moves, self.now)])

    def _write_ahead(self, number: int) -> None:
        """Let the marker count from the highest kernel priority that is about to be given.

        Whoever goes on after a writer that was killed in between then gives none of them again.
        """
        marker = self.placing.note(self.marker)
        highest = max(number, marker.last_kernel_priority)
        self.stored = marker._replace(last_kernel_priority=highest)
        self.must([Request(XfrmMsg.UPDPOLICY, encode_policy(marker_policy(self.stored)))])

    def next_reqid(self) -> int:
        """Return a reqid that no SA and no policy uses, from 16384 up."""
        if self.reqids is None:
            self.send()
            used = self._reqids_of_states()
            for policy in self.policies():
                used.update(t.reqid for t in policy.templates)
                used.update(r.reqid for r in entry_from_kernel(policy).policy.requests)
            self.reqids = used
        number = _reqid_after(self.marker.reqid)
        while number in self.reqids:
            number = _reqid_after(number)
        self.marker = self.marker._replace(reqid=number)
        return number

    def claim(self, reqids: Iterable[int]) -> None:
        """Note that somebody wrote these reqids: they are not to be generated."""
        if self.reqids is not None:
            self.reqids.update(reqids)

    def numbered(self, requests: tuple[IpsecRequest, ...]) -> tuple[IpsecRequest, ...]:
        """Give `unique` requests without a number one each."""
        self.claim(r.reqid for r in requests)
        if not any(r.level is Level.UNIQUE and not r.reqid for r in requests):
            return requests
        return tuple(
            r._replace(reqid=self.next_reqid()) if r.level is Level.UNIQUE and not r.reqid else r
            for r in requests
        )
