"""Network namespaces by name, path or descriptor: to enter one, or to work in it for a while."""

import os

from kamexfrm.errors import KernelError

#: Where ip-netns(8) keeps named namespaces.
NAMED = "/run/netns"

#: The calling thread's namespace; /proc/self would be the main thread's.
HERE = "/proc/thread-self/ns/net"

_CLONE_NEWNET = 0x40000000


def _call(name: str, argument: int, *more: int) -> None:
    """Call a function of the C library; raises OSError."""
    # os.setns and os.unshare came with Python 3.12; ctypes takes longer to load than setkey runs.
    import ctypes

    if getattr(ctypes.CDLL(None, use_errno=True), name)(argument, *more) < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{name}: {os.strerror(number)}")


def name_of(kind: str, descriptor: int) -> str:
    """Return what links in /proc call a namespace of a kind, such as ``net:[4026531840]``.

    To read the link of a thread takes a third of the time of stat(2). Raises OSError.
    """
    return f"{kind}:[{os.fstat(descriptor).st_ino}]"


def open_here() -> int:
    """Return a descriptor of the calling thread's namespace; raises OSError."""
    return os.open(HERE, os.O_RDONLY | os.O_CLOEXEC)


def leave_for_new() -> None:
    """Put the calling thread into a new namespace; raises OSError (EPERM: CAP_SYS_ADMIN)."""
    _call("unshare", _CLONE_NEWNET)


def switch(descriptor: int) -> None:
    """Put the calling thread into the namespace of a descriptor for good; raises OSError."""
    _call("setns", descriptor, _CLONE_NEWNET)


class within:  # noqa: N801 (it is used as a function)
    """Put the calling thread into a namespace, and back into its old one at the end.

    Sockets made and programs started meanwhile belong to the namespace for good. None stays here.
    Raises OSError (EPERM: CAP_SYS_ADMIN is needed, in the namespace's user namespace and in one's
    own).
    """

    def __init__(self, descriptor: int | None) -> None:
        self._descriptor = descriptor
        self._before = -1

    def __enter__(self) -> None:
        if self._descriptor is None:
            return
        self._before = open_here()
        try:
            switch(self._descriptor)
        except BaseException:
            os.close(self._before)
            raise

    def __exit__(self, *_: object) -> None:
        if self._descriptor is None:
            return
        try:
            switch(self._before)
        finally:
            os.close(self._before)


def open_named(name: str) -> int:
    """Return a descriptor of a namespace.

    ``name`` is one of ip-netns(8)'s, a path such as /proc/PID/ns/net, or the number of a process
    where no namespace has it as its name. Raises KernelError with the errno of open(2).
    """
    path = name if "/" in name else f"{NAMED}/{name}"
    if name.isascii() and name.isdecimal() and not os.path.exists(path):
        path = f"/proc/{name}/ns/net"
    try:
        return os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        raise KernelError(error.errno or 0, path) from None


def enter(name: str) -> None:
    """Put the calling thread into a namespace for good; see open_named() for its names.

    Raises KernelError with the errno of open(2) or setns(2).
    """
    descriptor = open_named(name)
    try:
        switch(descriptor)
    except OSError as error:
        raise KernelError(error.errno or 0, name) from None
    finally:
        os.close(descriptor)
