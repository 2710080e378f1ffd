"""The inner pytest session, in a guest or in a user namespace: runs the tests that come.

Requests are files of JSON, ``0.tests``, ``1.tests`` and so on, each a list of (test, next test)
by node id. Reports are lines of JSON in one file. The session ends with the outer one, which kills
it or at least removes the folder.
"""

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

#: Environment variables of the inner session: the folder it shares with the outer one, and where
#: it runs (``pytest_place.Place``).
FOLDER = "KAMEXFRM_GUEST_TESTS"
PLACE = "KAMEXFRM_TESTS_PLACE"

REPORTS = "reports.jsonl"

#: Seconds between two looks for requests: no file system event crosses to the guest.
_PAUSE = 0.01

#: The node id that a test has without the groups that pytest-xdist appends.
NODE_ID = pytest.StashKey[str]()


def request_file(folder: Path, number: int) -> Path:
    """Return the file with the requests of that number, from 0."""
    return folder / f"{number}.tests"


class Inside:
    """Runs the tests that the outer session asks for, and writes their reports as they come."""

    def __init__(self, config: pytest.Config, folder: Path) -> None:
        self._config = config
        self._folder = folder
        self._reports = (folder / REPORTS).open("a", encoding="utf-8", buffering=1)

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtestloop(self, session: pytest.Session) -> bool | None:
        """Run what is asked for; pytest's own loop reports what could not be collected."""
        if session.testsfailed:
            return None
        items = {item.stash[NODE_ID]: item for item in session.items}
        for nodeid, following in self._requests():
            item = items.get(nodeid)
            if item is None:
                self._write(nodeid, "unknown")
                continue
            item.ihook.pytest_runtest_protocol(item=item, nextitem=items.get(following))
        return True

    def _requests(self) -> Iterator[tuple[str, str]]:
        """Yield requests as they come, until the outer session has gone."""
        number = 0
        while self._folder.exists():
            path = request_file(self._folder, number)
            if not path.exists():
                time.sleep(_PAUSE)
                continue
            yield from json.loads(path.read_text(encoding="utf-8"))
            number += 1

    def pytest_runtest_logstart(self, nodeid: str) -> None:
        """Write that a test begins."""
        self._write(nodeid, "begin")

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Write a report of a test's setup, call or teardown."""
        data = self._config.hook.pytest_report_to_serializable(config=self._config, report=report)
        self._write(report.nodeid, "report", data)

    def pytest_runtest_logfinish(self, nodeid: str) -> None:
        """Write that a test has no more reports."""
        self._write(nodeid, "end")

    def _write(self, nodeid: str, event: str, report: dict[str, Any] | None = None) -> None:
        row = {"nodeid": nodeid, "event": event, "report": report}
        self._reports.write(json.dumps(row, default=str) + "\n")

    def pytest_unconfigure(self) -> None:
        """Close the file of reports."""
        self._reports.close()
