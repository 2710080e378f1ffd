"""What happens in a namespace, one event after the other, with and without asyncio."""

import asyncio
import select
import time
import weakref
from collections import deque

from kamexfrm.errors import KamexfrmError
from kamexfrm.kernel.interface import Kernel, received
from kamexfrm.kernel.netlink import NetlinkKernel
from kamexfrm.library.namespace import opened
from kamexfrm.model.event import Event, LostEvent, OtherEvent
from kamexfrm.translate.xfrm.model_event import EventReader
from kamexfrm.xfrm import decode_event
from kamexfrm.xfrm.constants import EVENT_GROUPS


class Events:
    """An endless iterator over events, ``for`` and ``async for``.

    It receives from the moment it is made until it is closed: as a context manager, at the end of
    its block; else when nothing refers to it any more. Raises KernelError (EPERM) when made without
    CAP_NET_ADMIN.
    """

    def __init__(self, kernel: Kernel) -> None:
        self._events = kernel.subscribe(EVENT_GROUPS)
        self.close = weakref.finalize(self, self._events.close)
        # Subscribed first: a change in between is in the dump, among the events, or in both.
        self._reader = EventReader(list(kernel.policies()))
        self._waiting: deque[Event] = deque()

    def fileno(self) -> int:
        """Return a descriptor that is readable while events wait in the kernel."""
        return self._events.fileno()

    def receive(self) -> list[Event]:
        """Return the events that wait, perhaps none; LostEvent stands for some that were lost."""
        found, self._waiting = list(self._waiting), deque()
        arrived = received(self._events)
        if arrived is None:
            return [*found, LostEvent()]
        for type_, payload, _, pid in arrived:
            try:
                found += self._reader.read(type_, decode_event(type_, payload), time.time(), pid)
            except KamexfrmError as error:
                found.append(OtherEvent(f"a message of type {type_:#x}: {error}", pid))
        return found

    def __enter__(self) -> "Events":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __iter__(self) -> "Events":
        return self

    def __next__(self) -> Event:
        while not self._waiting:
            select.select([self.fileno()], [], [])
            self._waiting = deque(self.receive())
        return self._waiting.popleft()

    def __aiter__(self) -> "Events":
        return self

    async def __anext__(self) -> Event:
        loop = asyncio.get_running_loop()
        while not self._waiting:
            readable = asyncio.Event()
            loop.add_reader(self.fileno(), readable.set)
            try:
                await readable.wait()
            finally:
                loop.remove_reader(self.fileno())
            self._waiting = deque(self.receive())
        return self._waiting.popleft()


def events(netns: str | None = None) -> Events:
    """Return the events of this network namespace, or of another one; see open() for its names.

    Raises KernelError (EPERM: CAP_NET_ADMIN).

    ::

        async for event in kamexfrm.events():
            print(event)
    """
    with opened(netns) as namespace, NetlinkKernel(namespace) as kernel:
        return Events(kernel)
