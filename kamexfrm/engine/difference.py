"""The difference between what a namespace holds and what it is wanted to hold.

It is what ``kamexfrm plan`` shows and what ``kamexfrm apply`` carries out. Foreign entries are
counted, and are in the way where a wanted entry has the name of one.
"""

from collections.abc import Sequence
from enum import Enum
from typing import NamedTuple

from kamexfrm.engine.lookup import find_marker
from kamexfrm.engine.policy_difference import PolicyDifference, policy_difference
from kamexfrm.engine.requests import Rejected, SetKnob
from kamexfrm.engine.sa_difference import SaDifference, sa_difference
from kamexfrm.engine.wanted import Wanted
from kamexfrm.kernel.interface import Kernel
from kamexfrm.model.knobs import Knobs


class Action(Enum):
    """What is done about an entry or a variable."""

    ADD = "add"
    UPDATE = "update"
    DELETE = "delete"
    MOVE = "move"


class KnobChange(NamedTuple):
    """A variable that gets another value; ``before`` is the one it has."""

    request: SetKnob
    before: int


class Difference(NamedTuple):
    """What has to be done. ``unchanged`` are entries and variables that stay as they are.

    ``foreign`` is how many policies and SAs are not ours; those of sockets do not count.
    """

    knobs: tuple[KnobChange, ...]
    policies: PolicyDifference
    associations: SaDifference
    unchanged: int
    foreign: int

    @property
    def is_empty(self) -> bool:
        """Whether nothing has to be done."""
        return not (self.knobs or self.policies.changes or self.associations.changes)

    @property
    def rejected(self) -> tuple[Rejected, ...]:
        """What cannot be made: Linux lacks it, or a foreign entry has its name."""
        return self.associations.rejected + self.policies.rejected


def knobs_of(kernel: Kernel) -> Knobs:
    """Return the variables in force; raises KernelError."""
    marker = find_marker(kernel)
    knobs = marker.knobs if marker else Knobs()
    return knobs._replace(larval_lifetime=kernel.larval_lifetime())


def wanted_knobs(knobs: Knobs, requests: Sequence[SetKnob]) -> Knobs:
    """Return the variables once they are written; raises KnobError."""
    for request in requests:
        knobs = knobs.replace(request.knob, request.value)
    return knobs


def difference(kernel: Kernel, wanted: Wanted, now: int, *, prune: bool = True) -> Difference:
    """Compare what a namespace holds with what is wanted; raises KamexfrmError.

    Without ``prune``, entries of ours that are not wanted stay. ``now`` is in seconds since the
    epoch.
    """
    before = knobs_of(kernel)
    after = wanted_knobs(before, wanted.knobs)
    knobs = tuple(
        KnobChange(request, before.value(request.knob))
        for request in wanted.knobs
        if before.value(request.knob) != request.value
    )
    associations = sa_difference(kernel, wanted, after, now, prune=prune)
    policies = policy_difference(kernel, wanted.policies, after, prune=prune)
    return Difference(
        knobs,
        policies,
        associations,
        policies.unchanged + associations.unchanged + len(wanted.knobs) - len(knobs),
        policies.foreign + associations.foreign,
    )
