"""Netlink framing: messages into bytes, bytes into messages, acknowledgements into reasons.

Source: Linux include/uapi/linux/netlink.h, net/netlink/af_netlink.c netlink_ack().
"""

import struct
from collections.abc import Iterator
from struct import Struct
from typing import NamedTuple

from kamexfrm.errors import WireError
from kamexfrm.xfrm.attributes import iter_attributes
from kamexfrm.xfrm.constants import (
    NLA_TYPE_MASK,
    NLM_F_ACK_TLVS,
    NLM_F_CAPPED,
    NLMSGERR_ATTR_MSG,
)
from kamexfrm.xfrm.structs import Buffer, misfit, short

#: Length with the header, type, flags, sequence number, port id.
HEADER = Struct("=IHHII")
#: Error number, negative or zero; then the header of the message it answers.
ERROR = Struct("=iIHHII")
_DONE = Struct("=i")
_new = tuple.__new__  # half the time of calling a NamedTuple
_PADDING = (b"", b"\0\0\0", b"\0\0", b"\0")

if (HEADER.size, ERROR.size) != (16, 20):
    raise AssertionError("nlmsghdr and nlmsgerr have 16 and 20 bytes")


class Operation(NamedTuple):
    """A request to the kernel: its XFRM_MSG_ number and its encoded payload."""

    type: int
    payload: bytes


class Message(NamedTuple):
    """One netlink message; ``payload`` lacks header and padding and shares the buffer's memory."""

    type: int
    flags: int
    sequence: int
    pid: int
    payload: memoryview


class ErrorReply(NamedTuple):
    """What NLMSG_ERROR says: ``errno`` 0 is an acknowledgement, ``reason`` the extended text."""

    errno: int
    sequence: int
    reason: str


def message(type: int, flags: int, sequence: int, payload: bytes, pid: int = 0) -> bytes:
    """Return a message with its header, padded to 4 bytes; raises KamexfrmError."""
    length = len(payload)
    try:
        return HEADER.pack(length + 16, type, flags, sequence, pid) + payload + _PADDING[length & 3]
    except struct.error as error:
        raise misfit("netlink header", error) from None


def split_messages(buffer: Buffer) -> Iterator[Message]:
    """Yield the messages of a receive buffer; raises WireError at a length that cannot be.

    The last message may lack its padding. The payloads are views into ``buffer``.
    """
    view = memoryview(buffer)
    total = len(view)
    offset = 0
    while offset < total:
        if total - offset < 16:
            short("netlink header", total - offset, 16, offset)
        length, type_, flags, sequence, pid = HEADER.unpack_from(view, offset)
        if length < 16 or offset + length > total:
            raise WireError(f"netlink message of impossible length {length}", offset)
        payload = view[offset + 16 : offset + length]
        yield _new(Message, (type_, flags, sequence, pid, payload))
        offset += length + 3 & ~3


def decode_error(payload: Buffer, flags: int) -> ErrorReply:
    """Read NLMSG_ERROR with the flags of its header; raises WireError.

    The message that it answers is repeated whole after its header unless NLM_F_CAPPED is set;
    what follows under NLM_F_ACK_TLVS are attributes, of which the text is read.
    """
    if len(payload) < 20:
        short("netlink error", len(payload), 20, 0)
    error, length, _, _, sequence, _ = ERROR.unpack_from(payload)
    reason = ""
    if flags & NLM_F_ACK_TLVS:
        start = 20
        if not flags & NLM_F_CAPPED:
            if length < 16 or 4 + length > len(payload):
                raise WireError(f"netlink error repeats {length} bytes", 4)
            start = 4 + (length + 3 & ~3)
        reason = _reason(payload, start)
    return ErrorReply(-error, sequence, reason)


def decode_done(payload: Buffer, flags: int) -> ErrorReply:
    """Read NLMSG_DONE, the end of a dump, which may carry an error; the sequence is left 0."""
    if len(payload) < 4:
        return ErrorReply(0, 0, "")
    reason = _reason(payload, 4) if flags & NLM_F_ACK_TLVS else ""
    return ErrorReply(-_DONE.unpack_from(payload)[0], 0, reason)


def _reason(payload: Buffer, offset: int) -> str:
    for type_, start, end in iter_attributes(payload, offset):
        if type_ & NLA_TYPE_MASK == NLMSGERR_ATTR_MSG:
            return bytes(payload[start:end]).partition(b"\0")[0].decode("utf-8", "replace")
    return ""
