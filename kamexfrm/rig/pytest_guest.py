"""A pytest plugin: tests that need ESP run where there is ESP, in one guest for all of them.

``@pytest.mark.dataplane`` marks a test that needs ESP and AH, or what its arguments name
(``kamexfrm.rig.probe.ABILITIES``). It runs right here when the running kernel has that, else in a
guest. ``@pytest.mark.both_kernels`` marks a test that runs twice, as
``[host]`` and as ``[guest]``. All tests for the guest go to one pytest in one guest, which boots
while the other tests run; its reports come back through a shared folder and are replayed here in
the place of the tests, so that ``-x``, ``-k``, node ids and the closing line mean what they always
do. A guest that does not boot, or dies, fails its tests: none is skipped.

Files called ``*.rig.toml`` are collected by themselves, each case of a scenario as a test.

Fixtures: ``rig``, ``namespace``, ``two_hosts``, ``gateways``, ``kernel``.
"""

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from kamexfrm.rig.host import Host
from kamexfrm.rig.probe import ABILITIES
from kamexfrm.rig.pytest_guest_run import FOLDER, REPORTS, TESTS, GuestRun
from kamexfrm.rig.rig import Gateways, Rig, TwoHosts
from kamexfrm.rig.rig import gateways as make_gateways
from kamexfrm.rig.rig import two_hosts as make_two_hosts

_MARKERS = (
    "dataplane: needs ESP and AH; runs in a guest when the running kernel has none",
    "both_kernels: runs twice, on the running kernel [host] and in a guest [guest]",
)


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the guest's options."""
    group = parser.getgroup("guest", "tests in a guest kernel")
    group.addoption(
        "--guest-timeout",
        type=float,
        default=900.0,
        metavar="SECONDS",
        help="fail what has not run in the guest after so many seconds (900)",
    )
    group.addoption("--guest-memory", default="2G", help="the guest's memory (2G)")
    group.addoption(
        "--all-in-guest",
        action="store_true",
        help="run all tests in the guest, but those of the running kernel [host]",
    )


def pytest_configure(config: pytest.Config) -> None:
    """Register the markers, and the plugin for this side of the guest."""
    for marker in _MARKERS:
        config.addinivalue_line("markers", marker)
    folder = os.environ.get(FOLDER)
    plugin: object = InsideGuest(config, Path(folder)) if folder else OutsideGuest(config)
    config.pluginmanager.register(plugin, "kamexfrm-guest")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Make two tests of each one marked ``both_kernels``."""
    if metafunc.definition.get_closest_marker("both_kernels"):
        if "kernel" not in metafunc.fixturenames:
            metafunc.fixturenames.append("kernel")
        metafunc.parametrize("kernel", ["host", "guest"], indirect=True)


def pytest_collect_file(file_path: Path, parent: pytest.Collector) -> pytest.Collector | None:
    """Collect scenario files."""
    if not file_path.name.endswith(".rig.toml"):
        return None
    from kamexfrm.rig.pytest_scenario import ScenarioFile

    return ScenarioFile.from_parent(parent, path=file_path)


class InsideGuest:
    """Runs the tests that the outer session listed, and writes their reports as they come."""

    def __init__(self, config: pytest.Config, folder: Path) -> None:
        self._config = config
        self._folder = folder
        self._reports = (folder / REPORTS).open("a", encoding="utf-8", buffering=1)

    @pytest.hookimpl(trylast=True)
    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        """Keep the tests that the outer session named, in its order."""
        wanted = json.loads((self._folder / TESTS).read_text(encoding="utf-8"))
        by_id = {item.nodeid: item for item in items}
        items[:] = [by_id[nodeid] for nodeid in wanted if nodeid in by_id]

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Write a report of a test's setup, call or teardown."""
        data = self._config.hook.pytest_report_to_serializable(config=self._config, report=report)
        self._write({"nodeid": report.nodeid, "report": data})

    def pytest_runtest_logfinish(self, nodeid: str) -> None:
        """Write that a test has no more reports."""
        self._write({"nodeid": nodeid, "report": None})

    def _write(self, row: dict[str, Any]) -> None:
        self._reports.write(json.dumps(row, default=str) + "\n")

    def pytest_unconfigure(self) -> None:
        """Close the file of reports."""
        self._reports.close()


class OutsideGuest:
    """Sends tests to the guest and replays their reports."""

    def __init__(self, config: pytest.Config) -> None:
        self._config = config
        self._items: list[pytest.Item] = []
        self._run: GuestRun | None = None

    @pytest.hookimpl(trylast=True)
    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        """Put the guest's tests last: it boots and works while the others run here."""
        if self._config.option.all_in_guest:
            items[:] = [item for item in items if _kernel_of(item) != "host"]
        here = [item for item in items if not self._belongs_to_guest(item)]
        items[:] = here + [item for item in items if self._belongs_to_guest(item)]

    @pytest.hookimpl(wrapper=True)
    def pytest_runtestloop(self, session: pytest.Session) -> Iterator[None]:
        """Boot the guest before the first test when there is a test for it."""
        self._items = [item for item in session.items if self._belongs_to_guest(item)]
        if self._items and not self._config.option.collectonly and not session.testsfailed:
            self._run = GuestRun(self._config, self._items)
        try:
            return (yield)
        finally:
            if self._run is not None:
                self._run.close()

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> bool | None:
        """Replay the reports of a test that ran in the guest."""
        if self._run is None or item not in self._items:
            return None
        item.ihook.pytest_runtest_logstart(nodeid=item.nodeid, location=item.location)
        for report in self._run.reports(item):
            item.ihook.pytest_runtest_logreport(report=report)
        item.ihook.pytest_runtest_logfinish(nodeid=item.nodeid, location=item.location)
        return True

    def _belongs_to_guest(self, item: pytest.Item) -> bool:
        return bool(self._config.option.all_in_guest) or _belongs_to_guest(item)


def _kernel_of(item: pytest.Item) -> str:
    """Return ``host`` or ``guest`` for a test of both kernels, else ""."""
    callspec = getattr(item, "callspec", None)
    if callspec is None or not item.get_closest_marker("both_kernels"):
        return ""
    return str(callspec.params.get("kernel", ""))


def _belongs_to_guest(item: pytest.Item) -> bool:
    """Whether the test must run in a guest rather than on the running kernel."""
    if item.get_closest_marker("both_kernels"):
        return _kernel_of(item) == "guest"
    if marker := item.get_closest_marker("dataplane"):
        return not all(ABILITIES[need]() for need in marker.args or ("ESP", "AH"))
    return False


@pytest.fixture
def kernel(request: pytest.FixtureRequest) -> str:
    """``guest`` in a guest, else ``host``."""
    return str(getattr(request, "param", "guest" if FOLDER in os.environ else "host"))


@pytest.fixture
def rig() -> Iterator[Rig]:
    """Yield a rig without hosts: ``rig.host(name)`` and ``rig.link(...)`` make a network."""
    with Rig() as made:
        yield made


@pytest.fixture
def namespace() -> Iterator[Host]:
    """Put the test into a new host without links; back at its end."""
    with Rig() as rig:
        host = rig.host("here")
        with host.enter():
            yield host


@pytest.fixture
def two_hosts() -> Iterator[TwoHosts]:
    """Two hosts on one link: ``a`` 10.0.0.1 fd00::1, ``b`` 10.0.0.2 fd00::2, both on eth0."""
    with make_two_hosts() as hosts:
        yield hosts


@pytest.fixture
def gateways() -> Iterator[Gateways]:
    """Two gateways with a host behind each: ``kamexfrm.rig.Gateways`` has the addresses."""
    with make_gateways() as hosts:
        yield hosts
