"""kamexfrm doctor finds what the kernel has by using it, and names the cure of what it lacks."""

import json
import subprocess
import sys

import pytest

from kamexfrm.rig import probe
from tests.operator.schemas import valid

DOCTOR = [sys.executable, "-P", "-m", "kamexfrm.cli", "doctor"]


def run(*words: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run([*DOCTOR, *words], capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def document() -> dict[str, object]:
    """Return what it finds here."""
    found: dict[str, object] = valid(json.loads(run("--json").stdout))
    return found


def works(document: dict[str, object], name: str) -> bool:
    findings = document["findings"]
    assert isinstance(findings, list)
    [finding] = [f for f in findings if f["name"] == name]
    assert finding["works"] or finding["cure"]
    return bool(finding["works"])


def test_esp_and_ah_are_found_as_the_rig_finds_them(document: dict[str, object]) -> None:
    assert works(document, "esp4") is probe.kernel_has_esp()
    assert works(document, "ah4") is probe.kernel_has_ah()
    assert document["able"] is probe.kernel_has_esp()


def test_policies_and_counters_work_on_every_kernel_of_ours(document: dict[str, object]) -> None:
    assert works(document, "policies")
    assert works(document, "counters")


def test_the_status_says_if_the_main_job_can_be_done(document: dict[str, object]) -> None:
    done = run()
    assert done.returncode == (0 if document["able"] else 1)
    last = done.stdout.splitlines()[-1]
    assert last.startswith("IPsec works here" if document["able"] else "IPsec does not work here")
    assert len(run("--all").stdout.splitlines()) > len(done.stdout.splitlines()) // 2
