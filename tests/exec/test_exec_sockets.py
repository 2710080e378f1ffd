"""socket(AF_KEY): what it gives, to whom, wherever the program has gone by then."""

import errno
import platform
import socket
import struct
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from kamexfrm.rig import Host
from tests.exec.exec_programs import EXEC, supervised
from tests.exec.pfkey_client import FLUSH, ask, base


def run(host: Host, text: str, *options: str) -> str:
    done = host.run(supervised(text, *options))
    assert (done.status, done.stderr) == (0, "")
    return done.stdout


class TestArguments:
    @pytest.mark.parametrize(
        ("kind", "protocol", "number"),
        [
            ("SOCK_RAW", 2, 0),
            ("SOCK_RAW", 0, errno.EPROTONOSUPPORT),
            ("SOCK_STREAM", 2, errno.ESOCKTNOSUPPORT),
            ("SOCK_SEQPACKET", 2, errno.ESOCKTNOSUPPORT),
            ("SOCK_DGRAM", 0, errno.ESOCKTNOSUPPORT),
            ("SOCK_RAW", 2 | 1 << 31, errno.EPROTONOSUPPORT),
        ],
    )
    def test_errors_are_af_keys(
        self, namespace: Host, kind: str, protocol: int, number: int
    ) -> None:
        text = f"print(refusal_of(raw_socket, AF_KEY, socket.{kind}, {protocol}))"
        assert run(namespace, text) == f"{number}\n"

    @pytest.mark.parametrize("kind", [11, 15, 3 | 1 << 4, 3 | 1 << 30])
    def test_what_is_no_type_is_einval(self, namespace: Host, kind: int) -> None:
        text = f"print(refusal_of(raw_socket, AF_KEY, {kind}, 2))"
        assert run(namespace, text) == f"{errno.EINVAL}\n"

    def test_flags_of_the_type_are_those_of_the_descriptor(self, namespace: Host) -> None:
        text = """
            for flags in (0, socket.SOCK_CLOEXEC, socket.SOCK_NONBLOCK):
                key = raw_socket(AF_KEY, socket.SOCK_RAW | flags, 2)
                print(os.get_inheritable(key), os.get_blocking(key))
        """
        assert run(namespace, text) == "True True\nFalse True\nTrue False\n"

    def test_the_lowest_free_descriptor_is_used(self, namespace: Host) -> None:
        text = """
            os.close(0)
            print(raw_socket(AF_KEY, socket.SOCK_RAW, 2), raw_socket(AF_KEY, socket.SOCK_RAW, 2))
        """
        assert run(namespace, text) == "0 3\n"

    def test_a_program_with_too_many_files_gets_emfile(self, namespace: Host) -> None:
        text = """
            import resource
            resource.setrlimit(resource.RLIMIT_NOFILE, (8, 8))
            keys, number = [], 0
            while not number:
                number = refusal_of(lambda: keys.append(pf_key()))
            print(len(keys), number == errno.EMFILE)
            keys.pop().close()
            print(base(ask(pf_key(), FLUSH))[:2])
        """
        assert run(namespace, text) == "5 True\n(9, 0)\n"


@pytest.mark.both_kernels
class TestPrograms:
    """On the guest's kernel as well: it is older, and has one processor."""

    def test_a_request_is_answered(self, namespace: Host) -> None:
        text = """
            with pf_key() as key:
                print(base(ask(key, REGISTER, ESP, 7)) == (REGISTER, 0, ESP, 7, os.getpid()))
                print(base(ask(key, SPDDUMP, 0, 8)) == (SPDDUMP, errno.ENOENT, 0, 8, os.getpid()))
        """
        assert run(namespace, text) == "True\nTrue\n"

    def test_threads_and_children_have_their_own(self, namespace: Host) -> None:
        text = """
            import threading
            answers = []
            def work(number):
                with pf_key() as key:
                    answers.extend(base(ask(key, FLUSH, 0, seq))[3] == seq for seq in range(1, 50))
            threads = [threading.Thread(target=work, args=(n,)) for n in range(8)]
            for each in threads: each.start()
            for each in threads: each.join()
            print(len(answers), all(answers))
            children = [os.fork() for _ in range(2)]
            if 0 in children:
                answers.clear()
                work(0)
                os._exit(len(answers) if all(answers) else 0)
            print([os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children])
        """
        assert run(namespace, text) == "392 True\n[49, 49]\n"

    def test_a_socket_can_be_shared_and_sent_to_a_jailed_child_of_another_user(
        self, namespace: Host, tmp_path: Path
    ) -> None:
        # As iked does it.
        text = f"""
            ours, theirs = socket.socketpair()
            if os.fork():
                theirs.close()
                key = pf_key()
                socket.send_fds(ours, [b"x"], [key.fileno()])
                print(ours.recv(100).decode())
                sys.exit()
            ours.close()
            os.chroot({str(tmp_path)!r})
            os.chdir("/")
            os.setresgid(65534, 65534, 65534)
            os.setresuid(65534, 65534, 65534)
            refused = refusal_of(pf_key)
            _, (number,), _, _ = socket.recv_fds(theirs, 1, 1)
            key = socket.socket(fileno=number)
            found = [base(ask_by_poll(key, REGISTER, ESP, seq))[3] for seq in range(1, 4)]
            theirs.send(f"{{found}} {{refused == errno.EPERM}}".encode())
        """
        assert run(namespace, text) == "[1, 2, 3] True\n"

    def test_a_jailed_child_has_its_parent_do_what_it_may_not(
        self, namespace: Host, tmp_path: Path
    ) -> None:
        # As racoon does it: the parent makes a second PF_KEY socket for the child's dumps, and sets
        # the policies of its IKE sockets once the child got EPERM.
        text = f"""
            BYPASS = [bytes.fromhex(f"020012000400{{way:02}}00") + bytes(8) for way in (1, 2)]
            key, (ours, theirs) = pf_key(socket.SOCK_NONBLOCK), socket.socketpair()
            if os.fork():
                key.close(), theirs.close()
                ours.recv(1, socket.MSG_PEEK)
                _, (number,), _, _ = socket.recv_fds(ours, 1, 1)
                with socket.socket(fileno=number) as udp, pf_key() as another:
                    set = [refusal_of(udp.setsockopt, 0, 16, policy) for policy in BYPASS]
                    socket.send_fds(ours, [b"x"], [another.fileno()])
                print(set, ours.recv(100).decode())
                sys.exit()
            ours.close()
            os.chroot({str(tmp_path)!r})
            os.chdir("/")
            os.setresgid(65534, 65534, 65534)
            os.setresuid(65534, 65534, 65534)
            udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            refused = {{refusal_of(udp.setsockopt, 0, 16, policy) for policy in BYPASS}}
            socket.send_fds(theirs, [b"x"], [udp.fileno()])
            _, (number,), _, _ = socket.recv_fds(theirs, 1, 1)
            found = []
            with socket.socket(fileno=number) as another:
                for each, type in ((key, SPDDUMP), (another, DUMP)):
                    answer = base(ask_impatiently(each, type))
                    found.append(answer[:2] + (answer[4] == os.getpid(),))
            theirs.send(f"{{found}} {{refused == {{errno.EPERM}}}}".encode())
        """
        # The socket's own policies are in the SPD; there are no SAs.
        got = f"[(18, 0, True), (10, {errno.ENOENT}, True)]"
        assert run(namespace, text) == f"[0, 0] {got} True\n"

    def test_a_program_without_a_library_is_served(self, namespace: Host, tmp_path: Path) -> None:
        binary = tmp_path / "static"
        binary.write_bytes(static_elf())
        binary.chmod(0o755)
        # Its status is the type of the answer.
        assert namespace.run([*EXEC, "--", binary]).status == 9


@pytest.mark.parametrize("machine", [platform.machine()])
def test_the_program_without_a_library_is_of_this_machine(machine: str) -> None:
    assert machine == "x86_64", "write its code for this machine too"


#: An executable of x86_64, version 1; a program header behind this one, no sections, no flags;
#: the sizes of both and their number.
_HEADER = (2, 62, 1, 64, 0, 0, 64, 56, 1, 0, 0, 0)


def static_elf() -> bytes:
    """Return an ELF program of x86_64: socket, sendto, recvfrom, and the answer's type as status.

    Registers: rbx is the socket; the message lies behind the code, the answer goes to the stack.
    """
    code = bytes.fromhex(
        "bf0f000000 be03000000 ba02000000 b829000000 0f05"  # socket(AF_KEY, SOCK_RAW, 2)
        "89c3 89df"  # ebx = edi = the descriptor
        "488d3535000000 ba10000000 4d31d2 4d31c0 4d31c9 b82c000000 0f05"  # sendto(.., message, 16)
        "89df 4881ec00100000 4889e6 ba00100000 4d31d2 4d31c0 4d31c9 b82d000000 0f05"  # recvfrom
        "0fb67c2401 b83c000000 0f05"  # exit(answer[1])
    )
    message = struct.pack("=BBBBHHII", 2, 9, 0, 0, 2, 0, 1, 1)
    # lea rsi, [rip + distance]: from behind the instruction to the end of the code.
    at = code.index(bytes.fromhex("488d35"))
    code = code[: at + 3] + struct.pack("<i", len(code) - at - 7) + code[at + 7 :]
    start, heads = 0x400000, 64 + 56
    size = heads + len(code) + len(message)
    elf = struct.pack(
        "<16sHHIQQQIHHHHHH", b"\x7fELF\2\1\1", *_HEADER[:3], start + heads, *_HEADER[3:]
    )
    load = struct.pack("<IIQQQQQQ", 1, 5, 0, start, start, size, size, 0x1000)
    return elf + load + code + message


class TestTheEndOfASocket:
    def test_what_was_sent_before_the_end_is_done(self, namespace: Host) -> None:
        # racoon's last FLUSH: sent with replies unread, and the program ends.
        text = """
            listener = pf_key()
            ask(listener, PROMISC, 1)
            key = pf_key()
            for seq in range(20):
                key.send(header(DUMP, 0, seq))
            key.send(header(FLUSH, 0, 77))
            key.close()
            listener.settimeout(10)
            got = []
            while FLUSH not in got:
                got.append(base(listener.recv(4096))[0])
            print(got.count(DUMP) >= 20)
        """
        assert run(namespace, text) == "True\n"

    def test_a_copy_keeps_it_open(self, namespace: Host) -> None:
        text = """
            key = pf_key()
            copy = key.dup()
            key.close()
            print(base(ask(copy, FLUSH))[:2])
        """
        assert run(namespace, text) == "(9, 0)\n"

    def test_a_socket_sent_to_another_program_is_served_to_its_end(
        self, namespace: Host, no_supervisor_stays: Callable[[], None]
    ) -> None:
        ours, theirs = socket.socketpair()
        text = f"""
            key, channel = pf_key(), socket.socket(fileno={theirs.fileno()})
            socket.send_fds(channel, [b"x"], [key.fileno()])
        """
        with ours, theirs:
            subprocess.run(supervised(text), check=True, pass_fds=[theirs.fileno()])
            _, (number,), _, _ = socket.recv_fds(ours, 1, 1)
        with socket.socket(fileno=number) as key:
            assert base(ask(key, FLUSH))[:2] == (9, 0)
            assert base(ask(key, FLUSH))[:2] == (9, 0)
        no_supervisor_stays()
