"""send(2) on PF_KEY is synchronous: a program that reads the reply at once finds it."""

import contextlib
import errno
import os
import signal
import subprocess
from collections.abc import Iterator

import pytest

from kamexfrm.rig import Host
from tests.exec.exec_programs import supervised, supervisors

#: How setkey, racoon and iked talk: the request, and how its answer is fetched.
TALKS = {"setkey": "ask", "racoon": "ask_impatiently", "iked": "ask_by_poll"}


def run(host: Host, text: str, *options: str) -> str:
    done = host.run(supervised(text, *options))
    assert (done.status, done.stderr) == (0, "")
    return done.stdout


@pytest.mark.both_kernels
@pytest.mark.parametrize("barrier", ["peek", "strict"])
@pytest.mark.parametrize("talk", TALKS.values(), ids=TALKS)
def test_each_answer_is_the_one_to_the_request_before(
    namespace: Host, talk: str, barrier: str
) -> None:
    text = f"""
        key = pf_key(socket.SOCK_NONBLOCK if "{talk}" == "ask_impatiently" else 0)
        answers = [base({talk}(key, REGISTER, ESP, seq))[3] for seq in range(1, 200)]
        print(answers == list(range(1, 200)))
    """
    assert run(namespace, text, "--barrier", barrier) == "True\n"


@pytest.mark.both_kernels
@pytest.mark.parametrize("barrier", ["peek", "strict"])
def test_a_dump_that_ends_with_eagain_is_whole(namespace: Host, barrier: str) -> None:
    # racoon's pfkey_dump_sadb(): EAGAIN is the end of the dump, a late message is lost. Nor do
    # all fit into the socket at once.
    lines = "".join(
        f"xfrm policy add src 10.{number >> 8}.{number & 255}.0/24 dst 10.9.0.0/24 dir out\n"
        for number in range(3000)
    )
    namespace.run(["ip", "-batch", "-"], input=lines, check=True)
    text = """
        key = pf_key(socket.SOCK_NONBLOCK)
        key.send(header(SPDDUMP))
        count = 0
        with contextlib.suppress(BlockingIOError):
            while True:
                key.recv(16, socket.MSG_PEEK | socket.MSG_DONTWAIT)
                key.recv(1 << 16, socket.MSG_DONTWAIT)
                count += 1
        print(count)
    """
    assert run(namespace, text, "--barrier", barrier) == "3000\n"


class Stopped:
    """A client that sends on command, while its supervisor stands still."""

    def __init__(self, host: Host, talk: str, *options: str) -> None:
        text = f"""
            key = pf_key()
            ask(key, FLUSH)
            print("ready", flush=True)
            sys.stdin.readline()
            print(refusal_of({talk}, key, FLUSH))
        """
        before = supervisors()
        self.client = host.start(supervised(text, *options), stdin=subprocess.PIPE)
        assert self.client.stdout is not None
        assert self.client.stdout.readline() == "ready\n"
        (self.supervisor,) = supervisors() - before
        os.kill(self.supervisor, signal.SIGSTOP)
        assert self.client.stdin is not None
        self.client.stdin.write("go\n")
        self.client.stdin.flush()

    def answer(self) -> int:
        assert self.client.stdout is not None
        return int(self.client.stdout.readline())

    def go_on(self) -> None:
        os.kill(self.supervisor, signal.SIGCONT)


@pytest.fixture
def here(namespace: Host) -> Iterator[Host]:
    """Give a host whose supervisors all run again at the end of the test."""
    yield namespace
    for pid in supervisors():
        with contextlib.suppress(ProcessLookupError):  # it has ended meanwhile
            os.kill(pid, signal.SIGCONT)


class TestWhileTheSupervisorStandsStill:
    def test_without_a_barrier_nothing_is_there_yet(self, here: Host) -> None:
        stopped = Stopped(here, TALKS["racoon"], "--barrier", "none")
        assert stopped.answer() == errno.EAGAIN

    @pytest.mark.parametrize("talk", ["racoon", "iked"])
    @pytest.mark.parametrize("barrier", ["peek", "strict"])
    def test_a_barrier_lasts_until_it_has_answered(
        self, here: Host, talk: str, barrier: str
    ) -> None:
        stopped = Stopped(here, TALKS[talk], "--barrier", barrier)
        stopped.go_on()
        assert stopped.answer() == 0

    def test_many_requests_are_taken_from_a_program_that_does_not_wait(self, here: Host) -> None:
        assert Stopped(here, "send_a_thousand").answer() == 0


class TestStrict:
    """Each send has its own result."""

    def test_all_ways_to_send_wait_for_the_answer(self, namespace: Host) -> None:
        text = """
            key = pf_key(socket.SOCK_NONBLOCK)
            half = lambda message: [message[:8], b"", message[8:]]
            ways = {
                "send": key.send,
                "write": lambda message: os.write(key.fileno(), message),
                "writev": lambda message: os.writev(key.fileno(), half(message)),
                "sendmsg": lambda message: key.sendmsg(half(message)),
            }
            for name, way in ways.items():
                for seq in range(1, 50):
                    assert way(header(FLUSH, 0, seq)) == 16
                    assert base(key.recv(4096))[3] == seq
                print(name)
        """
        assert run(namespace, text, "--strict") == "send\nwrite\nwritev\nsendmsg\n"

    def test_errors_of_the_header_are_sends_own(self, namespace: Host) -> None:
        # The recorded ones: hdr-short-8, hdr-empty, hdr-version-1, hdr-type-0, hdr-len-...
        text = """
            key = pf_key()
            good = header(DUMP)
            wrong = {
                "short": good[:8], "empty": b"", "version": b"\\1" + good[1:],
                "type": good[:1] + b"\\0" + good[2:], "too long": header(DUMP, words=3),
                "too short": header(DUMP, words=2) + bytes(16), "no length": header(DUMP, words=0),
                "two": good + good,
            }
            for name, message in wrong.items():
                print(name, refusal_of(key.send, message))
            print(refusal_of(key.send, good, socket.MSG_OOB), refusal_of(key.send, good))
        """
        big, invalid = errno.EMSGSIZE, errno.EINVAL
        assert run(namespace, text, "--strict").splitlines() == [
            f"short {big}",
            f"empty {big}",
            f"version {invalid}",
            f"type {invalid}",
            f"too long {big}",
            f"too short {big}",
            f"no length {big}",
            f"two {big}",
            f"{errno.EOPNOTSUPP} 0",
        ]

    def test_what_cannot_be_read_is_efault(self, namespace: Host) -> None:
        text = """
            key = pf_key()
            libc = ctypes.CDLL(None, use_errno=True)
            nowhere = ctypes.c_void_p(16)
            for call in (
                lambda: libc.send(key.fileno(), nowhere, 16, 0),
                lambda: libc.write(key.fileno(), nowhere, 16),
                lambda: libc.writev(key.fileno(), nowhere, 1),
                lambda: libc.sendmsg(key.fileno(), nowhere, 0),
                lambda: libc.send(key.fileno(), ctypes.c_void_p(-16 & (1 << 64) - 1), 16, 0),
            ):
                print(call(), ctypes.get_errno())
            print(libc.send(key.fileno(), nowhere, ctypes.c_size_t(1 << 40), 0), ctypes.get_errno())
        """
        expected = [f"-1 {errno.EFAULT}"] * 5 + [f"-1 {errno.EMSGSIZE}"]
        assert run(namespace, text, "--strict").splitlines() == expected

    def test_all_other_sends_are_unchanged(self, namespace: Host) -> None:
        text = """
            one, other = socket.socketpair()
            one.send(b"send "); one.sendmsg([b"send", b"msg "])
            os.write(one.fileno(), b"write "); os.writev(one.fileno(), [b"wri", b"tev "])
            key = pf_key()
            one.send(b"more")
            print(other.recv(100).decode())
            print(refusal_of(os.write, 99, b"x") == errno.EBADF)
        """
        assert run(namespace, text, "--strict") == "send sendmsg write writev more\nTrue\n"
