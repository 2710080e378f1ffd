"""The keeper: when the supervisor has died, only PF_KEY fails."""

import contextlib
import errno
import mmap
import os
import signal
import subprocess
import textwrap
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NoReturn

import pytest

from kamexfrm.exec import command, supervisor
from kamexfrm.exec.filter import RET_NOTIFY, Barrier, needs_supervisor, rules
from kamexfrm.exec.seccomp import PAGE_BYTES, Listener
from kamexfrm.exec.system import MACHINES, Machine
from kamexfrm.hub import served
from kamexfrm.log_level import LogLevel
from kamexfrm.rig import Host, until
from tests.exec.exec_programs import keepers, program, supervised, supervisors

BARRIERS = ["peek", "strict"]

#: A program that has a PF_KEY socket, waits for a line, and does what follows.
BEGIN = """
key = pf_key()
ask(key, FLUSH)
one, other = socket.socketpair()
print("ready", flush=True)
sys.stdin.readline()
"""


class Program:
    """A program under a supervisor that can be killed."""

    def __init__(self, host: Host, text: str, *options: str, begin: Sequence[str] = ()) -> None:
        text = BEGIN + textwrap.dedent(text)
        before, keepers_before = supervisors(), keepers()
        self.process = host.start([*begin, *supervised(text, *options)], stdin=subprocess.PIPE)
        assert self.line() == "ready"
        (self.supervisor,) = supervisors() - before
        (self.keeper,) = keepers() - keepers_before

    def kill(self) -> None:
        """Kill the supervisor, and wait until the keeper has seen that."""
        os.kill(self.supervisor, signal.SIGKILL)
        until(lambda: not Path(f"/proc/{self.supervisor}").exists(), 10, "it is reaped")

    def go(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write("go\n")
        self.process.stdin.flush()

    def line(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()

    def output(self) -> list[str]:
        self.go()
        return self.rest()

    def rest(self) -> list[str]:
        stdout, stderr = self.process.communicate(timeout=30)
        assert stderr == ""
        assert self.process.returncode == 0
        return stdout.splitlines()


@pytest.fixture(autouse=True)
def nothing_stays(no_supervisor_stays: Callable[[], None]) -> Iterator[None]:
    """Check after each test that supervisor and keeper have ended."""
    yield
    no_supervisor_stays()


@pytest.mark.both_kernels
@pytest.mark.parametrize("barrier", BARRIERS)
def test_calls_on_other_descriptors_work_without_the_supervisor(
    namespace: Host, barrier: str
) -> None:
    text = """
        waiting = select.poll()
        waiting.register(other, select.POLLIN)
        print(waiting.poll(1))
        print(one.send(b"send"), one.sendmsg([b"msg"]), os.write(one.fileno(), b"write"))
        print(os.writev(one.fileno(), [b"wri", b"tev"]), len(waiting.poll(1)))
        print(other.recv(4, socket.MSG_PEEK), other.recv(4, socket.MSG_DONTWAIT))
        print(other.recvmsg(8, 0, socket.MSG_DONTWAIT)[0], other.recv(6))
        print(refusal_of(other.recv, 1, socket.MSG_DONTWAIT) == errno.EAGAIN)
        one.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, struct.pack("qq", 1, 0))
    """
    client = Program(namespace, text, "--barrier", barrier)
    client.kill()
    assert client.output() == [
        "[]",
        "4 3 5",
        "6 1",
        "b'send' b'send'",
        "b'msgwrite' b'writev'",
        "True",
    ]


@pytest.mark.parametrize("barrier", BARRIERS)
def test_pf_key_has_ended_and_new_sockets_and_policies_fail(namespace: Host, barrier: str) -> None:
    text = """
        print(key.recv(16, socket.MSG_DONTWAIT), key.recv(16))
        print(refusal_of(pf_key) == errno.ENOSYS)
        udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        bypass = struct.pack("=HHHBBII", 2, 18, 4, 2, 0, 0, 0)
        print(refusal_of(udp.setsockopt, 0, 16, bypass) == errno.ENOSYS)
    """
    client = Program(namespace, text, "--barrier", barrier)
    client.kill()
    assert client.output() == ["b'' b''", "True", "True"]


def test_a_program_that_reads_the_end_on_and_on_is_slowed_down(namespace: Host) -> None:
    # As iked and racoon do, with a line in the log for each. The time here is that of a socket
    # of the program's own, which is not slowed down.
    text = """
        import threading
        one.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, struct.pack("qq", 0, 500_000))
        clock = threading.Thread(target=lambda: refusal_of(os.read, one.fileno(), 1))
        clock.start()
        one.send(b"x")
        reads = elsewhere = 0
        while clock.is_alive() and reads < 1000:
            reads += key.recv(16, socket.MSG_PEEK) == b""
            elsewhere += other.recv(1, socket.MSG_PEEK) == b"x"
        while elsewhere < 1000:
            elsewhere += other.recv(1, socket.MSG_PEEK) == b"x"
        print(reads < 10)
    """
    client = Program(namespace, text)
    client.kill()
    assert client.output() == ["True"]


def test_no_ip_socket_is_made_without_its_forced_policy(namespace: Host) -> None:
    text = """
        for family in (socket.AF_INET, socket.AF_INET6):
            print(refusal_of(socket.socket, family, socket.SOCK_DGRAM) == errno.ENOSYS)
    """
    client = Program(namespace, text, "--policy", "out bypass")
    client.kill()
    assert client.output() == ["True", "True"]


def is_asleep(pid: int) -> bool:
    """Whether a process waits; User-Mode-Linux does not say in which function of the kernel."""
    state = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2]
    return state.split()[0] == "S"


def test_a_call_that_waited_for_the_supervisor_is_answered(namespace: Host) -> None:
    text = """
        one.send(b"x")
        print("calls", flush=True)
        print(other.recv(1, socket.MSG_PEEK))
    """
    client = Program(namespace, text)
    os.kill(client.supervisor, signal.SIGSTOP)
    client.go()
    assert client.line() == "calls"
    until(lambda: is_asleep(client.process.pid), 10, "the call waits")
    client.kill()
    assert client.rest() == ["b'x'"]


#: Starts a supervisor that takes a call and dies before it answers.
DIES_WITH_A_CALL = """
    from kamexfrm.exec.filter import Barrier, assemble, rules
    from kamexfrm.exec.launch import hand_over, start_supervisor
    from kamexfrm.exec.system import machine

    def prepare():
        def serve(listener):
            listener.receive()
            os.kill(os.getpid(), signal.SIGKILL)
        return serve

    found = rules(machine(), Barrier.PEEK, policies=False)
    code = assemble(machine(), found, refuse_foreign=False)
    hand_over(code, start_supervisor(prepare))
    one, other = socket.socketpair()
    one.send(b"x")
"""


@pytest.mark.parametrize(
    ("call", "result"),
    [
        ("print(other.recv(1, socket.MSG_PEEK))", "b'x'"),
        ("print(refusal_of(pf_key))", str(errno.ENOSYS)),
    ],
)
def test_a_call_that_the_supervisor_died_with_is_answered(call: str, result: str) -> None:
    text = f"{DIES_WITH_A_CALL}\n    {call}\n    {call}"
    done = subprocess.run(program(text), capture_output=True, text=True, timeout=30, check=False)
    assert (done.stdout.splitlines(), done.stderr) == ([result, result], "")


def test_a_supervisor_that_fails_is_like_one_that_was_killed() -> None:
    text = DIES_WITH_A_CALL.replace("os.kill(os.getpid(), signal.SIGKILL)", "raise MemoryError")
    text += "\n    print(other.recv(1, socket.MSG_PEEK))"
    done = subprocess.run(program(text), capture_output=True, text=True, timeout=30, check=False)
    assert (done.stdout, done.stderr) == ("b'x'\n", "")


def test_a_supervisor_that_dies_before_it_listens_is_reported() -> None:
    text = DIES_WITH_A_CALL.replace("def prepare():", "def prepare():\n        os._exit(1)")
    done = subprocess.run(program(text), capture_output=True, text=True, timeout=30, check=False)
    assert "the supervisor ended before the program started" in done.stderr


def test_a_failure_of_the_supervisor_is_logged_and_seen_by_the_keeper(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> NoReturn:
        raise MemoryError("none left")

    monkeypatch.setattr(supervisor, "Supervisor", fail)
    monkeypatch.setattr(served, "use_all_descriptors", lambda: None)
    log = tmp_path / "log"
    serve = command._prepare(os.open(log, os.O_WRONLY | os.O_CREAT), LogLevel.ERROR, (), 0)
    with pytest.raises(MemoryError), mmap.mmap(-1, PAGE_BYTES) as page:
        serve(Listener(os.open(os.devnull, os.O_RDONLY), page))
    assert "MemoryError: none left" in log.read_text()


class TestTheKeeper:
    @pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP])
    def test_it_is_not_needed_while_the_supervisor_lives(
        self, namespace: Host, number: signal.Signals
    ) -> None:
        text = """
            print(base(ask_impatiently(key, REGISTER, ESP, 7))[3])
            print(base(ask(pf_key(), REGISTER, ESP, 8))[3])
        """
        client = Program(namespace, text)
        os.kill(client.keeper, number)
        try:
            assert client.output() == ["7", "8"]
        finally:
            if number == signal.SIGSTOP:
                os.kill(client.keeper, signal.SIGCONT)

    def test_it_takes_no_call_while_the_supervisor_is_stopped(self, namespace: Host) -> None:
        text = """
            print("calls", flush=True)
            print(base(ask_impatiently(key, REGISTER, ESP, 7))[3])
        """
        client = Program(namespace, text)
        os.kill(client.supervisor, signal.SIGSTOP)
        client.go()
        assert client.line() == "calls"
        until(lambda: is_asleep(client.process.pid), 10, "the call waits")
        until(lambda: is_asleep(client.keeper), 10, "the keeper waits for the end")
        assert is_asleep(client.process.pid)
        os.kill(client.supervisor, signal.SIGCONT)
        assert client.rest() == ["7"]

    def test_it_ignores_the_signals_that_end_programs(self, namespace: Host) -> None:
        client = Program(namespace, "print(refusal_of(other.recv, 1, socket.MSG_PEEK | 64))")
        assert os.getsid(client.keeper) not in (os.getsid(0), client.process.pid)
        for name in ("INT", "HUP", "QUIT", "PIPE", "TERM", "ALRM", "USR1", "USR2"):
            os.kill(client.keeper, signal.Signals[f"SIG{name}"])
        client.kill()
        assert client.output() == [str(errno.EAGAIN)]

    def test_it_sees_the_end_where_sigchld_is_ignored(self, namespace: Host) -> None:
        text = "print(refusal_of(other.recv, 1, socket.MSG_PEEK | 64))"
        client = Program(namespace, text, begin=["env", "--ignore-signal=CHLD"])
        client.kill()
        assert client.output() == [str(errno.EAGAIN)]

    @pytest.mark.parametrize("options", [[], ["-v"]])
    def test_it_keeps_no_descriptor_of_the_programs(
        self, namespace: Host, options: list[str]
    ) -> None:
        client = Program(namespace, "", *options)
        expected = [*["/dev/null"] * 3, "anon_inode:seccomp notify"]
        until(lambda: _open_files(client.keeper) == expected, 10, "no other is open")
        assert os.readlink(f"/proc/{client.keeper}/cwd") == "/"
        client.process.communicate(timeout=30)

    def test_it_is_small(self, namespace: Host) -> None:
        client = Program(namespace, "")
        sizes = [_memory(pid) for pid in (client.keeper, client.supervisor)]
        assert sizes[0] < min(8 << 20, sizes[1] * 0.75)
        client.process.communicate(timeout=30)


def _open_files(pid: int) -> list[str]:
    links = []
    for each in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):  # closed meanwhile
            links.append(os.readlink(each))
    return sorted(links)


def _memory(pid: int) -> int:
    """Return the bytes that a process does not share with files."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("RssAnon:"):
            return int(line.split()[1]) * 1024
    raise AssertionError(f"process {pid} is gone")


@pytest.mark.both_kernels
def test_the_oom_killer_prefers_the_programs(namespace: Host) -> None:
    # Where this test may not lower its own score (CAP_SYS_RESOURCE), nor may they.
    lower = "echo -1000 > /proc/self/oom_score_adj"
    may = namespace.run(["sh", "-c", lower]).status == 0
    client = Program(namespace, "print(open('/proc/self/oom_score_adj').read().strip())")
    ours = Path("/proc/self/oom_score_adj").read_text().strip()
    expected = ["-900", "-1000"] if may else [ours, ours]
    both = [Path(f"/proc/{pid}/oom_score_adj") for pid in (client.supervisor, client.keeper)]
    until(lambda: [each.read_text().strip() for each in both] == expected, 10, "their scores")
    assert client.output() == [ours]


@pytest.mark.parametrize("machine", MACHINES.values(), ids=MACHINES)
@pytest.mark.parametrize("barrier", Barrier)
def test_only_what_is_trapped_for_the_barrier_can_go_on(machine: Machine, barrier: Barrier) -> None:
    level = 1  # the argument that holds setsockopt's level
    needed = {
        (rule.number, test.value)
        for rule in rules(machine, barrier, policies=True)
        if rule.action == RET_NOTIFY
        for test in rule.conditions
        if test.offset == 16 + 8 * level and needs_supervisor(machine, rule.number, test.value)
    }
    assert needed == {(machine.setsockopt, 0), (machine.setsockopt, 41)}
    assert needs_supervisor(machine, machine.socket, 0)
    for number in (machine.recvfrom, machine.recvmsg, machine.ppoll, machine.write):
        assert not needs_supervisor(machine, number, 0)


def test_sending_on_a_pf_key_socket_is_an_error_and_no_signal(namespace: Host) -> None:
    text = """
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)
        print(*(errno.errorcode[refusal_of(how, key.fileno())] for how in (
            lambda _: key.send(header(FLUSH, 3, 1)),
            lambda number: os.write(number, header(FLUSH, 3, 1)),
            lambda _: key.sendmsg([header(FLUSH, 3, 1)]),
        )))
    """
    client = Program(namespace, text)
    client.kill()
    assert client.output() == ["EPIPE EPIPE EPIPE"]
