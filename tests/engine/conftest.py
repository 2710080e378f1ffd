"""The kernels that the engine is tested on."""

from collections.abc import Iterator

import pytest
from engine_samples import Asker, kernel_of_kind

from kamexfrm.kernel.interface import Kernel


@pytest.fixture(params=["fake", "host"])
def kernel(request: pytest.FixtureRequest) -> Iterator[Kernel]:
    """Give a kernel whose SPD can hold what is written; SAs with keys need the fake or a guest."""
    with kernel_of_kind(request.param) as made:
        yield made


@pytest.fixture
def asker(kernel: Kernel) -> Asker:
    """Give an engine's user on that kernel."""
    return Asker(kernel)
