"""What holds for all bytes given to the PF_KEY codec and to what reads its messages."""

import atexit
import dataclasses
import json
from collections.abc import Callable
from io import StringIO
from pathlib import Path
from tempfile import NamedTemporaryFile

from kamexfrm import pfkey
from kamexfrm.errors import KamexfrmError, WireError
from kamexfrm.setkey.arguments import read_options
from kamexfrm.setkey.binary_files import show_files
from kamexfrm.setkey.message_text import format_message
from kamexfrm.translate.migrate import migrate_from_message
from kamexfrm.translate.pfkey import sa_from_message as sa
from kamexfrm.translate.pfkey import spd
from kamexfrm.translate.pfkey.policy import socket_policy_from_extension
from tests.fuzz.target import Target, hold

TESTS = Path(__file__).parent.parent

#: One file for all inputs: a new one for each takes longer than the reading.
_FILE = NamedTemporaryFile(prefix="kamexfrm-fuzz.")  # noqa: SIM115
atexit.register(_FILE.close)

_LITTLE = (pfkey.LINUX, pfkey.KAME, pfkey.FREEBSD, pfkey.NETBSD)
DIALECTS = (*_LITTLE, dataclasses.replace(pfkey.KAME, byte_order="big"))

_READERS: tuple[Callable[[pfkey.SadbMsg], object], ...] = (
    sa.sa_from_message,
    sa.sa_id_from_message,
    sa.sa_ends_from_message,
    sa.larval_from_message,
    sa.filter_from_message,
    sa.sad_entry_from_message,
    spd.policy_from_message,
    spd.spidx_from_message,
    spd.spd_id_from_message,
    spd.spd_entry_from_message,
    migrate_from_message,
)


def check(data: bytes) -> str:
    """Check all laws for a datagram: it is decoded faithfully or refused, and so is what it asks.

    A policy of setsockopt(IP_IPSEC_POLICY) is the same bytes without a header.
    """
    words = [_dialect(data, dialect) for dialect in DIALECTS]
    try:
        pieces = pfkey.split(data)
    except WireError as error:
        hold(0 <= error.offset <= len(data), "an error's offset is in the datagram")
    else:
        hold(b"".join(pieces) == data, "the pieces are the whole")
    _policy(data)
    _show(data)
    return " ".join(dict.fromkeys(words))


def _dialect(data: bytes, dialect: pfkey.Dialect) -> str:
    try:
        message = pfkey.decode(data, dialect)
    except WireError as error:
        hold(0 <= error.offset <= len(data), "an error's offset is in the datagram")
        return " ".join(word for word in error.text.split() if word.isalpha())
    hold(pfkey.encode(message, dialect) == data, "what was decoded is encoded as it was")
    hold(pfkey.decode(data, dialect) == message, "the same bytes are the same message")
    format_message(message, dialect)
    if dialect is pfkey.LINUX:
        _keys_are_not_shown(message)
        return f"{message.type.name} {_requests(message)}"
    return message.type.name


def _keys_are_not_shown(message: pfkey.SadbMsg) -> None:
    for extension in message.extensions:
        if isinstance(extension, pfkey.KeyExtension):
            key = extension.key.data.hex()
            if len(key) < 16:
                continue
            shown = (repr(message) + format_message(message)).replace(" ", "").lower()
            hold(key not in shown or len(set(key)) < 4, "no key is in a repr or a text")


def _requests(message: pfkey.SadbMsg) -> str:
    """Translate a message as each request that it could be."""
    found = []
    for reader in _READERS:
        try:
            reader(message)
        except KamexfrmError as error:
            hold(error.errno > 0, "a refusal has an errno")
        else:
            found.append(reader.__name__)
    return " ".join(found)


def _show(data: bytes) -> None:
    """Print a file of messages as setkey does."""
    _FILE.seek(0)
    _FILE.truncate()
    _FILE.write(data)
    _FILE.flush()
    for words in (["-v"], ["--json"], ["-p"]):
        out, err = StringIO(), StringIO()
        show_files((_FILE.name,), out, err, read_options([*words, _FILE.name]))
        out.getvalue().encode()  # it is UTF-8
        hold(all(char.isprintable() or char in "\n\t" for char in err.getvalue()), "as are errors")


def _policy(data: bytes) -> None:
    try:
        policy = pfkey.decode_policy(data)
    except WireError as error:
        hold(0 <= error.offset <= len(data), "an error's offset is in the policy")
        return
    hold(pfkey.encode_extension(policy) == data, "a policy is encoded as it was")
    try:
        socket_policy_from_extension(policy)
    except KamexfrmError as error:
        hold(error.errno > 0, "a refusal has an errno")


def seeds() -> list[bytes]:
    """Return the recorded messages: requests, replies and broadcasts."""
    found = set()
    for name in ("pfkey/pfkey-linux.jsonl", "hub/pfkey-exchanges.jsonl"):
        for line in (TESTS / name).read_text().splitlines():
            for value in json.loads(line).values():
                for text in value if isinstance(value, list) else [value]:
                    found |= _pieces(text)
    return sorted(found)


def _pieces(text: object) -> set[bytes]:
    try:
        return set(pfkey.split(bytes.fromhex(str(text))))
    except (ValueError, WireError):
        return set()


_NUMBERS = [0, 1, 2, 3, 4, 5, 7, 8, 10, 16, 18, 21, 24, 28, 128, 255]

TARGET = Target(
    check,
    seeds,
    (
        *(bytes([number, 0]) for number in _NUMBERS),
        *(bytes([0, number]) for number in _NUMBERS),
        *(b"\xff" * size for size in (1, 2, 4, 8)),
        *(b"\0" * size for size in (1, 2, 4, 8, 16)),
    ),
)
