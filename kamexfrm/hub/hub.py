"""The hub: one network namespace's PF_KEY. Requests come in, replies and broadcasts go out.

The kernel is the bus: a change by anybody is heard from its netlink events, our own too. An event
of our own tells what the sender of the request and everybody else hears of it, with the request's
sequence number and process id. What our engine writes besides, for its own sake, changes nothing
that PF_KEY shows and is kept quiet about: the marker, sidecars, catch-alls, new kernel priorities,
swapped templates, SAs of mode any that are made anew. Only automatic fwd twins that come and go are
told of, to all but the sender, who waits for one reply. What the engine of another process writes
for its own sake cannot be told from what it was asked for: it is heard as the update that says what
the entry is, and of an SA of mode any that is made anew as its end and its return.

What has no event is heard within one hub: GETSPI, copies for the promiscuous, a flush of nothing.
"""

import contextlib
import errno
import time
from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

from kamexfrm.engine.engine import Engine
from kamexfrm.engine.requests import Write
from kamexfrm.errors import KamexfrmError, KernelError
from kamexfrm.hub.backoff import Rest
from kamexfrm.hub.bus import Bus
from kamexfrm.hub.client_queue import Client, Stream
from kamexfrm.hub.handlers import serve
from kamexfrm.hub.header import check_header
from kamexfrm.hub.shadow import Known
from kamexfrm.kernel.interface import Event, Kernel
from kamexfrm.pfkey import SadbMsg, SadbType, addressed, decode, decode_base, encode
from kamexfrm.translate.event import broadcast
from kamexfrm.translate.pfkey.parts import error_reply
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
from kamexfrm.xfrm import Event as Told

#: Joined from the first client on. The kernel takes a listener to ACQUIRE for a key manager, so
#: that group is joined while somebody is registered.
GROUPS = (
    XFRMNLGRP_EXPIRE,
    XFRMNLGRP_SA,
    XFRMNLGRP_POLICY,
    XFRMNLGRP_MIGRATE,
    XFRMNLGRP_MAPPING,
)

#: Events that one hear() takes.
_TURN = 256

#: More events than there is room for: where those of a request are to be among them.
_MOST_WAITING = 1 << 16

#: Looks at everything in one hear(), should events be lost again during each.
_LOOKS = 8

#: What follows from a change, where there are SAs of mode any for one, takes a look at both
#: databases. Of more entries than so many, one look does for all that is written meanwhile.
_FEW = 200

#: Seconds before what could not follow is tried again.
_PATIENCE = 1.0

#: What a later look at the databases does not show.
_ONCE = (Acquire, Expire, Mapping, Migrate, PolicyExpire)

#: What only key managers hear.
_FOR_REGISTERED = frozenset(
    (
        SadbType.SADB_ACQUIRE,
        SadbType.SADB_EXPIRE,
        SadbType.SADB_X_NAT_T_NEW_MAPPING,
        SadbType.SADB_X_SPDEXPIRE,
    )
)


class Heard(NamedTuple):
    """An event of the kernel's with what it says."""

    event: Event
    told: Told


def _ignore() -> None:
    pass


class Hub:
    """PF_KEY on a kernel; whoever attaches a client answers for its rights.

    ``clock`` returns seconds since the epoch. Whoever runs it calls settle() when that asks for it.
    """

    def __init__(self, kernel: Kernel, clock: Callable[[], float] = time.time) -> None:
        self.kernel = kernel
        self.engine = Engine(kernel, clock=clock)
        self.bus = Bus()
        self.known = Known()
        self._clock = clock
        self._events = kernel.subscribe(GROUPS)
        self._sidecars = Sidecars(())
        self._hears_acquire = False
        self._lost = False
        self._rest = Rest()
        # Whether changes are left to the next look, as nobody keeps up with hearing of them.
        self._skips = False
        # Nothing is followed before there is a client.
        self._follows = False
        # Whether what waits may have been seen by the last look at everything already.
        self._repeats = False

    # Clients

    def fileno(self) -> int:
        """Return a descriptor that is readable while kernel events wait."""
        return self._events.fileno()

    def attach(self, notify: Callable[[], None] = _ignore) -> Client:
        """Make a client; ``notify`` is called whenever a message was queued for it.

        Raises KernelError where the kernel cannot be looked at.
        """
        if not self._follows:
            self.known.look(self.kernel)
            self._sidecars = Sidecars(self.known.sidecars())
            self._follows = self._repeats = True
            self._drain(_TURN)
        elif self._lost:
            self._look()
        client = Client(self, notify)
        self.bus.add(client)
        return client

    def detach(self, client: Client) -> None:
        """Forget a client."""
        self.bus.remove(client)
        self._follow_registrations()

    def heed(self, client: Client) -> None:
        """Let a client hear what it has asked for since."""
        self.bus.heed(client)
        self._follow_registrations()

    def _follow_registrations(self) -> None:
        """Listen to ACQUIRE while somebody is registered."""
        wanted = self.bus.is_anybody_registered()
        if wanted != self._hears_acquire:
            choose = self._events.join if wanted else self._events.leave
            choose(XFRMNLGRP_ACQUIRE)
            self._hears_acquire = wanted

    def close(self) -> None:
        """Let all follow that was left for later, and stop listening.

        The kernel object is its maker's.
        """
        self._rest.end()
        self.settle()
        self._events.close()

    # Requests

    def take(self, client: Client, data: bytes) -> None:
        """Carry out a client's request; see Client.send()."""
        check_header(data)
        self.bus.to_promiscuous(data)
        request = None
        try:
            request = decode(data)
            serve(self, client, request)
        except KamexfrmError as error:
            request = request or decode_base(data[: len(data) // 8 * 8])
            self.answer(client, request, error_reply(request, error.errno))
        finally:
            if self._lost:
                self.hear()

    def answer(self, client: Client, request: SadbMsg, reply: SadbMsg) -> None:
        """Tell one client, in answer to its request."""
        wire = encode(reply)
        self.bus.to_one(client, addressed(wire, reply.type, request.seq, request.pid))

    def write(self, request: Write) -> list[Heard]:
        """Have the engine write; return what of our own the kernel told. Raises KamexfrmError."""
        began = time.monotonic()
        try:
            self.engine.submit(request)
            self.engine.flush(follow=not self._rest.remaining())
        finally:
            own = self.own_events()
        self._rest_since(began)
        return own

    def _rest_since(self, began: float) -> None:
        """Rest from looks, if what began then took one at many entries."""
        if self.engine.has_resynced and len(self.known) > _FEW:
            self._rest.after(began)

    def settle(self) -> float | None:
        """Let follow what was left for later, if it is time.

        Return in how many seconds it will be, None where nothing is left. Never raises.
        """
        if not self.engine.pending_reconcile:
            return None
        if pause := self._rest.remaining():
            return pause
        began = time.monotonic()
        with contextlib.suppress(KamexfrmError):  # tried again
            self.engine.flush()
            self.own_events()
        self._rest_since(began)
        return _PATIENCE if self.engine.pending_reconcile else None

    def own_events(self, claimed: tuple[type, ...] = ()) -> list[Heard]:
        """Return what the kernel told of our own; the rest is told on.

        ``claimed`` are kinds of events that do not say whose they are.
        """
        return self._drain(_MOST_WAITING, claimed)

    # Events

    def hear(self) -> None:
        """Take waiting kernel events to the clients; never raises for what an event holds."""
        self._drain(_TURN)

    def _drain(self, most: int, claimed: tuple[type, ...] = ()) -> list[Heard]:
        """Tell of what waits, and return what is our own: somebody waits for it, or nobody."""
        own: list[Heard] = []
        count = looks = 0
        while count < most:
            try:
                events = self._events.receive()
            except KernelError as lost:
                if lost.errno != errno.ENOBUFS:
                    raise
                self._lost = True
                continue
            if not events:
                self._repeats = False
                if not self._lost or looks == _LOOKS or most == _MOST_WAITING:
                    break  # a request's own event first, then all that was lost
                if self.bus.is_congested():
                    break  # resume() goes on
                looks += 1
                self._look()
                continue
            count += len(events)
            for event in events:
                with contextlib.suppress(KamexfrmError):
                    heard = self._read(event)
                    if self._is_skipped(heard) or not self._note(heard):
                        continue
                    if event.pid == self.kernel.port or isinstance(heard.told, claimed):
                        own.append(heard)
                    else:
                        self.tell(heard)
        return own

    def _read(self, event: Event) -> Heard:
        told = decode_event(event.type, event.payload)
        if isinstance(told, Expire):
            told = told._replace(state=self.known.whole(told.state))
        return Heard(event, told)

    def _is_skipped(self, heard: Heard) -> bool:
        """Whether an event is left to the next look: nobody keeps up, and it can be told later."""
        if self.bus.is_congested() and heard.event.pid != self.kernel.port:
            self._skips = self._lost = True
        return self._skips and not isinstance(heard.told, _ONCE)

    def resume(self) -> None:
        """Somebody has read on: tell what was left for later."""
        if self._skips and not self.bus.is_congested():
            self.hear()

    def _note(self, heard: Heard) -> bool:
        """Remember an event; return whether it is one to tell of."""
        if not self._follows:
            return False
        self._sidecars.note(heard.told)
        is_new = self.known.note(heard.event, heard.told)
        return is_new or not self._repeats

    def tell(self, heard: Heard, besides: Client | None = None) -> None:
        """Tell of an event whoever is to hear of it; raises KamexfrmError."""
        message = self.message_of(heard)
        if message is None:
            return
        data = encode(message)
        if message.type in _FOR_REGISTERED:
            self.bus.to_registered(data)
        else:
            self.bus.to_all(data, besides)

    def message_of(self, heard: Heard) -> SadbMsg | None:
        """Return what PF_KEY says of an event, None for nothing; raises KamexfrmError."""
        event, told = heard
        return broadcast(
            event.type,
            told,
            now=self._clock(),
            sequence=event.sequence,
            pid=event.pid,
            sidecar_of=self._sidecars.of,
            wanted=True,
        )

    def _look(self) -> None:
        """Events were lost: look at everything, and tell each client what is otherwise."""
        if not self._follows:
            self._lost = False
            return
        try:
            differences = tuple(self.known.look(self.kernel))
        except KamexfrmError:
            return  # the next event tries again
        self._sidecars = Sidecars(self.known.sidecars())
        self._lost, self._skips, self._repeats = False, False, True
        if differences:
            for client in self.bus:
                client.put_changes(Stream(self._told(differences), is_dump=False))

    def _told(self, events: Iterable[Event]) -> Iterator[bytes]:
        for event in events:
            with contextlib.suppress(KamexfrmError):
                message = self.message_of(self._read(event))
                if message is not None:
                    yield encode(message)
