"""The text of a script: from a file, standard input or the command line, up to a limit."""

import codecs
import errno
import os
import sys
from io import FileIO
from typing import BinaryIO

from kamexfrm.setkey.arguments import Options

#: The longest script, in bytes: a million policies. What has no end must not take all memory.
SCRIPT_BYTES = 1 << 28

_CHUNK_BYTES = 1 << 20


def read_script(options: Options) -> tuple[str, str]:
    """Return a script's text and its name in messages; raises OSError (EFBIG over the limit)."""
    if options.mode == "e":
        return options.script, "-e"
    if options.script == "-":
        if sys.stdin is None:  # it was closed
            raise OSError(errno.EBADF, os.strerror(errno.EBADF))
        return read_text(sys.stdin.buffer), "-"
    with open(options.script, "rb", buffering=0) as file:
        return read_text(file), options.script


def read_text(file: BinaryIO | FileIO) -> str:
    """Return the text of a file; raises OSError.

    It takes little more memory than the text itself: pieces are decoded as they come, and the text
    grows in place.
    """
    decoder = codecs.getincrementaldecoder("utf-8")("surrogateescape")
    text, size = "", 0
    while chunk := file.read(_CHUNK_BYTES):
        size += len(chunk)
        if size > SCRIPT_BYTES:
            raise OSError(errno.EFBIG, f"longer than {SCRIPT_BYTES >> 20} MiB")
        text += decoder.decode(chunk)
    return text + decoder.decode(b"", final=True)
