"""A load: what is deleted and comes again is replaced where it stands, the rest goes last.

Between begin and end of a load, deletions are only written down. A policy or an SA that comes again
takes the place of the one that is there. At the end, what has not come again is deleted. So no
packet meets an SPD from which its policy is missing, and a writer that is killed leaves the old
policies, the new ones, or both.
"""

from __future__ import annotations

from collections import deque

from kamexfrm.model.policy import Direction, SecurityContext
from kamexfrm.model.policy import Selector as EntrySelector
from kamexfrm.records import NamedTuple

TYPE_CHECKING = False  # a command without a load does not need them
if TYPE_CHECKING:
    from collections.abc import Mapping

    from kamexfrm.engine.requests import SpdAdd, SpdAddRun
    from kamexfrm.translate.xfrm.replacement import Replacement
    from kamexfrm.xfrm import Operation, Policy, Selector, State, StateId

#: What tells entries of one direction apart: selector and LSM's label.
EntryName = tuple[EntrySelector, SecurityContext | None]


class LoadPlan(NamedTuple):
    """What a load is going to ask for.

    ``policies`` is how many are added. ``is_sorted`` says that they come in the order of matching,
    the priority as written never falling. ``forwards`` are the names of those that are added for
    fwd and not deleted: an in policy of the same name gets no twin, which would only be replaced.
    ``deleted`` are the names of those that are deleted, where some of them overlap and others are
    added afterwards: then the order of all has to be kept on the way. ``flushed`` is how many are
    added before the last flush, and ``again`` has the names of others that are deleted after they
    were added, with how many were added by then: none of these is written. ``only_adds`` says that
    no policy is deleted, and that they are not sorted.
    """

    policies: int = 0
    is_sorted: bool = True
    forwards: frozenset[EntryName] = frozenset()
    deleted: frozenset[tuple[EntryName, Direction]] = frozenset()
    flushed: int = 0
    again: Mapping[tuple[EntryName, Direction], int] = {}
    only_adds: bool = False


class StayingEntry(NamedTuple):
    """An entry that stays where others of the load change their places: its policies.

    ``name`` is a hash of its name, as are those below.
    """

    priority: int
    number: int
    name: int
    policies: list[Policy]


class ChosenPlace(NamedTuple):
    """A place that was chosen beforehand: kernel priority and insertion number.

    ``replaced`` are the kernel directions in which a policy of ours has the entry's name.
    """

    number: int
    order: int
    replaced: frozenset[int]


class Load:
    """What is there and was deleted in this load, but for what has come again."""

    def __init__(self, plan: LoadPlan) -> None:
        from kamexfrm.translate.xfrm.name_index import NameSet

        self.plan = plan
        #: Policies still to be added; decides how much room each one gets.
        self.todo = plan.policies
        #: After a flush: where the old policies are, and the places of those that come.
        self.replacement: Replacement | None = None
        #: The last entry placed after a flush: its priority as written, and the kernel's.
        self.last: tuple[int, int] = (0, 0)
        #: Policies that wait to be sorted: priority as written, number of the request, or of the
        #: one before a run's first.
        self.waiting: list[tuple[int, int, SpdAdd | SpdAddRun]] = []
        #: Hashes of their names and directions.
        self.waiting_names = NameSet(plan.policies)
        self.number = 0
        #: How many policies were added so far, and the names of those that go again, each with
        #: whether it is an automatic twin.
        self.added = 0
        self.fleeting: dict[tuple[int, int], bool] = {}
        #: Whether some waited no longer: a deletion came between, and the order is set at the end.
        self.is_split = False
        #: Entries that stay, in the order of matching, and have yet to get their places.
        self.staying: deque[StayingEntry] = deque()
        #: What deletes old policies that their index alone does not name.
        self.deletions: dict[tuple[int, int], Operation] = {}
        #: Of the policies that are going to be deleted, those that are there and not deleted yet.
        #: With each, whether it is an automatic twin.
        self.expected: dict[tuple[int, int], bool] = {}
        #: Policies that were deleted one by one.
        self.deleted: dict[tuple[int, int], Policy] = {}
        #: Policies that stay though they were deleted: what was to replace them was rejected.
        self.spared: set[tuple[int, int]] = set()
        #: Selectors of sidecars that are there and whose entry has not come again with one.
        self.sidecars: set[Selector] = set()
        #: SAs that were deleted or flushed.
        self.states: dict[StateId, State] = {}
        #: The names of those with a mark by what they are without; None until it is asked for.
        self.marked: dict[StateId, StateId] | None = None
        #: Where each entry goes, by the name and direction of its first policy: of a difference,
        #: which has chosen the places of all.
        self.places: dict[tuple[int, int], ChosenPlace] | None = None

    def has_policies(self) -> bool:
        """Whether policies were deleted or flushed."""
        return self.replacement is not None or self.places is not None or bool(self.deleted)
