"""What a namespace is wanted to hold: as data, for the difference from what it holds."""

from collections.abc import Sequence
from typing import NamedTuple

from kamexfrm.engine.requests import SaAdd, SaAddRun, SetKnob, SpdAdd, SpdAddRun


class Wanted(NamedTuple):
    """Entries in the order in which they would be added, and variables; others are not wanted.

    Of a variable that is not among them, the value stays. ``moment`` is when limits of time were
    written, in seconds since the epoch: they count from then on; 0 where they count from the time
    at which an entry is made. The cookie of a request is its caller's own.
    """

    policies: Sequence[SpdAdd | SpdAddRun] = ()
    associations: Sequence[SaAdd | SaAddRun] = ()
    knobs: tuple[SetKnob, ...] = ()
    moment: int = 0
