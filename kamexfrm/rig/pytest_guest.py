"""A pytest plugin: tests that need ESP run where there is ESP, in one guest for all of them.

The fixtures ``rig``, ``two_hosts`` and ``gateways`` make hosts for traffic, so a test with one of
them needs network namespaces, ESP and AH. So does one marked ``@pytest.mark.dataplane``; the
marker's arguments may name other needs (``kamexfrm.rig.probe.ABILITIES``). Such a test runs right
here when this process may make namespaces and the running kernel has the rest; for an ordinary
user in a user namespace when the kernel has it there; else in a guest.
``@pytest.mark.both_kernels`` marks a test that runs twice, as ``[host]`` and as ``[guest]``.

All tests for one place go to one pytest there, which boots while the other tests run; its reports
come back through a shared folder and are replayed here in the place of the tests, so that ``-x``,
``-k``, node ids and the closing line mean what they always do. Each worker of pytest-xdist has a
guest of its own. A guest that does not boot, or dies, fails its tests: none is skipped.

Files called ``*.rig.toml`` are collected by themselves, each case of a scenario as a test.

Fixtures: ``rig``, ``namespace``, ``two_hosts``, ``gateways``, ``kernel``.
"""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from kamexfrm.rig.host import Host
from kamexfrm.rig.pytest_elsewhere import Elsewhere
from kamexfrm.rig.pytest_inside import FOLDER, NODE_ID, PLACE, Inside
from kamexfrm.rig.pytest_place import (
    NEEDS_ESP,
    NEEDS_NAMESPACES,
    RIG_NEEDS,
    Place,
    kernel_of,
    place_of,
)
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
    parser.addini(
        RIG_NEEDS,
        "what tests with the fixtures rig, two_hosts and gateways need of the kernel: "
        f"{NEEDS_ESP} (and AH) or {NEEDS_NAMESPACES} alone",
        default=NEEDS_ESP,
    )


def pytest_configure(config: pytest.Config) -> None:
    """Register the markers, and the plugin for this side of the guest."""
    for marker in _MARKERS:
        config.addinivalue_line("markers", marker)
    folder = os.environ.get(FOLDER)
    plugin: object = Inside(config, Path(folder)) if folder else Outside(config)
    config.pluginmanager.register(plugin, "kamexfrm-guest")


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Keep the node ids that tests have elsewhere, before another plugin changes them."""
    for item in items:
        item.stash[NODE_ID] = item.nodeid


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


class Outside:
    """Sends tests to where they run, and replays their reports."""

    def __init__(self, config: pytest.Config) -> None:
        self._config = config
        self._sessions: dict[Place, Elsewhere] = {}
        self._items: dict[Place, list[pytest.Item]] = {}

    @pytest.hookimpl(trylast=True)
    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        """Put the tests for elsewhere last: it boots and works while the others run here."""
        if self._config.option.all_in_guest:
            items[:] = [item for item in items if kernel_of(item) != "host"]
        self._items = {place: [] for place in Place}
        for item in items:
            self._items[place_of(item)].append(item)
        items[:] = [item for place in Place for item in self._items[place]]

    @pytest.hookimpl(wrapper=True)
    def pytest_runtestloop(self, session: pytest.Session) -> Iterator[None]:
        """Start the sessions elsewhere before the first test.

        A worker of pytest-xdist does not know yet which tests it gets: it starts them when it
        gets one.
        """
        is_worker = hasattr(self._config, "workerinput")
        if not is_worker and not self._config.option.collectonly and not session.testsfailed:
            for place in (Place.USER, Place.GUEST):
                if items := self._items.get(place):
                    self._session(place).ask(items)
        try:
            return (yield)
        finally:
            for each in self._sessions.values():
                each.close()

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_protocol(
        self, item: pytest.Item, nextitem: pytest.Item | None
    ) -> bool | None:
        """Replay the reports of a test that runs elsewhere."""
        place = place_of(item)
        if place is Place.HERE:
            return None
        session = self._session(place)
        session.ask([item], nextitem)
        item.ihook.pytest_runtest_logstart(nodeid=item.nodeid, location=item.location)
        for report in session.reports(item):
            item.ihook.pytest_runtest_logreport(report=report)
        item.ihook.pytest_runtest_logfinish(nodeid=item.nodeid, location=item.location)
        return True

    def _session(self, place: Place) -> Elsewhere:
        """Return the session there, started at the first call."""
        if place not in self._sessions:
            self._sessions[place] = Elsewhere(self._config, place, self._items[place])
        return self._sessions[place]


@pytest.fixture
def kernel(request: pytest.FixtureRequest) -> str:
    """``guest`` in a guest, else ``host``."""
    in_guest = os.environ.get(PLACE) == Place.GUEST.value
    return str(getattr(request, "param", "guest" if in_guest else "host"))


@contextlib.contextmanager
def _permission_in_words() -> Iterator[None]:
    """Fail a test that asked for its fixture too late to be sent where it may have it."""
    try:
        yield
    except PermissionError as error:
        text = f"{error.strerror}; @pytest.mark.dataplane sends the test to a guest"
        pytest.fail(text, pytrace=False)


@pytest.fixture
def rig() -> Iterator[Rig]:
    """Yield a rig without hosts: ``rig.host(name)`` and ``rig.link(...)`` make a network."""
    with Rig() as made:
        yield made


@pytest.fixture
def namespace() -> Iterator[Host]:
    """Put the test into a new host without links; back at its end."""
    with _permission_in_words(), Rig() as rig:
        host = rig.host("here")
        with host.enter():
            yield host


@pytest.fixture
def two_hosts() -> Iterator[TwoHosts]:
    """Two hosts on one link: ``a`` 10.0.0.1 fd00::1, ``b`` 10.0.0.2 fd00::2, both on eth0."""
    with _permission_in_words(), make_two_hosts() as hosts:
        yield hosts


@pytest.fixture
def gateways() -> Iterator[Gateways]:
    """Two gateways with a host behind each: ``kamexfrm.rig.Gateways`` has the addresses."""
    with _permission_in_words(), make_gateways() as hosts:
        yield hosts
