"""One network for all cases, and the report of what they met at the end of the run."""

import json
from collections import Counter
from collections.abc import Iterator

import pytest

from kamexfrm.model.linux.differences import DIFFERENCES
from kamexfrm.rig import Rig
from tests.conformance.conformance_network import Network

#: The property under which a test hands on what it counted; it crosses from the guest so.
COUNTED = "conformance"


@pytest.fixture(scope="session")
def _network() -> Iterator[Network]:
    with Rig() as rig:
        network = Network(rig)
        yield network
        network.close()


@pytest.fixture
def network(_network: Network) -> Iterator[Network]:
    """Yield the host under test, with the test inside it."""
    with _network.here.enter():
        yield _network


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print how many cases agreed, and each of the kernel's differences with its count."""
    total: Counter[str] = Counter()
    seeds = set()
    for reports in terminalreporter.stats.values():
        for report in reports:
            for name, value in getattr(report, "user_properties", ()):
                if name == COUNTED and report.when == "call":
                    counted = json.loads(value)
                    seeds.add(counted.pop("seed"))
                    total.update(counted)
    if not total:
        return
    write = terminalreporter.write_line
    terminalreporter.section("conformance with KAME")
    agreed = total["cases"] - total["differ"] - total["fail"]
    write(f"{total['cases']} random cases (KAMEXFRM_SEED={','.join(sorted(seeds))}):")
    write(f"{agreed:7} as KAME, {total['differ']} otherwise for the reasons below")
    if total["fail"]:
        write(f"{total['fail']:7} otherwise for no listed reason")
    for difference in DIFFERENCES:
        if total[difference.name]:
            write(f"{total[difference.name]:7} {difference.name}: {difference.title}")
