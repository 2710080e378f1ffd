"""What all tests share: the rig's fixtures, the guest for tests that need ESP or AH, a kernel."""

from collections.abc import Callable, Iterator

import pytest

from kamexfrm.kernel.fake import FakeKernel
from kamexfrm.kernel.interface import Kernel
from kamexfrm.kernel.netlink import NetlinkKernel
from kamexfrm.rig import Namespace

pytest_plugins = ["kamexfrm.rig.pytest_guest"]


@pytest.fixture
def real_kernel() -> Iterator[NetlinkKernel]:
    """Give XFRM of a new namespace, which this process is in: the host's kernel, or the guest's."""
    namespace = Namespace()
    with namespace.enter():
        kernel = NetlinkKernel()
        yield kernel
        kernel.close()
    namespace.close()


@pytest.fixture
def kernel_of_kind(request: pytest.FixtureRequest) -> Callable[[str], Kernel]:
    """Give a function that returns a kernel: one in memory for "fake", else the real one."""

    def choose(kind: str) -> Kernel:
        if kind == "fake":
            return FakeKernel()
        real: Kernel = request.getfixturevalue("real_kernel")
        return real

    return choose
