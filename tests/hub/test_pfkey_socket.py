"""kamexfrm.PfKeySocket(): a PF_KEY socket within a process."""

import errno
import os
import select
import subprocess
import sys
import threading
from collections.abc import Iterator

import pytest

import kamexfrm
from kamexfrm.rig import Namespace
from tests.hub.pfkey_samples import DUMP, REGISTER, SPD_DUMP, SPD_FLUSH, add_policy, policy, short

pytestmark = pytest.mark.usefixtures("namespace")


@pytest.fixture
def made() -> Iterator["kamexfrm.PfKeySocket"]:
    with kamexfrm.PfKeySocket() as one:
        one.settimeout(10)
        yield one


def readable(*sockets: "kamexfrm.PfKeySocket", seconds: float = 0) -> list["kamexfrm.PfKeySocket"]:
    return select.select(sockets, [], [], seconds)[0]


def add_by_another_process() -> None:
    subprocess.run(["ip", "xfrm", "policy", "add", "src", "10.1.0.0/16", "dir", "in"], check=True)


def test_a_reply_waits_when_send_returns(made: "kamexfrm.PfKeySocket") -> None:
    made.setblocking(False)
    assert made.send(DUMP) == len(DUMP)
    assert readable(made) == [made]
    assert short(made.recv()) == "DUMP errno 2 1"
    assert readable(made) == []


def test_a_change_by_another_process_is_there_at_once(made: "kamexfrm.PfKeySocket") -> None:
    made.setblocking(False)
    add_by_another_process()
    assert short(made.recv()).startswith("X_SPDADD ")


def test_select_reports_a_change_by_another_process(made: "kamexfrm.PfKeySocket") -> None:
    with kamexfrm.PfKeySocket() as other:
        add_by_another_process()
        for each in (made, other):
            assert readable(each, seconds=10) == [each]
            assert short(each.recv()).startswith("X_SPDADD ")
        assert readable(made, other) == []


def test_a_blocked_recv_wakes_up(made: "kamexfrm.PfKeySocket") -> None:
    got: list[str] = []
    reader = threading.Thread(target=lambda: got.append(short(made.recv())))
    reader.start()
    add_by_another_process()
    reader.join(10)
    assert got[0].startswith("X_SPDADD ")


def test_a_timeout_and_no_waiting_at_all(made: "kamexfrm.PfKeySocket") -> None:
    made.settimeout(0.01)
    assert made.gettimeout() == 0.01
    with pytest.raises(TimeoutError):
        made.recv()
    made.setblocking(False)
    with pytest.raises(BlockingIOError) as refused:
        made.recv()
    assert refused.value.errno == errno.EAGAIN
    with pytest.raises(ValueError, match="not negative"):
        made.settimeout(-1)


@pytest.mark.parametrize(
    ("data", "text", "number"),
    [
        (b"", "Message too long", errno.EMSGSIZE),
        (b"\1" + DUMP[1:], "Invalid argument", errno.EINVAL),
    ],
    ids=["short", "version"],
)
def test_what_send_refuses_is_an_os_error(
    made: "kamexfrm.PfKeySocket", data: bytes, text: str, number: int
) -> None:
    with pytest.raises(OSError, match=text) as refused:
        made.send(data)
    assert refused.value.errno == number


def test_an_incomplete_word_after_a_message_is_answered_with_an_error(
    made: "kamexfrm.PfKeySocket",
) -> None:
    made.send(DUMP + bytes(7))
    assert short(made.recv()) == "DUMP errno 22 1"
    with pytest.raises(OSError, match="Message too long"):
        made.send(DUMP + bytes(8))


def test_messages_that_are_not_read_are_lost_with_enobufs_once(
    made: "kamexfrm.PfKeySocket",
) -> None:
    made._shared.hub.bus.memory.queue_bytes = 1000
    for number in range(50):
        made.send(add_policy(policy(number)))
    got: list[str] = []

    def read_on() -> None:
        while True:
            got.append(short(made.recv()))

    with pytest.raises(OSError, match="messages were lost") as lost:
        read_on()
    assert lost.value.errno == errno.ENOBUFS
    assert set(got) == {"X_SPDADD 1"}
    made.setblocking(False)
    with pytest.raises(BlockingIOError):
        made.recv()


def test_sockets_of_one_process_receive_each_others_changes(made: "kamexfrm.PfKeySocket") -> None:
    with kamexfrm.PfKeySocket() as other:
        other.settimeout(10)
        made.send(REGISTER)
        other.send(REGISTER)
        assert [short(made.recv()) for _ in range(2)] == ["REGISTER 1"] * 2
        made.send(add_policy(policy(), seq=5))
        assert [short(other.recv()) for _ in range(2)] == ["REGISTER 1", "X_SPDADD 5"]


def test_a_socket_belongs_to_the_namespace_in_which_it_was_made(
    made: "kamexfrm.PfKeySocket",
) -> None:
    elsewhere = Namespace()
    with elsewhere.enter():
        other = kamexfrm.PfKeySocket()
        add_by_another_process()
    other.settimeout(10)
    assert short(other.recv()).startswith("X_SPDADD ")
    made.send(SPD_DUMP)
    assert short(made.recv()) == "X_SPDDUMP errno 2 1"
    other.close()
    elsewhere.close()


def test_closing_ends_the_thread_and_all_else() -> None:
    descriptors = len(os.listdir("/proc/self/fd"))
    for _ in range(3):
        with kamexfrm.PfKeySocket() as one, kamexfrm.PfKeySocket():
            assert any(thread.name == "kamexfrm-pfkey" for thread in threading.enumerate())
        assert one.fileno() == -1
        one.close()
        with pytest.raises(OSError, match="Bad file descriptor"):
            one.send(DUMP)
        with pytest.raises(OSError, match="Bad file descriptor"):
            one.recv()
    assert not any(thread.name == "kamexfrm-pfkey" for thread in threading.enumerate())
    assert len(os.listdir("/proc/self/fd")) == descriptors


_EXHAUSTED = """
import errno, os, resource, sys, threading
import kamexfrm
kamexfrm.PfKeySocket().close()
most = resource.getrlimit(resource.RLIMIT_NOFILE)
before = os.listdir("/proc/self/fd")
for few in range(len(before) - 1, len(before) + 10):
    resource.setrlimit(resource.RLIMIT_NOFILE, (few, most[1]))
    try:
        kamexfrm.PfKeySocket().close()
        said = "made"
    except OSError as error:
        said = errno.errorcode[error.errno]
    resource.setrlimit(resource.RLIMIT_NOFILE, most)
    print(said, len(os.listdir("/proc/self/fd")) - len(before), threading.active_count())
"""


def test_a_process_without_descriptors_gets_the_error_and_loses_none() -> None:
    done = subprocess.run(
        [sys.executable, "-c", _EXHAUSTED], capture_output=True, text=True, check=True
    )
    rows = done.stdout.splitlines()
    assert set(rows) == {"EMFILE 0 1", "made 0 1"}
    assert rows.index("made 0 1") > 3


_FORK = """
import os, sys
import kamexfrm
made = kamexfrm.PfKeySocket()
child = os.fork()
if not child:
    try:
        made.send(bytes(16))
    except OSError as error:
        print(error.strerror, flush=True)
    made.close()
    with kamexfrm.PfKeySocket() as own:
        own.send(bytes.fromhex(sys.argv[1]))
        print(own.recv()[2], flush=True)
    os._exit(0)
os.waitpid(child, 0)
made.send(bytes.fromhex(sys.argv[1]))
print(made.recv()[2])
made.close()
"""


def test_a_forked_process_makes_its_own_and_leaves_the_parents_alone() -> None:
    # From 3.12 on Python warns of any fork in a process with threads; ours holds no lock then.
    command = [sys.executable, "-W", "ignore::DeprecationWarning", "-c", _FORK, DUMP.hex()]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == ("Bad file descriptor\n2\n2\n", "")


def test_without_net_admin_there_is_none() -> None:
    code = "import kamexfrm; kamexfrm.PfKeySocket()"
    dropped = ["setpriv", "--bounding-set=-net_admin", "--inh-caps=-net_admin"]
    done = subprocess.run(
        [*dropped, sys.executable, "-c", code], capture_output=True, text=True, check=False
    )
    assert done.stderr.endswith("PermissionError: [Errno 1] Operation not permitted\n")


def test_it_works_as_a_library_for_an_ordinary_user() -> None:
    code = (
        "import kamexfrm, sys\n"
        "with kamexfrm.PfKeySocket() as made:\n"
        "    made.send(bytes.fromhex(sys.argv[1]))\n"
        "    print(made.recv()[1])\n"
    )
    done = subprocess.run(
        ["unshare", "-rn", sys.executable, "-c", code, SPD_FLUSH.hex()],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.stdout, done.stderr) == ("19\n", "")
