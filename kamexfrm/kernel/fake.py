"""A kernel in memory: Linux's XFRM databases as programs see them, without privilege.

For tests, and for asking what a file of requests would do. ``fake_spd`` and ``fake_sad`` hold the
databases and their refusals.
"""

import errno
import os
import time
from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

from kamexfrm.errors import KernelError, WireError
from kamexfrm.kernel.fake_sad import FakeSad
from kamexfrm.kernel.fake_spd import FakeSpd
from kamexfrm.kernel.interface import Event, Failure
from kamexfrm.xfrm import (
    XFRM_POLICY_TYPE_MAIN,
    XFRM_USERPOLICY_ACCEPT,
    XFRM_USERPOLICY_BLOCK,
    XFRMNLGRP_EXPIRE,
    XFRMNLGRP_POLICY,
    XFRMNLGRP_SA,
    Default,
    DeletedPolicy,
    DeletedState,
    Expire,
    Operation,
    Policy,
    PolicyExpire,
    PolicyId,
    Run,
    SadInfo,
    SpdInfo,
    State,
    StateId,
    XfrmMsg,
    attribute_name,
    decode_async_event,
    decode_default,
    decode_policy,
    decode_policy_flush,
    decode_policy_id,
    decode_state,
    decode_state_flush,
    decode_state_id,
    encode_default,
    encode_deleted_policy,
    encode_deleted_state,
    encode_expire,
    encode_policy,
    encode_policy_expire,
    encode_policy_flush,
    encode_state,
    encode_state_flush,
    iter_attributes,
    make_run,
)
from kamexfrm.xfrm.structs import USERPOLICY_INFO, USERSA_INFO

T = TypeVar("T")

#: The netlink port of all writers.
FAKE_PORT = 1

#: Events that wait in one subscription before the next are lost.
EVENT_LIMIT = 100_000


class FakeEvents:
    """A subscription to a FakeKernel's groups."""

    def __init__(self, groups: Sequence[int], limit: int = EVENT_LIMIT) -> None:
        self.groups = set(groups)
        self._limit = limit
        self._waiting: list[Event] = []
        self._lost = False
        self._descriptor = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)

    def fileno(self) -> int:
        """Return a descriptor that is readable while an event waits."""
        return self._descriptor

    def receive(self) -> list[Event]:
        """Return what waits; raises KernelError (ENOBUFS) when events were lost."""
        if not self._waiting and not self._lost:
            return []
        os.eventfd_read(self._descriptor)
        if self._lost:
            self._lost = False
            if self._waiting:
                os.eventfd_write(self._descriptor, 1)
            raise KernelError(errno.ENOBUFS, "events were lost")
        events, self._waiting = self._waiting, []
        return events

    def join(self, group: int) -> None:
        """Join one more group."""
        self.groups.add(group)

    def leave(self, group: int) -> None:
        """Leave a group."""
        self.groups.discard(group)

    def publish(self, event: Event) -> None:
        """Add an event to those that wait."""
        if self._descriptor < 0:
            return
        if len(self._waiting) >= self._limit:
            self._lost = True
        else:
            self._waiting.append(event)
        os.eventfd_write(self._descriptor, 1)

    def close(self) -> None:
        """End the subscription."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1


class FakeLock:
    """A lock that is always free, unless the kernel's ``lock_holder`` names a holder."""

    def __init__(self, holder: str) -> None:
        self.holder = holder
        self.is_taken = bool(holder)

    def __enter__(self) -> "FakeLock":
        return self

    def __exit__(self, *_: object) -> None:
        return None


#: Bytes before the attributes of what is added; the fake checks no attributes of other requests.
_HEADS = {
    XfrmMsg.NEWPOLICY: USERPOLICY_INFO.size,
    XfrmMsg.UPDPOLICY: USERPOLICY_INFO.size,
    XfrmMsg.NEWSA: USERSA_INFO.size,
    XfrmMsg.UPDSA: USERSA_INFO.size,
}


def _malformed(operation: Operation, error: WireError) -> KernelError:
    """Return what Linux says of a request that cannot be decoded."""
    type_, payload = operation
    head = _HEADS.get(type_, len(payload))  # type: ignore[call-overload]  # an int equals its XfrmMsg
    if head <= error.offset:
        for number, start, _ in iter_attributes(payload, head):
            if start == error.offset:
                reason = "Attribute failed policy validation"
                return KernelError(errno.ERANGE, reason, attribute_name(number))
    return KernelError(errno.EINVAL, "Invalid header length")


class FakeKernel:
    """A network namespace's XFRM databases in memory.

    ``clock`` returns seconds since the epoch; lifetimes end by it, at the next call. Without
    ``privileged`` everything is refused with EPERM, without ``has_default`` SETDEFAULT and
    GETDEFAULT with EINVAL, as by Linux before 5.14. ``lock_holder`` is who keeps the lock of
    writers past its deadline, or empty. ``spd`` and ``sad`` are the databases themselves.
    """

    def __init__(
        self,
        clock: Callable[[], float] = time.time,
        *,
        privileged: bool = True,
        has_default: bool = True,
    ) -> None:
        self.privileged = privileged
        self.has_default = has_default
        self.lock_holder = ""
        self.spd = FakeSpd()
        self.sad = FakeSad()
        self._clock = clock
        self._default = Default(*[XFRM_USERPOLICY_ACCEPT] * 3)
        self._subscriptions: list[FakeEvents] = []
        self._sequence = 0

    @property
    def port(self) -> int:
        """Return the port that all changes seem to come from."""
        return FAKE_PORT

    def close(self) -> None:
        """End all subscriptions."""
        for events in self._subscriptions:
            events.close()
        self._subscriptions.clear()

    def lock(self, *, wait: bool = True) -> FakeLock:
        """Return the lock of writers."""
        return FakeLock(self.lock_holder)

    def apply(self, operations: Sequence[Operation], ends: Sequence[int] = ()) -> list[Failure]:
        """Carry out operations in order; see Kernel.apply()."""
        if not self.privileged:
            return [Failure(at, KernelError(errno.EPERM)) for at in range(len(operations))]
        self._begin()
        failures = []
        for position, operation in enumerate(operations):
            self._sequence += 1
            try:
                self._carry_out(operation)
            except KernelError as error:
                failures.append(Failure(position, error))
            except WireError as error:
                failures.append(Failure(position, _malformed(operation, error)))
        return failures

    def _carry_out(self, operation: Operation) -> None:
        type_, payload = operation
        match type_:
            case XfrmMsg.NEWPOLICY | XfrmMsg.UPDPOLICY:
                update = type_ == XfrmMsg.UPDPOLICY
                policy = self.spd.add(decode_policy(payload), self._now, update=update)
                self._publish(XFRMNLGRP_POLICY, type_, encode_policy(policy))
            case XfrmMsg.DELPOLICY:
                deleted = DeletedPolicy(*self.spd.delete(decode_policy_id(payload)))
                self._publish(XFRMNLGRP_POLICY, type_, encode_deleted_policy(deleted))
            case XfrmMsg.FLUSHPOLICY:
                kind = decode_policy_flush(payload).policy_type or XFRM_POLICY_TYPE_MAIN
                if self.spd.flush(kind):
                    self._publish(XFRMNLGRP_POLICY, type_, encode_policy_flush(kind))
            case XfrmMsg.SETDEFAULT if self.has_default:
                self._set_default(decode_default(payload))
            case XfrmMsg.NEWSA | XfrmMsg.UPDSA:
                write = self.sad.add if type_ == XfrmMsg.NEWSA else self.sad.update
                state = write(decode_state(payload), self._now)
                self._publish(XFRMNLGRP_SA, type_, encode_state(state))
            case XfrmMsg.NEWAE:
                self.sad.change_counters(decode_async_event(payload))
            case XfrmMsg.DELSA:
                gone = self.sad.delete(decode_state_id(payload))
                name = StateId(gone.destination, gone.spi, gone.protocol, gone.family)
                self._publish(XFRMNLGRP_SA, type_, encode_deleted_state(DeletedState(name, gone)))
            case XfrmMsg.FLUSHSA:
                protocol = decode_state_flush(payload).protocol
                if self.sad.flush(protocol):
                    self._publish(XFRMNLGRP_SA, type_, encode_state_flush(protocol))
            case _:
                raise KernelError(errno.EINVAL)

    def _set_default(self, wanted: Default) -> None:
        known = (XFRM_USERPOLICY_BLOCK, XFRM_USERPOLICY_ACCEPT)
        pairs = zip(wanted, self._default, strict=True)
        self._default = Default(*[new if new in known else old for new, old in pairs])
        # The kernel's event has the type of the query, and no sequence.
        event = Event(XfrmMsg.GETDEFAULT, encode_default(self._default), 0, 0)
        self._broadcast(XFRMNLGRP_POLICY, event)

    def policies(self, *, stream: bool = False) -> Iterator[Policy]:
        """Return the SPD."""
        self._begin()
        return self.spd.dump()

    def states(self, protocol: int = 0, *, stream: bool = False) -> Iterator[State]:
        """Return the SAD."""
        self._begin()
        return self.sad.dump(protocol)

    def raw_policies(self) -> list[bytes]:
        """Return the SPD as payloads."""
        return list(map(encode_policy, self.policies()))

    def raw_states(self) -> list[bytes]:
        """Return the SAD as payloads."""
        return list(map(encode_state, self.states()))

    def policy_runs(self) -> list[Run]:
        """Return the SPD as messages."""
        return [make_run(XfrmMsg.NEWPOLICY, self.raw_policies())]

    def gather_policies(self, make: Callable[[], T], add: Callable[[T, Run], None]) -> T:
        """Return what ``make`` made with the messages added."""
        found = make()
        for run in self.policy_runs():
            add(found, run)
        return found

    def state_runs(self, protocol: int = 0) -> list[Run]:
        """Return the SAD as messages."""
        return [make_run(XfrmMsg.NEWSA, map(encode_state, self.states(protocol)))]

    def policy(self, id: PolicyId) -> Policy:
        """Return one policy."""
        self._begin()
        return self.spd.find(id)

    def state(self, id: StateId) -> State:
        """Return one state."""
        self._begin()
        return self.sad.find(id)

    def allocate_spi(self, state: State, minimum: int, maximum: int) -> State:
        """Make a larval state with a free SPI; there is no event of it."""
        self._begin()
        return self.sad.allocate(state, minimum, maximum, self._now)

    def larval_lifetime(self) -> int:
        """Return the seconds until a larval state without keys is deleted."""
        return self.sad.larval_lifetime

    def set_larval_lifetime(self, seconds: int) -> None:
        """Set it for larval states made from now on; raises KernelError (EACCES)."""
        if not self.privileged:
            raise KernelError(errno.EACCES)
        self.sad.larval_lifetime = seconds

    def default(self) -> Default:
        """Return the actions on packets that match no policy."""
        self._begin()
        if not self.has_default:
            raise KernelError(errno.EINVAL)
        return self._default

    def spd_info(self) -> SpdInfo:
        """Return the SPD's counts."""
        self._begin()
        return self.spd.info()

    def sad_info(self) -> SadInfo:
        """Return the SAD's counts."""
        self._begin()
        return self.sad.info()

    def subscribe(self, groups: Sequence[int]) -> FakeEvents:
        """Join multicast groups."""
        self._begin()
        events = FakeEvents(groups)
        self._subscriptions.append(events)
        return events

    @property
    def _now(self) -> int:
        return int(self._clock())

    def _begin(self) -> None:
        """Raise EPERM without privilege; expire what is due."""
        if not self.privileged:
            raise KernelError(errno.EPERM)
        now = self._now
        for policy in self.spd.expire(now):
            payload = encode_policy_expire(PolicyExpire(policy, hard=1))
            self._broadcast(XFRMNLGRP_EXPIRE, Event(XfrmMsg.POLEXPIRE, payload, 0, 0))
        for state in self.sad.expire(now):
            payload = encode_expire(Expire(state, hard=1))
            self._broadcast(XFRMNLGRP_EXPIRE, Event(XfrmMsg.EXPIRE, payload, 0, 0))

    def _publish(self, group: int, type_: int, payload: bytes) -> None:
        self._broadcast(group, Event(type_, payload, self._sequence, FAKE_PORT))

    def _broadcast(self, group: int, event: Event) -> None:
        for events in self._subscriptions:
            if group in events.groups:
                events.publish(event)
