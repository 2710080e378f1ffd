"""``--policy``: all IP sockets of a program have it, whatever the program does."""

import errno
import os
import platform
import socket
import subprocess

import pytest

from kamexfrm.rig import Host, TwoHosts
from tests.exec.exec_programs import EXEC, supervised

REQUIRE = ("--policy", "out ipsec esp/transport//require")
BYPASS = ("--policy", "in bypass", "--policy", "out bypass")

#: Counts the policies of sockets, by direction.
COUNT = """
import subprocess
def count():
    shown = subprocess.run(["ip", "xfrm", "policy"], capture_output=True, text=True).stdout
    return shown.count("socket in "), shown.count("socket out ")
libc = ctypes.CDLL(None, use_errno=True)
def refusal(function, *arguments):
    function.restype = ctypes.c_long
    return ctypes.get_errno() if function(*map(ctypes.c_long, arguments)) < 0 else 0
"""


def run(host: Host, text: str, *options: str) -> list[str]:
    done = host.run(supervised(COUNT + text, *options))
    assert (done.status, done.stderr) == (0, "")
    return done.stdout.splitlines()


@pytest.mark.both_kernels
def test_all_ip_sockets_have_the_policies_and_no_others(namespace: Host) -> None:
    text = """
kinds = [(2, socket.SOCK_STREAM, 0), (2, socket.SOCK_DGRAM, 0), (2, socket.SOCK_RAW, 1)]
kinds += [(10, socket.SOCK_STREAM, 0), (10, socket.SOCK_DGRAM, 0), (10, socket.SOCK_RAW, 58)]
kept = []
for number, kind in enumerate(kinds, 1):
    kept.append(socket.socket(*kind))
    assert count() == (number, number), kind
kept += [*socket.socketpair(), socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0)]
print(count(), [(s.family, s.type) for s in kept[:6]] == [kind[:2] for kind in kinds])
"""
    assert run(namespace, text, *BYPASS) == ["(6, 6) True"]


def test_flags_and_descriptors_are_the_programs(namespace: Host) -> None:
    text = """
os.close(0)
for flags in (0, socket.SOCK_CLOEXEC, socket.SOCK_NONBLOCK):
    sock = raw_socket(socket.AF_INET, socket.SOCK_DGRAM | flags, 0)
    print(sock, os.get_inheritable(sock), os.get_blocking(sock))
"""
    expected = ["0 True True", "3 False True", "4 True False"]
    assert run(namespace, text, *BYPASS) == expected


def test_errors_of_socket_are_the_kernels(namespace: Host) -> None:
    text = """
calls = [(2, socket.SOCK_STREAM, socket.IPPROTO_UDP), (2, socket.SOCK_RAW, 0), (2, 99, 0),
         (10, socket.SOCK_SEQPACKET, 0), (2, socket.SOCK_DGRAM, 250)]
print([refusal_of(raw_socket, *call) for call in calls])
"""
    assert run(namespace, text, *BYPASS) == run(namespace, text)


def test_an_accepted_connection_has_the_listeners(namespace: Host) -> None:
    text = """
for family, address in ((socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")):
    with socket.create_server((address, 0), family=family) as server:
        with socket.create_connection(server.getsockname()[:2]) as client:
            before = count()
            accepted, _ = server.accept()
            with accepted:
                print(before, count())
"""
    # The kernel makes it when the connection comes: accept(2) only hands it out.
    assert run(namespace, text, *BYPASS) == ["(3, 3) (3, 3)", "(3, 3) (3, 3)"]


def test_nothing_is_sent_in_clear(two_hosts: TwoHosts) -> None:
    text = """
udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
udp6 = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
tcp = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
tcp.settimeout(0.5)
print(refusal_of(udp.sendto, b"tell nobody", ("10.0.0.2", 9)) != 0)
print(refusal_of(udp6.sendto, b"tell nobody", ("fd00::2", 9)) != 0)
print(refusal_of(udp6.sendto, b"tell nobody", ("::ffff:10.0.0.2", 9)) == errno.ENETUNREACH)
try:
    tcp.connect(("10.0.0.2", 9))
except OSError:
    print("no connection")
"""
    other = two_hosts.a.socket(socket.AF_INET, socket.SOCK_DGRAM)
    with other, two_hosts.b.capture("eth0") as capture:
        assert two_hosts.a.ping("10.0.0.2")
        assert two_hosts.a.ping("fd00::2")
        assert run(two_hosts.a, text, *REQUIRE) == ["True"] * 3 + ["no connection"]
        other.sendto(b"the last", ("10.0.0.2", 9))
        capture.wait_for(lambda packet: packet.payload == b"the last")
        assert not capture.contains(b"tell nobody")
        assert not [packet for packet in capture.packets if "TCP" in str(packet)]


@pytest.mark.dataplane
def test_with_an_sa_all_is_protected(two_hosts: TwoHosts) -> None:
    sa = ["src", "10.0.0.1", "dst", "10.0.0.2", "proto", "esp", "spi", "0x1000"]
    keys = ["mode", "transport", "enc", "cbc(aes)", "0x" + "01" * 16]
    for host in two_hosts:
        host.run(["ip", "xfrm", "state", "add", *sa, *keys], check=True)
    text = """
udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
udp.sendto(b"tell nobody", ("10.0.0.2", 9))
"""
    receiver = two_hosts.b.socket(socket.AF_INET, socket.SOCK_DGRAM)
    receiver.bind(("10.0.0.2", 9))
    receiver.settimeout(10)
    with receiver, two_hosts.a.capture("eth0") as capture:
        run(two_hosts.a, text, *REQUIRE)
        assert capture.wait_for(lambda p: p.protocol == socket.IPPROTO_ESP).spi == 0x1000
        assert receiver.recv(100) == b"tell nobody"
        assert not capture.contains(b"tell nobody")


class TestWaysAround:
    def test_other_families_that_send_are_refused(self, namespace: Host) -> None:
        text = """
AF_PACKET, AF_SMC, SOCK_PACKET = 17, 43, 10
for call in ((AF_PACKET, socket.SOCK_RAW, 0), (AF_SMC, socket.SOCK_STREAM, 0),
             (2, SOCK_PACKET, 0), (2, socket.SOCK_STREAM, socket.IPPROTO_SCTP)):
    print(refusal_of(raw_socket, *call))
"""
        assert run(namespace, text, *BYPASS) == [
            str(errno.EAFNOSUPPORT),
            str(errno.EAFNOSUPPORT),
            str(errno.ESOCKTNOSUPPORT),
            str(errno.EPROTONOSUPPORT),
        ]

    def test_io_uring_is_refused(self, namespace: Host) -> None:
        text = "print([refusal(libc.syscall, number, 1, 0, 0, 0) for number in (425, 426, 427)])"
        assert run(namespace, text, *BYPASS) == [str([errno.ENOSYS] * 3)]

    @pytest.mark.skipif(platform.machine() != "x86_64", reason="code of that machine")
    def test_calls_of_the_32_bit_architecture_are_refused(self, namespace: Host) -> None:
        # push rbx; eax = 359 (socket), ebx = ecx = 2, edx = 0; int 0x80; pop rbx; ret
        text = """
import mmap
code = bytes.fromhex("53b867010000bb02000000b90200000031d2cd805bc3")
memory = mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
memory.write(code)
call = ctypes.CFUNCTYPE(ctypes.c_int)(ctypes.addressof(ctypes.c_char.from_buffer(memory)))
print(call())
"""
        assert run(namespace, text, *BYPASS) == [str(-errno.ENOSYS)]

    def test_ipv6_sockets_stay_without_ipv4(self, namespace: Host) -> None:
        text = """
with socket.socket(socket.AF_INET6, socket.SOCK_STREAM) as sock:
    print(sock.getsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY))
    print(refusal_of(sock.setsockopt, socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0))
    print(refusal_of(sock.setsockopt, socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1))
    print(sock.getsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY))
"""
        assert run(namespace, text, *BYPASS) == ["1", str(errno.EPERM), "0", "1"]

    def test_an_inherited_socket_is_reported(self, namespace: Host) -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
            done = subprocess.run(
                [*EXEC, *BYPASS, "--", "true"],
                pass_fds=[udp.fileno()],
                capture_output=True,
                text=True,
                check=True,
            )
            line = f"descriptor {udp.fileno()} is a socket of AF_INET from before"
        assert done.stderr == f"kamexfrm exec: {line}, outside the policies\n"


class TestWhoseTheyAre:
    def test_a_socket_is_its_makers_not_the_supervisors(self, namespace: Host) -> None:
        text = """
os.setresgid(1000, 1000, 1000)
os.setresuid(1000, 1000, 1000)
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
    udp.bind(("0.0.0.0", 1234))
    status = os.fstat(udp.fileno())
    rows = [line.split() for line in open("/proc/self/net/udp") if ":04D2 " in line]
    print(status.st_uid, status.st_gid, [row[7] for row in rows])
"""
        assert run(namespace, text, *BYPASS) == ["1000 1000 ['1000']"]

    def test_a_program_without_cap_net_raw_gets_no_raw_socket(self, namespace: Host) -> None:
        text = """
os.setresuid(1000, 1000, 1000)
print(refusal_of(socket.socket, socket.AF_INET, socket.SOCK_RAW, 1))
print(refusal_of(socket.socket, socket.AF_INET, socket.SOCK_RAW, 255))
"""
        assert run(namespace, text, *BYPASS) == [str(errno.EPERM)] * 2

    def test_ping_sockets_are_for_the_groups_that_may(self, namespace: Host) -> None:
        namespace.sysctl("net.ipv4.ping_group_range", "2000 2001")
        text = """
def ping(): return refusal_of(socket.socket, socket.AF_INET, socket.SOCK_DGRAM, 1)
print(ping())
os.setgroups([2001])
print(ping())
os.setgroups([])
os.setegid(2000)
print(ping())
"""
        assert run(namespace, text, *BYPASS) == [str(errno.EACCES), "0", "0"]

    def test_a_program_in_another_namespace_has_them_there(self, namespace: Host) -> None:
        text = """
libc.unshare(0x40000000)
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
    print(count())
"""
        assert run(namespace, text, *BYPASS) == ["(1, 1)"]


class TestBeforeTheProgramStarts:
    @pytest.mark.parametrize(
        ("texts", "complaint"),
        [
            (["out ipsec esp/transport//sometimes"], "--policy:1:26: "),
            (["in bypass", "out"], "--policy:2: a direction alone is no policy"),
            (["fwd bypass"], "--policy:1: sockets have in and out policies only"),
            (["out bypass", "out discard"], "--policy:2: a second policy for this direction"),
            (["out ipsec"], "--policy:1"),
            (["out ipsec esp/tunnel/192.0.2.1-192.0.2.2/use"], "--policy:1: Linux takes no"),
            ([""], "--policy:1"),
        ],
    )
    def test_a_wrong_text_is_refused_with_its_place(
        self, namespace: Host, texts: list[str], complaint: str
    ) -> None:
        options = [word for text in texts for word in ("--policy", text)]
        done = namespace.run([*EXEC, *options, "--", "echo", "started"])
        assert (done.status, done.stdout) == (125, "")
        assert done.stderr.startswith(f"kamexfrm exec: {complaint}")
        assert "Traceback" not in done.stderr

    def test_a_user_without_the_right_to_policies_gets_an_error(self, namespace: Host) -> None:
        command = ["setpriv", "--bounding-set=-net_admin", "--inh-caps=-net_admin", *EXEC]
        done = namespace.run([*command, *BYPASS, "--", "echo", "started"])
        assert (done.status, done.stdout) == (125, "")
        reason = "--policy needs CAP_NET_ADMIN in this network namespace"
        assert done.stderr == f"kamexfrm exec: {os.strerror(errno.EPERM)} ({reason})\n"
