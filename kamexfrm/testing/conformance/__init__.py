"""What every kernel must do, as classes of pytest that others run against a kernel of their own.

The suite was observed on Linux: what it writes, refuses, finds and tells, with the kernel's errors
and their texts. A class of tests needs a fixture ``kernel`` that returns an object of the protocol
:class:`kamexfrm.kernel.Kernel`, without policies, SAs and subscriptions, for each test anew. A real
kernel must have ESP, AH and IPComp for the tests of SAs.

::

    class TestMyKernel(conformance.KernelConformance):
        @pytest.fixture
        def kernel(self) -> MyKernel:
            return MyKernel()
"""

try:
    import pytest
except ModuleNotFoundError:
    raise ModuleNotFoundError(
        "kamexfrm.testing.conformance needs pytest: pip install pytest, or Debian's python3-pytest",
        name="pytest",
    ) from None

for _part in ("samples", "policies", "policy_events", "states", "writers"):
    pytest.register_assert_rewrite(f"{__name__}.{_part}")

from kamexfrm.testing.conformance.policies import PolicyConformance  # noqa: E402 (now rewritten)
from kamexfrm.testing.conformance.policy_events import PolicyEventConformance  # noqa: E402
from kamexfrm.testing.conformance.states import StateConformance  # noqa: E402
from kamexfrm.testing.conformance.writers import WriterConformance  # noqa: E402


class KernelConformance(
    PolicyConformance, PolicyEventConformance, StateConformance, WriterConformance
):
    """All of the suite."""


__all__ = [
    "KernelConformance",
    "PolicyConformance",
    "PolicyEventConformance",
    "StateConformance",
    "WriterConformance",
]
