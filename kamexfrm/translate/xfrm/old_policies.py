"""The policies that a load finds, as columns of numbers: fifty bytes each, read without an object.

A policy is known by a hash of its name, and what it says by another. Python's hash of bytes has a
secret key, so nobody can make two that are equal.
"""

from array import array
from collections.abc import Iterable, Sequence
from functools import lru_cache
from heapq import merge
from itertools import islice, repeat
from operator import and_, le
from struct import Struct

from kamexfrm.records import NamedTuple
from kamexfrm.translate.xfrm.brief_policy import (
    CATCH_ALL_NAME_END,
    HEAD,
    NAME_END,
    USER,
    brief_policy,
    content_of,
    read_tail,
)
from kamexfrm.xfrm import XFRM_POLICY_FWD, Run
from kamexfrm.xfrm.netlink import HEADER
from kamexfrm.xfrm.structs import SELECTOR, USERPOLICY_INFO

TYPE_CHECKING = False  # typing takes long to load
if TYPE_CHECKING:
    from typing import Any

_FIELDS = USERPOLICY_INFO.only(
    "lifetime.soft_bytes",
    "lifetime.hard_bytes",
    "lifetime.hard_packets",
    "priority",
    "index",
    "direction",
    "action",
)
_FLAGS = 0xFFFF

#: Policies that are sorted at once.
_BLOCK = 4096
_PRIORITY = 0xFFFFFFFF


class OldPolicy(NamedTuple):
    """A policy that is to go, or to be replaced: a hash of its name, direction, kernel priority.

    ``id`` is its index in the kernel. ``content`` is a hash of what it says, 0 where it has to be
    written again in any case. ``order`` and ``priority`` are what its tag says, 0 without one.
    """

    name: int
    direction: int
    number: int
    id: int = 0
    content: int = 0
    order: int = 0
    priority: int = 0


class OldPolicies:
    """Columns of OldPolicy, in any order until they are sorted."""

    def __init__(self, policies: Iterable[OldPolicy] = ()) -> None:
        self.names = array("q")
        self.directions = bytearray()
        self.numbers = array("I")
        self.ids = array("I")
        self.contents = array("q")
        self.orders = array("Q")
        self.priorities = array("I")
        for policy in policies:
            self.add(policy)

    def __len__(self) -> int:
        return len(self.numbers)

    def __getitem__(self, at: int) -> OldPolicy:
        return OldPolicy(*(column[at] for column in self._columns()))

    def _columns(self) -> tuple["array[int] | bytearray", ...]:
        return (
            self.names,
            self.directions,
            self.numbers,
            self.ids,
            self.contents,
            self.orders,
            self.priorities,
        )

    def add(self, policy: OldPolicy) -> None:
        """Add a policy."""
        self.names.append(policy.name)
        self.directions.append(policy.direction)
        self.numbers.append(policy.number)
        self.ids.append(policy.id)
        self.contents.append(policy.content)
        self.orders.append(policy.order)
        self.priorities.append(policy.priority)

    @classmethod
    def joined(cls, parts: Iterable["OldPolicies"]) -> "OldPolicies":
        """Return the policies of all parts; to extend columns bit by bit would copy them often."""
        found = cls()
        columns = zip(*(part._columns() for part in parts), strict=True)
        for column, pieces in zip(found._columns(), columns, strict=False):
            data = b"".join(pieces)
            if isinstance(column, bytearray):
                column += data  # noqa: PLW2901  (in place)
            else:
                column.frombytes(data)
        return found

    def add_alike(self, run: Run) -> bool:
        """Add the answers of a run that are plain entries of ours; false where one is not."""
        rows = _reader(run.length).iter_unpack(run.data)
        columns: list[tuple[Any, ...]] = list(zip(*rows, strict=True))
        names, firsts, seconds, fourths, numbers, ids, directions, actions, tails = columns
        total = len(numbers)
        if fourths.count(0) < total or max(directions) > XFRM_POLICY_FWD:
            return False
        if any(not _is_plain(tail) for tail in set(tails)):
            return False
        heads = set(firsts)
        if any(first & ~_PRIORITY != HEAD for first in heads):
            return False
        if CATCH_ALL_NAME_END in {name[USER:] for name in names}:
            return False
        flags = list(map(and_, seconds, repeat(_FLAGS)))
        if all(c.count(c[0]) == total for c in (firsts, flags, actions, tails)):
            content = content_of(firsts[0], flags[0], actions[0], tails[0])
            self.contents.extend(repeat(content, total))
        else:
            self.contents.extend(map(content_of, firsts, flags, actions, tails))
        self.names.extend(map(hash, names))
        self.directions += bytes(directions)
        self.numbers.extend(numbers)
        self.ids.extend(ids)
        self.orders.extend(second >> 16 for second in seconds)
        self.priorities.extend(map(and_, firsts, repeat(_PRIORITY)))
        return True

    def sort(self) -> None:
        """Sort by number, then by direction."""
        # A dump has the newest first.
        for column in (
            self.names,
            self.numbers,
            self.ids,
            self.contents,
            self.orders,
            self.priorities,
        ):
            column.reverse()
        self.directions.reverse()
        numbers, directions = self.numbers, self.directions
        if all(map(le, numbers, islice(numbers, 1, None))):
            places = zip(numbers, directions, strict=True)
            following = islice(zip(numbers, directions, strict=True), 1, None)
            if all(map(le, places, following)):
                return
        order = _sorted_places(numbers, directions)
        self.names = _picked(self.names, order)
        self.directions = bytearray(map(directions.__getitem__, order))
        self.numbers = _picked(numbers, order)
        self.ids = _picked(self.ids, order)
        self.contents = _picked(self.contents, order)
        self.orders = _picked(self.orders, order)
        self.priorities = _picked(self.priorities, order)


def _sorted_places(numbers: Sequence[int], directions: Sequence[int]) -> "array[int]":
    """Return the places of all by number and direction: blocks are sorted, and then merged.

    Sorted at once, each would be two objects.
    """

    def key(at: int) -> int:
        return numbers[at] << 8 | directions[at]

    total = len(numbers)
    blocks = (range(start, min(total, start + _BLOCK)) for start in range(0, total, _BLOCK))
    ordered = [array("I", sorted(block, key=key)) for block in blocks]
    return array("I", merge(*ordered, key=key))


def _picked(column: "array[int]", order: Sequence[int]) -> "array[int]":
    return array(column.typecode, map(column.__getitem__, order))


@lru_cache(maxsize=16)
def _reader(length: int) -> Struct:
    """Return what reads messages of one length: the fields above, the name, the attributes."""
    tail = length - HEADER.size - USERPOLICY_INFO.size
    fields = _FIELDS.format.removeprefix(SELECTOR.only().format)
    return Struct(f"={HEADER.size}x{NAME_END}s{fields}{tail}s")


def _is_plain(tail: bytes) -> bool:
    """Whether attributes say nothing that tells policies of one selector apart."""
    read = read_tail(tail)
    return not read.others and not read.if_id


def read_old(run: Run) -> tuple[OldPolicies, list[bytes]]:
    """Return the entries of the SPD among a dump's answers, and the payloads of what is none.

    Among these are also those of entries with a name of more than a selector. Raises WireError.
    """
    found = OldPolicies()
    return found, add_old(found, run)


def add_old(found: OldPolicies, run: Run) -> list[bytes]:
    """Add the entries of the SPD among a dump's answers; return what read_old() does besides."""
    others: list[bytes] = []
    if run.length and found.add_alike(run):
        return others
    for payload in run.payloads():
        brief = brief_policy(payload)
        if brief is None or len(brief.name) > NAME_END:
            others.append(payload)
        if brief is None:
            continue
        name, direction, number, id, content = brief
        first, second, *_ = _FIELDS.unpack_from(payload)
        is_ours = first & ~_PRIORITY == HEAD
        order, priority = (second >> 16, first & _PRIORITY) if is_ours else (0, 0)
        found.add(OldPolicy(hash(name), direction, number, id, content, order, priority))
    return others
