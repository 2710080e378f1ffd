"""A pytest session elsewhere, in a guest or in a user namespace, as the outer session sees it.

The two sessions share a folder: the outer one asks for tests in it, the inner one
(``pytest_inside``) writes its reports there.
"""

import json
import os
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from kamexfrm.rig import python
from kamexfrm.rig.guest import Guest, GuestError, GuestTimeoutError
from kamexfrm.rig.pytest_failure import failure
from kamexfrm.rig.pytest_inside import FOLDER, NODE_ID, PLACE, REPORTS, request_file
from kamexfrm.rig.pytest_place import Place, why_not_here
from kamexfrm.rig.pytest_unshared import Unshared
from kamexfrm.rig.reaper import WatchedFolder


class Elsewhere:
    """One inner session, the tests that it was asked for, and its reports as they arrive.

    ``items`` are all tests that it may be asked for.
    """

    def __init__(self, config: pytest.Config, place: Place, items: Iterable[pytest.Item]) -> None:
        self._config = config
        self._place = place
        self._error = ""
        self._details: list[str] = []
        self._output = b""
        self._tail = b""
        self._offset = 0
        self._rows: dict[str, list[dict[str, Any]]] = {}
        self._requests = 0
        self._asked: set[str] = set()
        self._running = ""
        self._session: Guest | Unshared | None = None
        self._watched = WatchedFolder("kamexfrm-tests.")
        self.folder = self._watched.path
        (self.folder / REPORTS).touch()
        files = list(dict.fromkeys(str(item.path) for item in items))
        try:
            self._session = self._start([*python.pytest_command(), *_options(config), *files])
        except GuestError as error:
            self._error = str(error)

    def _start(self, command: Sequence[str]) -> Guest | Unshared:
        """Start pytest where it is to run; raises GuestError."""
        names = {**os.environ, FOLDER: str(self.folder), PLACE: self._place.value}
        timeout: float = self._config.option.guest_timeout
        directory = self._config.invocation_params.dir
        if self._place is Place.USER:
            return Unshared(
                command,
                folder=self.folder,
                timeout=timeout,
                environment=names,
                directory=directory,
            )
        return Guest(
            command,
            share=self.folder,
            memory=self._config.option.guest_memory,
            timeout=timeout,
            environment=names,
            directory=directory,
        )

    def ask(self, items: Sequence[pytest.Item], following: pytest.Item | None = None) -> None:
        """Ask for tests, in their order; ``following`` is the one after the last.

        One that was asked for already is left out.
        """
        ids = [item.stash[NODE_ID] for item in items]
        after = [*ids[1:], following.stash[NODE_ID] if following else ""]
        rows = [row for row in zip(ids, after, strict=True) if row[0] not in self._asked]
        if not rows:
            return
        self._asked.update(ids)
        path = request_file(self.folder, self._requests)
        self._requests += 1
        whole = path.with_suffix(".new")
        whole.write_text(json.dumps(rows), encoding="utf-8")
        whole.rename(path)

    def reports(self, item: pytest.Item) -> Iterator[pytest.TestReport]:
        """Yield a test's reports as they come, one failed report when they do not come."""
        nodeid = item.stash[NODE_ID]
        last = ""
        while True:
            over = self._poll()
            rows = self._rows.get(nodeid, [])
            while rows:
                row = rows.pop(0)
                if row["event"] == "end":
                    return
                if row["event"] == "unknown":
                    yield self._missing(
                        item, "call", f"pytest in {self._place.value} has no such test"
                    )
                    return
                report = self._config.hook.pytest_report_from_serializable(
                    config=self._config, data={**row["report"], "nodeid": item.nodeid}
                )
                last = report.when
                yield report
            if over:
                when = "call" if last in ("", "setup") else "teardown"
                yield self._missing(item, when, self._why(item))
                return
            time.sleep(0.02)  # poll: no file system event crosses from the guest

    def _poll(self) -> bool:
        """Read new rows; return whether no more can come."""
        if self._session is not None and not self._error:
            try:
                status = self._session.poll()
                if status is not None:
                    self._error = f"pytest in {self._place.value} ended with status {status}"
            except (GuestTimeoutError, TimeoutError):
                limit = self._config.option.guest_timeout
                self._error = f"{self._place.value} had no time left ({limit:g} s: --guest-timeout)"
            except GuestError as error:
                first, *self._details = str(error).splitlines()
                self._error = first.partition(";")[0]
            self._show(self._session.output("stdout") + self._session.output("stderr"))
        self._read_rows()
        return bool(self._error)

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
            if row["event"] == "begin":
                self._running = row["nodeid"]
                continue
            if row["event"] == "end":
                self._running = ""
            self._rows.setdefault(row["nodeid"], []).append(row)

    def _why(self, item: pytest.Item) -> str:
        """Return why a test has no reports."""
        if self._session is None:
            return f"{why_not_here(item)}, and {self._place.value} does not start: {self._error}"
        if self._running == item.stash[NODE_ID]:
            return f"{self._error}, while this test ran"
        return f"not run: {self._error}" + (f", while {self._running} ran" * bool(self._running))

    def _missing(self, item: pytest.Item, when: str, summary: str) -> pytest.TestReport:
        """Return the failed report of a test that did not run to its end."""
        output = self._output.decode(errors="replace").splitlines()[-40:]
        text = "\n".join([summary, *self._details, *output])
        return pytest.TestReport(
            nodeid=item.nodeid,
            location=item.location,
            keywords={},
            outcome="failed",
            longrepr=failure(summary, text, Path(item.path)),
            when=when,  # type: ignore[arg-type]  # a str where pytest wants a Literal
            start=time.time(),
            stop=time.time(),
        )

    def close(self) -> None:
        """End the inner session and remove the folder."""
        if self._session is not None:
            self._session.stop()
        self._watched.close()


def _options(config: pytest.Config) -> list[str]:
    """Return the options of this session that change how a test runs or how it is reported."""
    option = config.option
    words = ["-q", "-p", "no:cacheprovider", f"--rootdir={config.rootpath}", "--maxfail=0"]
    for plugin in option.plugins or ():
        words += ["-p", plugin] if plugin != "no:terminal" else []  # as pytest-xdist has it
    if config.pluginmanager.hasplugin("xdist"):
        words.append("-n0")  # whatever the configuration says
    if config.inipath is not None:
        words += ["-c", str(config.inipath)]
    words += [f"--tb={option.tbstyle}", f"--capture={option.capture}"]
    words += ["--showlocals"] if option.showlocals else []
    for name in option.override_ini or ():
        words += ["-o", name]
    for name in option.pythonwarnings or ():
        words += ["-W", name]
    return words
