"""setkey FILE...: files of PF_KEY messages, such as what a dump was answered with, printed."""

import errno
import os
from collections.abc import Iterator
from typing import Any, NamedTuple, TextIO

from kamexfrm import pfkey
from kamexfrm.errors import KamexfrmError, WireError
from kamexfrm.pfkey import SadbMsg, SadbType
from kamexfrm.setkey import dump_sa, dump_sp
from kamexfrm.setkey.arguments import NO_SAD_ENTRIES, NO_SPD_ENTRIES, Options
from kamexfrm.setkey.dump import write_json
from kamexfrm.setkey.message_text import format_message
from kamexfrm.translate.pfkey.sa_from_message import sad_entry_from_message
from kamexfrm.translate.pfkey.spd import spd_entry_from_message

_BASE_BYTES = 16

#: The longest file, in bytes: a dump of a hundred thousand SAs.
_FILE_BYTES = 64 << 20
_SA_TYPES = (SadbType.SADB_GET, SadbType.SADB_DUMP)
_SP_TYPES = (SadbType.SADB_X_SPDGET, SadbType.SADB_X_SPDDUMP)
_NOTHING = {
    SadbType.SADB_DUMP: NO_SAD_ENTRIES,
    SadbType.SADB_X_SPDDUMP: NO_SPD_ENTRIES,
}
_INVALID = os.strerror(errno.EINVAL)


class _Piece(NamedTuple):
    """One message of a file, at its offset in bytes."""

    data: bytes
    offset: int


class _Printer:
    def __init__(self, out: TextIO, options: Options) -> None:
        self.rows: list[dict[str, Any]] = []
        self.hidden = 0
        self._out = out
        self._options = options

    def show(self, message: SadbMsg) -> None:
        """Print the entry or the error of a reply; raises KamexfrmError. Requests are skipped."""
        if message.type not in _SA_TYPES + _SP_TYPES:
            return
        options = self._options
        text = ""
        if options.verbose and not options.json:
            text = f"{format_message(message)}\n"
        if message.errno:
            text += "" if options.json else _error_text(message)
        elif not message.extensions:
            pass
        elif message.type in _SA_TYPES:
            text += self._sa(message)
        else:
            text += self._sp(message)
        self._out.write(text)

    def _sa(self, message: SadbMsg) -> str:
        entry = sad_entry_from_message(message)
        if self._options.json:
            self.rows.append(dump_sa.sa_to_dict(entry))
            return ""
        return dump_sa.format_sa(
            entry,
            sequence=message.seq,
            pid=message.pid,
            ports=self._options.ports,
            keys=self._options.keys,
        )

    def _sp(self, message: SadbMsg) -> str:
        entry = spd_entry_from_message(message)
        if self._options.json:
            self.rows.append(dump_sp.sp_to_dict(entry))
            return ""
        if entry.socket and self._options.hide_sockets:
            self.hidden += 1
            return ""
        return dump_sp.format_sp(
            entry,
            sequence=message.seq,
            pid=message.pid,
            ports=self._options.ports,
            refcnt=message.reserved,
        )

    def finish(self) -> None:
        """Print the JSON, or the number of hidden policies."""
        if self._options.json:
            write_json(self.rows, self._out)
        elif self.hidden:
            self._out.write(dump_sp.format_hidden_sockets(self.hidden))


def _error_text(message: SadbMsg) -> str:
    if message.errno == errno.ENOENT and message.type in _NOTHING:
        return _NOTHING[message.type]
    return f"{os.strerror(message.errno)}.\n"


def show_files(names: tuple[str, ...], out: TextIO, err: TextIO, options: Options) -> int:
    """Print files of messages; return 1 where one cannot be read or decoded, else 0."""
    printer, status = _Printer(out, options), 0
    for name in names:
        for problem in _show_file(name, printer):
            out.flush()
            err.write(f"setkey: {name}: {problem}\n")
            status = 1
            if _is_script(name):
                err.write(f"    this is a file of commands: setkey -f {name}\n")
    printer.finish()
    return status


def _is_script(name: str) -> bool:
    """Whether a file is text, and not messages, which have zeros in their headers."""
    try:
        with open(name, "rb") as file:
            head = file.read(4096)
    except (OSError, ValueError):
        return False
    return b";" in head and b"\0" not in head


def _show_file(name: str, printer: _Printer) -> Iterator[str]:
    """Print a file; yield its errors."""
    try:
        with open(name, "rb") as file:
            data = file.read(_FILE_BYTES + 1)
    except (OSError, ValueError) as error:
        # A ValueError is a name that can be no name, with a NUL in it.
        yield (error.strerror if isinstance(error, OSError) else None) or _INVALID
        return
    if len(data) > _FILE_BYTES:
        yield f"longer than {_FILE_BYTES >> 20} MiB"
        return
    if len(data) < _BASE_BYTES:
        yield _INVALID
        return
    pieces, end = _pieces(data)
    for piece, offset in pieces:
        try:
            if pfkey.decode_base(piece).type in _SA_TYPES + _SP_TYPES:
                printer.show(pfkey.decode(piece))
        except WireError as error:
            yield _reason(WireError(error.text, offset + error.offset))
        except KamexfrmError as error:
            yield _reason(error)
    if end:
        yield _reason(end)


def _pieces(data: bytes) -> tuple[list[_Piece], WireError | None]:
    """Cut a file into messages, up to the first invalid length."""
    try:
        found, end = pfkey.split(data), None
    except WireError as error:
        found, end = pfkey.split(data[: error.offset]), error
    pieces, offset = [], 0
    for piece in found:
        pieces.append(_Piece(piece, offset))
        offset += len(piece)
    return pieces, end


def _reason(error: KamexfrmError) -> str:
    """Return an error's text after setkey's text for its errno."""
    text, words = str(error), os.strerror(error.errno)
    return text if text.startswith(words) else f"{words} ({text})"
