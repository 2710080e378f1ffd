"""Results of steps and cases, and a failure with its causes and the facts."""

import dataclasses

from kamexfrm.errors import KamexfrmError
from kamexfrm.rig.scenario.plan import Case


@dataclasses.dataclass(frozen=True, slots=True)
class Failure:
    """Why a step failed: what was not as expected, possible causes, and the facts.

    ``causes``: the likeliest first; ``facts``: (title, text) pairs of packets, dumps and counters;
    ``advice``: what to do next; ``cause``: the likeliest, in short, empty where none explains it.
    """

    message: str
    causes: tuple[str, ...] = ()
    facts: tuple[tuple[str, str], ...] = ()
    advice: str = ""
    cause: str = ""


class StepFailed(KamexfrmError):
    """A step that did not meet its expectations; ``line`` in the file, 0 for the step's."""

    def __init__(self, message: str, causes: tuple[str, ...] = (), line: int = 0) -> None:
        super().__init__(message)
        self.message = message
        self.causes = causes
        self.line = line


HOUSEKEEPING = "housekeeping"


@dataclasses.dataclass(frozen=True, slots=True)
class Crossing:
    """A packet that crossed a link: ``at`` in seconds since the first of its step.

    ``kind`` is a word of ``stage.wire``, or HOUSEKEEPING for ARP, neighbour discovery and the like.
    ``addresses`` are the packet's own, ``text`` its headers and length.
    """

    link: str
    sender: str
    receiver: str
    at: float
    kind: str
    addresses: str
    text: str


@dataclasses.dataclass(frozen=True, slots=True)
class Rise:
    """Something of a host that rose by a number: a counter, or the packets of an SA."""

    host: str
    what: str
    by: int


@dataclasses.dataclass(frozen=True, slots=True)
class Observation:
    """What a step did on the wires and in the hosts.

    ``sas`` and ``counters`` are those that moved; ``heard`` is what programs of the hosts received.
    """

    crossings: tuple[Crossing, ...] = ()
    sas: tuple[Rise, ...] = ()
    counters: tuple[Rise, ...] = ()
    heard: tuple[Rise, ...] = ()


@dataclasses.dataclass(frozen=True, slots=True)
class StepResult:
    """A step that was taken: its label, what was seen, how long it took in seconds.

    ``observed`` is None where the runner was not asked to observe.
    """

    number: int
    line: int
    label: str
    seen: str
    seconds: float
    failure: Failure | None = None
    observed: Observation | None = None


@dataclasses.dataclass(frozen=True, slots=True)
class CaseResult:
    """A case that was run; ``seconds`` counts making and ending its hosts."""

    case: Case
    seconds: float
    steps: tuple[StepResult, ...]

    @property
    def failure(self) -> Failure | None:
        """The failure that ended the case, None when it passed."""
        return self.steps[-1].failure if self.steps else None

    @property
    def passed(self) -> bool:
        """Whether all steps met their expectations."""
        return self.failure is None


@dataclasses.dataclass(frozen=True, slots=True)
class RunResult:
    """A run: its cases, the kernel's release, seconds since the epoch when it began, and taken."""

    results: tuple[CaseResult, ...]
    kernel: str
    began: float
    seconds: float

    @property
    def failed(self) -> tuple[CaseResult, ...]:
        """The cases that failed."""
        return tuple(result for result in self.results if not result.passed)
