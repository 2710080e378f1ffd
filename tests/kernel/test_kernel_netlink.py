"""What only the real kernel shows: want of privilege, other writers during a dump, many events."""

import errno
import multiprocessing
import os
import threading
from collections.abc import Callable

import pytest

from kamexfrm.errors import KamexfrmError, KernelError
from kamexfrm.kernel.lock import NamespaceLock
from kamexfrm.kernel.netlink import BATCH, NetlinkKernel
from kamexfrm.rig import Namespace
from kamexfrm.testing.conformance.differences import NO_DEFAULT
from kamexfrm.testing.conformance.samples import (
    delete,
    hear,
    must,
    named,
    new,
    numbered,
    policy,
    refusals,
    template,
    update,
)
from kamexfrm.xfrm import XFRMNLGRP_POLICY, XfrmMsg, split_messages
from tests.kernel.netlink_ports import forge, ports_of

NOBODY = 65534


@pytest.fixture
def kernel(real_kernel: NetlinkKernel) -> NetlinkKernel:
    return real_kernel


def as_nobody(function: Callable[[], str]) -> str:
    """Return what a function returns in a child process without any privilege."""
    ours, theirs = multiprocessing.Pipe()
    child = os.fork()
    if not child:
        try:
            os.setgroups([])
            os.setresgid(NOBODY, NOBODY, NOBODY)
            os.setresuid(NOBODY, NOBODY, NOBODY)
            theirs.send(function())
        finally:
            os._exit(0)
    theirs.close()
    with ours:
        answer = str(ours.recv())
    os.waitpid(child, 0)
    return answer


def reaction(function: Callable[[], object]) -> str:
    try:
        return repr(function())
    except KamexfrmError as error:
        return f"{type(error).__name__} {errno.errorcode[error.errno]}"


@pytest.mark.parametrize(
    "call",
    [
        lambda k: k.policies(),
        lambda k: k.spd_info(),
        lambda k: k.sad_info(),
        lambda k: k.policy(named(policy())),
        lambda k: k.subscribe([XFRMNLGRP_POLICY]),
        lambda k: k.states(),
    ],
    ids=["policies", "spd_info", "sad_info", "policy", "subscribe", "states"],
)
def test_without_privilege_a_question_is_refused(
    kernel: NetlinkKernel, call: Callable[[NetlinkKernel], object]
) -> None:
    def ask() -> str:
        return reaction(lambda: call(NetlinkKernel()))

    assert as_nobody(ask) == "KernelError EPERM"


def test_without_privilege_the_default_is_not_told(kernel: NetlinkKernel) -> None:
    def ask() -> str:
        return reaction(NetlinkKernel().default)

    refused = "EINVAL" if NO_DEFAULT.holds(kernel) else "EPERM"
    assert as_nobody(ask) == f"KernelError {refused}"


def test_without_privilege_each_write_is_refused(kernel: NetlinkKernel) -> None:
    def write() -> str:
        return repr(refusals(NetlinkKernel(), new(policy()), delete(policy())))

    assert as_nobody(write) == repr([(0, "EPERM", ""), (1, "EPERM", "")])
    assert list(kernel.policies()) == []


def test_two_kernels_of_one_namespace_share_its_databases(kernel: NetlinkKernel) -> None:
    other = NetlinkKernel()
    must(kernel, new(policy()))
    assert [p.selector for p in other.policies()] == [policy().selector]
    other.close()


def test_another_namespace_has_its_own(kernel: NetlinkKernel) -> None:
    must(kernel, new(policy()))
    namespace = Namespace()
    with namespace.enter():
        other = NetlinkKernel()
    assert list(other.policies()) == []
    other.close()
    namespace.close()


@pytest.mark.parametrize("size", [1, BATCH - 1, BATCH, BATCH + 1, 3 * BATCH])
def test_batches_of_any_size_report_first_and_last(kernel: NetlinkKernel, size: int) -> None:
    requests = [new(policy(numbered(n))) for n in range(size)]
    must(kernel, *requests)
    assert [f[0] for f in refusals(kernel, *requests)] == list(range(size))
    assert len(list(kernel.policies())) == size


def test_a_dump_beside_a_busy_writer_loses_no_entry(kernel: NetlinkKernel) -> None:
    must(kernel, *[new(policy(numbered(n), templates=(template(),))) for n in range(2000)])
    stop = threading.Event()
    writer = NetlinkKernel()

    def write() -> None:
        number = 0
        while not stop.is_set():
            must(writer, update(policy(numbered(number), templates=(template(),))))
            number = (number + 1) % 2000

    thread = threading.Thread(target=write)
    thread.start()
    try:
        for _ in range(5):
            assert len({p.selector for p in kernel.policies()}) == 2000
    finally:
        stop.set()
        thread.join()
        writer.close()


def test_thousands_of_events_wait_for_a_slow_reader(kernel: NetlinkKernel) -> None:
    events = kernel.subscribe([XFRMNLGRP_POLICY])
    must(kernel, *[new(policy(numbered(n))) for n in range(5000)])
    told = hear(events, lambda so_far: len(so_far) >= 5000)
    assert [e.type for e in told] == [XfrmMsg.NEWPOLICY] * 5000
    events.close()


def test_a_closed_kernel_answers_with_an_error_of_ours(kernel: NetlinkKernel) -> None:
    closed = NetlinkKernel()
    closed.close()
    with pytest.raises(KernelError):
        closed.spd_info()


def test_what_belongs_together_is_sent_in_one_piece(
    kernel: NetlinkKernel, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes: list[int] = []
    send = kernel._send

    def watched(data: bytes) -> None:
        sizes.append(len(list(split_messages(data))))
        send(data)

    monkeypatch.setattr(kernel, "_send", watched)
    requests = [new(policy(numbered(n))) for n in range(3 * BATCH)]
    assert kernel.apply(requests, range(1, len(requests), 3)) == []
    assert sum(sizes) == len(requests)
    sent = 0
    for size in sizes[:-1]:
        sent += size
        assert size <= BATCH
        assert sent % 3 == 1
    sizes.clear()
    one_piece = [update(policy(numbered(n))) for n in range(2 * BATCH)]
    assert kernel.apply(one_piece, [0]) == []  # longer than a batch: sent all the same
    assert sum(sizes) == len(one_piece)


@pytest.mark.not_unit("makes network namespaces")
def test_a_kernel_object_can_work_in_a_namespace_that_its_process_is_not_in() -> None:
    mine, other = Namespace(), Namespace()
    with mine.enter():
        outside = NetlinkKernel(other.fileno())
        events = outside.subscribe([XFRMNLGRP_POLICY])
        with other.enter():
            inside = NetlinkKernel()
        must(inside, new(policy()))
        assert [event.pid for event in events.receive()] == [inside.port]
        assert len(list(outside.policies())) == 1
        with outside.lock() as lock, other.enter(), NamespaceLock(deadline=0) as second:
            assert lock.holder == ""
            assert second.holder.startswith(f"process {os.getpid()} (")
        before = outside.larval_lifetime()
        outside.set_larval_lifetime(before + 17)
        assert (outside.larval_lifetime(), inside.larval_lifetime()) == (before + 17, before)
        with other.enter():
            assert inside.larval_lifetime() == before + 17
        for each in (events, inside, outside):
            each.close()
    other.close()
    mine.close()


def test_a_descriptor_that_is_no_namespace_is_refused() -> None:
    readable, writable = os.pipe()
    with pytest.raises(KernelError) as refused:
        NetlinkKernel(readable)
    assert refused.value.errno == errno.EINVAL
    os.close(readable)
    os.close(writable)


def test_what_another_process_sends_to_a_port_is_dropped(kernel: NetlinkKernel) -> None:
    events = kernel.subscribe([XFRMNLGRP_POLICY])
    for port in ports_of(os.getpid()):
        forge(port)
    assert events.receive() == []
    assert kernel.spd_info().out_count == 0
    must(kernel, new(policy()))
    assert [event.type for event in hear(events, bool)] == [XfrmMsg.NEWPOLICY]
    events.close()
