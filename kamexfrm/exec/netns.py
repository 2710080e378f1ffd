"""Network namespaces that programs use PF_KEY in: a hub for each, made on demand."""

import contextlib
import errno
import fcntl
import os
import time

from kamexfrm.engine.engine import Engine
from kamexfrm.errors import KernelError
from kamexfrm.exec import system
from kamexfrm.exec.caller import CAP_NET_ADMIN, NS_GET_USERNS, Caller, owners
from kamexfrm.exec.connection import Connection
from kamexfrm.exec.loop import Loop
from kamexfrm.hub.algorithms import prepare
from kamexfrm.hub.hub import Hub
from kamexfrm.kernel.namespace import HERE, name_of, switch
from kamexfrm.kernel.netlink import NetlinkKernel

#: Seconds that a namespace's hub outlives its last socket: a script starts one setkey after
#: another.
LINGER = 1.0

#: Namespaces at a time: each costs descriptors, and a program can make as many as it likes.
MOST = 256


class Space:
    """A network namespace; ``descriptor`` keeps it alive, and is ours from now on."""

    def __init__(self, descriptor: int, loop: Loop) -> None:
        self.name = name_of("net", descriptor)
        self.owners = owners(descriptor)
        #: The programs' PF_KEY sockets in this namespace.
        self.connections: set[Connection] = set()
        #: Those of them that have something to be sent.
        self.due: list[Connection] = []
        self.unused_since = time.monotonic()
        self._descriptor = descriptor
        self._loop = loop
        self._kernel: NetlinkKernel | None = None
        self._engine: Engine | None = None
        self._hub: Hub | None = None

    @property
    def elsewhere(self) -> int | None:
        """The descriptor of the namespace, or None if the calling thread is in it."""
        return None if os.readlink(HERE) == self.name else self._descriptor

    @property
    def is_open(self) -> bool:
        """Whether we have to do with the namespace's kernel."""
        return self._kernel is not None

    def kernel(self) -> NetlinkKernel:
        """Return the namespace's XFRM; raises KamexfrmError (EPERM)."""
        if self._kernel is None:
            try:
                self._kernel = NetlinkKernel(self.elsewhere)
            except KernelError as error:
                if error.errno != errno.EPERM:
                    raise
                self._move_in()
                self._kernel = NetlinkKernel()
        return self._kernel

    def _move_in(self) -> None:
        """Enter the namespace for good, by way of the user namespace that owns it.

        An ordinary user may enter no network namespace, but may become root of a user namespace
        that is his own, where the program already is. There is no way back, nor any need if we
        have no right where we are: else we stay for the others' sake. Raises KernelError (EPERM).
        """
        if system.effective_capabilities(os.getpid()) >> CAP_NET_ADMIN & 1:
            raise KernelError(
                errno.EPERM, "the program's namespace: it takes CAP_SYS_ADMIN to enter"
            )
        try:
            owner = fcntl.ioctl(self._descriptor, NS_GET_USERNS)
            try:
                system.enter_user_namespace(owner)
            finally:
                os.close(owner)
            switch(self._descriptor)
        except OSError as error:
            raise KernelError(errno.EPERM, f"the program's namespace: {error.strerror}") from None

    def engine(self) -> Engine:
        """Return the namespace's engine; raises KamexfrmError."""
        if self._engine is None:
            self._engine = Engine(self.kernel())
        return self._engine

    def hub(self) -> Hub:
        """Return the namespace's hub, which the loop watches; raises KamexfrmError.

        Before the first one of all, modules are loaded. The kernel takes that time in the send() of
        a REGISTER, or of an ADD; here a program would be waiting for the reply by then, and setkey
        waits no longer than a second. Nobody hurries a socket().
        """
        if self._hub is None:
            with contextlib.suppress(KernelError):  # REGISTER says so
                prepare(self.kernel())
            self._hub = Hub(self.kernel())
            self._loop.watch(self._hub.fileno(), self._hear)
        return self._hub

    def _hear(self, _: int) -> None:
        try:
            if self._hub is not None:
                self._hub.process_events()
        finally:
            self.flush()

    def settle(self) -> float | None:
        """See Hub.settle()."""
        if self._hub is None:
            return None
        pause = self._hub.run_deferred()
        self.flush()
        return pause

    def flush(self) -> None:
        """Send what the hub has queued for the sockets of this namespace."""
        while self.due:
            connection = self.due.pop()
            if connection.dirty:
                connection.write()

    def close(self) -> None:
        """Let go of the namespace."""
        if self._hub is not None:
            self._loop.forget(self._hub.fileno())
            self._hub.close()
        if self._kernel is not None:
            self._kernel.close()
        os.close(self._descriptor)


class Spaces:
    """The namespaces in use, and those of a moment ago."""

    def __init__(self, loop: Loop) -> None:
        self._loop = loop
        self._by_name: dict[str, Space] = {}

    def of_caller(self, caller: Caller) -> Space:
        """Return the namespace that a thread is in; release() it. Raises OSError."""
        known = self._by_name.get(caller.network_namespace())
        return known or self.of(caller.open_network_namespace())

    def of(self, descriptor: int) -> Space:
        """Return the namespace of a descriptor, which becomes ours; release() it. Raises OSError.

        ENFILE: there are too many.
        """
        known = self._by_name.get(name_of("net", descriptor))
        if known is None and len(self._by_name) < MOST:
            try:
                space = Space(descriptor, self._loop)
            except OSError:
                os.close(descriptor)
                raise
            self._by_name[space.name] = space
            return space
        os.close(descriptor)
        if known is None:
            raise OSError(errno.ENFILE, "too many network namespaces")
        return known

    def release(self, space: Space) -> None:
        """Say that a call is done with a namespace: only one in which we do something is kept."""
        space.unused_since = time.monotonic()
        if not space.is_open:
            self._forget(space)

    def sweep(self) -> float | None:
        """Do what can wait: let follow what was written, and close what is unused for long enough.

        Return after how many seconds to look again, None for never.
        """
        pauses = []
        for space in tuple(self._by_name.values()):
            pause = space.settle()
            if pause is not None:
                pauses.append(pause)
            elif not space.connections:
                pauses.append(LINGER)
                if space.unused_since <= time.monotonic() - LINGER:
                    self._forget(space)
        return min(pauses, default=None)

    def close(self) -> None:
        """Let go of all, and leave nothing undone."""
        for space in tuple(self._by_name.values()):
            self._forget(space)

    def _forget(self, space: Space) -> None:
        del self._by_name[space.name]
        space.close()
