"""kamexfrm.testing: what it needs, and what others see of the conformance suite."""

import re
import subprocess
import sys
from pathlib import Path

BROKEN_KERNEL = """
import pytest
from kamexfrm.testing import FakeKernel, conformance

class KernelThatForgets(FakeKernel):
    def apply(self, operations, ends=()):
        super().apply(operations, ends)
        return []

class TestIt(conformance.KernelConformance):
    @pytest.fixture
    def kernel(self):
        return KernelThatForgets()
"""


def python(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)


def test_the_fake_kernel_needs_no_pytest_and_the_suite_says_that_it_does() -> None:
    hidden = "import sys; sys.modules['pytest'] = None; import kamexfrm; "
    assert python(f"{hidden} kamexfrm.Ipsec(kamexfrm.testing.FakeKernel()).policies()").stderr == ""
    assert python(f"{hidden} help(kamexfrm.testing)").returncode == 0
    said = python(f"{hidden} from kamexfrm.testing import conformance").stderr.splitlines()
    assert said[-1] == (
        "ModuleNotFoundError: kamexfrm.testing.conformance needs pytest:"
        " pip install pytest, or Debian's python3-pytest"
    )


def test_a_kernel_that_hides_refusals_fails_and_the_values_are_shown(tmp_path: Path) -> None:
    (tmp_path / "test_it.py").write_text(BROKEN_KERNEL)
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-k", "same_identity or counted", "test_it.py"],
        capture_output=True,
        text=True,
        check=False,
        cwd=tmp_path,
    )
    assert re.match(r"\d failed, 1 passed", done.stdout.splitlines()[-1])
    assert "assert [] == [(0, 'EEXIST', '')]" in done.stdout
