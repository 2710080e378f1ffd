"""From one SPD to the next with few writes: which entries stay in their places. Pure.

Entries that are in both and in the same order stay; the others are written in the order of the new
SPD, each one at its final place, and what is left of the old SPD is then deleted from its end. At
every moment a packet meets either what it met before or what it is to meet afterwards:

* Let k entries be written. A packet whose first match in the new SPD is among them, or stays, meets
  it, or what it met before: all that is ahead of it in the new SPD stands already.
* Any other packet meets what it met before: an entry written so far that matches it would be behind
  its first match of the new SPD, which is yet to come, and that is written earlier.
* Deleting from the end leaves, for each packet, its old first match to the last.

This needs that no entry on its way to a place further back uncovers an old one that is going to
change. Where one would, and a packet could match both, fewer entries stay: those behind which
nothing comes that is ahead of them now, or none. All moves are then to places further ahead.
"""

from bisect import bisect_left, bisect_right
from collections import defaultdict
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import NamedTuple

from kamexfrm.translate.xfrm.order import GAP, LAST, after_last

#: Of more pairs of entries it is not looked whether a packet can match both: it is taken to be so.
_MOST_COMPARED = 20_000


class Standing(NamedTuple):
    """An entry that is there: its kernel priority, priority as written and insertion number."""

    number: int
    priority: int
    order: int


class Coming(NamedTuple):
    """An entry of the new SPD; ``old`` is the index of the one of its name that is there, or -1."""

    priority: int
    old: int = -1


class Rearrangement(NamedTuple):
    """Where the entries of the new SPD go.

    ``places`` has (kernel priority, insertion number) of each, ``stays`` whether it is there
    already. ``moves`` are new kernel priorities of old entries, by index, to be written first and
    in this order, to make room. ``sequence`` are the new ones in the order of their places.
    ``newest`` is the highest insertion number.
    """

    places: list[tuple[int, int]]
    stays: bytearray
    moves: list[tuple[int, int]]
    sequence: list[int]
    newest: int


def rearrange(
    old: Sequence[Standing],
    new: Sequence[Coming],
    newest: int,
    overlap: Callable[[int, int], bool],
) -> Rearrangement:
    """Return the places for a new SPD, whose entries come in the order of matching.

    ``old`` are in the order of their numbers. ``newest`` is the highest insertion number given out.
    ``overlap`` says whether a packet can match two old entries.
    """
    for choose in (_longest_run, _never_overtaken):
        stays = bytearray(len(new))
        for at in choose(old, new):
            stays[at] = 1
        found = _placed(old, new, stays, newest)
        if _is_in_order(found) and not _is_unsafe(old, new, found, overlap):
            return found
    return _placed(old, new, bytearray(len(new)), newest)  # all ahead of all that is there


def _is_in_order(found: Rearrangement) -> bool:
    """Whether the numbers rise; they do not where old ones contradict the priorities."""
    return all(one[0] < other[0] for one, other in pairwise(found.places))


def _candidates(old: Sequence[Standing], new: Sequence[Coming]) -> list[int]:
    return [
        at for at, (priority, index) in enumerate(new) if index >= 0 and old[index][1] == priority
    ]


def _longest_run(old: Sequence[Standing], new: Sequence[Coming]) -> list[int]:
    """Return as many entries as possible that are in the same order in both."""
    candidates = _candidates(old, new)
    if all(new[one].old < new[other].old for one, other in pairwise(candidates)):
        return candidates  # the usual case
    tails: list[int] = []
    ends: list[int] = []
    before: dict[int, int] = {}
    for at in candidates:
        index = new[at].old
        length = len(tails) if not tails or index > tails[-1] else bisect_left(tails, index)
        if length == len(tails):
            tails.append(index)
            ends.append(at)
        else:
            tails[length] = index
            ends[length] = at
        if length:
            before[at] = ends[length - 1]
    found = []
    last = ends[-1] if ends else None
    while last is not None:
        found.append(last)
        last = before.get(last)
    return found


def _never_overtaken(old: Sequence[Standing], new: Sequence[Coming]) -> list[int]:
    """Return the entries behind which nothing comes that is ahead of them now."""
    candidates = set(_candidates(old, new))
    found = []
    least = len(old)
    for at in range(len(new) - 1, -1, -1):
        index = new[at].old
        if 0 <= index < least:
            least = index
            if at in candidates:
                found.append(at)
    return found


def _placed(
    old: Sequence[Standing], new: Sequence[Coming], stays: bytearray, newest: int
) -> Rearrangement:
    if all(stays):
        places = [(old[entry.old].number, old[entry.old].order) for entry in new]
        return Rearrangement(places, stays, [], [*_by_number(places)], newest)
    sequence, orders, newest = _sequence(old, new, stays, newest)
    moves: list[tuple[int, int]] = []
    numbers = _numbers(old, new, stays, sequence)
    if numbers is None:
        numbers, moves = _spread(old, new, stays, sequence)
    places = [(number, orders[at]) for at, number in enumerate(numbers)]
    return Rearrangement(places, stays, moves, sequence, newest)


def _by_number(places: Sequence[tuple[int, int]]) -> list[int]:
    return sorted(range(len(places)), key=lambda at: places[at][0])


def _sequence(
    old: Sequence[Standing], new: Sequence[Coming], stays: bytearray, newest: int
) -> tuple[list[int], list[int], int]:
    """Return all new entries in one order, their insertion numbers, and the newest of these.

    Sorted by priority as written, insertion number and place they come in this order: an entry
    between two others takes the insertion number of one of them.
    """
    fixed = sorted((new[at].old, at) for at in range(len(new)) if stays[at])
    last_of = {old[index].priority: at for index, at in fixed}
    orders = [old[entry.old].order if stays[at] else 0 for at, entry in enumerate(new)]
    behind: defaultdict[int, list[int]] = defaultdict(list)
    ahead: defaultdict[int, list[int]] = defaultdict(list)
    tails: list[int] = []
    next_stays = _next_stays(new, stays)
    mine: list[int] = tails
    for at, (priority, _) in enumerate(new):
        if stays[at]:
            continue
        before, following = at - 1, next_stays[at]
        if at and new[before].priority == priority:
            if not stays[before]:
                orders[at] = orders[before]  # and it goes where that one went
            elif last_of[priority] != before:
                mine, orders[at] = behind[before], orders[before]
            else:
                mine = tails
        elif following >= 0 and new[following].priority == priority:
            mine, orders[at] = ahead[following], orders[following]
        else:
            mine = tails
        if mine is tails:
            newest += 1
            orders[at] = newest
        mine.append(at)
    tails.sort(key=lambda at: new[at].priority)
    sequence: list[int] = []
    waiting = 0
    for _, at in fixed:
        while waiting < len(tails) and new[tails[waiting]].priority < new[at].priority:
            sequence.append(tails[waiting])
            waiting += 1
        sequence += (*ahead.get(at, ()), at, *behind.get(at, ()))
    return sequence + tails[waiting:], orders, newest


def _next_stays(new: Sequence[Coming], stays: bytearray) -> list[int]:
    """Return, for each entry, the next one that stays, or -1."""
    found = [-1] * len(new)
    following = -1
    for at in range(len(new) - 1, -1, -1):
        found[at] = following
        if stays[at]:
            following = at
    return found


def _numbers(
    old: Sequence[Standing], new: Sequence[Coming], stays: bytearray, sequence: Sequence[int]
) -> list[int] | None:
    """Return kernel priorities between those that are there; None where there is no room."""
    used = [entry.number for entry in old]
    numbers = [0] * len(new)
    last, start = 0, 0
    while start < len(sequence):
        at = sequence[start]
        if stays[at]:
            numbers[at] = old[new[at].old].number
            if numbers[at] <= last:
                return None
            last, start = numbers[at], start + 1
            continue
        end = start
        while end < len(sequence) and not stays[sequence[end]]:
            end += 1
        following = bisect_right(used, last)
        bound = used[following] if following < len(used) else LAST + 1
        run = [new[each].priority for each in sequence[start:end]]
        found = _run(run, last, bound)
        if found is None:
            return None
        for each, number in zip(sequence[start:end], found, strict=True):
            numbers[each] = number
        last, start = found[-1], end
    return numbers


def _run(priorities: Sequence[int], last: int, bound: int) -> list[int] | None:
    """Return rising numbers between two; near the priorities as written, where there is room."""
    if bound > LAST:
        found: list[int] = []
        for priority in priorities:
            number = after_last(priority, found[-1] if found else last)
            if number is None:
                break
            found.append(number)
        else:
            return found
    count = len(priorities)
    step = min(GAP, (bound - last - 1) // (count + 1))
    if step < 1:
        return None
    first = min(max(last + step, priorities[0]), bound - step * count)
    return [first + step * at for at in range(count)]


def _spread(
    old: Sequence[Standing], new: Sequence[Coming], stays: bytearray, sequence: Sequence[int]
) -> tuple[list[int], list[tuple[int, int]]]:
    """Give all entries, old and new, numbers with room between; return them and the moves.

    The old ones keep their order at every moment.
    """
    keeper = {new[at].old: at for at in sequence if stays[at]}
    numbers = [0] * len(new)
    step = max(1, min(GAP, LAST // (len(old) + len(sequence) + 1)))
    moves: list[tuple[int, int]] = []
    number, position = 0, 0
    for index in range(-1, len(old)):
        if index >= 0:
            number += step
            moves.append((index, number))
            if index not in keeper:
                continue
            numbers[keeper[index]] = number
            position += 1
        # What comes behind one that stays is ahead of old ones that go.
        while position < len(sequence) and not stays[sequence[position]]:
            number += step
            numbers[sequence[position]] = number
            position += 1
    up = [move for move in moves if move[1] > old[move[0]].number]
    down = [move for move in moves if move[1] < old[move[0]].number]
    return numbers, [*up[::-1], *down]


def _is_unsafe(
    old: Sequence[Standing],
    new: Sequence[Coming],
    found: Rearrangement,
    overlap: Callable[[int, int], bool],
) -> bool:
    """Whether an entry, on its way back, may uncover one that is to change."""
    moved = dict(found.moves)
    number_of = [moved.get(index, entry.number) for index, entry in enumerate(old)]
    coming = {entry.old: at for at, entry in enumerate(new) if entry.old >= 0}
    left = [
        index for index in range(len(old)) if not (index in coming and found.stays[coming[index]])
    ]
    back = [
        index
        for index in left
        if index in coming and found.places[coming[index]][0] > number_of[index]
    ]
    if len(back) * len(left) > _MOST_COMPARED:
        return True
    turn = {at: place for place, at in enumerate(found.sequence)}
    for index in back:
        at = coming[index]
        passed = (
            other
            for other in left
            if number_of[index] < number_of[other] < found.places[at][0]
            and (other not in coming or turn[coming[other]] > turn[at])
        )
        if any(overlap(index, other) for other in passed):
            return True
    return False
