"""The feed: kernel events in, broadcasts out.

A change by any process is known from its netlink event, our own changes too. An event of our own
becomes the message that the sender of the request and all other clients get, with the request's
sequence number and process id. What our engine writes besides for its own purposes changes nothing
that PF_KEY shows and is not broadcast: the marker, sidecars, catch-alls, new kernel priorities,
rewritten templates, recreated SAs of mode any. Only automatic fwd twins that come and go are
broadcast, to all but the sender, who waits for one reply. What the engine of another process writes
for its own purposes cannot be told from what it was asked for: it is broadcast as the update that
says what the entry is, and a recreated SA of mode any as its end and its return.
"""

import contextlib
import errno
from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

from kamexfrm.errors import KamexfrmError, KernelError
from kamexfrm.hub.bus import Bus
from kamexfrm.hub.client_queue import Client, Stream
from kamexfrm.hub.shadow import ShadowTable
from kamexfrm.kernel.interface import Event as KernelEvent
from kamexfrm.kernel.interface import Kernel
from kamexfrm.pfkey import SadbMsg, SadbType, encode
from kamexfrm.translate.event import broadcast
from kamexfrm.translate.xfrm.sidecars import Sidecars
from kamexfrm.xfrm import (
    XFRMNLGRP_ACQUIRE,
    XFRMNLGRP_EXPIRE,
    XFRMNLGRP_MAPPING,
    XFRMNLGRP_MIGRATE,
    XFRMNLGRP_POLICY,
    XFRMNLGRP_SA,
    Acquire,
    Expire,
    Mapping,
    Migrate,
    PolicyExpire,
    decode_event,
)
from kamexfrm.xfrm import Event as XfrmEvent

#: Joined from the first client on. The kernel takes a listener to ACQUIRE for a key manager, so
#: that group is joined while a client is registered.
GROUPS = (
    XFRMNLGRP_EXPIRE,
    XFRMNLGRP_SA,
    XFRMNLGRP_POLICY,
    XFRMNLGRP_MIGRATE,
    XFRMNLGRP_MAPPING,
)

#: Events that one process() takes.
_EVENTS_PER_TURN = 256

#: More events than a socket buffer holds: a request's own events are among so many.
_MAX_BACKLOG = 1 << 16

#: Resyncs in one process(), should events be lost again during each.
_MAX_RESYNCS = 8

#: What a later resync does not show.
_TRANSIENT = (Acquire, Expire, Mapping, Migrate, PolicyExpire)

#: What only registered clients get.
_FOR_REGISTERED = frozenset(
    (
        SadbType.SADB_ACQUIRE,
        SadbType.SADB_EXPIRE,
        SadbType.SADB_X_NAT_T_NEW_MAPPING,
        SadbType.SADB_X_SPDEXPIRE,
    )
)


class FeedEvent(NamedTuple):
    """A kernel event as it came, and decoded."""

    raw: KernelEvent
    decoded: XfrmEvent


class Feed:
    """The events of one kernel, broadcast to the clients of a bus.

    ``clock`` returns seconds since the epoch. Nothing is followed before start(). ``log`` gets a
    sentence when events come that cannot be read: these are counted, and broadcast to no one.
    """

    def __init__(
        self, kernel: Kernel, bus: Bus, clock: Callable[[], float], log: Callable[[str], None]
    ) -> None:
        #: Events since the start that could not be read or made into a message.
        self.unreadable = 0
        self._log = log
        self.shadow = ShadowTable()
        self._kernel = kernel
        self._bus = bus
        self._clock = clock
        self._events = kernel.subscribe(GROUPS)
        self._sidecars = Sidecars(())
        self._has_acquire = False
        self._started = False
        #: Whether events were lost or skipped: a resync is due.
        self._lost = False
        # Whether changes are left to the next resync, as all clients are slow readers.
        self._skips = False
        # Whether waiting events may be from before the last resync, which has shown them already.
        self._repeats = False

    def fileno(self) -> int:
        """Return a descriptor that is readable while kernel events wait."""
        return self._events.fileno()

    def close(self) -> None:
        """Stop listening."""
        self._events.close()

    def start(self) -> None:
        """Follow the kernel's state from now on; a second call makes up for lost events only.

        Raises KernelError where the kernel cannot be read.
        """
        if not self._started:
            self.shadow.resync(self._kernel)
            self._sidecars = Sidecars(self.shadow.sidecars())
            self._started = self._repeats = True
            self._drain(_EVENTS_PER_TURN)
        elif self._lost:
            self._resync()

    def update_subscription(self, client: Client) -> None:
        """Follow a change of a client's ``registered`` or ``promiscuous``."""
        self._bus.update_subscription(client)
        self.update_acquire_group()

    def update_acquire_group(self) -> None:
        """Join or leave the group of ACQUIRE: it is joined while a client is registered."""
        wanted = self._bus.has_registered()
        if wanted != self._has_acquire:
            change = self._events.join if wanted else self._events.leave
            change(XFRMNLGRP_ACQUIRE)
            self._has_acquire = wanted

    def process(self) -> None:
        """Broadcast the kernel events that wait; never raises for what an event holds."""
        self._drain(_EVENTS_PER_TURN)

    def process_if_lost(self) -> None:
        """Make up for lost events, if there are any."""
        if self._lost:
            self.process()

    def resume(self) -> None:
        """Broadcast what was skipped, once a client has read on."""
        if self._skips and not self._bus.is_congested():
            self.process()

    def own_events(self, claimed: tuple[type, ...] = ()) -> list[FeedEvent]:
        """Return the events of our own changes; other waiting events are broadcast.

        ``claimed`` are kinds of events that do not say which process caused them.
        """
        return self._drain(_MAX_BACKLOG, claimed)

    def _drain(self, most: int, claimed: tuple[type, ...] = ()) -> list[FeedEvent]:
        """Broadcast waiting events, and return our own, which the caller answers with or drops."""
        own: list[FeedEvent] = []
        count = resyncs = 0
        while count < most:
            try:
                raws = self._events.receive()
            except KernelError as lost:
                if lost.errno != errno.ENOBUFS:
                    raise
                self._lost = True
                continue
            if not raws:
                self._repeats = False
                if not self._lost or resyncs == _MAX_RESYNCS or most == _MAX_BACKLOG:
                    break  # a request's own event first, then all that was lost
                if self._bus.is_congested():
                    break  # resume() goes on
                resyncs += 1
                self._resync()
                continue
            count += len(raws)
            unreadable, problem = self.unreadable, ""
            for raw in raws:
                try:
                    event = self._decode(raw)
                    if self._is_skipped(event) or not self._apply(event):
                        continue
                    if raw.pid == self._kernel.port or isinstance(event.decoded, claimed):
                        own.append(event)
                    else:
                        self.publish(event)
                except KamexfrmError as error:
                    self.unreadable += 1
                    problem = f"type {raw.type:#x}: {error}"
            if self.unreadable > unreadable:
                self._log_unreadable(self.unreadable - unreadable, problem)
        return own

    def _log_unreadable(self, count: int, problem: str) -> None:
        events = "an event" if count == 1 else f"{count} events"
        self._log(
            f"{events} could not be shown to PF_KEY ({problem}), {self.unreadable} since the start"
        )

    def _decode(self, raw: KernelEvent) -> FeedEvent:
        decoded = decode_event(raw.type, raw.payload)
        if isinstance(decoded, Expire):
            decoded = decoded._replace(state=self.shadow.complete(decoded.state))
        return FeedEvent(raw, decoded)

    def _is_skipped(self, event: FeedEvent) -> bool:
        """Whether an event is left to the next resync: all are slow, and that will show it."""
        if self._bus.is_congested() and event.raw.pid != self._kernel.port:
            self._skips = self._lost = True
        return self._skips and not isinstance(event.decoded, _TRANSIENT)

    def _apply(self, event: FeedEvent) -> bool:
        """Apply an event to the shadow table; return whether it is one to broadcast."""
        if not self._started:
            return False
        self._sidecars.apply_event(event.decoded)
        is_new = self.shadow.apply(event.raw, event.decoded)
        return is_new or not self._repeats

    def publish(self, event: FeedEvent, besides: Client | None = None) -> None:
        """Broadcast an event to those it concerns; raises KamexfrmError."""
        message = self.message_of(event)
        if message is None:
            return
        data = encode(message)
        if message.type in _FOR_REGISTERED:
            self._bus.to_registered(data)
        else:
            self._bus.to_all(data, besides)

    def message_of(self, event: FeedEvent) -> SadbMsg | None:
        """Return the PF_KEY message for an event, None if there is none; raises KamexfrmError."""
        raw, decoded = event
        return broadcast(
            raw.type,
            decoded,
            now=self._clock(),
            sequence=raw.sequence,
            pid=raw.pid,
            sidecar_of=self._sidecars.of,
            wanted=True,
        )

    def _resync(self) -> None:
        """Read both databases again, and send each client what has changed."""
        if not self._started:
            self._lost = False
            return
        try:
            differences = tuple(self.shadow.resync(self._kernel))
        except KamexfrmError:
            return  # the next event tries again
        self._sidecars = Sidecars(self.shadow.sidecars())
        self._lost, self._skips, self._repeats = False, False, True
        if differences:
            for client in self._bus:
                client.put_changes(Stream(self._messages_of(differences), is_dump=False))

    def _messages_of(self, raws: Iterable[KernelEvent]) -> Iterator[bytes]:
        for raw in raws:
            with contextlib.suppress(KamexfrmError):
                message = self.message_of(self._decode(raw))
                if message is not None:
                    yield encode(message)
