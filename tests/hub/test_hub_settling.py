"""What follows from a change, where that takes a look at large databases: done once for many."""

import time
from collections.abc import Iterator

import pytest

from kamexfrm.engine.engine import Engine
from kamexfrm.hub import Hub, backoff, paced_engine
from kamexfrm.kernel.fake import FakeKernel
from kamexfrm.model.policy import Mode
from kamexfrm.translate.xfrm.marker import MARKER_ID, UNFINISHED, read_marker
from kamexfrm.xfrm import XFRM_MODE_TRANSPORT, XFRM_MODE_TUNNEL, State
from tests.hub.pfkey_samples import DUMP, A, B, add_policy, add_sa, association, policy, received

TUNNEL = add_policy(policy(mode=Mode.TUNNEL))
ADDED = 20


class CountingKernel(FakeKernel):
    """A kernel that counts the looks at its SAD."""

    looks = 0

    def states(self, protocol: int = 0) -> Iterator[State]:
        self.looks += 1
        return super().states(protocol)

    def modes(self) -> set[int]:
        return {state.mode for state in super().states()}

    def is_unfinished(self) -> bool:
        return read_marker(self.policy(MARKER_ID)).flags & UNFINISHED != 0


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
    """Let each look be one at many entries, and rest until it is made to go on."""
    monkeypatch.setattr(paced_engine, "_FEW_ENTRIES", 0)
    monkeypatch.setattr(backoff, "_FACTOR", 1e12)


def add_some(hub: Hub) -> list[str]:
    client = hub.attach()
    client.send(TUNNEL)
    for number in range(ADDED):
        client.send(add_sa(association(0x1000 + number, Mode.ANY)))
    return received(client)


def test_looks_at_few_entries_are_taken_with_each_change(hub: Hub, kernel: CountingKernel) -> None:
    add_some(hub)
    assert kernel.modes() == {XFRM_MODE_TUNNEL}
    assert not kernel.is_unfinished()
    assert hub.run_deferred() is None


@pytest.mark.usefixtures("many_entries")
def test_looks_at_many_are_left_for_later_and_the_marker_says_so(
    hub: Hub, kernel: CountingKernel
) -> None:
    assert add_some(hub) == ["X_SPDADD 1", *["ADD 1"] * ADDED]
    assert kernel.looks < ADDED
    assert XFRM_MODE_TRANSPORT in kernel.modes()
    assert kernel.is_unfinished()
    pause = hub.run_deferred()
    assert pause is not None
    assert pause > 0


@pytest.mark.usefixtures("many_entries")
def test_what_was_left_follows_when_it_is_time(
    hub: Hub, kernel: CountingKernel, monkeypatch: pytest.MonkeyPatch
) -> None:
    add_some(hub)
    before = kernel.looks
    monkeypatch.setattr(time, "monotonic", lambda: 1e15)
    assert hub.run_deferred() is None
    assert kernel.modes() == {XFRM_MODE_TUNNEL}
    assert not kernel.is_unfinished()
    assert kernel.looks - before < ADDED


@pytest.mark.usefixtures("many_entries")
def test_nothing_is_left_when_the_hub_closes(hub: Hub, kernel: CountingKernel) -> None:
    add_some(hub)
    hub.close()
    assert kernel.modes() == {XFRM_MODE_TUNNEL}
    assert not kernel.is_unfinished()


@pytest.mark.usefixtures("many_entries")
def test_whoever_reads_finds_nothing_left(hub: Hub, kernel: CountingKernel) -> None:
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
