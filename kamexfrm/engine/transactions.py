"""What is sent to the kernel, and what becomes of it when the kernel refuses a part.

A *job* is the kernel operations of one request. They are sent together with other jobs'; when the
kernel refuses one of them, the job's others are undone: a request happens whole or not at all.
"""

import errno
from collections.abc import Callable, Sequence
from typing import NamedTuple

from kamexfrm.engine.requests import Refused, SpdAdd, Write
from kamexfrm.errors import KamexfrmError, Refusal
from kamexfrm.kernel.interface import Kernel, Request

#: Decides over a job of which something failed: gets the refusals by operation, returns the
#: refusal to report or None when all is well after all.
Settle = Callable[[dict[int, Refusal]], KamexfrmError | None]

#: Makes the operation that takes back what a job's operation did; None where there is none.
Undo = Callable[[], Request] | None


def always(step: Request) -> Undo:
    """Return the undo that is an operation known beforehand."""
    return lambda: step


#: Makes a NamedTuple from its fields in half the time of the class's own constructor.
_make = tuple.__new__


class _Job(NamedTuple):
    turn: int
    request: Write
    start: int
    size: int
    undo: Sequence[Undo]
    settle: Settle | None


class Jobs:
    """Gathers the operations of requests, sends them, and settles what was refused.

    ``turn`` is the number of the request at hand; ``refused`` are the requests that did not
    happen, each with its turn.
    """

    def __init__(self, kernel: Kernel) -> None:
        self.turn = 0
        self.refused: list[tuple[int, Refused]] = []
        self._kernel = kernel
        self._operations: list[Request] = []
        self._jobs: list[_Job] = []

    def __len__(self) -> int:
        return len(self._jobs)

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

    def send(self, head: Sequence[Request], tail: Sequence[Request]) -> bool:
        """Send what has gathered between a head and a tail; return whether all of the head went.

        Each job reaches the kernel in one piece. Refusals are settled.
        """
        jobs, operations = self._jobs, self._operations
        self._jobs, self._operations = [], []
        before = len(head)
        ends = [before + job.start for job in jobs]
        failures = self._kernel.apply([*head, *operations, *tail], ends)
        refusals = {f.position - before: f.refusal for f in failures}
        if any(0 <= index < len(operations) for index in refusals):
            self._settle(jobs, operations, refusals)
        return all(index >= 0 for index in refusals)

    def _settle(
        self, jobs: list[_Job], operations: list[Request], refusals: dict[int, Refusal]
    ) -> None:
        undone = False
        for job in jobs:
            mine = {
                at: refusals[job.start + at] for at in range(job.size) if job.start + at in refusals
            }
            in_the_way = any(refusal.errno == errno.EEXIST for refusal in mine.values())
            if undone and in_the_way and isinstance(job.request, SpdAdd):
                # It may have been what an earlier job had to take back: try again. Not so an SA,
                # which none of them takes back and a later job may have deleted by now.
                self._take_back(job, mine)
                again = self._kernel.apply(operations[job.start : job.start + job.size])
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
            self._kernel.apply(undo[::-1])
        return bool(undo)
