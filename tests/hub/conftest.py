"""What the tests of PF_KEY share: the kernel's own, in the guest."""

import subprocess
from collections.abc import Iterator

import pytest


@pytest.fixture
def af_key() -> Iterator[None]:
    """Load the module, and unload it: beside it, an ACQUIRE by netlink has another number.

    Each of the two asks for the SA in its turn and gives it a number; the last one's stays.
    """
    subprocess.run(["modprobe", "af_key"], check=True)
    yield
    subprocess.run(["modprobe", "-r", "af_key"], check=True)
