"""Entering a network namespace by name or path, for programs that stay in it."""

import ctypes
import os

from kamexfrm.errors import Refusal

#: Where ip-netns(8) keeps named namespaces.
NAMED = "/run/netns"

_CLONE_NEWNET = 0x40000000


def enter(name: str) -> None:
    """Put the calling thread into a namespace for good.

    ``name`` is one of ip-netns(8)'s, or a path such as /proc/PID/ns/net. Raises Refusal with the
    errno of open(2) or setns(2).
    """
    path = name if "/" in name else f"{NAMED}/{name}"
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        raise Refusal(error.errno or 0, path) from None
    try:
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.setns(descriptor, _CLONE_NEWNET) < 0:
            raise Refusal(ctypes.get_errno(), path)
    finally:
        os.close(descriptor)
