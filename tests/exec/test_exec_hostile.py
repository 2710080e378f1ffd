"""Hostile programs: they harm neither the supervisor nor other programs nor the kernel's state."""

import contextlib
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from kamexfrm.rig import Host, until
from tests.exec.exec_programs import supervised, supervisors

#: What a program does that is not served well afterwards.
STILL = "print(base(ask(pf_key(), REGISTER, ESP, 5))[:4] == (REGISTER, 0, ESP, 5))"


def resident_memory(pid: int) -> int:
    """Return the bytes of memory that a process has, with its children's none."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) * 1024
    raise AssertionError(f"process {pid} is gone")


class Watched:
    """A program that does something on a line from us, and its supervisor."""

    def __init__(self, host: Host, text: str, log: Path) -> None:
        before = supervisors()
        command = supervised(text, "--log", str(log))
        self.log = log
        self.program = host.start(command, stdin=subprocess.PIPE)
        assert self.program.stdout is not None
        assert self.program.stdout.readline() == "ready\n"
        (self.supervisor,) = supervisors() - before
        self.memory = resident_memory(self.supervisor)

    def go(self) -> None:
        assert self.program.stdin is not None
        self.program.stdin.write("go\n")
        self.program.stdin.flush()

    def line(self) -> str:
        assert self.program.stdout is not None
        return self.program.stdout.readline().strip()

    def grown(self) -> int:
        """Return by how many bytes the supervisor has grown, which still runs."""
        return resident_memory(self.supervisor) - self.memory


@pytest.fixture
def log(tmp_path: Path) -> Iterator[Path]:
    """Give the name of a log in which no failure of ours may be."""
    path = tmp_path / "log"
    yield path
    assert "Traceback" not in path.read_text()


READY = """
key = pf_key()
ask(key, FLUSH)
print("ready", flush=True)
sys.stdin.readline()
"""


@pytest.mark.parametrize("barrier", ["peek", "strict"])
def test_random_bytes_and_lying_lengths_change_nothing(
    namespace: Host, log: Path, barrier: str
) -> None:
    selector = ["src", "10.1.0.0/16", "dst", "10.2.0.0/16", "dir", "out"]
    namespace.run(["ip", "xfrm", "policy", "add", *selector], check=True)
    text = f"""
        import random
        chance = random.Random(1)
        key = pf_key(socket.SOCK_NONBLOCK)
        def send(message):
            with contextlib.suppress(OSError):
                key.send(message)
        harmless = [REGISTER, DUMP, SPDDUMP, 1, 2, 3, 4, 5, 6, 8, 12, 13, 14, 16, 17]
        for _ in range(2000):
            body = chance.randbytes(chance.randrange(200))
            send(body)
            # A header that is right, extensions whose lengths and numbers are not.
            body = body[: len(body) // 8 * 8]
            words = 2 + len(body) // 8
            send(header(chance.choice(harmless), chance.randrange(12), 1, words=words) + body)
            send(header(chance.choice(harmless), 3, 1, words=chance.randrange(1 << 16)) + body)
            lying = struct.pack("=HH", chance.randrange(1 << 16), chance.randrange(1, 30))
            send(header(3, 3, 1, words=4) + lying + bytes(12))
            with contextlib.suppress(BlockingIOError):
                while True:
                    key.recv(1 << 16)
        {STILL}
    """
    done = namespace.run(supervised(text, "--barrier", barrier, "--log", str(log)), timeout=120)
    assert (done.stdout, done.stderr, done.status) == ("True\n", "", 0)
    assert namespace.run(["ip", "xfrm", "policy"]).stdout.count("10.1.0.0/16") == 1


def test_a_program_that_never_reads_costs_no_memory_and_delays_no_other(
    namespace: Host, log: Path
) -> None:
    text = f"""
        {READY.replace(chr(10), chr(10) + " " * 8)}
        ask(key, PROMISC, 1)
        for _ in range(3):
            if not os.fork():
                # All that this one does goes to the other, who does not read, and to itself.
                own = pf_key()
                for seq in range(20_000):
                    own.send(header(REGISTER, ESP, seq))
                os._exit(0)
            {STILL}
            print("asked", flush=True)
            os.wait()
            {STILL}
            sys.stdout.flush()
            sys.stdin.readline()
    """
    watched = Watched(namespace, text, log)
    sizes = []
    for _ in range(3):
        watched.go()
        assert [watched.line() for _ in range(3)] == ["True", "asked", "True"]
        sizes.append(watched.grown())
    # 20,000 replies of 300 bytes would be six times that.
    assert sizes[2] < sizes[1] + (1 << 21)
    assert sizes[2] < 1 << 24
    watched.go()
    watched.program.communicate(timeout=30)


def test_a_thousand_sockets_are_served_and_closed(namespace: Host, log: Path) -> None:
    text = f"""
        {READY.replace(chr(10), chr(10) + " " * 8)}
        import resource
        most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(most, 4096), most))
        keys = [pf_key() for _ in range(1000)]
        for key in keys:
            key.send(header(FLUSH, ESP, 9))
        print({{base(key.recv(4096))[:4] for key in keys}}, flush=True)
        {STILL}
        sys.stdout.flush()
        sys.stdin.readline()
        keys.clear()
        {STILL}
        sys.stdout.flush()
        sys.stdin.readline()
    """
    watched = Watched(namespace, text, log)
    files = Path(f"/proc/{watched.supervisor}/fd")
    few = len(list(files.iterdir()))
    watched.go()
    assert [watched.line() for _ in range(2)] == ["{(9, 0, 3, 9)}", "True"]
    assert len(list(files.iterdir())) > few + 990
    assert watched.grown() < 64 << 20
    watched.go()
    assert watched.line() == "True"
    until(lambda: len(list(files.iterdir())) <= few + 1, 10, "all are closed")
    watched.go()
    watched.program.communicate(timeout=30)


def test_descriptors_sent_along_are_dropped(namespace: Host, log: Path) -> None:
    text = f"""
        {READY.replace(chr(10), chr(10) + " " * 8)}
        for seq in range(100):
            socket.send_fds(key, [header(REGISTER, ESP, seq)], [key.fileno(), 0])
            assert base(key.recv(4096))[3] == seq
        key.close()
        {STILL}
        sys.stdout.flush()
        sys.stdin.readline()
    """
    watched = Watched(namespace, text, log)
    files = Path(f"/proc/{watched.supervisor}/fd")
    watched.go()
    assert watched.line() == "True"
    # The socket has an end although it was sent over itself.

    def sockets() -> int:
        found = 0
        for file in files.iterdir():
            with contextlib.suppress(FileNotFoundError):  # closed meanwhile
                found += "socket" in os.readlink(file)
        return found

    until(lambda: sockets() <= 3, 10, "the socket is closed")
    watched.go()
    watched.program.communicate(timeout=30)


def test_a_program_killed_in_the_middle_of_a_call_does_no_harm(namespace: Host, log: Path) -> None:
    text = f"""
        import threading
        ours, theirs = os.pipe()
        for _ in range(100):
            child = os.fork()
            if not child:
                threading.Thread(target=lambda: [pf_key() for _ in range(1000)]).start()
                while True:
                    os.write(theirs, b"x")
                    key = pf_key()
                    key.send(header(FLUSH))
                    refusal_of(key.recv, 16, socket.MSG_DONTWAIT)
            os.read(ours, 1 << 16)
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
        {STILL}
    """
    done = namespace.run(supervised(text, "--log", str(log)), timeout=120)
    assert (done.stdout, done.stderr, done.status) == ("True\n", "", 0)


def test_an_empty_message_is_not_the_end(namespace: Host, log: Path) -> None:
    text = f"""
        key = pf_key()
        key.send(b"")
        print(base(ask(key, REGISTER, ESP, 5))[3])
        key.send(b"")
        key.close()
        {STILL}
    """
    done = namespace.run(supervised(text, "--log", str(log)))
    assert (done.stdout, done.stderr) == ("5\nTrue\n", "")


def test_what_send_would_refuse_gets_an_answer_all_the_same(namespace: Host, log: Path) -> None:
    text = """
        key = pf_key()
        key.send(b"\\1" + header(DUMP, 3, 7)[1:])
        print(base(key.recv(4096)) == (DUMP, errno.EINVAL, 3, 7, os.getpid()))
        key.send(header(DUMP, 3, 8, words=9))
        print(base(key.recv(4096)) == (DUMP, errno.EMSGSIZE, 3, 8, os.getpid()))
    """
    done = namespace.run(supervised(text, "--log", str(log)))
    assert (done.stdout, done.stderr) == ("True\nTrue\n", "")
