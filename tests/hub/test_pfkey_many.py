"""SAs of mode any by the hundred, one by one as setkey sends them: each way in lets all follow."""

import socket
import subprocess
import sys
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest

import kamexfrm
from kamexfrm.kernel.netlink import NetlinkKernel
from kamexfrm.model.policy import Mode, SecurityPolicy, Selector
from kamexfrm.net import Address
from kamexfrm.rig import Host, until
from kamexfrm.xfrm import XFRM_MODE_TUNNEL
from tests.hub.pfkey_samples import add_policy, add_sa, association, policy, short

pytestmark = [pytest.mark.dataplane, pytest.mark.usefixtures("namespace")]

#: With a policy each, so many that changes share resyncs.
COUNT = 150

#: Sends the requests of a file, a line of hexadecimal digits each; may stay until it is stopped.
PROGRAM = """
import socket, sys
key = socket.socket(15, socket.SOCK_RAW, 2)
for line in open(sys.argv[1]):
    key.send(bytes.fromhex(line))
    assert key.recv(1 << 16)[2] == 0
print("sent", flush=True)
if sys.argv[2] == "stay":
    sys.stdin.readline()
"""

Check = Callable[[], None]


def requests() -> Iterable[bytes]:
    """Yield an SA of mode any, and then a policy that needs it in tunnel mode, again and again."""
    for number in range(1, COUNT + 1):
        ends = Address.parse(f"10.1.{number}.1"), Address.parse(f"10.2.{number}.1")
        sa = association(0x1000 + number, Mode.ANY)
        yield add_sa(sa._replace(source=ends[0], destination=ends[1]))
        yield add_policy(_tunnel(ends))


def _tunnel(ends: tuple[Address, Address]) -> SecurityPolicy:
    written = policy(mode=Mode.TUNNEL)
    (request,) = written.requests
    return written._replace(
        selector=Selector(ends[0], 32, ends[1], 32),
        requests=(request._replace(source=ends[0], destination=ends[1]),),
    )


@pytest.fixture
def all_become_tunnels(namespace: Host) -> Check:
    """Give a check that all SAs become tunnels, without a further request."""
    del namespace  # we are in it
    kernel = NetlinkKernel()

    def modes() -> list[int]:
        return [state.mode for state in kernel.states()]

    def check() -> None:
        until(lambda: modes() == [XFRM_MODE_TUNNEL] * COUNT, 30, "all SAs are tunnels")
        kernel.close()

    return check


def test_by_a_socket_of_a_process(all_become_tunnels: Check) -> None:
    with kamexfrm.PfKeySocket() as made:
        for request in requests():
            made.send(request)
            assert "errno" not in short(made.recv())
        all_become_tunnels()


@pytest.mark.parametrize("then", ["stay", "leave"])
def test_by_a_program_under_exec(all_become_tunnels: Check, tmp_path: Path, then: str) -> None:
    lines = tmp_path / "requests"
    lines.write_text("".join(f"{request.hex()}\n" for request in requests()))
    exec_ = [sys.executable, "-m", "kamexfrm.exec", "--", sys.executable, "-c", PROGRAM]
    with subprocess.Popen(
        [*exec_, str(lines), then], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as program:
        assert program.stdout is not None
        assert program.stdout.readline() == "sent\n"
        all_become_tunnels()
        program.communicate("go\n", timeout=30)


def test_by_a_path(all_become_tunnels: Check, tmp_path: Path) -> None:
    path = str(tmp_path / "pfkey")
    daemon = [sys.executable, "-m", "kamexfrm.kamexfrmd", "--pfkey", path]
    with (
        subprocess.Popen(daemon, stderr=subprocess.PIPE, text=True) as served,
        socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as client,
    ):
        try:
            assert served.stderr is not None
            assert "serving" in served.stderr.readline()
            assert "following" in served.stderr.readline()
            client.connect(path)
            for request in requests():
                client.send(request)
                assert "errno" not in short(client.recv(1 << 16))
            all_become_tunnels()
        finally:
            served.terminate()
