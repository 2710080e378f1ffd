"""The difference between the SPD of a namespace and the wanted policies.

It is found on the messages of a dump: only what seems to differ is decoded. Entries that are in
both, and in the same order, stay where they are; ``translate.xfrm.rearrangement`` says which.
"""

import errno
from bisect import bisect_left
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from itertools import chain
from typing import NamedTuple

from kamexfrm.engine.load import ChosenPlace
from kamexfrm.engine.requests import Rejected, SpdAdd, SpdAddRun
from kamexfrm.engine.spd_places import policy_name
from kamexfrm.engine.standing_spd import StandingSpd
from kamexfrm.engine.wanted_policies import PlainContents, WantedColumns, WantedPolicies
from kamexfrm.errors import KamexfrmError, KernelError
from kamexfrm.kernel.interface import Kernel
from kamexfrm.model.knobs import Knobs
from kamexfrm.model.policy import Direction, IpsecRequest, Level
from kamexfrm.model.policy import Selector as EntrySelector
from kamexfrm.translate.xfrm.brief_policy import BriefPolicy
from kamexfrm.translate.xfrm.marker import FIRST_GENERATED_REQID
from kamexfrm.translate.xfrm.numbers import direction_to_kernel
from kamexfrm.translate.xfrm.policy_from_kernel import (
    has_sidecar,
    selector_from_kernel,
    sidecars_of,
    spd_entry_from_kernel,
)
from kamexfrm.translate.xfrm.rearrangement import Coming, Standing, rearrange
from kamexfrm.translate.xfrm.spd_columns import SpdColumns, columns_of, iter_unchanged
from kamexfrm.translate.xfrm.standing_policy import StandingPolicy, standing_policy
from kamexfrm.xfrm import (
    XFRM_POLICY_FWD,
    XFRM_POLICY_IN,
    XFRM_POLICY_OUT,
    Policy,
    Run,
    Selector,
    decode_policy,
)

#: What tells the policies of an SPD apart: a hash of the name, and the direction.
Key = tuple[int, int]

#: Entries that are the same in a row: of no more than these none is hidden.
_FEWEST_HIDDEN = 2


class PolicyChange(NamedTuple):
    """An entry that is written, or deleted (``request`` is None).

    ``there`` are the messages of its policies that are there, first the entry's own, then perhaps
    that of its twin. ``is_same`` is whether it says what is wanted, and only its place changes.
    """

    request: SpdAdd | None
    there: tuple[bytes, ...] = ()
    is_same: bool = False


class Write(NamedTuple):
    """An entry that is written, the name and direction of its first policy, and its place."""

    request: SpdAdd
    key: Key
    place: ChosenPlace


class PolicyDifference(NamedTuple):
    """What has to be done about policies.

    First ``moves``, the messages of old policies and their new kernel priorities, then ``writes``,
    then what ``gone`` has is deleted, messages of old policies, the last one first. ``stale`` are
    the selectors of sidecars whose entry is written or goes, ``sidecars`` all that are there.
    ``newest`` is the highest insertion
    number then, ``last`` the priority as written and the kernel priority of the last entry.
    ``messages`` are those of all policies that are there.
    """

    changes: tuple[PolicyChange, ...]
    rejected: tuple[Rejected, ...]
    unchanged: int
    foreign: int
    moves: tuple[tuple[bytes, int], ...]
    writes: tuple[Write, ...]
    gone: tuple[bytes, ...]
    stale: frozenset[Selector]
    sidecars: Mapping[Selector, Policy]
    newest: int
    last: tuple[int, int]
    messages: tuple[Run, ...] = ()


class _Spd(NamedTuple):
    """A dump: our policies and foreign ones by their names, and sidecars."""

    ours: dict[Key, StandingPolicy]
    foreign: set[Key]
    sidecars: Mapping[Selector, Policy]


class _Entry(NamedTuple):
    """A wanted entry, and what is there of it."""

    request: SpdAdd
    keys: tuple[Key, ...]
    is_same: bool


class _Hidden(NamedTuple):
    """Entries that are there as they are wanted, between others that are: nobody looks at them.

    ``old`` and ``new`` are the ranges of them among the policies that are there and the wanted
    entries, ``pinned`` the names of the entries at the ends of these, which have to stay.
    """

    old: tuple[range, ...] = ()
    new: tuple[range, ...] = ()
    pinned: frozenset[Key] = frozenset()


def policy_difference(
    kernel: Kernel, wanted: Sequence[SpdAdd | SpdAddRun], knobs: Knobs, *, prune: bool
) -> PolicyDifference:
    """Compare the SPD with the wanted policies; raises KamexfrmError."""
    standing = StandingSpd(kernel)
    policies = WantedPolicies(wanted)
    if len(policies) and len(standing.entries):
        columns = policies.columns(knobs)
        hidden = _hidden(columns_of(standing.entries), columns)
        if hidden.pinned:
            ids = frozenset(_left(standing.entries.ids, hidden.old))
            spd = _read(chain(standing.others, standing.iter_entries(ids)))
            requests = [policies.request(at) for at in sorted(_left(columns.order, hidden.new))]
            found = _difference(spd, requests, policies.forwards, knobs, hidden.pinned, prune=prune)
            if found is not None:
                return _with_hidden(found, hidden, standing)
    spd = _read(standing.iter_payloads())
    found = _difference(
        spd, policies.requests(), policies.forwards, knobs, frozenset(), prune=prune
    )
    assert found is not None  # noqa: S101  (nothing is pinned)
    return found._replace(messages=tuple(standing.runs))


def _hidden(old: SpdColumns, new: WantedColumns) -> _Hidden:
    """Find what is there as it is wanted, but for the first and the last entry of a stretch."""
    there: list[range] = []
    wanted: list[range] = []
    pinned: set[Key] = set()
    starts, policies = new.starts, new.policies
    for at, other, length in iter_unchanged(old, policies):
        first, end = bisect_left(starts, other), bisect_left(starts, other + length)
        if end - first > _FEWEST_HIDDEN:
            begin, last = starts[first + 1], starts[end - 1]
            there.append(range(at + begin - other, at + last - other))
            wanted.append(range(first + 1, end - 1))
            pinned |= {(policies.names[i], policies.directions[i]) for i in (other, last)}
    return _Hidden(tuple(there), tuple(wanted), frozenset(pinned))


def _left(values: Sequence[int], hidden: Iterable[range]) -> list[int]:
    """Return the values at places that are not hidden."""
    found: list[int] = []
    start = 0
    for places in hidden:
        found += values[start : places.start]
        start = places.stop
    return [*found, *values[start:]]


def _with_hidden(
    found: PolicyDifference, hidden: _Hidden, standing: StandingSpd
) -> PolicyDifference:
    orders = standing.entries.orders
    newest = max(max(orders[places.start : places.stop]) for places in hidden.old)
    return found._replace(
        unchanged=found.unchanged + sum(map(len, hidden.new)),
        newest=max(found.newest, newest),
        messages=tuple(standing.runs),
    )


def _read(payloads: Iterable[bytes]) -> _Spd:
    ours: dict[Key, StandingPolicy] = {}
    foreign: set[Key] = set()
    others = []
    for payload in payloads:
        found = standing_policy(payload)
        if isinstance(found, StandingPolicy):
            ours[found.name, found.direction] = found
        elif isinstance(found, BriefPolicy):
            foreign.add((hash(found.name), found.direction))
        else:
            others.append(decode_policy(payload))
    return _Spd(ours, foreign, sidecars_of(others))


def _difference(
    spd: _Spd,
    wanted: Sequence[SpdAdd],
    forwards: frozenset[int],
    knobs: Knobs,
    pinned: frozenset[Key],
    *,
    prune: bool,
) -> PolicyDifference | None:
    """Compare what is read of the SPD with wanted policies; None where a pinned one has to move.

    Raises KamexfrmError.
    """
    contents = PlainContents(knobs)
    entries: list[_Entry] = []
    rejected: list[Rejected] = []
    claimed: set[Key] = set()
    for request in wanted:
        keys = _keys(request, forwards)
        if not spd.foreign.isdisjoint(keys):
            in_the_way = KernelError(errno.EEXIST, "a foreign policy of this name is in the way")
            rejected.append(Rejected(request, in_the_way))
            continue
        claimed.update(keys)
        try:
            entries.append(_compared(request, keys, spd, contents))
        except KamexfrmError as error:
            rejected.append(Rejected(request, error))
    if not prune:
        kept = _unnamed(spd.ours, claimed)
        claimed.update(key for entry in kept for key in entry.keys)
        entries = _merged(entries, kept, spd)
    else:
        entries.sort(key=lambda entry: entry.request.policy.priority)
    return _arranged(entries, tuple(rejected), spd, claimed, pinned)


def _keys(request: SpdAdd, forwards: frozenset[int]) -> tuple[Key, ...]:
    """Return the names of the policies that an entry is made of: its own, and its twin's."""
    policy = request.policy
    name = policy_name(policy.selector, policy.label)
    if policy.direction is Direction.IN and request.twin and name not in forwards:
        return (name, XFRM_POLICY_IN), (name, XFRM_POLICY_FWD)
    return ((name, direction_to_kernel(policy.direction)),)


def _compared(request: SpdAdd, keys: tuple[Key, ...], spd: _Spd, plain: PlainContents) -> _Entry:
    there = [spd.ours.get(key) for key in keys]
    first = there[0]
    if first is None or None in there or first.is_twin:
        return _Entry(request, keys, False)
    last = there[-1]
    if (
        last is not first
        and last is not None
        and not (
            last.is_twin and last.number == first.number  # a twin shares the place of its entry
        )
    ):
        return _Entry(request, keys, False)
    contents = plain.contents(request.policy)
    if contents and all(
        row is not None and row.content == content
        for row, content in zip(there, contents, strict=False)
    ):
        return _Entry(request, keys, True)
    return _compared_slowly(request, keys, [row.payload for row in there if row], spd)


def _compared_slowly(
    request: SpdAdd, keys: tuple[Key, ...], payloads: Sequence[bytes], spd: _Spd
) -> _Entry:
    """Compare what the policies say; an entry takes over reqids that were generated before."""
    policy = request.policy
    found = [
        spd_entry_from_kernel(decode_policy(each), spd.sidecars.get).policy for each in payloads
    ]
    requests = with_generated_reqids(policy.requests, found[0].requests)
    if requests != policy.requests:
        policy = policy._replace(requests=requests)
        request = request._replace(policy=policy)
    wanted = [policy]
    if len(keys) > 1:
        wanted.append(policy._replace(direction=Direction.FWD))
    return _Entry(request, keys, found == wanted)


def with_generated_reqids(
    requests: tuple[IpsecRequest, ...], there: tuple[IpsecRequest, ...]
) -> tuple[IpsecRequest, ...]:
    """Return requests with the reqids that were generated for those that are there."""
    if not any(r.level is Level.UNIQUE and not r.reqid for r in requests):
        return requests
    if [r._replace(reqid=0) for r in there] != [r._replace(reqid=0) for r in requests]:
        return requests
    return tuple(
        was if not r.reqid and was.reqid >= FIRST_GENERATED_REQID else r
        for r, was in zip(requests, there, strict=True)
    )


def _unnamed(ours: Mapping[Key, StandingPolicy], claimed: set[Key]) -> list[_Entry]:
    """Return the entries of ours that are not wanted, in the order of matching."""
    entries = []
    for key, row in sorted(ours.items(), key=lambda item: item[1].number):
        twin = ours.get((row.name, XFRM_POLICY_IN))
        if key in claimed or (row.is_twin and twin and twin.number == row.number):
            continue
        entry = spd_entry_from_kernel(decode_policy(row.payload))
        keys = [key]
        forward = row.name, XFRM_POLICY_FWD
        if row.direction == XFRM_POLICY_IN and forward not in claimed:
            twin = ours.get(forward)
            if twin and twin.is_twin and twin.number == row.number:
                keys.append(forward)
        entries.append(_Entry(SpdAdd(entry.policy), tuple(keys), True))
    return entries


def _merged(wanted: list[_Entry], kept: list[_Entry], spd: _Spd) -> list[_Entry]:
    """Return all entries in the order of matching: those kept go behind what they are behind now.

    Where that is not wanted either, they go ahead of all of their priority.
    """
    rank = {}
    for at, entry in enumerate(wanted):
        rank[entry.keys[0]] = (entry.request.policy.priority, at, 0)
    places = [(rank[entry.keys[0]], entry) for entry in wanted]
    rows = sorted(spd.ours.items(), key=lambda item: item[1].number)
    staying = {entry.keys[0]: entry for entry in kept}
    last: dict[int, tuple[int, int]] = {}
    for turn, (key, row) in enumerate(rows, 1):
        kept_one = staying.get(key)
        if kept_one is not None:
            places.append(((row.priority, last.get(row.priority, (0, -1))[1], turn), kept_one))
        elif key in rank and rank[key][0] == row.priority:
            last[row.priority] = rank[key][:2]
    places.sort(key=lambda place: place[0])
    return [entry for _, entry in places]


def _arranged(
    entries: Sequence[_Entry],
    rejected: tuple[Rejected, ...],
    spd: _Spd,
    claimed: set[Key],
    pinned: frozenset[Key],
) -> PolicyDifference | None:
    rows = [
        row
        for row in sorted(spd.ours.values(), key=lambda row: row.number)
        if not _shares_place(row, spd.ours)
    ]
    index = {(row.name, row.direction): at for at, row in enumerate(rows)}
    old = [Standing(row.number, row.priority, row.order) for row in rows]
    new = [Coming(entry.request.policy.priority, index.get(entry.keys[0], -1)) for entry in entries]
    newest = max((row.order for row in rows), default=0)
    found = rearrange(old, new, newest, _Overlap(rows))
    if pinned and (found.moves or not _all_stay(pinned, entries, found.stays)):
        return None
    moved = dict(found.moves)
    moves = tuple(
        (row.payload, number)
        for at, number in found.moves
        for row in _policies_of(rows[at], spd.ours)
    )
    writes: list[Write] = []
    changes: list[PolicyChange] = []
    stale: set[Selector] = set()
    for at in found.sequence:
        entry = entries[at]
        if entry.is_same and found.stays[at]:
            continue
        there = {key: spd.ours[key] for key in entry.keys if key in spd.ours}
        number, order = found.places[at]
        replaced = frozenset(direction for _, direction in there)
        writes.append(Write(entry.request, entry.keys[0], ChosenPlace(number, order, replaced)))
        payloads = tuple(row.payload for row in there.values()) if entry.keys[0] in there else ()
        changes.append(PolicyChange(entry.request, payloads, entry.is_same))
        stale.update(_sidecars(payloads))
    gone = [row for key, row in spd.ours.items() if key not in claimed]
    gone.sort(key=lambda row: moved.get(index.get((row.name, row.direction), -1), row.number))
    for row in gone:
        if not _shares_place(row, spd.ours):
            changes.append(PolicyChange(None, (row.payload,)))
        stale.update(_sidecars((row.payload,)))
    numbered = zip(entries, found.places, strict=True)
    last = max(
        ((number, entry.request.policy.priority) for entry, (number, _) in numbered),
        default=(0, 0),
    )
    return PolicyDifference(
        tuple(changes),
        rejected,
        len(entries) - len(writes),
        len(spd.foreign),
        moves,
        tuple(writes),
        tuple(row.payload for row in reversed(gone)),
        frozenset(stale),
        spd.sidecars,
        found.newest,
        (last[1], last[0]),
    )


def _all_stay(pinned: frozenset[Key], entries: Sequence[_Entry], stays: bytearray) -> bool:
    return all(stay for entry, stay in zip(entries, stays, strict=True) if entry.keys[0] in pinned)


def _shares_place(row: StandingPolicy, ours: Mapping[Key, StandingPolicy]) -> bool:
    """Whether a policy is the twin of an entry, with its place."""
    if not row.is_twin:
        return False
    entry = ours.get((row.name, XFRM_POLICY_IN))
    return entry is not None and entry.number == row.number


def _policies_of(row: StandingPolicy, ours: Mapping[Key, StandingPolicy]) -> list[StandingPolicy]:
    """Return the policies of an entry: its own, and its twin."""
    twin = ours.get((row.name, XFRM_POLICY_FWD)) if row.direction == XFRM_POLICY_IN else None
    if twin is not None and twin.is_twin and twin.number == row.number:
        return [row, twin]
    return [row]


def _sidecars(payloads: Iterable[bytes]) -> list[Selector]:
    policies = map(decode_policy, payloads)
    return [policy.selector for policy in policies if has_sidecar(policy)]


class _Overlap:
    """Whether a packet can match two entries that are there."""

    def __init__(self, rows: Sequence[StandingPolicy]) -> None:
        self._rows = rows
        self._selector = lru_cache(maxsize=1024)(self._read)

    def _read(self, at: int) -> EntrySelector:
        return selector_from_kernel(decode_policy(self._rows[at].payload).selector)

    def __call__(self, one: int, other: int) -> bool:
        first, second = self._rows[one].direction, self._rows[other].direction
        # In and fwd meet in the twin of an in entry.
        if XFRM_POLICY_OUT in (first, second) and first != second:
            return False
        return self._selector(one).overlaps(self._selector(other))
