"""The real kernel: NETLINK_XFRM with batches, extended acknowledgements, dumps and events.

A batch is one sendmsg of many messages of which the last alone asks for an ACK: the kernel reports
errors per message anyway, and an ACK costs more than an insert (27 to 55 us against 2 measured).
"""

from __future__ import annotations

import errno
import sys
from _bisect import bisect_right
from itertools import chain

from kamexfrm.errors import KernelError
from kamexfrm.kernel.connection import NetlinkEvents, open_connection, receive
from kamexfrm.kernel.interface import Failure
from kamexfrm.kernel.namespace import within
from kamexfrm.xfrm import constants as c
from kamexfrm.xfrm.attributes import attribute_name_at
from kamexfrm.xfrm.constants import NLM_F_ACK, NLM_F_REPLACE, NLM_F_REQUEST
from kamexfrm.xfrm.netlink import (
    HEADER,
    ErrorReply,
    Operation,
    PackedOperations,
    decode_done,
    decode_error,
    message,
    split_messages,
)
from kamexfrm.xfrm.runs import Run, make_run, read_run

# What an answer's content is read with is loaded where it is read: most commands need one kind.
TYPE_CHECKING = False  # typing and collections take long to load
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from typing import TypeVar

    from kamexfrm.kernel.interface import T
    from kamexfrm.kernel.lock import NamespaceLock
    from kamexfrm.xfrm import Default, Policy, PolicyId, SadInfo, SpdInfo, State, StateId

    _T = TypeVar("_T")

#: Messages in one sendmsg: 16 to 64 is where the time per message is least (measured).
BATCH = 64

_COMMAND_BUFFER = 1 << 20
_STREAM_BUFFER = 1 << 16
_DUMP_TRIES = 10


def _kernel_error(reply: ErrorReply, payload: bytes) -> KernelError:
    """Return what a reply says of a request, with the attribute that it points to."""
    attribute = attribute_name_at(payload, reply.offset)
    return KernelError(reply.errno, reply.reason, attribute)


#: Where the byte of a header with NLM_F_ACK is.
_ACK_AT = HEADER.offset("flags") + (sys.byteorder == "big")


def _payloads(runs: Iterable[Run]) -> Iterator[bytes]:
    return chain.from_iterable(run.payloads() for run in runs)


def _state_dump(protocol: int) -> bytes:
    """Return the payload of GETSA for a dump, of one protocol or of all (0)."""
    if not protocol:
        return b""
    from kamexfrm.xfrm import StateDump, encode_state_dump

    return encode_state_dump(StateDump(protocol))


#: NEWAE alone is refused without the flag of a replacement (xfrm_user.c xfrm_new_ae()).
_flags_of = {c.XFRM_MSG_NEWAE: NLM_F_REQUEST | NLM_F_REPLACE}.get


class NetlinkKernel:
    """The XFRM databases of the network namespace in which the object was made.

    ``namespace`` is an open descriptor of another one to work in; it must stay open meanwhile. As a
    context manager it is closed at the end.
    """

    def __init__(self, namespace: int | None = None) -> None:
        self._namespace = namespace
        self._socket = open_connection(_COMMAND_BUFFER, namespace)
        self._sequence = 0
        #: The socket's netlink port. Events name it, as they repeat the header of their cause.
        self.port: int = self._socket.getsockname()[0]

    def __enter__(self) -> NetlinkKernel:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()

    def lock(self, *, wait: bool = True) -> NamespaceLock:
        """Return the namespace's lock of writers."""
        from kamexfrm.kernel.lock import NamespaceLock

        if wait:
            return NamespaceLock(namespace=self._namespace)
        return NamespaceLock(0, namespace=self._namespace)

    def apply(self, operations: Sequence[Operation], ends: Sequence[int] = ()) -> list[Failure]:
        """Carry out operations in batches of at most 64; see Kernel.apply()."""
        failures: list[Failure] = []
        start = 0
        while start < len(operations):
            stop = start + BATCH
            whole = bisect_right(ends, stop)
            if stop < len(operations) and whole and ends[whole - 1] > start:
                stop = ends[whole - 1]
            if isinstance(operations, PackedOperations):
                failures += self._packed_batch(operations, start, min(stop, len(operations)))
            else:
                failures += self._batch(operations[start:stop], start)
            start = stop
        return failures

    def _packed_batch(
        self, operations: PackedOperations, start: int, stop: int
    ) -> Iterator[Failure]:
        """Send some messages as they are, but for the last one, which asks for an ACK."""
        data, starts = operations.data, operations.starts
        end = starts[stop] if stop < len(starts) else len(data)
        data[starts[stop - 1] + _ACK_AT] |= NLM_F_ACK
        with memoryview(data) as view:
            self._send(bytes(view[starts[start] : end]))
        first = operations.first
        for at, error in self._answers(first + start, first + stop - 1):
            payload = operations[start + at].payload
            yield Failure(start + at, _kernel_error(error, payload))

    def _batch(self, operations: Sequence[Operation], offset: int) -> list[Failure]:
        first = self._sequence + 1
        last = self._sequence = self._sequence + len(operations)
        parts = [
            message(type_, _flags_of(type_, NLM_F_REQUEST), sequence, payload, self.port)
            for sequence, (type_, payload) in enumerate(operations, first)
        ]
        type_, payload = operations[-1]
        flags = _flags_of(type_, NLM_F_REQUEST) | NLM_F_ACK
        parts[-1] = message(type_, flags, last, payload, self.port)
        self._send(b"".join(parts))
        return [
            Failure(offset + at, _kernel_error(error, operations[at].payload))
            for at, error in self._answers(first, last)
        ]

    def _answers(self, first: int, last: int) -> Iterator[tuple[int, ErrorReply]]:
        """Yield the refusals of a batch up to its end, by their place in it."""
        answered = 0
        while answered != last:
            for reply in split_messages(self._receive()):
                if reply.type != c.NLMSG_ERROR or not first <= reply.sequence <= last:
                    continue
                answered = reply.sequence
                error = decode_error(reply.payload, reply.flags)
                if error.errno:
                    yield answered - first, error

    def _send(self, data: bytes) -> None:
        try:
            self._socket.send(data)
        except OSError as error:
            raise KernelError(error.errno or errno.EIO) from None

    def _receive(self) -> bytes:
        try:
            return receive(self._socket)
        except OSError as error:
            raise KernelError(error.errno or errno.EIO) from None

    def _ask(self, type_: int, payload: bytes, answer: int) -> bytes:
        """Send one request and return the payload of its answer."""
        self._sequence += 1
        self._send(message(type_, NLM_F_REQUEST, self._sequence, payload))
        while True:
            for reply in split_messages(self._receive()):
                if reply.sequence != self._sequence:
                    continue
                if reply.type == c.NLMSG_ERROR:
                    error = decode_error(reply.payload, reply.flags)
                    if not error.errno:
                        raise KernelError(errno.ENOMSG)
                    raise _kernel_error(error, payload)
                if reply.type == answer:
                    return bytes(reply.payload)

    def _dump(self, type_: int, payload: bytes, answer: int) -> list[Run]:
        """Return a dump's answers.

        It is asked for again while the kernel says that a change interrupted it.
        """
        found: list[Run] = []
        for _ in range(_DUMP_TRIES):
            found, interrupted = self._dump_once(type_, payload, answer, lambda run: run)
            if not interrupted:
                break
        return found

    def _dump_once(
        self, type_: int, payload: bytes, answer: int, read: Callable[[Run], T]
    ) -> tuple[list[T], bool]:
        self._sequence += 1
        self._send(message(type_, NLM_F_REQUEST | c.NLM_F_DUMP, self._sequence, payload))
        found: list[T] = []
        interrupted = 0
        while True:
            data = self._receive()
            run = read_run(data, answer, self._sequence)
            if run.count:
                found.append(read(run))
                if len(run.data) == len(data):
                    continue
                data = data[len(run.data) :]
            for kind, flags, sequence, _, answered in split_messages(data):
                if sequence != self._sequence:
                    continue
                interrupted |= flags & c.NLM_F_DUMP_INTR
                if kind == answer:
                    found.append(read(make_run(answer, [bytes(answered)])))
                elif kind in (c.NLMSG_DONE, c.NLMSG_ERROR):
                    decode = decode_done if kind == c.NLMSG_DONE else decode_error
                    error = decode(answered, flags)
                    if error.errno:
                        raise _kernel_error(error, payload)
                    return found, bool(interrupted)

    def policies(self, *, stream: bool = False) -> Iterator[Policy]:
        """Return the SPD; see Kernel.policies()."""
        from kamexfrm.xfrm import decode_policy

        if stream:
            return map(decode_policy, self._stream(c.XFRM_MSG_GETPOLICY, b"", c.XFRM_MSG_NEWPOLICY))
        return map(decode_policy, _payloads(self.policy_runs()))

    def raw_policies(self) -> list[bytes]:
        """Return the payloads of a consistent dump."""
        return list(_payloads(self.policy_runs()))

    def policy_runs(self) -> list[Run]:
        """Return a complete dump.

        The kernel moves a policy that is updated to the head of its list without NLM_F_DUMP_INTR:
        a dump under way misses it (6.18: 198 of 2000). So the answers are counted.
        """
        from kamexfrm.xfrm import policy_index

        found: list[Run] = []
        seen: dict[int, bytes] = {}
        for _ in range(_DUMP_TRIES):
            found = self._dump(c.XFRM_MSG_GETPOLICY, b"", c.XFRM_MSG_NEWPOLICY)
            there = sum(self.spd_info().counts)
            if sum(run.count for run in found) >= there:
                break
            seen.update((policy_index(policy), policy) for policy in _payloads(found))
            if len(seen) == there:
                return [make_run(c.XFRM_MSG_NEWPOLICY, seen.values())]
        return found

    def gather_policies(self, make: Callable[[], T], add: Callable[[T, Run], None]) -> T:
        """Return what ``make`` made, once a complete dump is added; see Kernel."""
        found = make()

        def read(run: Run) -> int:
            add(found, run)
            return run.count

        counts, interrupted = self._dump_once(c.XFRM_MSG_GETPOLICY, b"", c.XFRM_MSG_NEWPOLICY, read)
        if interrupted or sum(counts) < sum(self.spd_info().counts):
            found = make()
            for run in self.policy_runs():
                add(found, run)
        return found

    def states(self, protocol: int = 0, *, stream: bool = False) -> Iterator[State]:
        """Return the SAD; see Kernel.states()."""
        from kamexfrm.xfrm import decode_state

        if stream:
            wanted = _state_dump(protocol)
            return map(decode_state, self._stream(c.XFRM_MSG_GETSA, wanted, c.XFRM_MSG_NEWSA))
        return map(decode_state, _payloads(self.state_runs(protocol)))

    def raw_states(self) -> list[bytes]:
        """Return the payloads of a consistent dump."""
        return list(_payloads(self.state_runs()))

    def state_runs(self, protocol: int = 0) -> list[Run]:
        """Return a consistent dump."""
        wanted = _state_dump(protocol)
        return self._dump(c.XFRM_MSG_GETSA, wanted, c.XFRM_MSG_NEWSA)

    def _stream(self, type_: int, payload: bytes, answer: int) -> Iterator[memoryview]:
        # A socket of its own: the dump goes on between other requests.
        connection = open_connection(_STREAM_BUFFER, self._namespace)
        try:
            connection.send(message(type_, NLM_F_REQUEST | c.NLM_F_DUMP, 1, payload))
            while True:
                for kind, flags, _, _, answered in split_messages(receive(connection)):
                    if kind == answer:
                        yield answered
                    elif kind in (c.NLMSG_DONE, c.NLMSG_ERROR):
                        decode = decode_done if kind == c.NLMSG_DONE else decode_error
                        error = decode(answered, flags)
                        if error.errno:
                            raise _kernel_error(error, payload)
                        return
        except OSError as error:
            raise KernelError(error.errno or errno.EIO) from None
        finally:
            connection.close()

    def policy(self, id: PolicyId) -> Policy:
        """Return one policy."""
        from kamexfrm.xfrm import decode_policy, encode_policy_id

        answer = self._ask(c.XFRM_MSG_GETPOLICY, encode_policy_id(id), c.XFRM_MSG_NEWPOLICY)
        return decode_policy(answer)

    def state(self, id: StateId) -> State:
        """Return one state."""
        from kamexfrm.xfrm import decode_state, encode_state_id

        return decode_state(self._ask(c.XFRM_MSG_GETSA, encode_state_id(id), c.XFRM_MSG_NEWSA))

    def allocate_spi(self, state: State, minimum: int, maximum: int) -> State:
        """Make a larval state with a free SPI."""
        from kamexfrm.xfrm import AllocSpi, decode_state, encode_alloc_spi

        payload = encode_alloc_spi(AllocSpi(state, minimum, maximum))
        return decode_state(self._ask(c.XFRM_MSG_ALLOCSPI, payload, c.XFRM_MSG_NEWSA))

    def larval_lifetime(self) -> int:
        """Return the seconds; see Kernel.larval_lifetime()."""
        from kamexfrm.kernel import larval

        return self._inside(larval.read)

    def set_larval_lifetime(self, seconds: int) -> None:
        """Set the seconds; see Kernel.set_larval_lifetime()."""
        from kamexfrm.kernel import larval

        self._inside(lambda: larval.write(seconds))

    def _inside(self, act: Callable[[], _T]) -> _T:
        try:
            with within(self._namespace):
                return act()
        except OSError as error:
            raise KernelError(error.errno or errno.EIO) from None

    def default(self) -> Default:
        """Return the actions on packets that match no policy."""
        from kamexfrm.xfrm import Default, decode_default, encode_default

        answer = self._ask(c.XFRM_MSG_GETDEFAULT, encode_default(Default()), c.XFRM_MSG_GETDEFAULT)
        return decode_default(answer)

    def spd_info(self) -> SpdInfo:
        """Return the SPD's counts."""
        from kamexfrm.xfrm import decode_spd_info, encode_info_request

        answer = self._ask(c.XFRM_MSG_GETSPDINFO, encode_info_request(), c.XFRM_MSG_NEWSPDINFO)
        return decode_spd_info(answer)

    def sad_info(self) -> SadInfo:
        """Return the SAD's counts."""
        from kamexfrm.xfrm import decode_sad_info, encode_info_request

        answer = self._ask(c.XFRM_MSG_GETSADINFO, encode_info_request(), c.XFRM_MSG_NEWSADINFO)
        return decode_sad_info(answer)

    def subscribe(self, groups: Sequence[int]) -> NetlinkEvents:
        """Join multicast groups."""
        return NetlinkEvents(groups, self._namespace)
