"""Many requests in one buffer: a message is repeated, and patched where the requests differ.

Each byte of a field is one assignment to a slice with a step, so a request costs some tens of
nanoseconds, whatever it consists of.
"""

from array import array
from collections.abc import Iterable, Sequence
from itertools import accumulate
from operator import itemgetter

from kamexfrm.records import NamedTuple
from kamexfrm.xfrm.constants import NLM_F_REQUEST
from kamexfrm.xfrm.netlink import HEADER, Operation, PackedOperations, message

_SEQUENCE = HEADER.offset("sequence")

#: Sequence numbers of packed requests are above those of others, and no two at once are the same.
_FIRST_SEQUENCE = 0x80000000
_SEQUENCES = 0x7FFF0000
_next_sequence = 0


class Column(NamedTuple):
    """A field that differs: which message of the template, where in its payload, and its values.

    ``values`` are ``width`` bytes for each request, one after the other.
    """

    message: int
    offset: int
    width: int
    values: bytes


class RequestGroup(NamedTuple):
    """Requests of the same operations, but for some fields.

    ``at`` are their places among all, rising. ``operations`` are those of one of them.
    """

    at: Sequence[int]
    operations: Sequence[Operation]
    columns: Sequence[Column]


def take_sequences(count: int) -> int:
    """Return the first of so many sequence numbers that no other packed requests have."""
    global _next_sequence  # noqa: PLW0603  (as a process has one counter for all its sockets)
    if _next_sequence + count > _SEQUENCES:
        _next_sequence = 0
    first = _FIRST_SEQUENCE + _next_sequence
    _next_sequence += count
    return first


def pack_requests(
    groups: Sequence[RequestGroup], port: int
) -> tuple[PackedOperations, Sequence[int]]:
    """Return the messages of all requests in order, and after how many messages each one ends.

    ``port`` is the sender's. Raises KamexfrmError.
    """
    total = sum(len(group.at) for group in groups)
    templates = [_Template(group, port) for group in groups]
    if len(groups) == 1:
        each = len(templates[0].starts)
        first = take_sequences(total * each)
        data = templates[0].fill(range(first, first + total * each, each))
        return (
            PackedOperations(data, templates[0].all_starts(total), first),
            range(each, total * each + 1, each),
        )
    sizes = array("I", bytes(4 * total))
    for group in groups:
        for at in group.at:
            sizes[at] = len(group.operations)
    ends = array("I", accumulate(sizes))
    first = take_sequences(ends[-1])
    numbers = array("I", (first + end - size for end, size in zip(ends, sizes, strict=True)))
    pieces: list[memoryview] = [memoryview(b"")] * total
    starts: list[Sequence[int]] = [()] * total
    for group, template in zip(groups, templates, strict=True):
        view = memoryview(template.fill(select(numbers, group.at)))
        size = template.size
        for at, start in zip(group.at, range(0, len(view), size), strict=True):
            pieces[at] = view[start : start + size]
            starts[at] = template.starts
    begins = accumulate(map(len, pieces[:-1]), initial=0)
    places = array("I", (b + s for b, inner in zip(begins, starts, strict=True) for s in inner))
    return PackedOperations(bytearray().join(pieces), places, first), ends


def select(values: "array[int]", at: Sequence[int]) -> "array[int]":
    """Return the values at some places."""
    if isinstance(at, range):
        return values[at.start : at.stop : at.step]
    if len(at) == 1:
        return values[at[0] : at[0] + 1]
    return array(values.typecode, itemgetter(*at)(values))


class _Template:
    """The messages of one request of a group."""

    def __init__(self, group: RequestGroup, port: int) -> None:
        parts = [message(kind, NLM_F_REQUEST, 0, data, port) for kind, data in group.operations]
        self._group = group
        self._text = b"".join(parts)
        self.size = len(self._text)
        self.starts = tuple(accumulate(map(len, parts[:-1]), initial=0))

    def all_starts(self, count: int) -> Sequence[int]:
        """Return where the messages of so many requests begin."""
        size = self.size
        if len(self.starts) == 1:
            return range(0, count * size, size)
        found = array("I", bytes(4 * count * len(self.starts)))
        for number, start in enumerate(self.starts):
            found[number :: len(self.starts)] = array("I", range(start, start + count * size, size))
        return found

    def fill(self, sequences: Iterable[int]) -> bytearray:
        """Return the messages of all requests; ``sequences`` are those of their first ones."""
        size, count = self.size, len(self._group.at)
        buffer = bytearray(self._text * count)
        numbers = array("I", sequences)
        for at, start in enumerate(self.starts):
            values = array("I", (n + at for n in numbers)) if at else numbers
            _fill(buffer, size, start + _SEQUENCE, 4, values.tobytes())
        for number, offset, width, column in self._group.columns:
            _fill(buffer, size, self.starts[number] + HEADER.size + offset, width, column)
        return buffer


def repeat_payload(payload: bytes, columns: Sequence[Column], count: int) -> bytearray:
    """Return a payload so many times, with the fields of each one."""
    buffer = bytearray(payload * count)
    for _, offset, width, values in columns:
        _fill(buffer, len(payload), offset, width, values)
    return buffer


def _fill(buffer: bytearray, step: int, offset: int, width: int, values: bytes) -> None:
    for at in range(width):
        buffer[offset + at :: step] = values[at::width]
