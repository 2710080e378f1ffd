"""A load: what is deleted and comes again is replaced where it stands, the rest goes last.

Between begin and end of a load, deletions are only written down. A policy or an SA that comes again
takes the place of the one that is there. At the end, what has not come again is deleted. So no
packet meets an SPD from which its policy is missing, and a writer that is killed leaves the old
policies, the new ones, or both.
"""

from collections.abc import Hashable
from typing import NamedTuple

from kamexfrm.engine.requests import SpdAdd
from kamexfrm.translate.xfrm.replacement import Replacement
from kamexfrm.xfrm import Operation, Policy, Selector, State, StateId

#: How a load calls a policy: its selector, and whatever else tells it from others of that selector.
PolicyName = Hashable


class LoadPlan(NamedTuple):
    """What a load is going to ask for.

    ``policies`` is how many are added. ``is_sorted`` says that they come in the order of matching,
    the priority as written never falling.
    """

    policies: int = 0
    is_sorted: bool = True


class Load:
    """What is there and was deleted in this load, but for what has come again."""

    def __init__(self, plan: LoadPlan) -> None:
        self.plan = plan
        #: Policies still to be added; decides how much room each one gets.
        self.todo = plan.policies
        #: After a flush: where the old policies are, and the places of those that come.
        self.replacement: Replacement | None = None
        #: The last entry placed after a flush: its priority as written, and the kernel's.
        self.last: tuple[int, int] = (0, 0)
        #: Policies that wait to be sorted, each with the number of its request.
        self.waiting: list[tuple[int, SpdAdd]] = []
        self.names: set[Hashable] = set()
        self.number = 0
        #: Operations that delete the old policies after a flush, by name and kernel direction.
        self.deletions: dict[tuple[PolicyName, int], Operation] = {}
        #: Policies that were deleted one by one.
        self.deleted: dict[tuple[PolicyName, int], Policy] = {}
        #: Policies that stay though they were deleted: what was to replace them was rejected.
        self.spared: set[tuple[PolicyName, int]] = set()
        #: Selectors of sidecars that are there and whose entry has not come again with one.
        self.sidecars: set[Selector] = set()
        #: SAs that were deleted or flushed.
        self.states: dict[StateId, State] = {}

    def has_policies(self) -> bool:
        """Whether policies were deleted or flushed."""
        return self.replacement is not None or bool(self.deleted)
