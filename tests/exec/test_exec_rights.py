"""Who may: CAP_NET_ADMIN in the user namespace that owns the network namespace, nothing less."""

import errno

import pytest

from kamexfrm.rig import Host
from tests.exec.exec_programs import EXEC, program, supervised

#: What programs here have besides the usual.
TRIES = """
CLONE_NEWUSER, CLONE_NEWNET, CLONE_FILES = 0x10000000, 0x40000000, 0x400
IP_XFRM_POLICY = 17
BYPASS = bytes.fromhex("02001200040002000000000000000000")
libc = ctypes.CDLL(None, use_errno=True)

def leave(flags):
    if libc.unshare(flags):
        raise OSError(ctypes.get_errno(), "unshare")

def drop():
    os.setgroups([])
    os.setresgid(1000, 1000, 1000)
    os.setresuid(1000, 1000, 1000)

def tries(label, udp=None):
    with udp or socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
        key = refusal_of(lambda: ask(pf_key(), FLUSH))
        policy = refusal_of(udp.setsockopt, socket.IPPROTO_IP, 16, BYPASS)
        # The kernel's own word: it takes a socket's policies away from who may give them.
        assert policy == refusal_of(udp.setsockopt, socket.IPPROTO_IP, IP_XFRM_POLICY, None, 0)
    print(label, key, policy, flush=True)

def in_child(function):
    child = os.fork()
    if not child:
        function()
        os._exit(0)
    os.waitpid(child, 0)
"""
NO_RIGHTS = ["setpriv", "--bounding-set=-all", "--inh-caps=-all"]
EPERM = errno.EPERM


def lines_of(host: Host, command: list[str]) -> list[str]:
    done = host.run(command, check=True)
    return done.stdout.splitlines()


def trying(text: str) -> str:
    return TRIES + text


@pytest.mark.both_kernels
class TestOfRoot:
    """The command is root's, the programs it starts may be any user's."""

    def test_a_program_with_the_capability_may(self, namespace: Host) -> None:
        assert lines_of(namespace, supervised(trying("tries('root')"))) == ["root 0 0"]

    def test_a_full_set_in_a_user_namespace_of_ones_own_is_nothing_here(
        self, namespace: Host
    ) -> None:
        text = """
def root(): leave(CLONE_NEWUSER); tries("root")
def user(): drop(); leave(CLONE_NEWUSER); tries("user")
in_child(root)
in_child(user)
"""
        expected = [f"root {EPERM} {EPERM}", f"user {EPERM} {EPERM}"]
        assert lines_of(namespace, supervised(trying(text))) == expected

    def test_a_user_may_in_a_network_namespace_of_their_own(self, namespace: Host) -> None:
        text = """
def root(): leave(CLONE_NEWUSER | CLONE_NEWNET); tries("root")
def user(): drop(); leave(CLONE_NEWUSER | CLONE_NEWNET); tries("user")
in_child(root)
in_child(user)
tries("still")
"""
        assert lines_of(namespace, supervised(trying(text))) == [
            "root 0 0",
            "user 0 0",
            "still 0 0",
        ]

    def test_an_ordinary_user_may_not(self, namespace: Host) -> None:
        expected = [f"user {EPERM} {EPERM}"]
        assert lines_of(namespace, supervised(trying("drop(); tries('user')"))) == expected

    def test_errors_come_in_the_kernels_order(self, namespace: Host) -> None:
        text = """
drop()
for kind, protocol in ((socket.SOCK_RAW, 0), (socket.SOCK_STREAM, 2), (99, 2)):
    print(refusal_of(raw_socket, AF_KEY, kind, protocol))
"""
        expected = [str(EPERM), str(EPERM), str(errno.EINVAL)]
        assert lines_of(namespace, supervised(trying(text))) == expected

    def test_a_socket_of_another_namespace_stays_out_of_reach(self, namespace: Host) -> None:
        # The right to a namespace of one's own is no right to a socket from before.
        text = """
drop()
before = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
leave(CLONE_NEWUSER | CLONE_NEWNET)
tries("own")
tries("before", before)
"""
        assert lines_of(namespace, supervised(trying(text))) == ["own 0 0", f"before 0 {EPERM}"]

    def test_the_maker_of_the_owner_may_without_a_capability(self, namespace: Host) -> None:
        text = """
ours, theirs = os.pipe()
holder = os.fork()
if not holder:
    leave(CLONE_NEWUSER | CLONE_NEWNET)
    os.write(theirs, b"x")
    signal.pause()
os.read(ours, 1)
with open(f"/proc/{holder}/ns/net") as other:
    assert libc.setns(other.fileno(), CLONE_NEWNET) == 0
def lowered(): assert libc.capset(struct.pack("=Ii", 0x20080522, 0), bytes(24)) == 0
def maker(): lowered(); tries("maker")
def other(): drop(); tries("other")
in_child(maker)
in_child(other)
os.kill(holder, signal.SIGKILL)
"""
        expected = ["maker 0 0", f"other {EPERM} {EPERM}"]
        assert lines_of(namespace, supervised(trying(text))) == expected

    def test_a_thread_has_its_own_rights(self, namespace: Host) -> None:
        text = """
import threading
def lowered():
    header = struct.pack("=Ii", 0x20080522, 0)
    assert libc.capset(header, bytes(24)) == 0
    tries("thread")
thread = threading.Thread(target=lowered)
thread.start()
thread.join()
tries("process")
"""
        expected = [f"thread {EPERM} {EPERM}", "process 0 0"]
        assert lines_of(namespace, supervised(trying(text))) == expected

    def test_a_thread_with_files_of_its_own_is_not_confused_with_its_process(
        self, namespace: Host
    ) -> None:
        text = """
import threading
found = []
def apart():
    leave(CLONE_FILES)
    null = os.open("/dev/null", os.O_RDWR)
    os.dup2(null, udp.fileno())
    found.append(refusal_of(udp.setsockopt, socket.IPPROTO_IP, 16, BYPASS))
    key = pf_key()
    found.append(base(ask_impatiently(key, FLUSH))[:2])
udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
thread = threading.Thread(target=apart)
thread.start()
thread.join()
print(found[0] in (errno.ENOTSOCK, errno.EOPNOTSUPP), found[1:])
"""
        assert lines_of(namespace, supervised(trying(text))) == ["True [(9, 0)]"]


class TestOfAUser:
    """The command itself has no rights."""

    def test_they_may_nothing_here_and_all_in_a_namespace_of_their_own(
        self, namespace: Host
    ) -> None:
        text = """
def user(): leave(CLONE_NEWUSER); tries("user")
def net(): leave(CLONE_NEWUSER | CLONE_NEWNET); tries("net")
tries("plain")
in_child(user)
in_child(net)
"""
        expected = [f"plain {EPERM} {EPERM}", f"user {EPERM} {EPERM}", "net 0 0"]
        assert lines_of(namespace, [*NO_RIGHTS, *supervised(trying(text))]) == expected

    def test_a_user_with_rights_here_keeps_them_for_a_namespace_elsewhere(
        self, namespace: Host
    ) -> None:
        # Without CAP_SYS_ADMIN there is one way into it, and none back.
        text = """
def net(): leave(CLONE_NEWUSER | CLONE_NEWNET); print(refusal_of(pf_key), flush=True)
key = pf_key()
in_child(net)
print(base(ask(key, FLUSH))[:2])
tries("here")
"""
        command = ["setpriv", "--bounding-set=-sys_admin", "--inh-caps=-sys_admin"]
        expected = [str(EPERM), "(9, 0)", "here 0 0"]
        assert lines_of(namespace, [*command, *supervised(trying(text))]) == expected

    def test_they_give_up_privileges_for_it(self, namespace: Host) -> None:
        command = [*NO_RIGHTS, *EXEC, "--", "cat", "/proc/self/status"]
        assert "NoNewPrivs:\t1" in lines_of(namespace, command)

    def test_root_of_a_user_namespace_may_in_its_network_namespace(self, namespace: Host) -> None:
        command = ["unshare", "-rn", *supervised(trying("tries('root')"))]
        assert lines_of(namespace, command) == ["root 0 0"]

    def test_root_of_a_user_namespace_may_nothing_outside(self, namespace: Host) -> None:
        command = ["unshare", "-r", *supervised(trying("tries('root')"))]
        assert lines_of(namespace, command) == [f"root {EPERM} {EPERM}"]

    def test_a_namespace_within_is_theirs_too(self, namespace: Host) -> None:
        within = program(trying("tries('within')"))
        command = ["unshare", "-rn", *EXEC, "--", "unshare", "-rn", *within]
        assert lines_of(namespace, command) == ["within 0 0"]


def test_a_program_in_a_pid_namespace_of_its_own_is_recognised(namespace: Host) -> None:
    command = [*EXEC, "--", "unshare", "--pid", "--fork", *program(trying("tries(os.getpid())"))]
    assert lines_of(namespace, command) == ["1 0 0"]
