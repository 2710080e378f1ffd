"""The policies of a namespace for its status: in the order of matching, and those without an SA.

Policies that differ in their selectors alone are one to most questions. So fifty thousand of them
are looked at by what they say, and only what is shown becomes objects.
"""

import heapq
from array import array
from collections import Counter
from collections.abc import Container, Iterable, Iterator, Set
from itertools import compress, islice
from operator import attrgetter
from typing import NamedTuple

from kamexfrm.engine.standing_spd import StandingSpd
from kamexfrm.kernel.interface import Kernel
from kamexfrm.model.policy import Owner, PolicyType, SpdEntry
from kamexfrm.operator.status_sad import Sad
from kamexfrm.translate.xfrm.policy_from_kernel import (
    has_sidecar,
    is_ordinary,
    selector_from_kernel,
    sidecars_of,
    spd_entry_from_kernel,
)
from kamexfrm.xfrm import Policy, decode_policy, policy_index
from kamexfrm.xfrm.selector import unpack_selector
from kamexfrm.xfrm.structs import USERPOLICY_BRIEF


class Unserved(NamedTuple):
    """The first policies without an SA, and how many there are."""

    first: list[SpdEntry]
    total: int


class Spd:
    """The policies of a namespace; ``sockets`` is the number of those of sockets."""

    def __init__(self, kernel: Kernel) -> None:
        self._standing = StandingSpd(kernel)
        others = list(map(decode_policy, self._standing.others))
        self._sidecars = sidecars_of(others)
        special = list(self._entries(others))
        self.sockets = sum(entry.socket for entry in special)
        columns = self._standing.entries
        self._ids = columns.ids
        # Of what is said alike, 0 for what has to be decoded.
        self._kinds = array("q", map(_kind, columns.contents, columns.directions))
        self._typical = self._read_typical()
        is_special = (kind not in self._typical for kind in self._kinds)
        self._special = [
            *(entry for entry in special if not entry.socket),
            *self._decoded(set(compress(self._ids, is_special))),
        ]
        self._counts = Counter(self._kinds)

    def _read_typical(self) -> dict[int, SpdEntry]:
        """Return one policy of each kind whose content tells all besides the selector."""
        samples = dict(zip(self._kinds, self._ids, strict=True))
        samples.pop(0, None)
        if named := self._standing.named:
            for id, kind in zip(self._ids, self._kinds, strict=True):
                if id in named:
                    samples.pop(kind, None)
        kind_of = {id: kind for kind, id in samples.items()}
        found = map(decode_policy, self._standing.iter_entries(kind_of.keys()))
        return {
            kind_of[policy.index]: spd_entry_from_kernel(policy)
            for policy in found
            if not has_sidecar(policy)
        }

    def __iter__(self) -> Iterator[SpdEntry]:
        """Yield all policies in the order of matching, without those of sockets."""
        payloads = sorted(self._standing.iter_payloads(), key=USERPOLICY_BRIEF.unpack_from)
        return (e for e in self._entries(map(decode_policy, payloads)) if not e.socket)

    @property
    def written(self) -> int:
        """The number of policies without automatic twins."""
        return sum(count for entry, count in self._counted() if not entry.twin)

    @property
    def foreign(self) -> int:
        """The number of policies that are not ours."""
        return sum(count for entry, count in self._counted() if entry.owner is not Owner.OURS)

    def has_owner(self, owner: Owner) -> bool:
        """Whether a policy has an owner."""
        return any(entry.owner is owner for entry, _ in self._counted())

    def iter_forged(self) -> Iterator[SpdEntry]:
        """Yield what has the mark of def_policy's catch-alls and is none."""
        return (entry for entry in self._special if entry.owner is Owner.FORGED)

    def exempts(self, family: int) -> bool:
        """Whether a policy of action none is for a family."""
        kinds = (entry.policy.type for entry, _ in self._counted())
        return PolicyType.NONE in kinds and any(
            entry.policy.type is PolicyType.NONE and entry.policy.selector.family == family
            for entry in self
        )

    def _counted(self) -> Iterator[tuple[SpdEntry, int]]:
        """Yield an entry of each kind, and how many there are."""
        for kind, entry in self._typical.items():
            yield entry, self._counts[kind]
        for entry in self._special:
            yield entry, 1

    def first(self, most: int) -> list[SpdEntry]:
        """Return the first policies in the order of matching, without automatic twins."""
        shown = {kind for kind, entry in self._typical.items() if not entry.twin}
        written = (entry for entry in self._special if not entry.twin)
        return _nearest(most, [*self._first_of(shown, most), *written])

    def unserved(self, sad: Sad, most: int) -> Unserved:
        """Return the first policies without an SA."""
        varying = {k for k, entry in self._typical.items() if sad.depends_on_selector(entry)}
        lacking = {
            kind
            for kind, entry in self._typical.items()
            if kind not in varying and sad.lacks_sa(entry)
        }
        found = [*filter(sad.lacks_sa, self._special), *self._lacking(sad, varying)]
        total = len(found) + sum(self._counts[kind] for kind in lacking)
        return Unserved(_nearest(most, [*self._first_of(lacking, most), *found]), total)

    def _lacking(self, sad: Sad, kinds: Set[int]) -> Iterator[SpdEntry]:
        """Yield the policies of some kinds that lack an SA."""
        if not kinds:
            return
        kind_of = dict(zip(self._ids, self._kinds, strict=True))
        ids = {id for id, kind in kind_of.items() if kind in kinds}
        for payload in self._standing.iter_entries(ids):
            entry = self._typical[kind_of[policy_index(payload)]]
            selector = selector_from_kernel(unpack_selector(payload))
            if sad.lacks_sa(entry._replace(policy=entry.policy._replace(selector=selector))):
                yield spd_entry_from_kernel(decode_policy(payload))

    def _first_of(self, kinds: Container[int], most: int) -> Iterator[SpdEntry]:
        """Yield the first policies of some kinds."""
        ids = compress(self._ids, (kind in kinds for kind in self._kinds))
        return self._decoded(set(islice(ids, most)))

    def _decoded(self, ids: Set[int]) -> Iterator[SpdEntry]:
        return self._entries(map(decode_policy, self._standing.iter_entries(ids)))

    def _entries(self, policies: Iterable[Policy]) -> Iterator[SpdEntry]:
        for policy in policies:
            if is_ordinary(policy) and not policy.policy_type:
                yield spd_entry_from_kernel(policy, self._sidecars.get)


def _kind(content: int, direction: int) -> int:
    """Return a number for a content in a direction: that is in its lowest bits."""
    return content and (content & ~3 | direction)


def _nearest(most: int, entries: Iterable[SpdEntry]) -> list[SpdEntry]:
    return heapq.nsmallest(most, entries, key=attrgetter("kernel_priority"))
