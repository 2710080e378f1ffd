"""What only the fake can do: a clock of one's own, want of privilege, lost events."""

import errno
import select

import pytest

from kamexfrm.errors import KernelError
from kamexfrm.kernel.fake import FakeEvents, FakeKernel
from kamexfrm.kernel.interface import Event
from kamexfrm.testing.conformance.samples import (
    delete,
    heard,
    must,
    named,
    new,
    new_state,
    numbered,
    policy,
    refusals,
    state,
    state_id,
    update,
)
from kamexfrm.xfrm import (
    XFRMNLGRP_EXPIRE,
    XFRMNLGRP_POLICY,
    Expire,
    LifetimeConfig,
    PolicyExpire,
    decode_event,
)


class Clock:
    """A clock that is set by hand."""

    def __init__(self) -> None:
        self.now = 1_000_000.5

    def __call__(self) -> float:
        return self.now


def test_time_is_what_the_clock_says() -> None:
    clock = Clock()
    kernel = FakeKernel(clock)
    must(kernel, new(policy()), new_state(state()))
    clock.now += 100
    must(kernel, new(policy(numbered(1))))
    assert [p.current.add_time for p in kernel.policies()] == [1_000_100, 1_000_000]
    assert [s.current.add_time for s in kernel.states()] == [1_000_000]


def test_lifetimes_end_by_the_clock_and_an_update_prolongs_them() -> None:
    clock = Clock()
    kernel = FakeKernel(clock)
    events = kernel.subscribe([XFRMNLGRP_EXPIRE])
    life = LifetimeConfig(hard_add=10)
    must(kernel, new(policy(lifetime=life)), new(policy(numbered(1), lifetime=life)))
    must(kernel, new_state(state(lifetime=LifetimeConfig(hard_add=15))))
    clock.now += 9
    must(kernel, update(policy(lifetime=life)))
    assert len(list(kernel.policies())) == 2
    clock.now += 1
    assert [p.selector for p in kernel.policies()] == [policy().selector]
    clock.now += 9
    assert list(kernel.policies()) == []
    assert list(kernel.states()) == []
    told = [decode_event(e.type, e.payload) for e in heard(events, 3)]
    assert [type(e) for e in told] == [PolicyExpire, PolicyExpire, Expire]
    kernel.close()


def test_a_use_lifetime_counts_from_the_last_use() -> None:
    clock = Clock()
    kernel = FakeKernel(clock)
    must(kernel, new(policy(lifetime=LifetimeConfig(hard_use=10))))
    clock.now += 8
    kernel.spd.use(named(policy()), int(clock.now))
    clock.now += 8
    assert [p.current.use_time for p in kernel.policies()] == [1_000_008]
    clock.now += 2
    assert list(kernel.policies()) == []


def test_without_privilege_all_is_refused() -> None:
    kernel = FakeKernel(privileged=False)
    assert refusals(kernel, new(policy()), delete(policy())) == [
        (0, "EPERM", ""),
        (1, "EPERM", ""),
    ]
    for call in (
        kernel.policies,
        kernel.states,
        kernel.default,
        kernel.spd_info,
        kernel.sad_info,
        lambda: kernel.subscribe([XFRMNLGRP_POLICY]),
        lambda: kernel.policy(named(policy())),
        lambda: kernel.state(state_id(state())),
        lambda: kernel.allocate_spi(state(spi=0), 1, 2),
    ):
        with pytest.raises(KernelError) as caught:
            call()
        assert caught.value.errno == errno.EPERM


def test_the_descriptor_is_readable_while_an_event_waits() -> None:
    kernel = FakeKernel()
    events = kernel.subscribe([XFRMNLGRP_POLICY])
    assert select.select([events], [], [], 0)[0] == []
    must(kernel, new(policy()))
    assert select.select([events], [], [], 0)[0] == [events]
    assert len(events.receive()) == 1
    assert select.select([events], [], [], 0)[0] == []
    kernel.close()


def test_events_past_the_limit_are_lost_and_that_is_told_once() -> None:
    events = FakeEvents([XFRMNLGRP_POLICY], limit=2)
    for number in range(3):
        events.publish(Event(1, b"", number, 0))
    with pytest.raises(KernelError) as caught:
        events.receive()
    assert caught.value.errno == errno.ENOBUFS
    assert select.select([events], [], [], 0)[0] == [events]
    assert [e.sequence for e in events.receive()] == [0, 1]
    assert events.receive() == []
    events.close()
    events.close()


def test_a_closed_subscription_hears_no_more() -> None:
    kernel = FakeKernel()
    events = kernel.subscribe([XFRMNLGRP_POLICY])
    events.close()
    must(kernel, new(policy()))
    kernel.close()


def test_the_lock_has_a_holder_only_when_told_so() -> None:
    kernel = FakeKernel()
    with kernel.lock() as lock:
        assert lock.holder == ""
    kernel.lock_holder = "process 7 (sleep)"
    with kernel.lock() as lock:
        assert lock.holder == "process 7 (sleep)"
