"""The gallery: each case of each scenario that comes with the program passes."""

from pathlib import Path

import pytest

from kamexfrm.rig.scenario.plan import Case
from kamexfrm.rig.scenario.reading import gallery
from kamexfrm.rig.scenario.reading.document import read_file
from kamexfrm.rig.scenario.report import transcript as report
from kamexfrm.rig.scenario.run.runner import Runner
from kamexfrm.rig.scenario.stage import kernels

CASES = [case for kind in gallery.kinds() for case in read_file(gallery.path_of(kind))]


def name_of(case: Case) -> str:
    return f"{Path(case.file).name.removesuffix(gallery.SUFFIX)}-{case.name or 'scenario'}"


@pytest.mark.dataplane
@pytest.mark.parametrize("case", CASES, ids=name_of)
def test_a_scenario_of_the_gallery_passes(case: Case) -> None:
    result = Runner().run(case)
    if kernels.lacking([case]):  # Debian's User-Mode-Linux has no XFRM interfaces
        assert "load the module xfrm_interface" in report.failure_text(result)
        return
    assert result.passed, report.failure_text(result)


def test_the_gallery_shows_what_people_build() -> None:
    assert {
        "transport",
        "tunnel",
        "nested",
        "natt",
        "ipcomp",
        "ims",
        "lockdown",
        "opportunistic",
        "migration",
        "levels",
        "iked",
        "interface",
    } <= set(gallery.kinds())


@pytest.mark.parametrize("kind", gallery.kinds())
def test_each_scenario_begins_with_what_it_shows(kind: str) -> None:
    assert len(gallery.title_of(kind)) > 20
    assert all(case.steps and case.title for case in read_file(gallery.path_of(kind)))
