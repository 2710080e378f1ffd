"""Messages: the base header, its extensions, ``decode`` and ``encode``.

Sources: RFC 2367 sections 2.1 to 2.3 (one extension of a kind, lengths in words of 8 bytes) and
3.1.11 (X_PROMISC, whose base header comes before a whole message).
"""

import builtins
from dataclasses import dataclass
from typing import Any, TypeVar

from kamexfrm.errors import WireError
from kamexfrm.pfkey.constants import PF_KEY_V2, SadbSatype, SadbType
from kamexfrm.pfkey.cursor import Cursor
from kamexfrm.pfkey.dialects import LINUX
from kamexfrm.pfkey.extension import EXTENSION_HEAD, Dialect, Extension, UnknownExtension
from kamexfrm.pfkey.layout import WORD, FieldError, Layout, u8, u16, u32
from kamexfrm.pfkey.policy import Policy

_BASE = Layout(
    "sadb_msg",
    16,
    u8("version"),
    u8("type", SadbType),
    u8("errno"),
    u8("satype", SadbSatype),
    u16("len"),
    u16("reserved"),
    u32("seq"),
    u32("pid"),
    head=0,
)
_LENGTH_AT = 4

#: How many X_PROMISC headers may stand before a message: a copy of a copy, and some to spare.
PROMISC_DEPTH = 4

E = TypeVar("E", bound=Extension)


@dataclass(frozen=True, slots=True)
class SadbMsg:
    """One PF_KEY message; ``inner`` is the message that an X_PROMISC one carries.

    ``errno`` is a number of errno(3), 0 for success. Raises FieldError for values out of range,
    for two extensions of a kind, and for an ``inner`` where there can be none.
    """

    type: SadbType
    satype: SadbSatype = SadbSatype.SADB_SATYPE_UNSPEC
    seq: int = 0
    pid: int = 0
    errno: int = 0
    extensions: tuple[Extension, ...] = ()
    inner: "SadbMsg | None" = None
    reserved: int = 0

    def __post_init__(self) -> None:
        _BASE.pack_values(_base_values(self, 0), "big")
        if type(self.type) is not SadbType:
            object.__setattr__(self, "type", SadbType(self.type))
        if type(self.satype) is not SadbSatype:
            object.__setattr__(self, "satype", SadbSatype(self.satype))
        extensions = tuple(self.extensions)
        seen: set[object] = set()
        for extension in extensions:
            if not isinstance(extension, Extension):
                raise FieldError("a message consists of extensions")
            key = extension.number if isinstance(extension, UnknownExtension) else type(extension)
            if key in seen:
                raise FieldError(f"two extensions {extension.NAME}")
            seen.add(key)
        object.__setattr__(self, "extensions", extensions)
        if self.type == SadbType.SADB_X_PROMISC and extensions:
            raise FieldError("X_PROMISC has no extensions, it carries a message")
        if self.inner is not None:
            self._check_inner()

    def _check_inner(self) -> None:
        """Raise FieldError for an inner message that could not be read back."""
        depth, message = 0, self
        while message.inner is not None:
            depth += 1
            if not isinstance(message.inner, SadbMsg):
                raise FieldError("an inner message must be a SadbMsg")
            if message.type != SadbType.SADB_X_PROMISC or depth > PROMISC_DEPTH:
                raise FieldError("only X_PROMISC carries a message, and not too deep")
            message = message.inner

    def get(self, kind: builtins.type[E]) -> E | None:
        """Return the extension of this class, None if there is none."""
        return next((e for e in self.extensions if type(e) is kind), None)

    def require(self, kind: builtins.type[E]) -> E:
        """Return the extension of this class; raises FieldError (EINVAL) if there is none."""
        extension = self.get(kind)
        if extension is None:
            raise FieldError(f"{self.type.name} without {kind.NAME}")
        return extension


def _base_values(message: SadbMsg, words: int) -> dict[str, object]:
    """Return the members of the base header of a message so many words long."""
    return {
        "version": PF_KEY_V2,
        "type": message.type,
        "errno": message.errno,
        "satype": message.satype,
        "len": words,
        "reserved": message.reserved,
        "seq": message.seq,
        "pid": message.pid,
    }


def decode(data: bytes | bytearray | memoryview, dialect: Dialect = LINUX) -> SadbMsg:
    """Return the message that ``data`` is, no more and no less; raises WireError."""
    return _read_message(Cursor(bytes(data), dialect.byte_order), dialect, 0)


def encode(message: SadbMsg, dialect: Dialect = LINUX) -> bytes:
    """Return the bytes of a message; raises FieldError for what the dialect cannot express."""
    if message.inner is not None:
        body = encode(message.inner, dialect)
    else:
        body = b"".join(encode_extension(extension, dialect) for extension in message.extensions)
    words = (_BASE.size + len(body)) // WORD
    return _BASE.pack_values(_base_values(message, words), dialect.byte_order) + body


def addressed(wire: bytes, type: int, seq: int, pid: int, dialect: Dialect = LINUX) -> bytes:
    """Return an encoded message with another type, sequence number and process id.

    For the same message to another client: a sixtieth of the time of encoding it again.
    """
    order = dialect.byte_order
    numbers = seq.to_bytes(4, order) + pid.to_bytes(4, order)
    return wire[:1] + bytes((type,)) + wire[2:8] + numbers + wire[16:]


def split(data: bytes, dialect: Dialect = LINUX) -> list[bytes]:
    """Cut a buffer into the messages in it by their own lengths, without decoding them.

    Raises WireError with the offset of the message that is cut short or claims no length.
    """
    cursor = Cursor(bytes(data), dialect.byte_order)
    messages = []
    while cursor.remaining:
        start, room = cursor.offset, cursor.remaining
        ahead = cursor.peek()[_LENGTH_AT : _LENGTH_AT + 2]
        size = int.from_bytes(ahead, dialect.byte_order) * WORD
        if not _BASE.size <= size <= room:
            raise WireError(f"a message of {size} bytes in the last {room}", start)
        messages.append(cursor.raw(size, "message"))
    return messages


def decode_base(data: bytes, dialect: Dialect = LINUX) -> SadbMsg:
    """Return the base header of a message without looking at what follows it.

    For answering a message whose extensions are malformed. Raises WireError when the version or
    the length is wrong, for then not even the header can be believed.
    """
    return SadbMsg(**_read_base(Cursor(bytes(data), dialect.byte_order)))


def _read_base(cursor: Cursor) -> dict[str, Any]:
    """Read the base header of the message that takes all the cursor has; raises WireError."""
    start, size = cursor.offset, cursor.remaining
    values = _BASE.unpack(cursor)
    version, words = values.pop("version"), values.pop("len")
    if version != PF_KEY_V2:
        raise WireError(f"version {version} is not PF_KEY_V2", start)
    if words * WORD != size:
        text = f"sadb_msg_len says {words * WORD} bytes, the message has {size}"
        raise WireError(text, start + _LENGTH_AT)
    return values


def _read_message(cursor: Cursor, dialect: Dialect, depth: int) -> SadbMsg:
    """Read the message that takes all the cursor has; raises WireError."""
    start = cursor.offset
    values = _read_base(cursor)
    if values["type"] != SadbType.SADB_X_PROMISC or not cursor.remaining:
        return SadbMsg(extensions=_read_extensions(cursor, dialect), **values)
    if depth == PROMISC_DEPTH:
        raise WireError("too many X_PROMISC in one another", start)
    return SadbMsg(inner=_read_message(cursor, dialect, depth + 1), **values)


def _read_extensions(cursor: Cursor, dialect: Dialect) -> tuple[Extension, ...]:
    """Read extensions up to the cursor's end; raises WireError at the one that is wrong."""
    extensions = []
    seen = set()
    while cursor.remaining:
        start = cursor.offset
        number, extension = _read_extension(cursor, dialect)
        if number in seen:
            raise WireError(f"a second {dialect.extension_name(number)}", start)
        seen.add(number)
        extensions.append(extension)
    return tuple(extensions)


def _read_extension(cursor: Cursor, dialect: Dialect) -> tuple[int, Extension]:
    """Read one extension and return it with its number; raises WireError."""
    start, room = cursor.offset, cursor.remaining
    size = cursor.u16("sadb_ext_len") * WORD
    number = cursor.u16("sadb_ext_type")
    if not WORD <= size <= room:
        raise WireError(f"an extension of {size} bytes in the last {room}", start)
    if number == 0:
        raise WireError("extension type 0 is reserved", start)
    body = cursor.take(size - EXTENSION_HEAD, "extension")
    kind = dialect.extensions.get(number)
    if kind is None:
        return number, UnknownExtension(number, body.rest())
    return number, kind.read(body, dialect)


def encode_extension(extension: Extension, dialect: Dialect = LINUX) -> bytes:
    """Return one extension with its head; raises FieldError."""
    if isinstance(extension, UnknownExtension):
        number = extension.number
        if number in dialect.extensions:
            name = dialect.extension_name(number)
            raise FieldError(f"in {dialect.name} extension {number} is {name}")
    else:
        number = dialect.number_of(type(extension))
    body = extension.body(dialect)
    words, rest = divmod(EXTENSION_HEAD + len(body), WORD)
    if rest or words > 0xFFFF:
        raise FieldError(f"{extension.NAME} would be {EXTENSION_HEAD + len(body)} bytes long")
    order = dialect.byte_order
    return words.to_bytes(2, order) + number.to_bytes(2, order) + body


def decode_extension(data: bytes, dialect: Dialect = LINUX) -> Extension:
    """Return the extension that ``data`` is, no more and no less; raises WireError."""
    cursor = Cursor(bytes(data), dialect.byte_order)
    _, extension = _read_extension(cursor, dialect)
    cursor.finish("the extension")
    return extension


def decode_policy(data: bytes, dialect: Dialect = LINUX) -> Policy:
    """Return the policy in a buffer of setsockopt(IP_IPSEC_POLICY); raises WireError."""
    extension = decode_extension(data, dialect)
    if not isinstance(extension, Policy):
        raise WireError("not a sadb_x_policy", 2)
    return extension
