"""Test code that uses kamexfrm, without rights and without a kernel: pytest examples/this_file."""

import pytest

import kamexfrm
from kamexfrm.testing import FakeKernel, Kernel, conformance

POLICY = "spdadd 10.0.0.1 10.0.0.2 any -P out ipsec esp/transport//require;"


@pytest.fixture
def ipsec() -> kamexfrm.Ipsec:
    """Return the IPsec of a namespace that is in memory."""
    return kamexfrm.Ipsec(FakeKernel())


def test_a_packet_without_an_sa_is_dropped(ipsec: kamexfrm.Ipsec) -> None:
    """Add a policy, and ask what becomes of a packet."""
    ipsec.add(POLICY)
    decision = ipsec.explain(kamexfrm.packet("out", "10.0.0.1", "10.0.0.2", "tcp", 1024, 80))
    assert decision.verdict is kamexfrm.model.Verdict.DROPPED


class TestMyKernel(conformance.PolicyConformance):
    """A kernel of one's own does what Linux does; KernelConformance has all of the suite."""

    @pytest.fixture
    def kernel(self) -> Kernel:
        """Return an empty one."""
        return FakeKernel()
