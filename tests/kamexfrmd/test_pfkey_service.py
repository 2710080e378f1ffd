"""kamexfrmd --pfkey: PF_KEY at a path, who gets in, and what is left behind."""

import contextlib
import os
import signal
import socket
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from kamexfrm.rig import Host, until
from tests.hub.pfkey_samples import DUMP, REGISTER, SPD_DUMP, SPD_FLUSH, add_policy, policy, short

KAMEXFRMD = [sys.executable, "-m", "kamexfrm.kamexfrmd"]

pytestmark = pytest.mark.usefixtures("namespace")


@pytest.fixture
def path(tmp_path: Path) -> str:
    return str(tmp_path / "pfkey")


@contextlib.contextmanager
def serving(path: str) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen([*KAMEXFRMD, "--pfkey", path], stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    assert process.stderr.readline() == f"kamexfrmd: serving PF_KEY at {path}\n"
    assert "following" in process.stderr.readline()
    try:
        yield process
    finally:
        process.terminate()
        process.communicate(timeout=10)


def connect(path: str) -> socket.socket:
    made = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    made.settimeout(10)
    made.connect(path)
    return made


def start(path: str) -> str:
    """Start a daemon that cannot serve at a path; return what it says of it."""
    done = subprocess.run(
        [*KAMEXFRMD, "--pfkey", path], capture_output=True, text=True, timeout=30, check=False
    )
    assert done.returncode == 1
    assert done.stderr.startswith("kamexfrmd: ")
    return done.stderr.removeprefix("kamexfrmd: ").removesuffix("\n")


def ask(client: socket.socket, request: bytes) -> str:
    client.send(request)
    return short(client.recv(1 << 16))


def test_programs_that_connect_have_a_pf_key_socket_each(path: str) -> None:
    with serving(path), connect(path) as first, connect(path) as second:
        assert ask(first, REGISTER) == "REGISTER 1"
        assert ask(first, SPD_DUMP) == "X_SPDDUMP errno 2 1"
        assert ask(first, add_policy(policy())) == "X_SPDADD 1"
        assert short(second.recv(1 << 16)) == "X_SPDADD 1"
        assert ask(second, SPD_DUMP) == "X_SPDDUMP 0"


def test_changes_by_others_reach_all_of_them(path: str) -> None:
    with serving(path), connect(path) as first, connect(path) as second:
        assert ask(first, DUMP) == ask(second, DUMP) == "DUMP errno 2 1"
        subprocess.run(
            ["ip", "xfrm", "policy", "add", "src", "10.1.0.0/16", "dir", "in"], check=True
        )
        for client in (first, second):
            assert short(client.recv(1 << 16)).startswith("X_SPDADD ")


def test_it_still_reconciles(path: str) -> None:
    with serving(path) as process, connect(path) as client:
        subprocess.run(
            [sys.executable, "-m", "kamexfrm.sysctl", "net.inet.ipsec.ah_net_deflev=2"],
            check=True,
            stdout=subprocess.DEVNULL,
        )
        subprocess.run(["ip", "xfrm", "policy", "flush"], check=True)
        assert process.stderr is not None
        assert "put back" in process.stderr.readline()
        assert short(client.recv(1 << 16)).startswith("X_SPDFLUSH ")


def test_what_was_sent_before_the_end_is_carried_out(path: str) -> None:
    with serving(path), connect(path) as other:
        assert ask(other, add_policy(policy())) == "X_SPDADD 1"
        with connect(path) as client:
            client.send(SPD_DUMP)  # its answer stays unread: the end comes as a reset
            client.send(SPD_FLUSH)
        assert short(other.recv(1 << 16)) == "X_SPDFLUSH 1"


class TestPath:
    def test_the_path_belongs_to_the_owner_and_goes_with_the_daemon(self, path: str) -> None:
        with serving(path):
            assert stat.S_IMODE(os.stat(path).st_mode) == 0o600
        assert not os.path.exists(path)

    def test_what_a_killed_daemon_left_is_replaced(self, path: str) -> None:
        with serving(path) as process:
            process.send_signal(signal.SIGKILL)
            process.wait()
        assert os.path.exists(path)
        with serving(path), connect(path) as client:
            assert ask(client, DUMP) == "DUMP errno 2 1"

    def test_a_file_that_is_no_socket_is_left_alone(self, path: str) -> None:
        Path(path).write_text("precious")
        done = subprocess.run(
            [*KAMEXFRMD, "--pfkey", path], capture_output=True, text=True, check=False
        )
        assert (done.returncode, done.stderr) == (
            1,
            f"kamexfrmd: File exists ({path} is not a socket)\n",
        )
        assert Path(path).read_text() == "precious"

    def test_a_path_that_is_served_is_refused(self, path: str, namespace: Host) -> None:
        with (
            serving(path),
            socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as other,
        ):
            taken = f"{path}-2"
            other.bind(taken)
            other.listen()
            done = subprocess.run(
                ["unshare", "-n", *KAMEXFRMD, "--pfkey", taken],
                capture_output=True,
                text=True,
                check=False,
            )
            assert done.returncode == 1
            assert f" listens at {taken})" in done.stderr
            assert f"(process {os.getpid()} (" in done.stderr

    def test_one_that_accepts_no_connection_is_no_reason_to_wait(self, path: str) -> None:
        with contextlib.ExitStack() as stack:
            other = stack.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET))
            other.bind(path)
            other.listen(1)
            with contextlib.suppress(BlockingIOError):
                while True:
                    waiting = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
                    stack.enter_context(waiting).setblocking(False)
                    waiting.connect(path)
            assert start(path) == (
                f"Address already in use (a process that accepts no connection listens at {path})"
            )

    @pytest.mark.parametrize("kind", [socket.SOCK_STREAM, socket.SOCK_DGRAM])
    def test_a_socket_of_another_type_is_left_alone(
        self, path: str, kind: socket.SocketKind
    ) -> None:
        with socket.socket(socket.AF_UNIX, kind) as other:
            other.bind(path)
            if kind is socket.SOCK_STREAM:
                other.listen()
            assert start(path) == (
                f"Address already in use (another process has a socket of another type at {path})"
            )
            assert os.path.exists(path)

    def test_a_dead_socket_of_another_user_is_left_alone(self, path: str) -> None:
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as other:
            other.bind(path)
        os.chown(path, 65534, 65534)
        assert start(path) == f"File exists ({path} is a socket of user 65534)"
        assert os.path.exists(path)

    @pytest.mark.parametrize("target", ["", "/nowhere"])
    def test_a_symbolic_link_is_left_alone(self, path: str, target: str) -> None:
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as other:
            other.bind(f"{path}-2")
        os.symlink(target or f"{path}-2", path)
        assert start(path) == f"File exists ({path} is not a socket)"
        assert os.path.islink(path)
        assert os.path.exists(f"{path}-2")

    def test_a_path_that_cannot_be_is_refused_in_words(self, path: str, tmp_path: Path) -> None:
        long = "/tmp/" + "x" * 103
        assert start(long) == f"File name too long ({long} has more than 107 bytes)"
        assert start(f"{path}/pfkey") == f"No such file or directory ({path}/pfkey)"
        assert start(str(tmp_path)) == f"File exists ({tmp_path} is not a socket)"
        assert start("/nowhere\x1b[1m/\n") == "No such file or directory (/nowhere\\x1b[1m/\\n)"

    @pytest.mark.parametrize("option", ["--pfkey", "--netns"])
    @pytest.mark.parametrize("joined", [False, True])
    def test_an_empty_value_is_an_error_of_usage(self, option: str, joined: bool) -> None:
        words = [f"{option}="] if joined else [option, ""]
        done = subprocess.run(
            [*KAMEXFRMD, *words], capture_output=True, text=True, timeout=30, check=False
        )
        assert done.returncode == 2
        assert done.stderr.startswith(
            f"kamexfrmd: option '{option}' needs a value that is not empty\nusage: "
        )

    def test_once_and_pfkey_exclude_each_other(self, path: str) -> None:
        done = subprocess.run(
            [*KAMEXFRMD, "--once", "--pfkey", path], capture_output=True, text=True, check=False
        )
        assert done.returncode == 2
        assert "--once does not serve PF_KEY" in done.stderr


_AS_NOBODY = """
import os, socket, sys
os.setgroups([]); os.setresgid(65534, 65534, 65534); os.setresuid(65534, 65534, 65534)
client = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
try:
    client.connect(sys.argv[1])
    print(client.recv(100))
except OSError as error:
    print(error.strerror)
"""


def as_nobody(path: str) -> str:
    return subprocess.run(
        [sys.executable, "-c", _AS_NOBODY, path], capture_output=True, text=True, check=True
    ).stdout


def test_no_other_user_gets_in_even_where_the_mode_would_allow_it() -> None:
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o755)  # noqa: S103  pytest's own folder is closed to others
        refused(os.path.join(folder, "pfkey"))


def refused(path: str) -> None:
    with serving(path), connect(path) as client:
        assert as_nobody(path) == "Permission denied\n"
        os.chmod(path, 0o666)  # noqa: S103
        assert as_nobody(path) == "b''\n"
        assert ask(client, DUMP) == "DUMP errno 2 1"


def test_a_client_that_never_reads_and_one_that_sends_nonsense_do_no_harm(path: str) -> None:
    with serving(path) as process, connect(path) as good, connect(path) as bad:
        bad.setblocking(False)
        sent = 0
        for _ in range(20_000):
            try:
                bad.send(DUMP if sent % 2 else os.urandom(64))
                sent += 1
            except BlockingIOError:
                assert ask(good, DUMP) == "DUMP errno 2 1"
        assert sent > 1000
        assert ask(good, DUMP) == "DUMP errno 2 1"
        assert process.poll() is None


def test_more_clients_than_descriptors_are_turned_away(path: str) -> None:
    limited = ["prlimit", "--nofile=64:64", *KAMEXFRMD, "--pfkey", path]
    process = subprocess.Popen(limited, stderr=subprocess.PIPE, text=True)
    until(lambda: os.path.exists(path), 20, "the socket")
    with contextlib.ExitStack() as stack:
        stack.callback(process.communicate, timeout=10)
        stack.callback(process.terminate)
        first = stack.enter_context(connect(path))
        assert ask(first, DUMP) == "DUMP errno 2 1"
        crowd = [stack.enter_context(connect(path)) for _ in range(100)]
        turned_away = 0
        for client in crowd:
            try:
                client.send(DUMP)
                turned_away += client.recv(100) == b""
            except OSError:
                turned_away += 1
        assert 0 < turned_away < 100
        assert ask(first, DUMP) == "DUMP errno 2 1"
