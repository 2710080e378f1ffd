"""What the engine needs of a kernel, in XFRM's own terms.

Writes are bytes, reads are objects. An :class:`Operation` is encoded before it comes here, since
the hot path has the bytes at once (``translate.xfrm.fast_path``: 3 us a policy against 9). What is
read is decoded, since most readers want fields. Those that compare a large database with an
earlier copy, or want one number of each entry, take ``raw_policies`` and ``raw_states``; those that
print a whole database take ``policy_runs`` and ``state_runs``.
"""

from __future__ import annotations

import errno

from kamexfrm.errors import KernelError
from kamexfrm.records import NamedTuple, Protocol

TYPE_CHECKING = False  # typing and collections take long to load
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from typing import TypeVar

    from kamexfrm.xfrm import (
        Default,
        Operation,
        Policy,
        PolicyId,
        Run,
        SadInfo,
        SpdInfo,
        State,
        StateId,
    )

    T = TypeVar("T")


class Failure(NamedTuple):
    """An operation that the kernel refused, by its place in what was applied."""

    position: int
    error: KernelError


class Event(NamedTuple):
    """A message to a multicast group: type, payload and the netlink header of its cause."""

    type: int
    payload: bytes
    sequence: int
    pid: int


class Events(Protocol):
    """A subscription to XFRM's multicast groups."""

    def fileno(self) -> int:
        """Return a descriptor that is readable while an event waits."""
        ...

    def receive(self) -> list[Event]:
        """Return what waits, perhaps nothing; raises KernelError (ENOBUFS) when events were lost.

        What was lost is newer than all that still waits then.
        """
        ...

    def join(self, group: int) -> None:
        """Join one more group (an XFRMNLGRP_ number)."""
        ...

    def leave(self, group: int) -> None:
        """Leave a group."""
        ...

    def close(self) -> None:
        """End the subscription."""
        ...


def received(events: Events) -> list[Event] | None:
    """Return the events that wait, perhaps none; None where some were lost. Raises KernelError."""
    try:
        return events.receive()
    except KernelError as error:
        if error.errno != errno.ENOBUFS:
            raise
        return None


class Kernel(Protocol):
    """One network namespace's XFRM databases.

    All methods raise KernelError with the kernel's errno and text, EPERM without CAP_NET_ADMIN.
    """

    @property
    def port(self) -> int:
        """The netlink port that our requests come from, as events name it."""
        ...

    def apply(self, operations: Sequence[Operation], ends: Sequence[int] = ()) -> list[Failure]:
        """Carry out all operations in order, whatever happens to one of them; return the refused.

        ``ends`` are rising positions: what lies between two of them reaches the kernel in one
        piece, so that a caller that is killed has either sent all of it or nothing.
        """
        ...

    def policies(self, *, stream: bool = False) -> Iterator[Policy]:
        """Return a consistent dump of the SPD's main table, sockets' policies included.

        With ``stream`` it comes as it is read, and no more than a few entries are held; what
        changes meanwhile may be missing, or be there as it was.
        """
        ...

    def states(self, protocol: int = 0, *, stream: bool = False) -> Iterator[State]:
        """Return a dump of the SAD in the same way, of one IPsec protocol or of all (0)."""
        ...

    def raw_policies(self) -> Sequence[bytes]:
        """Return what policies() decodes: payloads of NEWPOLICY, a tenth of the size."""
        ...

    def raw_states(self) -> Sequence[bytes]:
        """Return what states() decodes: payloads of NEWSA."""
        ...

    def policy_runs(self) -> Sequence[Run]:
        """Return what policies() decodes as whole messages, as they were received."""
        ...

    def gather_policies(self, make: Callable[[], T], add: Callable[[T, Run], None]) -> T:
        """Return what ``make`` made, once each of policy_runs() is added: one at a time is held.

        Where the dump has to be repeated, it is begun anew.
        """
        ...

    def state_runs(self, protocol: int = 0) -> Sequence[Run]:
        """Return what states() decodes as whole messages, as they were received."""
        ...

    def policy(self, id: PolicyId) -> Policy:
        """Return one policy, by index or by selector; raises KernelError (ENOENT)."""
        ...

    def state(self, id: StateId) -> State:
        """Return one state; raises KernelError (ESRCH)."""
        ...

    def allocate_spi(self, state: State, minimum: int, maximum: int) -> State:
        """Make a larval state with a free SPI of a range; raises KernelError (ENOENT if none)."""
        ...

    def larval_lifetime(self) -> int:
        """Return the seconds until a larval state without keys is deleted."""
        ...

    def set_larval_lifetime(self, seconds: int) -> None:
        """Set it for larval states made from now on; raises KernelError."""
        ...

    def default(self) -> Default:
        """Return the actions on packets that match no policy."""
        ...

    def spd_info(self) -> SpdInfo:
        """Return how many policies there are."""
        ...

    def sad_info(self) -> SadInfo:
        """Return how many states there are."""
        ...

    def subscribe(self, groups: Sequence[int]) -> Events:
        """Join multicast groups (XFRMNLGRP_ numbers)."""
        ...

    def lock(self, *, wait: bool = True) -> Lock:
        """Return the lock that keeps our writers apart in this namespace.

        Without ``wait`` it is tried once: for a writer that waited in vain before.
        """
        ...

    def close(self) -> None:
        """Give back what the kernel object holds."""
        ...


class Lock(Protocol):
    """A context manager: inside, no other writer of ours is at work, or ``holder`` names it.

    ``is_taken`` is whether another process has the lock; ``holder`` may also say why there is none.
    """

    holder: str
    is_taken: bool

    def __enter__(self) -> Lock: ...

    def __exit__(self, *_: object) -> None: ...
