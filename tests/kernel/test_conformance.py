"""The conformance suite, run on the fake, the running kernel and the guest's: all do the same."""

from collections.abc import Callable

import pytest

from kamexfrm.kernel.interface import Kernel
from kamexfrm.testing import conformance

GUEST = pytest.param("guest", marks=pytest.mark.dataplane)


class TestPolicies(
    conformance.PolicyConformance,
    conformance.PolicyEventConformance,
    conformance.WriterConformance,
):
    @pytest.fixture(params=["fake", "host", GUEST])
    def kernel(
        self, request: pytest.FixtureRequest, kernel_of_kind: Callable[[str], Kernel]
    ) -> Kernel:
        return kernel_of_kind(request.param)


class TestStates(conformance.StateConformance):
    @pytest.fixture(params=["fake", GUEST])
    def kernel(
        self, request: pytest.FixtureRequest, kernel_of_kind: Callable[[str], Kernel]
    ) -> Kernel:
        return kernel_of_kind(request.param)


def test_no_part_of_the_suite_hides_a_test_of_another_one() -> None:
    parts = conformance.KernelConformance.__bases__
    names = [name for part in parts for name in vars(part) if name.startswith("test_")]
    assert len(names) == len(set(names)) > 50
