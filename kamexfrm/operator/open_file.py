"""Opens what an operand names, ``-`` for the standard input, with errors that name the file."""

import errno
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import BinaryIO

from kamexfrm.errors import KamexfrmError


@contextmanager
def opened(path: str) -> Iterator[BinaryIO]:
    """Give a file to read bytes from; raises KamexfrmError here and while it is read."""
    name = "<stdin>" if path == "-" else path
    try:
        if path != "-":
            with open(path, "rb") as file:
                yield file
        elif sys.stdin is None:
            raise OSError(errno.EBADF, os.strerror(errno.EBADF))
        else:
            yield sys.stdin.buffer
    except OSError as error:
        reason = error.strerror or str(error)
        raise KamexfrmError(f"{name}: {reason}", errno=error.errno) from None
