"""``kamexfrm mirror``: a file's mirror, where the file can be read at all."""

import socket
from collections.abc import Sequence
from typing import Any

from kamexfrm.errors import KamexfrmError
from kamexfrm.operator.file_state import script_error_text, text_of
from kamexfrm.setkey.errors import ScriptError
from kamexfrm.setkey.mirror import mirror
from kamexfrm.setkey.parser import Parser

#: An address for every name: which one it is does not matter to the mirror.
_STAND_IN = {socket.AF_INET: "192.0.2.1", socket.AF_INET6: "2001:db8::1"}


def mirrored(path: str) -> str:
    """Return the mirror of a file; raises KamexfrmError for one that setkey would not read."""
    text = text_of(path)
    try:
        for _ in Parser(text, path, resolve=_resolve):
            pass
    except ScriptError as error:
        if error.reason:  # without one it is the families of names, which may be right
            raise KamexfrmError(script_error_text(error)) from None
    return mirror(text)


def _resolve(
    host: str, port: str | None, family: int, kind: int, protocol: int, flags: int
) -> Sequence[tuple[Any, ...]]:
    wanted = socket.AF_INET6 if family == socket.AF_INET6 or ":" in host else socket.AF_INET
    place = (1, 0, 1) if wanted == socket.AF_INET6 else (1,)  # a port, a flow, a device
    return [(wanted, kind, protocol, "", (_STAND_IN[wanted], *place))]
