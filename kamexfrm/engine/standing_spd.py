"""The SPD of a namespace as it was dumped: messages, and columns of numbers to compare it by."""

from collections.abc import Iterator, Set
from itertools import chain

from kamexfrm.kernel.interface import Kernel
from kamexfrm.translate.xfrm.brief_policy import brief_policy
from kamexfrm.translate.xfrm.old_policies import OldPolicies, read_old
from kamexfrm.xfrm import policy_index


class StandingSpd:
    """A dump: ``entries`` are the policies of the SPD in the order of matching.

    ``others`` are the messages of what is no entry, see brief_policy(), and ``named`` the ids of
    the entries that have more of a name than a selector.
    """

    def __init__(self, kernel: Kernel) -> None:
        self.runs = kernel.policy_runs()
        found = list(map(read_old, self.runs))
        self.entries = OldPolicies.joined(entries for entries, _ in found)
        self.entries.sort()
        self._ids = [entries.ids for entries, _ in found]
        self.others: list[bytes] = []
        self.named: set[int] = set()
        for payload in chain.from_iterable(others for _, others in found):
            if brief_policy(payload) is None:
                self.others.append(payload)
            else:
                self.named.add(policy_index(payload))

    def iter_payloads(self) -> Iterator[bytes]:
        """Yield all messages."""
        for run in self.runs:
            yield from run.payloads()

    def iter_entries(self, ids: Set[int]) -> Iterator[bytes]:
        """Yield the messages of the entries with some ids."""
        for run, mine in zip(self.runs, self._ids, strict=True):
            if not ids.isdisjoint(mine):
                yield from (each for each in run.payloads() if policy_index(each) in ids)
