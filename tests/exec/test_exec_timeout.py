"""A receive timeout does not run out while a request waits for its reply, as on AF_KEY."""

import errno
import struct
import subprocess

import pytest

from kamexfrm.rig import Host
from tests.exec.exec_programs import supervised, supervisors

#: What setkey does, with its second request while the supervisor stands still for twice the
#: timeout, by the timeout of another socket.
SETKEY = """
    import threading
    key, (clock, _) = pf_key(), socket.socketpair()
    short = struct.pack("qq", 0, 300_000)
    for each in (key, clock):
        each.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, short)
    ask(key, FLUSH)
    print("ready", flush=True)
    supervisor = int(sys.stdin.readline())

    def go_on_later():
        for _ in range(2):
            refusal_of(os.read, clock.fileno(), 1)  # which no barrier takes
        os.kill(supervisor, signal.SIGCONT)

    os.kill(supervisor, signal.SIGSTOP)
    threading.Thread(target=go_on_later).start()
    for request, seq in ((REGISTER, 2), (0, 3), (FLUSH, 4)):
        try:
            print(base(ask(key, request, ESP, seq))[:4])
        except OSError as error:
            print(error.errno)
"""


def answers(host: Host, *options: str) -> list[str]:
    before = supervisors()
    client = host.start(supervised(SETKEY, *options), stdin=subprocess.PIPE)
    assert client.stdout is not None
    assert client.stdout.readline() == "ready\n"
    (supervisor,) = supervisors() - before
    stdout, stderr = client.communicate(f"{supervisor}\n", timeout=30)
    assert stderr == ""
    return stdout.splitlines()


def test_each_answer_is_read_in_its_turn_and_no_error_is_lost(namespace: Host) -> None:
    assert answers(namespace) == [
        "(7, 0, 3, 2)",
        f"(0, {errno.EINVAL}, 3, 3)",
        "(9, 0, 3, 4)",
    ]


def test_with_strict_the_sender_waits(namespace: Host) -> None:
    assert answers(namespace, "--strict") == ["(7, 0, 3, 2)", str(errno.EINVAL), "(9, 0, 3, 4)"]


def test_without_a_barrier_the_timeout_is_the_programs(namespace: Host) -> None:
    # Which shows that the supervisor stands still for long enough.
    assert answers(namespace, "--barrier", "none")[0] == str(errno.EAGAIN)


def timeouts(host: Host, *options: str) -> list[str]:
    """Return what becomes of timeouts: on a PF_KEY socket, and on another one."""
    text = """
        for seconds, microseconds in ((1, 0), (0, 1), (9, 900_000), (10, 0), (60, 7), (0, 0),
                                      (0, 1_000_000), (1, -1)):
            value = struct.pack("qq", seconds, microseconds)
            found = []
            for sock in (pf_key(), socket.socketpair()[0]):
                with sock:
                    refused = refusal_of(sock.setsockopt, 1, socket.SO_RCVTIMEO, value)
                    now = sock.getsockopt(1, socket.SO_RCVTIMEO, 16)
                    found.append(refused or struct.unpack("qq", now)[0])
            print(f"{seconds}.{microseconds}", *found)
        with pf_key() as key:
            libc = ctypes.CDLL(None, use_errno=True)
            for call in ((key.fileno(), value, 8), (key.fileno(), 16, 16), (99, value, 16)):
                where = ctypes.c_void_p(call[1]) if isinstance(call[1], int) else call[1]
                print(call[2], libc.setsockopt(call[0], 1, 20, where, call[2]), ctypes.get_errno())
    """
    done = host.run(supervised(text, *options))
    assert (done.status, done.stderr) == (0, "")
    return done.stdout.splitlines()


LONG_OR_WRONG = [
    "10.0 10 10",
    "60.7 60 60",
    "0.0 0 0",
    f"0.1000000 {errno.EDOM} {errno.EDOM}",
    f"1.-1 {errno.EDOM} {errno.EDOM}",
    f"8 -1 {errno.EINVAL}",
    f"16 -1 {errno.EFAULT}",
    f"16 -1 {errno.EBADF}",
]


@pytest.mark.both_kernels
def test_only_a_short_timeout_of_a_pf_key_socket_is_lengthened(namespace: Host) -> None:
    assert timeouts(namespace) == ["1.0 10 1", "0.1 10 0", "9.900000 10 9", *LONG_OR_WRONG]


@pytest.mark.parametrize("barrier", ["strict", "none"])
def test_other_barriers_leave_timeouts_alone(namespace: Host, barrier: str) -> None:
    expected = ["1.0 1 1", "0.1 0 0", "9.900000 9 9", *LONG_OR_WRONG]
    assert timeouts(namespace, "--barrier", barrier) == expected


def test_a_negative_timeout_means_what_it_means_elsewhere(namespace: Host) -> None:
    text = f"""
        with pf_key() as key:
            key.setsockopt(1, socket.SO_RCVTIMEO, {struct.pack("qq", -1, 0)!r})
            print(refusal_of(key.recv, 16))
    """
    assert namespace.run(supervised(text)).stdout == f"{errno.EAGAIN}\n"
