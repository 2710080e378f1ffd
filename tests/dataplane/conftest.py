"""One network of each kind for all these tests, put back into its first state before each."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from kamexfrm.kernel.netlink import NetlinkKernel
from kamexfrm.rig import Gateways, Host, TwoHosts
from kamexfrm.rig import gateways as make_gateways
from kamexfrm.rig import two_hosts as make_two_hosts
from tests.af_key import load, unload
from tests.emptying import empty

#: An hour in milliseconds: no neighbour is solicited again during a test that drops the answer.
_REACHABLE = 3_600_000


def _remember_neighbours(host: Host) -> None:
    for interface in host.interfaces:
        for version in ("ipv4", "ipv6"):
            host.sysctl(f"net/{version}/neigh/{interface}/base_reachable_time_ms", _REACHABLE)


def _clean(host: Host) -> None:
    """Empty a host's databases, past our own commands: they may be what is broken."""
    kernel = host.call(NetlinkKernel)
    try:
        empty(kernel)
    finally:
        kernel.close()


@pytest.fixture(scope="session")
def _two_hosts() -> Iterator[TwoHosts]:
    with make_two_hosts() as hosts:
        for host in hosts:
            _remember_neighbours(host)
        yield hosts


@pytest.fixture(scope="session")
def _gateways() -> Iterator[Gateways]:
    with make_gateways() as hosts:
        for host in hosts:
            _remember_neighbours(host)
        yield hosts


@pytest.fixture
def two_hosts(_two_hosts: TwoHosts) -> TwoHosts:
    """Two hosts on one link: ``a`` 10.0.0.1 fd00::1, ``b`` 10.0.0.2 fd00::2, both on eth0."""
    for host in _two_hosts:
        _clean(host)
    return _two_hosts


@pytest.fixture
def gateways(_gateways: Gateways) -> Gateways:
    """Two gateways with a host behind each: ``kamexfrm.rig.Gateways`` has the addresses."""
    for host in _gateways:
        _clean(host)
    return _gateways


@pytest.fixture
def af_key() -> Iterator[Callable[[], None]]:
    """Yield a function that has the kernel speak PF_KEY itself, until the test ends."""
    loaded = []

    def load_once() -> None:
        if not Path("/sys/module/af_key").exists():
            load()
            loaded.append(True)

    yield load_once
    if loaded:
        unload()


@pytest.fixture
def own_hosts(af_key: Callable[[], None]) -> Iterator[TwoHosts]:
    """Two hosts of this test alone, like ``two_hosts``: daemons run in them to the end."""
    with make_two_hosts() as hosts:
        yield hosts
