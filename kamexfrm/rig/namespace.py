"""A network namespace held by an open file alone: no name on disk, gone with its holder."""

import contextlib
import ctypes
import os
import threading
from collections.abc import Iterator

CLONE_NEWNET = 0x40000000

#: The calling thread's namespace; /proc/self would be the main thread's.
_HERE = "/proc/thread-self/ns/net"

# os.setns and os.unshare came with Python 3.12.
_libc = ctypes.CDLL(None, use_errno=True)


class Namespace:
    """A new, empty network namespace, entered by one thread at a time or by several.

    Raises PermissionError from the constructor without CAP_SYS_ADMIN.
    """

    def __init__(self) -> None:
        self._file = -1
        failure: list[OSError] = []

        def make() -> None:
            try:
                _check(_libc.unshare(CLONE_NEWNET), "unshare")
                self._file = os.open(_HERE, os.O_RDONLY | os.O_CLOEXEC)
            except OSError as error:
                failure.append(error)

        thread = threading.Thread(target=make)
        thread.start()
        thread.join()
        if failure:
            raise failure[0]

    def fileno(self) -> int:
        """Return the open file's number; the namespace lives as long as it is open."""
        return self._file

    @property
    def identity(self) -> str:
        """The kernel's name for it, as /proc/PID/ns/net shows it: ``net:[4026532310]``."""
        return f"net:[{os.fstat(self._file).st_ino}]"

    @contextlib.contextmanager
    def enter(self) -> Iterator[None]:
        """Put the calling thread into the namespace, and back into its old one at the end.

        Sockets made and programs started meanwhile belong to the namespace for good.
        """
        before = os.open(_HERE, os.O_RDONLY | os.O_CLOEXEC)
        try:
            _check(_libc.setns(self._file, CLONE_NEWNET), "setns")
            try:
                yield
            finally:
                _check(_libc.setns(before, CLONE_NEWNET), "setns")
        finally:
            os.close(before)

    def processes(self) -> list[int]:
        """Return the ids of the other processes whose main thread is in the namespace."""
        found = []
        for name in os.listdir("/proc"):
            if name.isdigit() and int(name) != os.getpid():
                with contextlib.suppress(OSError):  # gone meanwhile, or not ours to look at
                    if os.readlink(f"/proc/{name}/ns/net") == self.identity:
                        found.append(int(name))
        return found

    def close(self) -> None:
        """Let go of the namespace: it is gone as soon as no process or socket is in it."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1


def _check(result: int, call: str) -> None:
    """Raise the OSError of a C call that returned less than zero."""
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{call}: {os.strerror(number)}")
