"""What is sent to the kernel, and what becomes of it when the kernel refuses a part.

A *transaction* is the kernel operations of one request. They are sent together with those of
others; when the kernel refuses one, the rest of its transaction is rolled back: a request happens
whole or not at all.
"""

import errno
from collections.abc import Callable, Sequence
from typing import NamedTuple

from kamexfrm.engine.requests import Rejected, SpdAdd, Write
from kamexfrm.errors import KamexfrmError, KernelError
from kamexfrm.kernel.interface import Kernel
from kamexfrm.xfrm import Operation

#: Decides over a transaction of which something failed: gets the refusals by operation, returns the
#: refusal to report or None when all is well after all.
Settle = Callable[[dict[int, KernelError]], KamexfrmError | None]

#: Makes the operation that undoes what an operation of a transaction did; None where there is none.
Undo = Callable[[], Operation] | None


def always(step: Operation) -> Undo:
    """Return the undo that is an operation known beforehand."""
    return lambda: step


#: Makes a NamedTuple from its fields in half the time of the class's own constructor.
_make = tuple.__new__


class _Transaction(NamedTuple):
    turn: int
    request: Write
    start: int
    size: int
    undo: Sequence[Undo]
    settle: Settle | None


class Transactions:
    """Gathers the operations of requests, sends them, and settles what was refused.

    ``turn`` is the number of the request at hand; ``refused`` are the requests that did not
    happen, each with its turn.
    """

    def __init__(self, kernel: Kernel) -> None:
        self.turn = 0
        self.refused: list[tuple[int, Rejected]] = []
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
        settle: Settle | None = None,
    ) -> None:
        """Add a request's operations to what is sent next."""
        self._transactions.append(
            _make(
                _Transaction,
                (self.turn, request, len(self._operations), len(operations), undo, settle),
            )
        )
        self._operations += operations

    def refuse(self, request: Write, error: KamexfrmError) -> None:
        """Report a request that is refused without asking the kernel."""
        self.refused.append((self.turn, Rejected(request, error)))

    def send(self, head: Sequence[Operation], tail: Sequence[Operation]) -> bool:
        """Send what has gathered between a head and a tail; return whether all of the head went.

        Each transaction reaches the kernel in one piece. Refusals are settled.
        """
        transactions, operations = self._transactions, self._operations
        self._transactions, self._operations = [], []
        before = len(head)
        ends = [before + transaction.start for transaction in transactions]
        failures = self._kernel.apply([*head, *operations, *tail], ends)
        errors = {f.position - before: f.error for f in failures}
        if any(0 <= index < len(operations) for index in errors):
            self._settle(transactions, operations, errors)
        return all(index >= 0 for index in errors)

    def _settle(
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
                # It may have been what an earlier one had to take back: try again. Not so an SA,
                # which none of them takes back and a later one may have deleted by now.
                self._roll_back(transaction, mine)
                again = self._kernel.apply(
                    operations[transaction.start : transaction.start + transaction.size]
                )
                mine = {failure.position: failure.error for failure in again}
            if not mine:
                continue
            error: KamexfrmError | None
            try:
                error = transaction.settle(mine) if transaction.settle else mine[min(mine)]
            except KernelError as refused:
                error = refused
            if error is not None:
                rolled_back = self._roll_back(transaction, mine) or rolled_back
                self.refused.append((transaction.turn, Rejected(transaction.request, error)))

    def _roll_back(self, transaction: _Transaction, failed: dict[int, KernelError]) -> bool:
        """Undo the operations that did not fail; return whether there were any."""
        undo = [step() for at, step in enumerate(transaction.undo) if step and at not in failed]
        if undo:
            self._kernel.apply(undo[::-1])
        return bool(undo)
