"""A run as JSON and back: what a guest hands over to the process that started it."""

import dataclasses
import json
from collections.abc import Sequence
from typing import Any

from kamexfrm.errors import KamexfrmError
from kamexfrm.rig.scenario.plan import Case
from kamexfrm.rig.scenario.result import (
    CaseResult,
    Crossing,
    Failure,
    Observation,
    Rise,
    RunResult,
    StepResult,
)


class RecordError(KamexfrmError):
    """A text that is no record of the cases."""


def dumps(run: RunResult) -> str:
    """Return a run as JSON; its cases are those of the first scenarios, by their place."""
    cases = [
        {"seconds": one.seconds, "steps": [dataclasses.asdict(step) for step in one.steps]}
        for one in run.results
    ]
    rest = {"kernel": run.kernel, "began": run.began, "seconds": run.seconds}
    return json.dumps({"cases": cases, **rest})


def loads(text: str, cases: Sequence[Case]) -> RunResult:
    """Return the run that ``dumps`` wrote of these cases, or the first of them.

    Raises RecordError.
    """
    try:
        data = json.loads(text)
        results = tuple(
            CaseResult(case, float(row["seconds"]), tuple(map(_step, row["steps"])))
            for case, row in zip(cases, data["cases"], strict=False)
        )
        return RunResult(results, str(data["kernel"]), float(data["began"]), float(data["seconds"]))
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise RecordError(f"no record of a run: {error}") from None


def _step(row: dict[str, Any]) -> StepResult:
    failure, observed = row.pop("failure"), row.pop("observed")
    return StepResult(
        **row,
        failure=_failure(failure) if failure else None,
        observed=_observation(observed) if observed else None,
    )


def _failure(row: dict[str, Any]) -> Failure:
    facts = tuple((title, text) for title, text in row["facts"])
    return Failure(row["message"], tuple(row["causes"]), facts, row["advice"], row["cause"])


def _observation(row: dict[str, Any]) -> Observation:
    def rises(name: str) -> tuple[Rise, ...]:
        return tuple(Rise(**one) for one in row[name])

    crossings = tuple(Crossing(**one) for one in row["crossings"])
    return Observation(crossings, rises("sas"), rises("counters"), rises("heard"))
