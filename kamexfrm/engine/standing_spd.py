"""The SPD of a namespace as it was dumped: messages, and columns of numbers to compare it by."""

from collections.abc import Collection, Iterator
from itertools import chain

from kamexfrm.kernel.interface import Kernel
from kamexfrm.translate.xfrm.brief_policy import brief_policy
from kamexfrm.translate.xfrm.old_policies import OldPolicies, read_old
from kamexfrm.translate.xfrm.spd_columns import SpdColumns, columns_of
from kamexfrm.xfrm import policy_index


class StandingSpd:
    """A dump: ``entries`` are the policies of the SPD in the order of matching."""

    def __init__(self, kernel: Kernel) -> None:
        self.runs = kernel.policy_runs()
        found = list(map(read_old, self.runs))
        self.entries = OldPolicies.joined(entries for entries, _ in found)
        self.entries.sort()
        self._ids = [entries.ids for entries, _ in found]
        others = chain.from_iterable(others for _, others in found)
        self._others = [payload for payload in others if brief_policy(payload) is None]

    def columns(self) -> SpdColumns:
        """Return the columns of the entries."""
        return columns_of(self.entries)

    def iter_payloads(self) -> Iterator[bytes]:
        """Yield all messages."""
        for run in self.runs:
            yield from run.payloads()

    def iter_some(self, ids: Collection[int]) -> Iterator[bytes]:
        """Yield the messages of the entries with some ids, and of what is no entry."""
        yield from self._others
        wanted = frozenset(ids)
        for run, mine in zip(self.runs, self._ids, strict=True):
            if not wanted.isdisjoint(mine):
                yield from (each for each in run.payloads() if policy_index(each) in wanted)
