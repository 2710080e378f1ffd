"""What is sent to the kernel, and what is done when the kernel refuses a part of it.

A *transaction* is the kernel operations of one request. They are sent together with those of
others; when the kernel refuses one, the rest of its transaction is rolled back: a request is
carried out whole or not at all.
"""

import errno
from bisect import bisect_right
from collections.abc import Callable, Sequence
from itertools import groupby

from kamexfrm.engine.requests import Rejected, SpdAdd, Write
from kamexfrm.errors import KamexfrmError, KernelError
from kamexfrm.kernel.interface import Failure, Kernel
from kamexfrm.records import NamedTuple
from kamexfrm.xfrm import Operation, PackedOperations

#: Handles the failed operations of a transaction, given with their errors: returns the error to
#: report, or None where the request is carried out all the same.
OnFailure = Callable[[dict[int, KernelError]], KamexfrmError | None]

#: Makes the operation that undoes what an operation of a transaction did; None where there is none.
Undo = Callable[[], Operation] | None


def always(step: Operation) -> Undo:
    """Return the undo that is an operation known beforehand."""
    return lambda: step


#: Makes a NamedTuple from its fields in half the time of the class's own constructor.
_make = tuple.__new__


class _Transaction(NamedTuple):
    number: int
    request: Write
    start: int
    size: int
    undo: Sequence[Undo]
    on_failure: OnFailure | None


class Transactions:
    """Gathers the operations of requests, sends them, and handles what was refused.

    ``number`` counts requests: it is that of the current one.
    """

    def __init__(self, kernel: Kernel) -> None:
        self.number = 0
        self._rejected: list[tuple[int, Rejected]] = []
        self._kernel = kernel
        self._operations: list[Operation] = []
        self._transactions: list[_Transaction] = []

    def __len__(self) -> int:
        return len(self._transactions)

    def add(
        self,
        request: Write,
        operations: Sequence[Operation],
        undo: Sequence[Undo] = (),
        on_failure: OnFailure | None = None,
    ) -> None:
        """Add a request's operations to what is sent next."""
        self._transactions.append(
            _make(
                _Transaction,
                (self.number, request, len(self._operations), len(operations), undo, on_failure),
            )
        )
        self._operations += operations

    def reject(self, request: Write, error: KamexfrmError) -> None:
        """Reject the current request without asking the kernel."""
        self._rejected.append((self.number, Rejected(request, error)))

    def rejected(self) -> tuple[Rejected, ...]:
        """Return what was rejected so far, in the order of the requests."""
        self._rejected.sort(key=lambda numbered: numbered[0])
        return tuple(rejected for _, rejected in self._rejected)

    def send(self, head: Sequence[Operation], tail: Sequence[Operation]) -> bool:
        """Send what has gathered between a head and a tail; return whether all of the head went.

        Each transaction reaches the kernel in one piece. Failed ones are handled.
        """
        transactions, operations = self._transactions, self._operations
        self._transactions, self._operations = [], []
        before = len(head)
        ends = [before + transaction.start for transaction in transactions]
        failures = self._kernel.apply([*head, *operations, *tail], ends)
        errors = {f.position - before: f.error for f in failures}
        if any(0 <= index < len(operations) for index in errors):
            self._handle_failures(transactions, operations, errors)
        return all(index >= 0 for index in errors)

    def settle_run(
        self,
        operations: PackedOperations,
        ends: Sequence[int],
        failures: Sequence[Failure],
        add: Callable[[int, list[Operation]], None],
    ) -> None:
        """Handle the failures of requests that were sent at once as those of single ones.

        ``ends`` are where the operations of a request end. ``add`` adds the transaction of a
        request, by its place, with the operations that were sent for it.
        """
        number, added = self.number, 0
        errors: dict[int, KernelError] = {}
        for at, mine in groupby(failures, lambda failure: bisect_right(ends, failure.position)):
            start = ends[at - 1] if at else 0
            errors |= {added + position - start: error for position, error in mine}
            sent = operations[start : ends[at]]
            self.number = number + at + 1
            add(at, sent)
            added += len(sent)
        self.number = number
        transactions, gathered = self._transactions, self._operations
        self._transactions, self._operations = [], []
        self._handle_failures(transactions, gathered, errors)

    def _handle_failures(
        self,
        transactions: list[_Transaction],
        operations: list[Operation],
        errors: dict[int, KernelError],
    ) -> None:
        rolled_back = False
        for transaction in transactions:
            mine = {
                at: errors[transaction.start + at]
                for at in range(transaction.size)
                if transaction.start + at in errors
            }
            in_the_way = any(error.errno == errno.EEXIST for error in mine.values())
            if rolled_back and in_the_way and isinstance(transaction.request, SpdAdd):
                # What was in the way may have been rolled back since: try again. Not so for SAs:
                # none is ever rolled back, and a later transaction may have deleted this one.
                self._roll_back(transaction, mine)
                again = self._kernel.apply(
                    operations[transaction.start : transaction.start + transaction.size]
                )
                mine = {failure.position: failure.error for failure in again}
            if not mine:
                continue
            error: KamexfrmError | None
            try:
                handle = transaction.on_failure
                error = handle(mine) if handle else mine[min(mine)]
            except KernelError as failure:
                error = failure
            if error is not None:
                rolled_back = self._roll_back(transaction, mine) or rolled_back
                rejected = Rejected(transaction.request, error)
                self._rejected.append((transaction.number, rejected))

    def _roll_back(self, transaction: _Transaction, failed: dict[int, KernelError]) -> bool:
        """Undo the operations that did not fail; return whether there were any."""
        undo = [step() for at, step in enumerate(transaction.undo) if step and at not in failed]
        if undo:
            self._kernel.apply(undo[::-1])
        return bool(undo)
