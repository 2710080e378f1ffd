"""Two SPDs as columns of numbers, and the stretches in which they are the same. Pure.

What two of fifty thousand entries have in common is found in milliseconds: equal stretches of two
columns are compared as memory.
"""

from array import array
from collections.abc import Iterator, Sequence
from operator import eq

from kamexfrm.records import NamedTuple
from kamexfrm.translate.xfrm.old_policies import OldPolicies

#: More old policies than these are passed over only for a longer stretch behind them.
_NEAR = 256

_FIRST_STEP = 64


class SpdColumns(NamedTuple):
    """The policies of an SPD in the order of matching, an entry's twin behind it.

    ``names`` and ``contents`` are hashes, see brief_policy(). ``joined`` has 1 for what shares the
    place of the policy before it.
    """

    names: "array[int]"
    directions: bytes
    contents: "array[int]"
    joined: bytes


class Stretch(NamedTuple):
    """So many policies that are the same in two SPDs, and where; they are whole entries."""

    old: int
    new: int
    length: int


def columns_of(old: OldPolicies) -> SpdColumns:
    """Return the columns of policies that are sorted."""
    numbers, directions = old.numbers, bytes(old.directions)
    same_place = map(eq, numbers[1:], numbers)
    return SpdColumns(old.names, directions, old.contents, b"\0"[: len(old)] + bytes(same_place))


def iter_unchanged(old: SpdColumns, new: SpdColumns) -> Iterator[Stretch]:
    """Yield stretches that are the same in both, in the order of both."""
    head = _alike(old, new, 0, 0)
    if head:
        yield Stretch(0, 0, head)
    tail = _alike_at_end(old, new, head)
    ends = len(old.names) - tail, len(new.names) - tail
    yield from _between(old, new, (head, head), ends)
    if tail:
        yield Stretch(*ends, tail)


def _between(
    old: SpdColumns, new: SpdColumns, starts: tuple[int, int], ends: tuple[int, int]
) -> Iterator[Stretch]:
    at, other = starts
    if at == ends[0] or other == ends[1]:
        return
    places = {
        (name, direction): place
        for place, name, direction, joined in zip(
            range(at, ends[0]),
            old.names[at : ends[0]],
            old.directions[at : ends[0]],
            old.joined[at : ends[0]],
            strict=True,
        )
        if not joined
    }
    while other < ends[1]:
        found = places.get((new.names[other], new.directions[other]), -1)
        if found >= at and not new.joined[other]:
            length = _alike(old, new, found, other)
            if length and found - at <= max(_NEAR, length):
                yield Stretch(found, other, length)
                at, other = found + length, other + length
                continue
        other += 1


def _alike(old: SpdColumns, new: SpdColumns, at: int, other: int) -> int:
    """Return how many policies from two places on are the same: whole entries."""
    length = min(len(old.names) - at, len(new.names) - other)
    for mine, theirs in zip(old, new, strict=True):
        length = _common(mine, theirs, at, other, length)
    while length and _cuts(old, new, at + length, other + length):
        length -= 1
    return length


def _cuts(old: SpdColumns, new: SpdColumns, at: int, other: int) -> bool:
    """Whether an entry of one of the two goes on at a place."""
    return bool(old.joined[at : at + 1].strip(b"\0") or new.joined[other : other + 1].strip(b"\0"))


def _common(mine: Sequence[int], theirs: Sequence[int], at: int, other: int, length: int) -> int:
    """Return how many numbers, ``length`` at most, are the same from two places on."""
    same, step = 0, _FIRST_STEP
    while same < length:
        step = min(step, length - same)
        start, second = at + same, other + same
        if mine[start : start + step] == theirs[second : second + step]:
            same += step
            step *= 2
        elif step == 1:
            break
        else:
            step //= 2
    return same


def _alike_at_end(old: SpdColumns, new: SpdColumns, head: int) -> int:
    """Return how many policies at the ends are the same, besides so many at the beginning."""
    most = min(len(old.names), len(new.names)) - head
    ends = len(old.names), len(new.names)
    same, step = 0, _FIRST_STEP
    while same < most:
        step = min(step, most - same)
        slices = ((end - same - step, end - same) for end in ends)
        (start, end), (second, other_end) = slices
        if all(
            mine[start:end] == theirs[second:other_end]
            for mine, theirs in zip(old, new, strict=True)
        ):
            same += step
            step *= 2
        elif step == 1:
            break
        else:
            step //= 2
    start = ends[0] - same
    while same and old.joined[start]:
        same, start = same - 1, start + 1
    return same
