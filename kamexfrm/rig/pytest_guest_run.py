"""The pytest session in a guest: started once, and its reports as they arrive.

The two sessions share a folder: the outer one lists the tests in it, the inner one appends its
reports as lines of JSON.
"""

import json
import os
import sys
import time
from collections.abc import Iterable, Iterator
from typing import Any

import pytest

from kamexfrm.rig import python
from kamexfrm.rig.guest import Guest, GuestError
from kamexfrm.rig.reaper import WatchedFolder

#: Environment variable inside the guest: the shared folder with the files below.
FOLDER = "KAMEXFRM_GUEST_TESTS"
TESTS = "tests.json"
REPORTS = "reports.jsonl"


class GuestRun:
    """One pytest in one guest, and its reports as they arrive."""

    def __init__(self, config: pytest.Config, items: Iterable[pytest.Item]) -> None:
        self._config = config
        self._error = ""
        self._output = b""
        self._tail = b""
        self._offset = 0
        self._rows: dict[str, list[Any]] = {}
        self._guest: Guest | None = None
        self._watched = WatchedFolder("kamexfrm-tests.")
        self.folder = self._watched.path
        tests = [item.nodeid for item in items]
        (self.folder / TESTS).write_text(json.dumps(tests), encoding="utf-8")
        (self.folder / REPORTS).touch()
        files = list(dict.fromkeys(str(item.path) for item in items))
        try:
            self._guest = Guest(
                [*python.pytest_command(), *_options(config), *files],
                share=self.folder,
                memory=config.option.guest_memory,
                timeout=config.option.guest_timeout,
                environment={**os.environ, FOLDER: str(self.folder)},
                directory=config.invocation_params.dir,
            )
        except GuestError as error:
            self._error = str(error)

    def reports(self, item: pytest.Item) -> Iterator[pytest.TestReport]:
        """Yield a test's reports as they come, one failed report when they do not come."""
        last = "setup"
        while True:
            over = self._poll()
            rows = self._rows.get(item.nodeid, [])
            while rows:
                row = rows.pop(0)
                if row is None:
                    return
                report = self._config.hook.pytest_report_from_serializable(
                    config=self._config, data=row
                )
                last = report.when
                yield report
            if over:
                yield self._missing(item, "call" if last == "setup" else "teardown")
                return
            time.sleep(0.02)  # poll: no file system event crosses from the guest

    def _poll(self) -> bool:
        """Read new rows; return whether no more can come."""
        over = self._guest is None
        if self._guest is not None and not self._error:
            try:
                status = self._guest.poll()
                if status is not None:
                    self._error = f"pytest in the guest ended with status {status}"
            except GuestError as error:
                self._error = str(error)
            over = bool(self._error)
            self._show(self._guest.output("stdout") + self._guest.output("stderr"))
        self._read_rows()
        return over or bool(self._error)

    def _show(self, data: bytes) -> None:
        """Keep the inner session's output for a failure; show it at once under ``-s``."""
        self._output += data
        if data and self._config.option.capture == "no":
            sys.stdout.write(data.decode(errors="replace"))
            sys.stdout.flush()

    def _read_rows(self) -> None:
        with (self.folder / REPORTS).open("rb") as file:
            file.seek(self._offset)
            data = file.read()
        self._offset += len(data)
        *lines, self._tail = (self._tail + data).split(b"\n")
        for line in lines:
            row = json.loads(line)
            self._rows.setdefault(row["nodeid"], []).append(row["report"])

    def _missing(self, item: pytest.Item, when: str) -> pytest.TestReport:
        """Return the failed report of a test that the guest did not finish."""
        output = self._output.decode(errors="replace").splitlines()[-40:]
        return pytest.TestReport(
            nodeid=item.nodeid,
            location=item.location,
            keywords={},
            outcome="failed",
            longrepr="\n".join(["not finished in the guest: " + self._error, *output]),
            when=when,  # type: ignore[arg-type]  # a str where pytest wants a Literal
            start=time.time(),
            stop=time.time(),
        )

    def close(self) -> None:
        """End the guest and remove the folder."""
        if self._guest is not None:
            self._guest.stop()
        self._watched.close()


def _options(config: pytest.Config) -> list[str]:
    """Return the options of this session that change how a test runs or how it is reported."""
    option = config.option
    words = ["-q", "-p", "no:cacheprovider", f"--rootdir={config.rootpath}"]
    if config.inipath is not None:
        words += ["-c", str(config.inipath)]
    words += [f"--tb={option.tbstyle}", f"--capture={option.capture}"]
    words += ["--showlocals"] if option.showlocals else []
    for name in option.override_ini or ():
        words += ["-o", name]
    for name in option.pythonwarnings or ():
        words += ["-W", name]
    return words
