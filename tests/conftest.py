"""What all tests share: the rig's fixtures, the guest for tests that need ESP or AH, a kernel."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from kamexfrm.kernel.fake import FakeKernel
from kamexfrm.kernel.interface import Kernel
from kamexfrm.kernel.netlink import NetlinkKernel
from kamexfrm.rig import Namespace

pytest_plugins = ["kamexfrm.rig.pytest_guest"]

#: Laws on a tenth of the examples, the same ones each time, so that coverage can be compared.
settings.register_profile("unit", max_examples=10, derandomize=True, database=None, deadline=None)

#: All examples, the same ones each time: what fails then comes from the change that is tested. The
#: profile "default" draws others.
settings.register_profile("same", derandomize=True, database=None)
settings.load_profile("same")

TESTS = Path(__file__).parent

#: Folders whose tests need no kernel, unless a fixture or a parameter brings one; and those of no
#: folder, which read the source.
UNIT_FOLDERS = frozenset(
    {"pfkey", "model", "xfrm", "translate", "kernel", "engine", "hub", "setkey", "sysctl"}
)

#: Fixtures that bring a kernel or a network.
KERNEL_FIXTURES = frozenset({"namespace", "real_kernel", "rig", "two_hosts", "gateways", "af_key"})


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Leave out the folders without such tests when only these are asked for."""
    if config.option.markexpr != "unit" or collection_path.parent != TESTS:
        return None
    return (collection_path.is_dir() and collection_path.name not in UNIT_FOLDERS) or None


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the tests that ``make unit`` runs: those that need no kernel, no root and no guest."""
    for item in items:
        if _is_unit(item):
            item.add_marker("unit")


def _is_unit(item: pytest.Item) -> bool:
    folder = item.path.parent.relative_to(TESTS)
    if folder.parts and folder.parts[0] not in UNIT_FOLDERS:
        return False
    if any(map(item.get_closest_marker, ("dataplane", "both_kernels", "not_unit"))):
        return False
    if not isinstance(item, pytest.Function) or KERNEL_FIXTURES & set(item.fixturenames):
        return False
    callspec = getattr(item, "callspec", None)
    return callspec is None or not {"host", "guest"} & set(map(str, callspec.params.values()))


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
