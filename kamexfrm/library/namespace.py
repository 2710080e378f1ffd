"""A network namespace by its name, for as long as it takes to open sockets in it."""

import os
from collections.abc import Iterator
from contextlib import contextmanager

from kamexfrm.kernel.namespace import open_named


@contextmanager
def opened(netns: str | None) -> Iterator[int | None]:
    """Give an open descriptor of a namespace, None for the present one; raises KernelError."""
    if netns is None:
        yield None
        return
    descriptor = open_named(netns)
    try:
        yield descriptor
    finally:
        os.close(descriptor)
