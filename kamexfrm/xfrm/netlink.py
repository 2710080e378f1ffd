"""Netlink framing: messages into bytes, bytes into messages, acknowledgements into reasons.

Source: Linux include/uapi/linux/netlink.h, net/netlink/af_netlink.c netlink_ack().
"""

from __future__ import annotations

import struct

from kamexfrm.errors import WireError
from kamexfrm.records import NamedTuple
from kamexfrm.xfrm import constants as c
from kamexfrm.xfrm.attributes import Span, iter_attributes, read
from kamexfrm.xfrm.constants import NLA_TYPE_MASK, NLM_F_ACK_TLVS, NLM_F_CAPPED
from kamexfrm.xfrm.structs import U32, Buffer, Layout, misfit, short

TYPE_CHECKING = False  # typing and collections take long to load
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from typing import overload
else:
    from _collections_abc import Sequence  # which is always there

#: ``length`` is that of the header with the payload, ``pid`` the sender's port.
HEADER = Layout("nlmsghdr", 16, "I length, H type, H flags, I sequence, I pid")
#: ``error`` is negative or zero; ``msg`` is the header of the request.
ERROR = Layout(
    "nlmsgerr", 20, "i error, I msg.length, H msg.type, H msg.flags, I msg.sequence, I msg.pid"
)
#: Where an nlmsgerr repeats the request.
_REPEATED = ERROR.offset("msg")
_DONE = Layout("int", 4, "i error")
_new = tuple.__new__  # half the time of calling a NamedTuple
_PADDING = (b"", b"\0\0\0", b"\0\0", b"\0")
_HEADER_BYTES = HEADER.size
_pack_header = HEADER.pack
_unpack_header = HEADER.unpack_from


class Operation(NamedTuple):
    """A request to the kernel: its XFRM_MSG_ number and its encoded payload."""

    type: int
    payload: bytes


class PackedOperations(Sequence[Operation]):
    """Operations as the messages that carry them, for a kernel that sends them as they are.

    ``data`` are the messages, ``starts`` where each begins; their sequence numbers rise by one from
    ``first``.
    """

    def __init__(self, data: bytearray, starts: Sequence[int], first: int) -> None:
        self.data = data
        self.starts = starts
        self.first = first

    def __len__(self) -> int:
        return len(self.starts)

    if TYPE_CHECKING:

        @overload
        def __getitem__(self, at: int) -> Operation: ...
        @overload
        def __getitem__(self, at: slice) -> list[Operation]: ...

    def __getitem__(self, at: int | slice) -> Operation | list[Operation]:
        if isinstance(at, slice):
            return [self[one] for one in range(*at.indices(len(self)))]
        start = self.starts[at]
        length, type_, *_ = _unpack_header(self.data, start)
        return Operation(type_, bytes(self.data[start + _HEADER_BYTES : start + length]))


class Message(NamedTuple):
    """One netlink message; ``payload`` lacks header and padding and shares the buffer's memory."""

    type: int
    flags: int
    sequence: int
    pid: int
    payload: memoryview


class ErrorReply(NamedTuple):
    """What NLMSG_ERROR says: ``errno`` 0 is an acknowledgement, ``reason`` the extended text.

    ``offset`` is where the attribute that the kernel names as the cause stands in the payload of
    the request, in bytes; -1 where it names none.
    """

    errno: int
    sequence: int
    reason: str = ""
    offset: int = -1


def message(type: int, flags: int, sequence: int, payload: bytes, pid: int = 0) -> bytes:
    """Return a message with its header, padded to 4 bytes; raises KamexfrmError."""
    length = len(payload)
    try:
        head = _pack_header(length + _HEADER_BYTES, type, flags, sequence, pid)
        return head + payload + _PADDING[length & 3]
    except struct.error as error:
        raise misfit("netlink header", error) from None


def split_messages(buffer: Buffer) -> Iterator[Message]:
    """Yield the messages of a receive buffer; raises WireError at a length that cannot be.

    The last message may lack its padding. The payloads are views into ``buffer``.
    """
    view = memoryview(buffer)
    total = len(view)
    offset = 0
    head = HEADER.size
    while offset < total:
        if total - offset < head:
            short("netlink header", total - offset, head, offset)
        length, type_, flags, sequence, pid = _unpack_header(view, offset)
        if length < head or offset + length > total:
            raise WireError(f"netlink message of impossible length {length}", offset)
        payload = view[offset + head : offset + length]
        yield _new(Message, (type_, flags, sequence, pid, payload))
        offset += length + 3 & ~3


def decode_error(payload: Buffer, flags: int) -> ErrorReply:
    """Read NLMSG_ERROR with the flags of its header; raises WireError.

    The header of the request is repeated, and without NLM_F_CAPPED the rest of it. With
    NLM_F_ACK_TLVS attributes follow: the text and the offset are read.
    """
    if len(payload) < ERROR.size:
        short("netlink error", len(payload), ERROR.size, 0)
    error, length, _, _, sequence, _ = ERROR.unpack_from(payload)
    reply = ErrorReply(-error, sequence)
    if not flags & NLM_F_ACK_TLVS:
        return reply
    start = ERROR.size
    if not flags & NLM_F_CAPPED:
        if length < HEADER.size or _REPEATED + length > len(payload):
            raise WireError(f"netlink error repeats {length} bytes", _REPEATED)
        start = _REPEATED + (length + 3 & ~3)
    return _with_details(reply, payload, start)


def decode_done(payload: Buffer, flags: int) -> ErrorReply:
    """Read NLMSG_DONE, the end of a dump, which may carry an error; the sequence is left 0."""
    if len(payload) < _DONE.size:
        return ErrorReply(0, 0)
    reply = ErrorReply(-_DONE.unpack_from(payload)[0], 0)
    return _with_details(reply, payload, _DONE.size) if flags & NLM_F_ACK_TLVS else reply


def _with_details(reply: ErrorReply, payload: Buffer, offset: int) -> ErrorReply:
    """Return a reply with the text and the offset of its attributes; raises WireError."""
    reason, place = "", -1
    for type_, start, end in iter_attributes(payload, offset):
        match type_ & NLA_TYPE_MASK:
            case c.NLMSGERR_ATTR_MSG:
                text = bytes(payload[start:end]).partition(b"\0")[0]
                reason = text.decode("utf-8", "replace")
            case c.NLMSGERR_ATTR_OFFS:
                # The kernel counts from the request's netlink header.
                place = read(U32, payload, Span(start, end), "offset")[0] - HEADER.size
    return reply._replace(reason=reason, offset=place)
