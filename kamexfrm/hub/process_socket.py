"""A PF_KEY socket within a process: ``kamexfrm.PfKeySocket()``.

All sockets of a process in one network namespace share a hub, and a thread that processes the
kernel's events: so each descriptor is readable exactly when there is a message.
"""

import contextlib
import errno
import os
import select
import threading
import time

from kamexfrm.errors import KamexfrmError
from kamexfrm.hub.client_queue import Client
from kamexfrm.hub.hub import Hub
from kamexfrm.kernel.namespace import HERE
from kamexfrm.kernel.netlink import NetlinkKernel


class _Shared:
    """The hub of this process in one namespace, as long as it has sockets."""

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self.users = 0
        with contextlib.ExitStack() as undo:
            self._kernel = NetlinkKernel()
            undo.callback(self._kernel.close)
            self.hub = Hub(self._kernel)
            undo.callback(self.hub.close)
            self._wake = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
            undo.pop_all()
        self._ends = False
        self._thread = threading.Thread(target=self._listen, name="kamexfrm-pfkey", daemon=True)
        self._thread.start()

    def _listen(self) -> None:
        poll = select.poll()
        poll.register(self.hub, select.POLLIN)
        poll.register(self._wake, select.POLLIN)
        pause: float | None = None
        while True:
            poll.poll(None if pause is None else pause * 1000)
            with contextlib.suppress(BlockingIOError):
                os.eventfd_read(self._wake)
            if self._ends:
                return
            with self.lock:
                self.hub.process_events()
                pause = self.hub.run_deferred()

    def send(self, client: Client, message: bytes) -> None:
        """Carry out a client's request; the thread does what is deferred."""
        client.send(message)
        if self.hub.has_deferred:
            os.eventfd_write(self._wake, 1)

    def close(self) -> None:
        self._ends = True
        os.eventfd_write(self._wake, 1)
        self._thread.join()
        os.close(self._wake)
        self.hub.close()
        self._kernel.close()


_shared: dict[tuple[int, int], _Shared] = {}
_lock = threading.Lock()


def _forget() -> None:
    """Leave the sockets of the parent process alone: their thread is not here."""
    global _lock  # noqa: PLW0603  it may have been held when the process was forked
    _lock = threading.Lock()
    _shared.clear()


os.register_at_fork(after_in_child=_forget)


class PfKeySocket:
    """A PF_KEY socket in the calling thread's network namespace.

    It behaves as ``socket.socket(AF_KEY, SOCK_RAW, PF_KEY_V2)`` on Linux does: send() is
    synchronous, recv() returns one whole message, fileno() is for select and poll. Errors are
    OSError. Any thread may use it; a process that was forked makes its own.

    Raises PermissionError without CAP_NET_ADMIN.
    """

    def __init__(self) -> None:
        self._timeout: float | None = None
        self._process = os.getpid()
        status = os.stat(HERE)
        self._key = status.st_dev, status.st_ino
        self._descriptor = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        with _lock:
            try:
                self._shared = _shared.get(self._key) or _Shared()
            except BaseException as error:
                os.close(self._descriptor)
                if isinstance(error, KamexfrmError):
                    raise _os_error(error) from None
                raise
            _shared[self._key] = self._shared
            self._shared.users += 1
            try:
                with self._shared.lock:
                    self._client = self._shared.hub.attach(self._notify)
            except KamexfrmError as error:
                self._release()
                raise _os_error(error) from None

    def _notify(self) -> None:
        os.eventfd_write(self._descriptor, 1)

    def fileno(self) -> int:
        """Return a descriptor that is readable while a message waits, -1 once closed."""
        return self._descriptor

    def settimeout(self, seconds: float | None) -> None:
        """Let recv() wait so long: None for ever, 0 not at all."""
        if seconds is not None and seconds < 0:
            raise ValueError("a timeout is not negative")
        self._timeout = seconds

    def gettimeout(self) -> float | None:
        """Return how long recv() waits, in seconds."""
        return self._timeout

    def setblocking(self, blocking: bool) -> None:
        """Let recv() wait for ever, or not at all."""
        self.settimeout(None if blocking else 0)

    def send(self, message: bytes) -> int:
        """Carry out a request; its replies can be received when this returns.

        Return the message's length. Raises OSError with the errno of send(2) on a PF_KEY socket;
        later failures are in the reply.
        """
        data = bytes(message)
        with self._shared.lock:
            self._check_open()
            try:
                self._shared.send(self._client, data)
            except KamexfrmError as error:
                raise _os_error(error) from None
        return len(data)

    def recv(self) -> bytes:
        """Return the next message.

        Raises OSError: TimeoutError, BlockingIOError where it is not to wait, ENOBUFS once where
        messages were lost because they were not read.
        """
        until = None if self._timeout is None else time.monotonic() + self._timeout
        while True:
            message = self._take()
            if message is not None:
                return message
            left = None if until is None else max(0.0, until - time.monotonic())
            if not self._wait(left):
                if self._timeout == 0:
                    raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))
                raise TimeoutError("timed out")

    def _take(self) -> bytes | None:
        with self._shared.lock:
            self._check_open()
            try:
                if not self._client.pending:
                    # The thread may not have processed earlier events yet.
                    self._shared.hub.process_events()
                message = self._client.receive()
            except KamexfrmError as error:
                raise _os_error(error) from None
            finally:
                if not self._client.pending:
                    self._clear()
            return message

    def _clear(self) -> None:
        with contextlib.suppress(BlockingIOError):
            os.eventfd_read(self._descriptor)

    def _wait(self, seconds: float | None) -> bool:
        poll = select.poll()
        poll.register(self._descriptor, select.POLLIN)
        return bool(poll.poll(None if seconds is None else seconds * 1000))

    def _check_open(self) -> None:
        if self._descriptor < 0 or self._process != os.getpid():
            raise OSError(errno.EBADF, os.strerror(errno.EBADF))

    def close(self) -> None:
        """Close the socket; a second time does nothing."""
        with _lock:
            if self._descriptor < 0:
                return
            if self._process != os.getpid():
                os.close(self._descriptor)  # all else belongs to the parent process
                self._descriptor = -1
                return
            with self._shared.lock:
                self._client.close()
            self._release()

    def _release(self) -> None:
        os.close(self._descriptor)
        self._descriptor = -1
        self._shared.users -= 1
        if not self._shared.users:
            del _shared[self._key]
            self._shared.close()

    def __enter__(self) -> "PfKeySocket":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _os_error(error: KamexfrmError) -> OSError:
    return OSError(error.errno, str(error))
