"""What the tests of PF_KEY share: the kernel's own, in the guest."""

from collections.abc import Iterator

import pytest

from tests.af_key import load, unload


@pytest.fixture
def af_key() -> Iterator[None]:
    """Load the module, and unload it: beside it, an ACQUIRE by netlink has another number.

    Each of the two asks for the SA in its turn and gives it a number; the last one's stays.
    """
    load()
    yield
    unload()
