"""The conformance suite, run on the fake, the running kernel and the guest's."""

from collections.abc import Callable

import pytest

from kamexfrm.kernel.interface import Kernel
from kamexfrm.testing.conformance.states import *  # noqa: F403 (the tests)


@pytest.fixture(params=["fake", pytest.param("guest", marks=pytest.mark.dataplane)])
def kernel(request: pytest.FixtureRequest, kernel_of_kind: Callable[[str], Kernel]) -> Kernel:
    return kernel_of_kind(request.param)
