"""The wanted policies as columns of numbers, in the order of matching: for fifty thousand of them.

A request is made of an entry only when somebody asks for it.
"""

from array import array
from bisect import bisect_right
from collections.abc import Iterable, Sequence
from itertools import accumulate, chain, compress, count, islice, repeat
from operator import le
from typing import NamedTuple

from kamexfrm.engine.requests import SpdAdd, SpdAddRun
from kamexfrm.engine.spd_places import policy_name
from kamexfrm.errors import KamexfrmError
from kamexfrm.model.knobs import Knobs
from kamexfrm.model.policy import Direction, SecurityPolicy
from kamexfrm.model.policy_run import PolicyGroup
from kamexfrm.translate.xfrm.brief_policy import plain_content
from kamexfrm.translate.xfrm.fast_path import FastPathTemplate, fast_path_template, group_names
from kamexfrm.translate.xfrm.numbers import direction_to_kernel
from kamexfrm.translate.xfrm.spd_columns import SpdColumns
from kamexfrm.xfrm import XFRM_POLICY_FWD

#: The other one of 0 and 1, for bytes.translate().
_OPPOSITE = bytes((1, 0)) + bytes(254)

#: The content of an entry that is to be compared by what it means; no policy has it.
UNKNOWN = -1


class PlainContents:
    """Finds what entries of one kind become: files mostly share their requests."""

    def __init__(self, knobs: Knobs) -> None:
        self._knobs = knobs
        self._found: dict[tuple[int, int, int, int, int], tuple[object, tuple[int, ...]]] = {}

    def contents(self, policy: SecurityPolicy) -> tuple[int, ...]:
        """Return the contents of an entry and its twin; nothing for one that takes more.

        Raises KamexfrmError for what cannot be encoded.
        """
        selector, direction, type_, requests, priority, lifetime, validtime, _ = policy[:8]
        if lifetime | validtime:
            return ()
        family = selector[0][0]
        key = (id(requests), type_, direction, family, priority)
        found = self._found.get(key)
        if found is None:
            knobs = self._knobs.of(family)
            template = fast_path_template(type_, requests, direction, family, knobs)
            found = self._found[key] = (requests, _contents(template, priority))
        return found[1]

    def pair(self, policy: SecurityPolicy) -> tuple[int, int]:
        """Return the contents of an entry and its twin, UNKNOWN for one that takes more."""
        try:
            mine, twin = self.contents(policy) or (UNKNOWN, UNKNOWN)
        except KamexfrmError:
            return UNKNOWN, UNKNOWN
        return mine, twin


def _contents(template: FastPathTemplate, priority: int) -> tuple[int, ...]:
    if not template.plain:
        return ()
    return plain_content(template, priority), plain_content(template, priority, twin=True)


class WantedPolicies:
    """Requests, some of which are for many entries.

    ``forwards`` are the names of the explicit fwd entries: an in entry of that name has no twin.
    """

    def __init__(self, requests: Sequence[SpdAdd | SpdAddRun]) -> None:
        self._requests = requests
        sizes = (1 if isinstance(each, SpdAdd) else each.run.total for each in requests)
        self._starts = array("I", accumulate(sizes, initial=0))
        self.forwards = frozenset(chain.from_iterable(map(_forwards, requests)))

    def __len__(self) -> int:
        return self._starts[-1]

    def request(self, at: int) -> SpdAdd:
        """Return the request of one entry, by its place as given."""
        index = bisect_right(self._starts, at) - 1
        found = self._requests[index]
        return found if isinstance(found, SpdAdd) else found.request(at - self._starts[index])

    def requests(self) -> list[SpdAdd]:
        """Return the requests of all entries, as given."""
        found: list[SpdAdd] = []
        for each in self._requests:
            if isinstance(each, SpdAdd):
                found.append(each)
            else:
                found += each.requests()
        return found

    def columns(self, knobs: Knobs) -> "WantedColumns":
        """Return the columns of the policies that all entries are made of."""
        entries = _Entries(len(self), self.forwards, PlainContents(knobs))
        for start, each in zip(self._starts, self._requests, strict=False):
            if isinstance(each, SpdAdd):
                entries.add(start, each)
            else:
                for group in each.run.groups:
                    entries.add_group(start, group, twin=each.twin)
        return entries.columns()


def _forwards(request: SpdAdd | SpdAddRun) -> Iterable[int]:
    if isinstance(request, SpdAddRun):
        groups = (g for g in request.run.groups if g.first.direction is Direction.FWD)
        return map(hash, chain.from_iterable(map(group_names, groups)))
    policy = request.policy
    is_forward = policy.direction is Direction.FWD
    return (policy_name(policy.selector, policy.label),) if is_forward else ()


class WantedColumns(NamedTuple):
    """Columns of policies, and which entries they are of.

    ``starts`` has the first policy of each entry in the order of matching, and the end; ``order``
    the entry's place as given.
    """

    policies: SpdColumns
    starts: Sequence[int]
    order: Sequence[int]


class _Entries:
    """The entries as columns, in the order in which they are given."""

    def __init__(self, total: int, forwards: frozenset[int], contents: PlainContents) -> None:
        self._forwards = forwards
        self._contents = contents
        self._names = array("q", bytes(8 * total))
        self._mine = array("q", bytes(8 * total))
        self._twins = array("q", bytes(8 * total))  # 0 where there is none
        self._directions = array("B", bytes(total))
        self._priorities = array("I", bytes(4 * total))

    def add(self, at: int, request: SpdAdd) -> None:
        """Add one entry."""
        policy = request.policy
        name = self._names[at] = policy_name(policy.selector, policy.label)
        self._mine[at], twin = self._contents.pair(policy)
        if policy.direction is Direction.IN and request.twin and name not in self._forwards:
            self._twins[at] = twin
        self._directions[at] = direction_to_kernel(policy.direction)
        self._priorities[at] = policy.priority

    def add_group(self, start: int, group: PolicyGroup, *, twin: bool) -> None:
        """Add the entries of a group of a run that begins at ``start``."""
        first = group.first
        names = array("q", map(hash, group_names(group)))
        mine, twins = self._contents.pair(first)
        count_ = len(names)
        direction = array("B", (direction_to_kernel(first.direction),)) * count_
        self._put(self._names, start, group.at, names)
        self._put(self._mine, start, group.at, array("q", (mine,)) * count_)
        self._put(self._directions, start, group.at, direction)
        self._put(self._priorities, start, group.at, array("I", (first.priority,)) * count_)
        if first.direction is Direction.IN and twin:
            found = array("q", (0 if name in self._forwards else twins for name in names))
            self._put(self._twins, start, group.at, found)

    @staticmethod
    def _put(column: "array[int]", start: int, places: Sequence[int], values: "array[int]") -> None:
        if isinstance(places, range):
            column[start + places.start : start + places.stop : places.step] = values
            return
        for place, value in zip(places, values, strict=True):
            column[start + place] = value

    def columns(self) -> WantedColumns:
        """Return the columns of all policies."""
        order: Sequence[int] = range(len(self._names))
        priorities = self._priorities
        columns = self._names, self._mine, self._twins, self._directions
        if not all(map(le, priorities, islice(priorities, 1, None))):
            order = sorted(order, key=priorities.__getitem__)
            columns = tuple(  # type: ignore[assignment]  # of the same length
                array(column.typecode, map(column.__getitem__, order)) for column in columns
            )
        names, mine, twins, directions = columns
        pairs = bytes(map(bool, twins))
        if 1 not in pairs:
            policies = SpdColumns(names, directions.tobytes(), mine, bytes(len(names)))
            return WantedColumns(policies, range(len(names) + 1), order)
        there = bytes(chain.from_iterable(zip(repeat(1), pairs)))
        both = zip(mine, twins, strict=True)
        ways = zip(directions, repeat(XFRM_POLICY_FWD))
        joined = bytes(compress(b"\0\1" * len(names), there))
        starts = array("I", (at for at, twin in zip(count(), joined) if not twin))
        starts.append(len(joined))
        return WantedColumns(
            SpdColumns(
                array("q", compress(chain.from_iterable(zip(names, names, strict=True)), there)),
                bytes(compress(chain.from_iterable(ways), there)),
                array("q", compress(chain.from_iterable(both), there)),
                joined,
            ),
            starts,
            order,
        )
