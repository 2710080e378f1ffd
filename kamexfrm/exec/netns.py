"""Network namespaces that programs use PF_KEY in: a hub for each, made on demand."""

import contextlib
import errno
import fcntl
import os
import time
from collections.abc import Callable

from kamexfrm.engine.engine import Engine
from kamexfrm.errors import KernelError
from kamexfrm.exec import system
from kamexfrm.exec.caller import CAP_NET_ADMIN, NS_GET_USERNS, Caller, owners
from kamexfrm.hub.algorithms import prepare
from kamexfrm.hub.event_loop import EventLoop
from kamexfrm.hub.hub import Hub
from kamexfrm.hub.served import ServedSockets
from kamexfrm.kernel.namespace import HERE, name_of, switch
from kamexfrm.kernel.netlink import NetlinkKernel

#: Seconds that a namespace's hub outlives its last socket: a script starts one setkey after
#: another.
LINGER = 1.0

#: Namespaces at a time: each costs descriptors, and a program can make any number of them.
MAX_NETNS = 256


class Netns:
    """A network namespace; ``descriptor`` keeps it alive, and is ours from now on."""

    def __init__(self, descriptor: int, loop: EventLoop, log: Callable[[str], None]) -> None:
        self.name = name_of("net", descriptor)
        self.owners = owners(descriptor)
        self.unused_since = time.monotonic()
        self._descriptor = descriptor
        self._loop = loop
        self._log = log
        self._kernel: NetlinkKernel | None = None
        self._engine: Engine | None = None
        self._served: ServedSockets | None = None

    @property
    def elsewhere(self) -> int | None:
        """The descriptor of the namespace, or None if the calling thread is in it."""
        return None if os.readlink(HERE) == self.name else self._descriptor

    @property
    def is_open(self) -> bool:
        """Whether we have a connection to the namespace's kernel."""
        return self._kernel is not None

    @property
    def is_used(self) -> bool:
        """Whether programs have PF_KEY sockets in this namespace."""
        return bool(self._served)

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
        that the user owns, where the program already is. There is no way back, and none is needed
        if we have no rights where we are; if we have, we stay, to serve other programs. Raises
        KernelError (EPERM).
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

    def served(self) -> ServedSockets:
        """Return the namespace's PF_KEY sockets, with their hub; raises KamexfrmError.

        Before the first one of all, modules are loaded. The kernel takes that time in the send() of
        a REGISTER, or of an ADD; here a program would be waiting for the reply by then, and setkey
        waits no longer than a second. A socket() may take longer.
        """
        if self._served is None:
            with contextlib.suppress(KernelError):  # REGISTER reports it
                prepare(self.kernel())
            self._served = ServedSockets(Hub(self.kernel(), log=self._log), self._loop)
        return self._served

    def run_deferred(self) -> float | None:
        """See Hub.run_deferred()."""
        return None if self._served is None else self._served.run_deferred()

    def close(self) -> None:
        """Release the namespace, with all sockets in it."""
        if self._served is not None:
            self._served.close()
        if self._kernel is not None:
            self._kernel.close()
        os.close(self._descriptor)


class NetnsTable:
    """The namespaces in use, and those used a moment ago; ``log`` gets what goes wrong in them."""

    def __init__(self, loop: EventLoop, log: Callable[[str], None]) -> None:
        self._loop = loop
        self._log = log
        self._by_name: dict[str, Netns] = {}

    def of_caller(self, caller: Caller) -> Netns:
        """Return the namespace that a thread is in; release() it. Raises OSError."""
        known = self._by_name.get(caller.network_namespace())
        return known or self.of(caller.open_network_namespace())

    def of(self, descriptor: int) -> Netns:
        """Return the namespace of a descriptor, which becomes ours; release() it. Raises OSError.

        ENFILE: there are too many.
        """
        known = self._by_name.get(name_of("net", descriptor))
        if known is None and len(self._by_name) < MAX_NETNS:
            try:
                netns = Netns(descriptor, self._loop, self._log)
            except OSError:
                os.close(descriptor)
                raise
            self._by_name[netns.name] = netns
            return netns
        os.close(descriptor)
        if known is None:
            raise OSError(errno.ENFILE, "too many network namespaces")
        return known

    def release(self, netns: Netns) -> None:
        """Say that a call is done with a namespace: it is kept only if we opened its kernel."""
        netns.unused_since = time.monotonic()
        if not netns.is_open:
            self._forget(netns)

    def run_deferred(self) -> float | None:
        """Do what the hubs put off, and close namespaces that are unused for long enough.

        Return in how many seconds to call again, None for never.
        """
        pauses = []
        for netns in tuple(self._by_name.values()):
            pause = netns.run_deferred()
            if pause is not None:
                pauses.append(pause)
            elif not netns.is_used:
                pauses.append(LINGER)
                if netns.unused_since <= time.monotonic() - LINGER:
                    self._forget(netns)
        return min(pauses, default=None)

    def close(self) -> None:
        """Release all, and leave nothing undone."""
        for netns in tuple(self._by_name.values()):
            self._forget(netns)

    def _forget(self, netns: Netns) -> None:
        del self._by_name[netns.name]
        netns.close()
