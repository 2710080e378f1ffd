"""Reconciling after a change of large databases: put off, and done once for many changes."""

import time
from collections.abc import Iterator

import pytest

from kamexfrm.engine.engine import Engine
from kamexfrm.hub import Hub, backoff, paced_engine
from kamexfrm.kernel.fake import FakeKernel
from kamexfrm.model.policy import Mode
from kamexfrm.translate.xfrm.marker import MARKER_ID, MarkerFlag, read_marker
from kamexfrm.xfrm import XFRM_MODE_TRANSPORT, XFRM_MODE_TUNNEL, State
from tests.hub.pfkey_samples import DUMP, A, B, add_policy, add_sa, association, policy, received

TUNNEL = add_policy(policy(mode=Mode.TUNNEL))
ADDED = 20


class CountingKernel(FakeKernel):
    """A kernel that counts the dumps of its SAD."""

    dumps = 0

    def states(self, protocol: int = 0, *, stream: bool = False) -> Iterator[State]:
        self.dumps += 1
        return super().states(protocol, stream=stream)

    def modes(self) -> set[int]:
        return {state.mode for state in super().states()}

    def is_unfinished(self) -> bool:
        return read_marker(self.policy(MARKER_ID)).flags & MarkerFlag.UNFINISHED != 0


@pytest.fixture
def kernel() -> CountingKernel:
    return CountingKernel()


@pytest.fixture
def hub(kernel: CountingKernel) -> Iterator[Hub]:
    made = Hub(kernel)
    yield made
    made.close()


@pytest.fixture
def many_entries(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let each resync be one of many entries, with a pause that has no end by itself."""
    monkeypatch.setattr(paced_engine, "_FEW_ENTRIES", 0)
    monkeypatch.setattr(backoff, "_FACTOR", 1e12)


def add_some(hub: Hub) -> list[str]:
    client = hub.attach()
    client.send(TUNNEL)
    for number in range(ADDED):
        client.send(add_sa(association(0x1000 + number, Mode.ANY)))
    return received(client)


def test_a_resync_of_few_entries_follows_each_change(hub: Hub, kernel: CountingKernel) -> None:
    add_some(hub)
    assert kernel.modes() == {XFRM_MODE_TUNNEL}
    assert not kernel.is_unfinished()
    assert hub.run_deferred() is None


@pytest.mark.usefixtures("many_entries")
def test_a_resync_of_many_is_deferred_and_the_marker_says_so(
    hub: Hub, kernel: CountingKernel
) -> None:
    assert add_some(hub) == ["X_SPDADD 1", *["ADD 1"] * ADDED]
    assert kernel.dumps < ADDED
    assert XFRM_MODE_TRANSPORT in kernel.modes()
    assert kernel.is_unfinished()
    pause = hub.run_deferred()
    assert pause is not None
    assert pause > 0


@pytest.mark.usefixtures("many_entries")
def test_deferred_work_is_done_when_it_is_time(
    hub: Hub, kernel: CountingKernel, monkeypatch: pytest.MonkeyPatch
) -> None:
    add_some(hub)
    before = kernel.dumps
    monkeypatch.setattr(time, "monotonic", lambda: 1e15)
    assert hub.run_deferred() is None
    assert kernel.modes() == {XFRM_MODE_TUNNEL}
    assert not kernel.is_unfinished()
    assert kernel.dumps - before < ADDED


@pytest.mark.usefixtures("many_entries")
def test_nothing_stays_deferred_when_the_hub_closes(hub: Hub, kernel: CountingKernel) -> None:
    add_some(hub)
    hub.close()
    assert kernel.modes() == {XFRM_MODE_TUNNEL}
    assert not kernel.is_unfinished()


@pytest.mark.usefixtures("many_entries")
def test_a_read_does_deferred_work_first(hub: Hub, kernel: CountingKernel) -> None:
    add_some(hub)
    client = hub.attach()
    client.send(DUMP)
    assert len(received(client)) == ADDED
    assert kernel.modes() == {XFRM_MODE_TUNNEL}


@pytest.mark.usefixtures("many_entries")
def test_another_writer_completes_what_a_killed_one_left(hub: Hub, kernel: CountingKernel) -> None:
    add_some(hub)
    other = Engine(kernel)
    other.reconcile(None)
    assert kernel.modes() == {XFRM_MODE_TUNNEL}
    assert {(state.source, state.destination) for state in kernel.states()} == {(A, B)}
