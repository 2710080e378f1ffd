"""The kernels that the engine is tested on."""

from collections.abc import Callable

import pytest

from kamexfrm.kernel.interface import Kernel
from tests.engine.engine_samples import Asker


@pytest.fixture(params=["fake", "host"])
def kernel(request: pytest.FixtureRequest, kernel_of_kind: Callable[[str], Kernel]) -> Kernel:
    """Give a kernel whose SPD can hold what is written; SAs with keys need the fake or a guest."""
    return kernel_of_kind(request.param)


@pytest.fixture
def asker(kernel: Kernel) -> Asker:
    """Give an engine's user on that kernel."""
    return Asker(kernel)
