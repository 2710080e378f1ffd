"""Seccomp user notification: install a filter, receive its calls, answer them.

Source: seccomp_unotify(2). The struct formats are those of linux/seccomp.h; a kernel may have
longer ones, and reports their sizes.
"""

import contextlib
import errno
import fcntl
import mmap
import os
import struct
from typing import NamedTuple

from kamexfrm.errors import KamexfrmError, KernelError
from kamexfrm.exec import system

_SET_MODE_FILTER, _GET_NOTIF_SIZES = 1, 3
_SPEC_ALLOW, _NEW_LISTENER, _WAIT_KILLABLE = 1 << 2, 1 << 3, 1 << 5

#: Flags from the best to what Linux 5.0 had. WAIT_KILLABLE (5.19): once the supervisor has a call,
#: only a fatal signal interrupts it. SPEC_ALLOW: the filter guards no secrets, so the program
#: needs no speculation barriers for it.
_FLAGS = (
    _NEW_LISTENER | _SPEC_ALLOW | _WAIT_KILLABLE,
    _NEW_LISTENER | _SPEC_ALLOW,
    _NEW_LISTENER,
)

_SOCK_FPROG = struct.Struct("@HP")  # number of instructions, where they are
_SIZES = struct.Struct("=3H")
#: Id, thread, flags; struct seccomp_data: number, architecture, instruction pointer, arguments.
_NOTIFICATION = struct.Struct("=QIIiIQ6Q")
#: Id, result, negative errno, flags.
_RESPONSE = struct.Struct("=QqiI")
#: Id, flags, our descriptor, theirs, flags of theirs.
_ADDFD = struct.Struct("=QIIII")
_ID = struct.Struct("=Q")
if (_NOTIFICATION.size, _RESPONSE.size, _ADDFD.size) != (80, 24, 24):
    raise SystemError("structs of seccomp")

_IOCTL_RECV = 0xC0502100
_IOCTL_SEND = 0xC0182101
_IOCTL_ID_VALID = 0x40082102
_IOCTL_ADDFD = 0x40182103
_IOCTL_SET_FLAGS = 0x40082104
_SYNC_WAKE_UP = 1
_CONTINUE = 1
_ADDFD_SEND = 2
_INSTRUCTION_BYTES = 8

#: Bytes of a listener's page. Of a buffer of more than 1024 bytes fcntl.ioctl() gives the kernel
#: the address, of a shorter one that of a copy.
PAGE_BYTES = 4096


class Gone(KamexfrmError):
    """The call that was to be answered has ended: its thread was killed or interrupted."""

    errno = errno.ENOENT


class Notification(NamedTuple):
    """A system call that waits for its answer; ``tid`` is the thread's in our PID namespace.

    It is 0 if the thread cannot be seen from there.
    """

    id: int
    tid: int
    number: int
    arguments: tuple[int, ...]

    def integer(self, index: int) -> int:
        """Return an argument that is a C int."""
        low = self.arguments[index] & 0xFFFFFFFF
        return low - (low >> 31 << 32)


def install(program: bytes) -> int:
    """Put a filter on the calling thread and all it starts; return the listener's descriptor.

    Without CAP_SYS_ADMIN it takes no_new_privs, which is set only then. Raises KernelError with the
    remedy: EBUSY for a thread that has a listener, ENOSYS or EINVAL for a kernel without.
    """
    code = bytearray(program)
    count = len(code) // _INSTRUCTION_BYTES
    header = bytearray(_SOCK_FPROG.pack(count, system.address(code)))
    number = system.machine().seccomp

    def attempt(flags: int) -> int:
        return system.call(number, _SET_MODE_FILTER, flags, system.address(header))

    refused = errno.EINVAL
    for flags in _FLAGS:
        try:
            try:
                return attempt(flags)
            except PermissionError:
                system.set_no_new_privileges()
                return attempt(flags)
        except OSError as error:
            refused = error.errno or errno.EIO
            if refused != errno.EINVAL:
                break
    raise KernelError(refused, _REASONS.get(refused, "seccomp")) from None


_REASONS = {
    errno.EBUSY: (
        "somebody listens to this process's system calls already and Linux allows one: "
        "kamexfrm exec within another, or a container manager that intercepts calls"
    ),
    errno.EACCES: "seccomp needs CAP_SYS_ADMIN or no_new_privs, and can have neither",
    errno.EPERM: "a filter of the container or the service manager forbids seccomp(2)",
    errno.EINVAL: "this kernel has no seccomp user notification: Linux 5.9 is needed",
    errno.ENOSYS: (
        "seccomp(2) is missing: from the kernel (CONFIG_SECCOMP_FILTER), or hidden by a filter of "
        "the container or the service manager"
    ),
}


class Listener:
    """The supervisor's end: takes calls and answers them. It owns the descriptor.

    ``page`` is where the kernel writes each call, from PAGE_BYTES of shared memory. It tells the
    keeper which call was not answered: the kernel gives a call to one reader once, and lets it
    wait for ever if that reader dies while another one holds the listener.
    """

    def __init__(self, descriptor: int, page: mmap.mmap) -> None:
        self._descriptor = descriptor
        self._page = page
        sizes = bytearray(_SIZES.size)
        number = system.machine().seccomp
        system.call(number, _GET_NOTIF_SIZES, 0, system.address(sizes))
        notification, response, _ = _SIZES.unpack(sizes)
        self._nothing = bytes(max(notification, _NOTIFICATION.size))
        self._padding = bytes(max(response - _RESPONSE.size, 0))
        # One of caller and supervisor always waits for the other, so one processor is enough and
        # saves them from waking another one (Linux 6.6).
        with contextlib.suppress(OSError):
            fcntl.ioctl(descriptor, _IOCTL_SET_FLAGS, _SYNC_WAKE_UP)

    def fileno(self) -> int:
        """Return the descriptor: readable while a call waits, hung up once none can come."""
        return self._descriptor

    def close(self) -> None:
        """Close it: calls that the filter wants us to answer fail with ENOSYS from now on."""
        os.close(self._descriptor)

    def receive(self) -> Notification:
        """Return the call that waits longest; raises Gone if it has ended, OSError."""
        page = self._page
        page[: len(self._nothing)] = self._nothing  # the kernel requires zeros
        self._ioctl(_IOCTL_RECV, page)
        return self._notification()

    def last(self) -> Notification | None:
        """Return the call that was received last, by any process with this page, None for none."""
        last = self._notification()
        return last if last.id else None

    def _notification(self) -> Notification:
        id, tid, _, number, _, _, *arguments = _NOTIFICATION.unpack_from(self._page)
        return Notification(id, tid, number, tuple(arguments))

    def check(self, notification: Notification) -> None:
        """Raise Gone unless the call still waits.

        What was read of its thread before is then true: a thread number is not used twice while
        its owner waits, and a waiting thread changes neither its rights nor its namespaces.
        """
        self._ioctl(_IOCTL_ID_VALID, bytearray(_ID.pack(notification.id)))

    def answer(self, notification: Notification, result: int = 0) -> None:
        """Let the call return a result. Raises Gone."""
        self._send(_RESPONSE.pack(notification.id, result, 0, 0))

    def refuse(self, notification: Notification, number: int) -> None:
        """Let the call fail with an errno. Raises Gone."""
        self._send(_RESPONSE.pack(notification.id, 0, -number, 0))

    def let_through(self, notification: Notification) -> None:
        """Let the kernel carry out the call. Raises Gone."""
        self._send(_RESPONSE.pack(notification.id, 0, 0, _CONTINUE))

    def answer_with(self, notification: Notification, descriptor: int, close_on_exec: int) -> None:
        """Let the call return a duplicate of our descriptor, made among its thread's.

        ``close_on_exec`` is O_CLOEXEC or 0. Raises Gone, OSError (EMFILE: the program has too
        many).
        """
        request = [notification.id, _ADDFD_SEND, descriptor, 0, close_on_exec]
        try:
            self._ioctl(_IOCTL_ADDFD, bytearray(_ADDFD.pack(*request)))
        except OSError as error:
            if error.errno != errno.EINVAL:
                raise
            request[1] = 0  # before Linux 5.14 these were two steps
            number = self._ioctl(_IOCTL_ADDFD, bytearray(_ADDFD.pack(*request)))
            self.answer(notification, number)

    def _send(self, response: bytes) -> None:
        self._ioctl(_IOCTL_SEND, bytearray(response + self._padding))

    def _ioctl(self, request: int, buffer: bytearray | mmap.mmap) -> int:
        try:
            result: int = fcntl.ioctl(self._descriptor, request, buffer)
        except OSError as error:
            if error.errno in (errno.ENOENT, errno.EINPROGRESS):
                raise Gone("the call is gone") from None
            raise
        return result
