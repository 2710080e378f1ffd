"""The text of a script: from a file, standard input or the command line, up to a limit."""

from __future__ import annotations

import codecs
import errno
import os
import sys
from collections.abc import Sequence
from io import FileIO

from kamexfrm.records import NamedTuple
from kamexfrm.setkey.arguments import Options
from kamexfrm.setkey.lexer import WHOLE_LINES

TYPE_CHECKING = False  # typing takes long to load
if TYPE_CHECKING:
    from typing import BinaryIO

#: The longest script, in bytes: a million policies. What has no end must not take all memory.
SCRIPT_BYTES = 1 << 28

_CHUNK_BYTES = 1 << 18

#: The longest line, in characters; of one statement the reader takes less.
_LONGEST_LINE = 4 << 20


class Script(NamedTuple):
    """A script's text, in pieces that end where a line and a statement do; its name in messages."""

    pieces: Sequence[str]
    name: str


def read_scripts(options: Options) -> list[Script]:
    """Return the scripts of the command line, which are read as one.

    Raises OSError with the file's name: EFBIG over the limit, EINVAL for a binary file.
    """
    if options.mode == "e":
        return [Script(options.scripts, "-e")]
    return [read_file(name) for name in options.scripts]


def read_file(name: str) -> Script:
    """Return the script in a file, or of standard input for ``-``; raises OSError with its name."""
    try:
        return Script(_pieces_of(name), name)
    except OSError as error:
        raise type(error)(error.errno, error.strerror, name) from None


def _pieces_of(name: str) -> list[str]:
    if name == "-":
        if sys.stdin is None:  # it was closed
            raise OSError(errno.EBADF, os.strerror(errno.EBADF))
        return read_pieces(sys.stdin.buffer)
    with open(name, "rb", buffering=0) as file:
        return read_pieces(file)


def read_pieces(file: BinaryIO | FileIO) -> list[str]:
    """Return the text of a file in pieces; raises OSError.

    Pieces take the memory of the text itself; one text would be copied whenever it grows.
    """
    decoder = codecs.getincrementaldecoder("utf-8")("surrogateescape")
    pieces: list[str] = []
    pending, size = "", 0
    while chunk := file.read(_CHUNK_BYTES):
        size += len(chunk)
        if size > SCRIPT_BYTES:
            raise OSError(errno.EFBIG, f"longer than {SCRIPT_BYTES >> 20} MiB")
        if b"\0" in chunk:
            raise OSError(errno.EINVAL, "not a text: there is a NUL character in it")
        pending += decoder.decode(chunk)
        end = _whole_lines(pending)
        if end:
            pieces.append(pending[:end])
            pending = pending[end:]
        elif len(pending) > _LONGEST_LINE:
            raise OSError(errno.EFBIG, f"a statement or line longer than {_LONGEST_LINE >> 20} MiB")
    pieces.append(pending + decoder.decode(b"", final=True))
    return pieces


def _whole_lines(text: str) -> int:
    """Return where the last line ends that ends a statement too, 0 where there is none."""
    if '"' not in text and "#" not in text:  # each semicolon ends a statement
        end = text.rfind(";\n")
        if end >= 0:
            return end + 2
    whole = WHOLE_LINES.match(text)
    return whole.end() if whole else 0
