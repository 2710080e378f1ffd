"""A client of the hub: what one PF_KEY socket is, with a queue of messages that has a bound."""

import errno
from collections import deque
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from kamexfrm.errors import KernelError

if TYPE_CHECKING:
    from kamexfrm.hub.hub import Hub

#: Bytes of messages that wait for a client before the next are lost.
QUEUE_BYTES = 1 << 20

#: A dump goes on while less than this waits: the rest is made as the client reads.
DUMP_BYTES = 1 << 16

_LOST = KernelError(errno.ENOBUFS, "messages were lost: they came faster than they were read")


class Stream:
    """Messages that are made as they are read; ``head`` is the next one, None behind the last.

    ``is_dump`` says that the client asked for them.
    """

    def __init__(self, messages: Iterator[bytes], *, is_dump: bool) -> None:
        self.is_dump = is_dump
        self._messages = messages
        self.head = next(messages, None)

    def advance(self) -> None:
        """Make the next message."""
        self.head = next(self._messages, None)


class Client:
    """One PF_KEY socket, made by ``Hub.attach()``.

    ``registered`` holds the satypes that it asked to hear of, ``promiscuous`` says that it hears
    what others do.
    """

    def __init__(self, hub: "Hub", notify: Callable[[], None]) -> None:
        self.registered: set[int] = set()
        self.promiscuous = False
        self._hub = hub
        self._notify = notify
        self._queue: deque[bytes | Stream | KernelError] = deque()
        self._bytes = 0
        #: Whether more than half of what may wait for this client does.
        self.is_slow = False
        # Streams in the queue: at most one dump, and one of what changed unheard.
        self._dump: Stream | None = None
        self._changes: Stream | None = None

    def send(self, message: bytes) -> None:
        """Carry out a request; when this returns, all replies to it are queued.

        Raises KamexfrmError with the errno that send(2) would have: EMSGSIZE, EINVAL.
        """
        self._hub.take(self, message)

    def receive(self) -> bytes | None:
        """Return the oldest message, None if none waits.

        Raises KernelError (ENOBUFS), once, where messages were lost because nobody read.
        """
        queue = self._queue
        if not queue:
            return None
        first = queue[0]
        if isinstance(first, bytes):
            queue.popleft()
            self._bytes -= len(first)
            if self.is_slow and self._bytes < self._hub.bus.queue_bytes // 4:
                self._catch_up()
            return first
        if isinstance(first, KernelError):
            queue.popleft()
            raise first
        message = first.head
        first.advance()
        if first.head is None:
            queue.popleft()
            if first is self._dump:
                self._dump = None
            else:
                self._changes = None
        return message

    @property
    def pending(self) -> bool:
        """Whether receive() has something to say."""
        return bool(self._queue)

    @property
    def is_dumping(self) -> bool:
        """Whether a dump is still being made for this client."""
        return self._dump is not None

    def put(self, message: bytes) -> None:
        """Queue a message, or lose it if too much waits already."""
        queue = self._queue
        if self._bytes + len(message) > self._hub.bus.queue_bytes:
            self._lose()
        else:
            queue.append(message)
            self._bytes += len(message)
            if not self.is_slow and self._bytes > self._hub.bus.queue_bytes // 2:
                self.is_slow = True
                self._hub.bus.slow_readers += 1
        self._notify()

    def _catch_up(self) -> None:
        self.is_slow = False
        self._hub.bus.slow_readers -= 1
        self._hub.resume()

    def _lose(self) -> None:
        if not self._queue or self._queue[-1] is not _LOST:
            self._queue.append(_LOST)

    def put_changes(self, stream: Stream) -> None:
        """Queue what changed unheard; one who has not read the last such stream loses this one."""
        if self._changes is not None:
            self._lose()
            self._notify()
        else:
            self.put_stream(stream)

    def put_stream(self, stream: Stream) -> None:
        """Queue messages that are made as they are read, the first ones now."""
        while stream.head is not None:
            if self._bytes >= DUMP_BYTES:
                self._queue.append(stream)
                if stream.is_dump:
                    self._dump = stream
                else:
                    self._changes = stream
                break
            self._queue.append(stream.head)
            self._bytes += len(stream.head)
            stream.advance()
        self._notify()

    def close(self) -> None:
        """Leave the hub."""
        self._queue.clear()
        self._bytes = 0
        self._dump = self._changes = None
        if self.is_slow:
            self._catch_up()
        self._hub.detach(self)
