"""A network namespace held by an open file alone: no name on disk, gone with its process."""

import contextlib
import errno
import os
import threading
from collections.abc import Iterator

from kamexfrm.kernel.namespace import leave_for_new, name_of, open_here, within

_MAY_NOT = (
    "may not make a network namespace: it takes CAP_SYS_ADMIN; be root, or root of a user "
    "namespace: unshare --map-root-user --net COMMAND"
)


class Namespace:
    """A new, empty network namespace, entered by one thread at a time or by several.

    Raises PermissionError with the cure from the constructor without CAP_SYS_ADMIN.
    """

    def __init__(self) -> None:
        self._file = -1
        failure: list[OSError] = []

        def make() -> None:
            try:
                leave_for_new()
                self._file = open_here()
            except OSError as error:
                failure.append(error)

        thread = threading.Thread(target=make)
        thread.start()
        thread.join()
        if failure and failure[0].errno == errno.EPERM:
            raise PermissionError(errno.EPERM, _MAY_NOT)
        if failure:
            raise failure[0]

    def fileno(self) -> int:
        """Return the open file's number; the namespace lives as long as it is open."""
        return self._file

    @property
    def identity(self) -> str:
        """The kernel's name for it, as /proc/PID/ns/net shows it: ``net:[4026532310]``."""
        return name_of("net", self._file)

    @contextlib.contextmanager
    def enter(self) -> Iterator[None]:
        """Put the calling thread into the namespace, and back into its old one at the end.

        Sockets made and programs started inside stay in the namespace.
        """
        with within(self._file):
            yield

    def processes(self) -> list[int]:
        """Return the ids of the other processes whose main thread is in the namespace."""
        found = []
        for name in os.listdir("/proc"):
            if name.isdigit() and int(name) != os.getpid():
                with contextlib.suppress(OSError):  # it has ended, or is not ours to read
                    if os.readlink(f"/proc/{name}/ns/net") == self.identity:
                        found.append(int(name))
        return found

    def close(self) -> None:
        """Close the file: the namespace ends as soon as no process or socket is in it."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1
