"""Scenario files as tests: each case of a ``*.rig.toml`` is an item; ESP makes it the guest's."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from kamexfrm.errors import KamexfrmError
from kamexfrm.rig.pytest_failure import failure
from kamexfrm.rig.scenario.plan import Case
from kamexfrm.rig.scenario.reading import document
from kamexfrm.rig.scenario.report import transcript as report
from kamexfrm.rig.scenario.report.closing import closing_line
from kamexfrm.rig.scenario.result import CaseResult
from kamexfrm.rig.scenario.run.runner import Runner


class ScenarioFile(pytest.File):
    """A scenario file; one that cannot be read is an error of collection."""

    def collect(self) -> Iterator[pytest.Item]:
        """Yield an item for each case."""
        try:
            cases = document.read_file(_relative(self.path))
        except document.ScenarioError as error:
            raise self.CollectError(str(error)) from None
        for case in cases:
            item = ScenarioItem.from_parent(self, name=case.name or "scenario", case=case)
            if case.needs:
                item.add_marker(pytest.mark.dataplane(*case.needs))
            yield item


class CaseFailed(KamexfrmError):
    """A case that failed; its text is one line that says why."""

    def __init__(self, result: CaseResult) -> None:
        super().__init__(closing_line(result))
        self.result = result


class ScenarioItem(pytest.Item):
    """One case."""

    def __init__(self, *, case: Case, **kwargs: object) -> None:
        super().__init__(**kwargs)  # type: ignore[arg-type]  # pytest's own: name and parent
        self._case = case

    @property
    def needs(self) -> tuple[str, ...]:
        """What the case needs of a kernel, beside network namespaces."""
        return self._case.needs

    def runtest(self) -> None:
        """Run the case; raises CaseFailed."""
        result = Runner().run(self._case)
        if not result.passed:
            raise CaseFailed(result)

    def repr_failure(  # type: ignore[override]  # pytest takes a string as well
        self, excinfo: pytest.ExceptionInfo[BaseException], style: object = None
    ) -> object:
        """Return the transcript of a failed case; a traceback for all else."""
        if isinstance(excinfo.value, CaseFailed):
            text = report.failure_text(excinfo.value.result)
            return failure(str(excinfo.value), text, self.path)
        return super().repr_failure(excinfo)

    def reportinfo(self) -> tuple[Path, int, str]:
        """Return where the test is, and its name."""
        return self.path, 0, f"{self.path.name}[{self.name}]"


def _relative(path: Path) -> str:
    """Return a path relative to the current directory if it is below that."""
    near = os.path.relpath(path)
    return str(path) if near.startswith("..") else near
