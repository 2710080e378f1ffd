"""A dump's messages as they were received: checked, but not taken apart.

Splitting 50,000 policies into messages takes longer than the kernel takes to send them. Whoever
reads a few fields of each goes through a run with one ``struct.Struct`` instead.
"""

from __future__ import annotations

from itertools import islice

from kamexfrm.records import NamedTuple
from kamexfrm.xfrm import constants as c
from kamexfrm.xfrm.netlink import HEADER, message, split_messages

TYPE_CHECKING = False  # typing and collections take long to load
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

_HEAD = HEADER.size
#: How much of a header messages of one dump and one length share: all but the sender's port.
_SHARED = HEADER.offset("pid")
_unpack = HEADER.unpack_from


class Run(NamedTuple):
    """Whole messages of one type in a row, ``count`` of them.

    ``length`` is that of each, header included, in bytes; 0 where they differ in length.
    """

    data: bytes
    length: int
    count: int  # type: ignore[assignment]  # hides tuple.count, which nobody needs here

    def payloads(self) -> Iterator[bytes]:
        """Return the payloads, each a copy."""
        data, length = self.data, self.length
        if not length:
            return (bytes(each.payload) for each in split_messages(data))
        return (data[at + _HEAD : at + length] for at in range(0, len(data), length))

    def payload(self, at: int) -> bytes:
        """Return the payload of one message, by its place in the run."""
        if not self.length:
            return next(islice(self.payloads(), at, None))
        begin = at * self.length
        return self.data[begin + _HEAD : begin + self.length]


def read_run(data: bytes, type: int, sequence: int) -> Run:
    """Return answers of a dump that a datagram begins with, at least one if it does; never raises.

    What follows is to be read message by message. Answers with NLM_F_DUMP_INTR are left to that.
    """
    if len(data) < _HEAD:
        return Run(b"", 0, 0)
    length, kind, flags, number, _ = _unpack(data)
    if kind != type or number != sequence or flags & c.NLM_F_DUMP_INTR:
        return Run(b"", 0, 0)
    if length >= _HEAD and not length & 3 and length <= len(data):
        count = len(data) // length
        whole = data if count * length == len(data) else data[: count * length]
        # Each column is one call: 3 us for a datagram of 120 messages.
        if all(whole[i::length] == whole[i : i + 1] * count for i in range(_SHARED)):
            return Run(whole, length, count)
    return _read_mixed(data, type, sequence)


def _read_mixed(data: bytes, type: int, sequence: int) -> Run:
    at = count = 0
    total = len(data)
    while total - at >= _HEAD:
        length, kind, flags, number, _ = _unpack(data, at)
        end = at + (length + 3 & ~3)
        if kind != type or number != sequence or flags & c.NLM_F_DUMP_INTR:
            break
        if length < _HEAD or end > total:
            break
        at = end
        count += 1
    return Run(data[:at], 0, count)


def make_run(type: int, payloads: Iterable[bytes]) -> Run:
    """Return payloads as a run, padded as a kernel sends them; raises KamexfrmError."""
    found = list(payloads)
    lengths = set(map(len, found))
    length = min(lengths) + _HEAD if len(lengths) == 1 else 0
    data = b"".join([message(type, c.NLM_F_MULTI, 0, payload) for payload in found])
    return Run(data, 0 if length & 3 else length, len(found))
