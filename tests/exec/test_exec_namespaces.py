"""Network namespaces: a socket belongs to the one that its program is in when it asks."""

import subprocess

import pytest

from kamexfrm.rig import Host, Rig, until
from tests.exec.exec_programs import EXEC, program, supervised, supervisors

#: Prints how many policies the program sees.
COUNT = """
def count():
    with pf_key() as key:
        key.send(header(SPDDUMP))
        found = 0
        while True:
            _, number, _, seq, _ = base(key.recv(1 << 16))
            if number:
                return found
            found += 1
            if not seq:
                return found
"""


def add_policies(host: Host, count: int) -> None:
    for number in range(count):
        selector = ["src", f"10.0.{number}.0/24", "dst", "10.9.0.0/24", "dir", "out"]
        host.run(["ip", "xfrm", "policy", "add", *selector], check=True)


@pytest.fixture
def two(rig: Rig) -> tuple[Host, Host]:
    """Two hosts, with one and with three policies."""
    here, there = rig.host("here"), rig.host("there")
    add_policies(here, 1)
    add_policies(there, 3)
    return here, there


def test_a_program_that_moves_has_sockets_of_each_namespace(two: tuple[Host, Host]) -> None:
    here, there = two
    holder = there.start(["sleep", "60"])
    text = f"""
        {COUNT.replace(chr(10), chr(10) + " " * 8)}
        before = pf_key()
        print(count())
        with open("/proc/{holder.pid}/ns/net") as other:
            assert ctypes.CDLL(None).setns(other.fileno(), 0x40000000) == 0
        print(count())
    """
    assert here.run(supervised(text), check=True).stdout == "1\n3\n"


def test_a_program_started_in_another_namespace_is_served_there(two: tuple[Host, Host]) -> None:
    here, there = two
    holder = there.start(["sleep", "60"])
    enter = ["nsenter", f"--net=/proc/{holder.pid}/ns/net"]
    assert here.run([*EXEC, "--", *enter, *program(COUNT + "print(count())")]).stdout == "3\n"


def test_a_namespace_is_released_when_no_socket_is_left_there(namespace: Host) -> None:
    text = """
        libc = ctypes.CDLL(None)
        home = os.open("/proc/self/ns/net", os.O_RDONLY)
        libc.unshare(0x40000000)
        print(os.readlink("/proc/self/ns/net"))
        base(ask(pf_key(), FLUSH))
        libc.setns(home, 0x40000000)
        print("back", flush=True)
        sys.stdin.read()
    """
    before = supervisors()
    process = namespace.start(supervised(text), stdin=subprocess.PIPE)
    assert process.stdout is not None
    left = process.stdout.readline().strip()
    assert process.stdout.readline() == "back\n"
    (supervisor,) = supervisors() - before
    until(lambda: left not in open_files(supervisor), 10, "the namespace is closed")
    process.communicate("", timeout=30)


def open_files(pid: int) -> str:
    return subprocess.run(
        ["ls", "-l", f"/proc/{pid}/fd"], capture_output=True, text=True, check=True
    ).stdout
