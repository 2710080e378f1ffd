"""The text of a script: from a file, standard input or the command line, up to a limit."""

from __future__ import annotations

import codecs
import errno
import os
import sys
from collections.abc import Iterable, Iterator
from io import FileIO

from kamexfrm.records import NamedTuple
from kamexfrm.setkey.arguments import Options
from kamexfrm.setkey.lexer import WHOLE_LINES

TYPE_CHECKING = False  # typing takes long to load
if TYPE_CHECKING:
    from typing import BinaryIO

#: The longest script, in bytes: a million policies. What has no end must not take all memory.
SCRIPT_BYTES = 1 << 28

_CHUNK_BYTES = 1 << 16

#: The longest line, in characters; of one statement the reader takes less.
_LONGEST_LINE = 4 << 20


class Script(NamedTuple):
    """A script's text, in pieces that end where a line and a statement do; its name in messages.

    The pieces of a file may be read as they are taken, which then raises OSError with its name. A
    list of them is emptied by the reader, or both the text and what it says would be held.
    """

    pieces: Iterable[str]
    name: str


def read_scripts(options: Options) -> list[Script]:
    """Return the scripts of the command line, which are read as one, and as they are taken.

    Raises OSError with the file's name, here or then: EFBIG over the limit, EINVAL for a binary
    file.
    """
    if options.mode == "e":
        return [Script(options.scripts, "-e")]
    return [open_file(name) for name in options.scripts]


def read_file(name: str) -> Script:
    """Return the script in a file, or of standard input for ``-``; raises OSError with its name."""
    script = open_file(name)
    return script._replace(pieces=list(script.pieces))


def open_file(name: str) -> Script:
    """Return the same, to be read as its pieces are taken."""
    try:
        file = _open(name)
    except OSError as error:
        raise type(error)(error.errno, error.strerror, name) from None
    return Script(_named_pieces(file, name), name)


def _open(name: str) -> BinaryIO | FileIO:
    if name != "-":
        return open(name, "rb", buffering=0)
    if sys.stdin is None:  # it was closed
        raise OSError(errno.EBADF, os.strerror(errno.EBADF))
    return sys.stdin.buffer


def _named_pieces(file: BinaryIO | FileIO, name: str) -> Iterator[str]:
    try:
        yield from iter_pieces(file)
    except OSError as error:
        raise type(error)(error.errno, error.strerror, name) from None
    finally:
        if name != "-":
            file.close()


def read_pieces(file: BinaryIO | FileIO) -> list[str]:
    """Return the text of a file in pieces; raises OSError.

    Pieces take the memory of the text itself; one text would be copied whenever it grows.
    """
    return list(iter_pieces(file))


def iter_pieces(file: BinaryIO | FileIO) -> Iterator[str]:
    """Yield the text of a file in pieces; raises OSError."""
    decoder = codecs.getincrementaldecoder("utf-8")("surrogateescape")
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
            yield pending[:end]
            pending = pending[end:]
        elif len(pending) > _LONGEST_LINE:
            raise OSError(errno.EFBIG, f"a statement or line longer than {_LONGEST_LINE >> 20} MiB")
    yield pending + decoder.decode(b"", final=True)


def _whole_lines(text: str) -> int:
    """Return where the last line ends that ends a statement too, 0 where there is none."""
    if '"' not in text and "#" not in text:  # each semicolon ends a statement
        end = text.rfind(";\n")
        if end >= 0:
            return end + 2
    whole = WHOLE_LINES.match(text)
    return whole.end() if whole else 0
