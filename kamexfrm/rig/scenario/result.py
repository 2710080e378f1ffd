"""Results of steps and cases, and a failure with its causes and the facts."""

import dataclasses

from kamexfrm.errors import KamexfrmError
from kamexfrm.rig.scenario.plan import Case


@dataclasses.dataclass(frozen=True, slots=True)
class Failure:
    """Why a step failed: what was not as expected, possible causes, and the facts.

    ``causes``: the likeliest first; ``facts``: (title, text) pairs of packets, dumps and counters.
    """

    message: str
    causes: tuple[str, ...] = ()
    facts: tuple[tuple[str, str], ...] = ()


class StepFailed(KamexfrmError):
    """A step that did not meet its expectations; ``line`` in the file, 0 for the step's."""

    def __init__(self, message: str, causes: tuple[str, ...] = (), line: int = 0) -> None:
        super().__init__(message)
        self.message = message
        self.causes = causes
        self.line = line


@dataclasses.dataclass(frozen=True, slots=True)
class StepResult:
    """A step that was taken: its label, what was seen, how long it took in seconds."""

    number: int
    line: int
    label: str
    seen: str
    seconds: float
    failure: Failure | None = None


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
