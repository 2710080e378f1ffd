"""A kernel in which one operation, read or message fails, and what must hold after that."""

import errno
import io
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from enum import Enum
from itertools import pairwise
from typing import Any, NamedTuple, TypeVar

from kamexfrm.engine.engine import Engine
from kamexfrm.errors import KamexfrmError, KernelError
from kamexfrm.kernel.interface import Failure, Kernel, Lock
from kamexfrm.setkey.arguments import read_options
from kamexfrm.setkey.reporter import Reporter
from kamexfrm.setkey.script import make_executor, run_whole
from kamexfrm.setkey.script_file import Script
from kamexfrm.translate.xfrm.marker import MARKER_ID, MarkerFlag, read_marker
from kamexfrm.translate.xfrm.policy_from_kernel import is_ordinary
from kamexfrm.xfrm import (
    XFRM_POLICY_FWD,
    XFRM_POLICY_IN,
    XFRM_POLICY_OUT,
    XFRM_USERPOLICY_BLOCK,
    Operation,
    Policy,
    Run,
    Selector,
    XfrmMsg,
    make_run,
)

T = TypeVar("T")

#: What a fault says: no memory or buffers, a signal, what others did meanwhile, no rights.
ERRNOS = (
    errno.ENOBUFS,
    errno.ENOMEM,
    errno.EINTR,
    errno.EEXIST,
    errno.ESRCH,
    errno.ENOENT,
    errno.EPERM,
    errno.EBUSY,
)

_READS = (
    "policies",
    "raw_policies",
    "states",
    "raw_states",
    "policy",
    "state",
    "spd_info",
    "sad_info",
    "default",
    "allocate_spi",
)


class Way(Enum):
    """How a write fails."""

    REFUSED = "the kernel refuses this operation and carries out the others"
    UNSENT = "the operations before it are carried out, this one and the rest are never sent"
    UNANSWERED = "all are carried out, and the answer is lost"


class Fault(NamedTuple):
    """The ``number``-th operation or read, from 0, fails with ``errno``."""

    number: int
    errno: int
    way: Way


class FaultyKernel:
    """A kernel with one fault; ``watch`` is called after each operation that was carried out.

    ``torn`` is the place of a policy that the first dump misses, as one beside a writer can.
    ``points`` counts operations and reads, ``held`` the locks that are held. ``hit`` is whether the
    fault was reached.
    """

    def __init__(
        self,
        kernel: Kernel,
        fault: Fault | None = None,
        watch: Callable[[], None] = lambda: None,
        *,
        torn: int = -1,
    ) -> None:
        self._kernel = kernel
        self._fault = fault
        self._watch = watch
        self._torn = torn
        self.points = 0
        self.held = 0
        self.hit = False

    def fail(self, fault: Fault) -> None:
        """Have this fault from now on."""
        self._fault = fault

    def _is_next(self) -> bool:
        number, self.points = self.points, self.points + 1
        is_hit = self._fault is not None and number == self._fault.number
        self.hit |= is_hit
        return is_hit

    def apply(self, operations: Sequence[Operation], ends: Sequence[int] = ()) -> list[Failure]:
        """Carry out operations one by one, as far as the fault lets them."""
        failures: list[Failure] = []
        fails: KernelError | None = None
        pieces = [0, *(end for end in ends if 0 < end < len(operations)), len(operations)]
        for start, end in pairwise(pieces):
            hits = [self._is_next() for _ in operations[start:end]]
            if any(hits) and self._fault:
                fails = KernelError(self._fault.errno)
                if self._fault.way is Way.UNSENT:  # what is in one piece is sent whole or not
                    raise fails
            for at, is_hit in enumerate(hits, start):
                if is_hit and self._fault and self._fault.way is Way.REFUSED:
                    failures.append(Failure(at, KernelError(self._fault.errno)))
                    continue
                failures += [f._replace(position=at) for f in self._kernel.apply([operations[at]])]
                self._watch()
        if fails and self._fault and self._fault.way is Way.UNANSWERED:
            raise fails
        return failures

    def gather_policies(self, make: Callable[[], T], add: Callable[[T, Run], None]) -> T:
        """Read the policies as one run."""
        found = make()
        add(found, make_run(XfrmMsg.NEWPOLICY, self.raw_policies()))
        return found

    def lock(self, *, wait: bool = True) -> "CountedLock":
        """Return the kernel's lock, counted while it is held."""
        return CountedLock(self, self._kernel.lock(wait=wait))

    def __getattr__(self, name: str) -> Any:
        attribute = getattr(self._kernel, name)
        if name in _READS and self._is_next() and self._fault:
            raise KernelError(self._fault.errno)
        return self._tear(attribute) if name in ("policies", "raw_policies") else attribute

    def _tear(self, dump: Callable[..., Iterable[Any]]) -> Callable[..., Iterable[Any]]:
        missing, self._torn = self._torn, -1

        def read(**how: bool) -> Iterator[Any]:
            return (entry for at, entry in enumerate(dump(**how)) if at != missing)

        return read


class CountedLock:
    """A lock that its kernel counts."""

    def __init__(self, kernel: FaultyKernel, lock: Lock) -> None:
        self._kernel = kernel
        self._lock = lock

    def __enter__(self) -> "CountedLock":
        self._lock.__enter__()
        self._kernel.held += 1
        return self

    def __exit__(self, *error: object) -> None:
        self._kernel.held -= 1
        self._lock.__exit__(*error)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._lock, name)


def run_script(kernel: Any, text: str) -> str:
    """Run a script as ``setkey -f`` does; return what it says on stderr.

    Raises KamexfrmError, with which setkey ends.
    """
    out, err = io.StringIO(), io.StringIO()
    options = read_options(["-f", "x"])
    reporter = Reporter(out, err)
    run_whole(
        [Script([text], "x")], options, reporter, make_executor(options, kernel, reporter, out)
    )
    return err.getvalue()


def first_match(kernel: Kernel, near: bytes, far: bytes, direction: int) -> Policy | None:
    """Return the policy that a packet of no protocol meets first."""
    source, destination = (near, far) if direction == XFRM_POLICY_OUT else (far, near)
    found = [
        p
        for p in kernel.policies()
        if p.direction == direction
        and not p.if_id
        and _is_within(source, p.selector.source.packed, p.selector.source_prefix)
        and _is_within(destination, p.selector.destination.packed, p.selector.destination_prefix)
    ]
    return min(found, key=lambda policy: policy.priority, default=None)


def _is_within(address: bytes, prefix: bytes, bits: int) -> bool:
    if len(address) != len(prefix):
        return False
    shift = 8 * len(address) - bits
    return int.from_bytes(address, "big") >> shift == int.from_bytes(prefix, "big") >> shift


def is_protected(kernel: Kernel, near: bytes, far: bytes) -> bool:
    """Whether no packet between two addresses passes in clear, out, in or through."""
    return all(
        policy is not None
        and (
            policy.action == XFRM_USERPOLICY_BLOCK or any(not t.optional for t in policy.templates)
        )
        for policy in (
            first_match(kernel, near, far, direction)
            for direction in (XFRM_POLICY_OUT, XFRM_POLICY_IN, XFRM_POLICY_FWD)
        )
    )


class Picture(NamedTuple):
    """What a kernel holds, without what depends on how it came about: numbers and times."""

    policies: Collection[object]
    entries: frozenset[object]
    internal: frozenset[object]
    states: frozenset[object]
    knobs: object
    default: object

    def unordered(self) -> "Picture":
        """Return the same without the order of matching."""
        return self._replace(policies=frozenset(self.policies))


def picture(kernel: Kernel) -> Picture:
    """Return what a kernel holds: two ways to the same state have the same picture."""
    policies = sorted(kernel.policies(), key=lambda p: (p.direction, p.priority))
    marker = next((p for p in policies if _is_marker(p)), None)
    read = read_marker(marker) if marker else None
    assert read is None or MarkerFlag.UNFINISHED not in read.flags
    return Picture(
        tuple(_bare(p) for p in policies if is_ordinary(p)),
        entries(kernel),
        frozenset(_bare(p) for p in policies if not is_ordinary(p) and not _is_marker(p)),
        frozenset(
            (s.destination, s.spi, s.protocol, s.mode, s.reqid, s.encryption)
            for s in kernel.states()
        ),
        read.knobs if read else None,
        kernel.default(),
    )


def entries(kernel: Kernel) -> frozenset[object]:
    """Return the policies as a dump shows them: sidecars say what some of them were written as."""
    return frozenset(entry.policy for entry in Engine(kernel).spd())


def _is_marker(policy: Policy) -> bool:
    return policy.if_id == MARKER_ID.if_id


def _bare(policy: Policy) -> object:
    selector: Selector = policy.selector
    return (policy.direction, selector, policy.action, policy.templates, policy.if_id)


def faults(points: int) -> Iterator[Fault]:
    """Yield each fault of a run with so many points."""
    for number in range(points):
        for code in ERRNOS:
            for way in Way:
                yield Fault(number, code, way)


def complete(kernel: Kernel) -> None:
    """Do what kamexfrmd, or the next command that writes, does after a writer that failed."""
    Engine(kernel).reconcile(None)


def only_our_errors(run: Callable[[], object]) -> KamexfrmError | None:
    """Run something; return the one kind of error that may end it."""
    try:
        run()
    except KamexfrmError as error:
        return error
    return None
