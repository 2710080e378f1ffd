"""The reconciler when events are lost and when the kernel refuses what it does."""

import errno
from collections.abc import Sequence
from typing import Any

import pytest

from kamexfrm.errors import KernelError
from kamexfrm.kamexfrmd import reconciler as module
from kamexfrm.kamexfrmd.reconciler import Reconciler
from kamexfrm.kernel.fake import FakeEvents, FakeKernel
from kamexfrm.kernel.interface import Event
from kamexfrm.xfrm import XFRMNLGRP_SA, XfrmMsg
from tests.engine.faulty_kernel import ERRNOS, Fault, FaultyKernel, Way, picture, run_script

NEAR, FAR = "10.0.0.1", "10.0.0.2"
TUNNEL = f"spdadd 10.1.0.0/16 10.2.0.0/16 any -P out ipsec esp/tunnel/{NEAR}-{FAR}/use;\n"
SA = (
    f"add {NEAR} {FAR} esp 0x1001 -m tunnel "
    "-E aes-gcm-16 0x000102030405060708090a0b0c0d0e0f10111213;\n"
)


class LostEvents(FakeEvents):
    """A subscription whose events are all lost."""

    def receive(self) -> list[Event]:
        """Return nothing; raise ENOBUFS where something waited."""
        if super().receive():
            raise KernelError(errno.ENOBUFS)
        return []


class Deaf(FakeKernel):
    """A kernel whose events are all lost."""

    def subscribe(self, groups: Sequence[int]) -> FakeEvents:
        """Join groups of which nothing is received."""
        events = LostEvents(groups)
        self._subscriptions.append(events)
        return events


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_PATIENCE", 0.0)
    monkeypatch.setattr("kamexfrm.hub.backoff._FACTOR", 0)
    # What another process writes comes from a port of its own.
    monkeypatch.setattr(FaultyKernel, "port", 77, raising=False)


def with_another_programs_sa(kernel: FakeKernel) -> None:
    """Make a tunnel's SA as ``ip xfrm`` does: nothing of ours follows by itself."""
    other = FakeKernel()
    run_script(other, SA)
    for state in other.states():
        kernel.sad.add(state, 1)
        kernel._publish(XFRMNLGRP_SA, XfrmMsg.NEWSA, other.raw_states()[0])


def wanted() -> object:
    kernel = FakeKernel()
    run_script(kernel, TUNNEL + SA)
    return picture(kernel)


def reconciler(kernel: Any, log: list[str]) -> Reconciler:
    found = Reconciler(kernel, log.append)
    found.reconcile()
    return found


def test_lost_events_make_it_look_at_everything() -> None:
    kernel, log = Deaf(), list[str]()
    run_script(kernel, TUNNEL)
    it = reconciler(FaultyKernel(kernel), log)
    with_another_programs_sa(kernel)
    it.process_events()
    it.run_deferred()
    assert log == ["events were lost: looking at everything"]
    assert picture(kernel) == wanted()


@pytest.mark.parametrize("code", ERRNOS)
@pytest.mark.parametrize("way", Way)
def test_what_the_kernel_refuses_is_tried_again(code: int, way: Way) -> None:
    number, hit = 0, True
    while hit:
        kernel, log = FakeKernel(), list[str]()
        run_script(kernel, TUNNEL)
        faulty = FaultyKernel(kernel)
        it = reconciler(faulty, log)
        with_another_programs_sa(kernel)
        it.process_events()
        faulty.fail(Fault(faulty.points + number, code, way))
        it.run_deferred()
        hit = faulty.hit
        assert faulty.held == 0
        for _ in range(2):
            it.run_deferred()
        assert it.pause() is None
        assert picture(kernel) == wanted()
        number += 1
    assert number > 5
