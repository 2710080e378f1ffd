"""A client of the hub: what one PF_KEY socket is, with a bounded queue of messages."""

import errno
from collections import deque
from collections.abc import Callable, Iterator

from kamexfrm.errors import KernelError

#: Bytes of messages that may wait for one client; what comes then is lost.
QUEUE_BYTES = 1 << 20

#: A dump pauses while this much waits: the rest is made as the client reads.
DUMP_BYTES = 1 << 16

#: What may wait for all clients together; each one's share is never less than the second number.
_TOTAL_BYTES = 1 << 26
_MIN_BYTES = 1 << 14

#: Up to so many clients each have QUEUE_BYTES.
_MAX_UNSHARED = _TOTAL_BYTES // QUEUE_BYTES

_LOST = KernelError(errno.ENOBUFS, "messages were lost: they came faster than they were read")


class QueueMemory:
    """The memory that the queues of one hub share.

    ``queue_bytes`` is what may wait for each client, ``slow_readers`` how many clients have more
    than half of that waiting.
    """

    def __init__(self) -> None:
        self.queue_bytes = QUEUE_BYTES
        self.slow_readers = 0

    def share(self, clients: int) -> None:
        """Divide the memory between so many clients."""
        if clients <= _MAX_UNSHARED:
            self.queue_bytes = QUEUE_BYTES
        else:
            self.queue_bytes = max(_MIN_BYTES, _TOTAL_BYTES // clients)


class Stream:
    """Messages that are made as they are read; ``head`` is the next one, None after the last.

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

    ``registered`` holds the satypes of its REGISTER requests; a ``promiscuous`` client gets a copy
    of all messages. The hub hands in what to call: ``serve`` with each request, ``notify`` when a
    message was queued, ``caught_up`` when a slow reader has read on, ``closed`` at the end.
    """

    def __init__(
        self,
        memory: QueueMemory,
        *,
        serve: Callable[["Client", bytes], None],
        notify: Callable[[], None],
        caught_up: Callable[[], None],
        closed: Callable[["Client"], None],
    ) -> None:
        self.registered: set[int] = set()
        self.promiscuous = False
        #: Whether more than half of the memory for this client is in use.
        self.is_slow = False
        self._memory = memory
        self._serve = serve
        self._notify = notify
        self._caught_up = caught_up
        self._closed = closed
        self._queue: deque[bytes | Stream | KernelError] = deque()
        self._bytes = 0
        # Streams in the queue: at most one dump, and one of changes found by a resync.
        self._dump: Stream | None = None
        self._changes: Stream | None = None

    def send(self, message: bytes) -> None:
        """Carry out a request; when this returns, all replies to it are queued.

        Raises KamexfrmError with the errno that send(2) would have: EMSGSIZE, EINVAL.
        """
        self._serve(self, message)

    def receive(self) -> bytes | None:
        """Return the oldest message, None if none waits.

        Raises KernelError (ENOBUFS), once, where messages were lost because they were not read.
        """
        queue = self._queue
        if not queue:
            return None
        first = queue[0]
        if isinstance(first, bytes):
            queue.popleft()
            self._bytes -= len(first)
            if self.is_slow and self._bytes < self._memory.queue_bytes // 4:
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
        """Whether receive() would return a message or raise."""
        return bool(self._queue)

    @property
    def is_dumping(self) -> bool:
        """Whether a dump is still being made for this client."""
        return self._dump is not None

    def put(self, message: bytes) -> None:
        """Queue a message, or lose it if too much waits already."""
        queue, memory = self._queue, self._memory
        if self._bytes + len(message) > memory.queue_bytes:
            self._lose()
        else:
            queue.append(message)
            self._bytes += len(message)
            if not self.is_slow and self._bytes > memory.queue_bytes // 2:
                self.is_slow = True
                memory.slow_readers += 1
        self._notify()

    def _catch_up(self) -> None:
        self.is_slow = False
        self._memory.slow_readers -= 1
        self._caught_up()

    def _lose(self) -> None:
        if not self._queue or self._queue[-1] is not _LOST:
            self._queue.append(_LOST)

    def put_changes(self, stream: Stream) -> None:
        """Queue what a resync found changed; it is lost while the last such stream is unread."""
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
        self._closed(self)
