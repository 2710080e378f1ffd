"""The lock of writers: one per network namespace, with a deadline, gone with its holder."""

import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Iterator
from multiprocessing.connection import Connection
from pathlib import Path

import pytest

from kamexfrm.kernel.lock import NamespaceLock
from kamexfrm.rig import Namespace


@pytest.fixture(autouse=True)
def namespace() -> Iterator[Namespace]:
    ours = Namespace()
    with ours.enter():
        yield ours
    ours.close()


class Holder:
    """Another process of this namespace that holds the lock until it is told to let go."""

    def __init__(self) -> None:
        ours, theirs = multiprocessing.Pipe()
        self.pid = os.fork()
        if not self.pid:
            self._hold(theirs)
        theirs.close()
        self._pipe = ours
        assert ours.recv() == ""

    @staticmethod
    def _hold(pipe: Connection) -> None:
        try:
            with NamespaceLock() as lock:
                pipe.send(lock.holder)
                pipe.recv()
        finally:
            os._exit(0)

    def release(self) -> None:
        self._pipe.send("go")
        os.waitpid(self.pid, 0)
        self._pipe.close()

    def kill(self) -> None:
        os.kill(self.pid, signal.SIGKILL)
        os.waitpid(self.pid, 0)
        self._pipe.close()


def test_a_free_lock_is_had() -> None:
    with NamespaceLock() as lock:
        assert lock.holder == ""
    with NamespaceLock() as lock:
        assert lock.holder == ""


def test_after_the_deadline_the_holder_is_named_and_work_goes_on() -> None:
    holder = Holder()
    with NamespaceLock(deadline=0.05) as lock:
        assert lock.holder.startswith(f"process {holder.pid} (")
    holder.release()
    with NamespaceLock(deadline=0.05) as lock:
        assert lock.holder == ""


def test_who_went_on_without_the_lock_takes_nothing_from_its_holder() -> None:
    holder = Holder()
    with NamespaceLock(deadline=0):
        pass
    with NamespaceLock(deadline=0) as lock:
        assert str(holder.pid) in lock.holder
    holder.release()


def test_a_waiting_writer_gets_the_lock_when_it_is_let_go() -> None:
    holder = Holder()
    results: list[str] = []

    def wait() -> None:
        with NamespaceLock(deadline=30) as lock:
            results.append(lock.holder)

    thread = threading.Thread(target=wait)
    thread.start()
    holder.release()
    thread.join()
    assert results == [""]


def test_a_killed_holder_holds_nothing() -> None:
    holder = Holder()
    holder.kill()
    with NamespaceLock(deadline=5) as lock:
        assert lock.holder == ""


def test_another_namespace_has_its_own_lock() -> None:
    holder = Holder()
    other = Namespace()
    with other.enter(), NamespaceLock(deadline=0) as lock:
        assert lock.holder == ""
    other.close()
    holder.release()


def test_a_namespace_can_be_locked_from_outside() -> None:
    other = Namespace()
    with NamespaceLock(namespace=other.fileno()) as outside:
        assert outside.holder == ""
        with other.enter(), NamespaceLock(deadline=0) as inside:
            assert inside.holder.startswith(f"process {os.getpid()} (")
        with NamespaceLock(deadline=0) as here:
            assert here.holder == ""
    with other.enter(), NamespaceLock(deadline=0) as inside:
        assert inside.holder == ""
    other.close()


def test_two_locks_of_one_process_exclude_each_other() -> None:
    with NamespaceLock(), NamespaceLock(deadline=0) as second:
        assert second.holder.startswith(f"process {os.getpid()} (")


def test_an_exception_lets_go() -> None:
    with pytest.raises(ZeroDivisionError), NamespaceLock():
        _ = 1 // 0
    with NamespaceLock(deadline=0) as lock:
        assert lock.holder == ""


def test_two_writers_never_overlap(tmp_path: Path) -> None:
    ledger = tmp_path / "ledger"
    children = []
    for _ in range(2):
        child = os.fork()
        if not child:
            try:
                for _ in range(50):
                    with NamespaceLock(deadline=30), ledger.open("ab", buffering=0) as file:
                        file.write(b"(")
                        file.write(b")")
            finally:
                os._exit(0)
        children.append(child)
    for child in children:
        os.waitpid(child, 0)
    assert ledger.read_bytes() == b"()" * 100


def test_a_lock_in_a_new_process_is_not_inherited_past_exec() -> None:
    with NamespaceLock():
        child = os.posix_spawn(
            sys.executable,
            [sys.executable, "-c", "input()"],
            {},
            file_actions=[(os.POSIX_SPAWN_OPEN, 0, "/dev/zero", os.O_RDONLY, 0)],
        )
    try:
        with NamespaceLock(deadline=5) as lock:
            assert lock.holder == ""
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
