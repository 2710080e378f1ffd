"""getsockopt(2) under exec: KAME's IP_IPSEC_POLICY, and what kind a PF_KEY socket is."""

import errno
import socket

import pytest

from kamexfrm.rig import Host
from tests.exec.exec_programs import supervised
from tests.exec.test_exec_socket_policies import value_of

#: Gets an option into a buffer that begins with what a program hands over, of any size.
GET = """
libc = ctypes.CDLL(None, use_errno=True)
def get(sock, head, room=None):
    level, option = (0, 16) if sock.family == socket.AF_INET else (41, 34)
    buffer = ctypes.create_string_buffer(head, 4096)
    size = ctypes.c_int(4096 if room is None else room)
    if libc.getsockopt(sock.fileno(), level, option, buffer, ctypes.byref(size)):
        return errno.errorcode[ctypes.get_errno()]
    return buffer.raw[:size.value].hex()
def give(sock, *values):
    level, option = (0, 16) if sock.family == socket.AF_INET else (41, 34)
    for value in values:
        sock.setsockopt(level, option, bytes.fromhex(value))
"""

#: libipsec's test-policy sets these and reads them back, with others of their kind.
TEXTS = [
    "in bypass",
    "out bypass",
    "in entrust",
    "out entrust",
    "in discard",
    "out none",
    "in ipsec esp/transport//use",
    "out ipsec esp/transport//require",
    "out ipsec esp/transport//default",
    "out ipsec ah/transport//unique:12",
    "out ipsec esp/transport//use ah/transport//require",
    "in ipsec esp/tunnel/10.0.0.1-10.0.0.2/require",
    "out ipsec esp/tunnel/fd00::1-fd00::2/unique:7 ah/transport/fd00::1-fd00::2/require",
]


def head(direction: int) -> bytes:
    return bytes(6) + bytes([direction]) + bytes(9)


def printed(namespace: Host, text: str, *options: str) -> list[str]:
    done = namespace.run(supervised(GET + text, *options))
    assert (done.status, done.stderr) == (0, "")
    return done.stdout.splitlines()


@pytest.mark.parametrize("family", ["AF_INET", "AF_INET6"])
def test_a_policy_is_read_back_as_it_was_set(namespace: Host, family: str) -> None:
    values = [value_of(text) for text in TEXTS]
    text = f"""
sock = socket.socket(socket.{family}, socket.SOCK_DGRAM)
for value in {values!r}:
    give(sock, value)
    direction = bytes.fromhex(value)[6]
    print(get(sock, bytes(6) + bytes([direction]) + bytes(9)))
"""
    assert printed(namespace, text) == values


def test_each_direction_and_each_socket_has_its_own(namespace: Host) -> None:
    values = [value_of("in bypass"), value_of("out ipsec esp/transport//require")]
    text = f"""
one, two = (socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(2))
give(one, *{values!r})
for sock in one, two:
    print(*(get(sock, bytes(6) + bytes([direction]) + bytes(9)) for direction in (1, 2, 0)))
one.close()
again = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
print(get(again, {head(1)!r}))
"""
    entrust = [value_of("in entrust"), value_of("out entrust")]
    assert [line.split() for line in printed(namespace, text)] == [
        [*values, values[1]],  # without a direction, the one that was set last
        [*entrust, entrust[1]],
        [entrust[0]],
    ]


def test_what_cannot_be_read_has_an_error(namespace: Host) -> None:
    text = f"""
sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
give(sock, {value_of("out ipsec esp/transport//require")!r})
print(get(sock, {head(2)!r}, 16), get(sock, {head(2)!r}, 15), get(sock, {head(2)!r}, -1))
print(get(sock, {head(3)!r}), get(sock, {head(9)!r}))
six = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
print(errno.errorcode[refusal_of(six.getsockopt, 0, 16, 16)])
print(errno.errorcode[refusal_of(sock.getsockopt, 41, 34, 16)])
print(libc.getsockopt(sock.fileno(), 0, 16, ctypes.c_void_p(16), ctypes.byref(ctypes.c_int(99))))
print(errno.errorcode[ctypes.get_errno()])
"""
    assert " ".join(printed(namespace, text)).split() == [
        *("EINVAL", "EINVAL", "EINVAL", "EINVAL", "EINVAL"),
        *("ENOTSUP", "ENOPROTOOPT", "-1", "EFAULT"),
    ]


def test_it_writes_nowhere_that_the_program_could_not_write_itself(namespace: Host) -> None:
    text = f"""
import mmap
sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
page = mmap.mmap(-1, 4096)
page[:16] = {head(2)!r}
where = ctypes.addressof(ctypes.c_char.from_buffer(page))
assert not libc.mprotect(ctypes.c_void_p(where), 4096, mmap.PROT_READ)
size = ctypes.c_int(4096)
print(libc.getsockopt(sock.fileno(), 0, 16, ctypes.c_void_p(where), ctypes.byref(size)))
print(errno.errorcode[ctypes.get_errno()], page[:2].hex())
"""
    assert printed(namespace, text) == ["-1", "EFAULT 0000"]


def test_a_forced_policy_is_shown(namespace: Host) -> None:
    text = f"""
sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
print(get(sock, {head(2)!r}))
"""
    shown = printed(namespace, text, "--policy", "out ipsec esp/transport//require")
    assert shown == [value_of("out ipsec esp/transport//require")]


def test_a_pf_key_socket_says_that_it_is_one(namespace: Host) -> None:
    text = """
sock = socket.socket(15, socket.SOCK_RAW, 2)
other, _ = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
for each in sock, other:
    options = (socket.SO_DOMAIN, socket.SO_TYPE, socket.SO_PROTOCOL)
    print(*(each.getsockopt(socket.SOL_SOCKET, option) for option in options))
print(sock.getsockopt(socket.SOL_SOCKET, socket.SO_DOMAIN, 2).hex())
"""
    assert printed(namespace, text) == ["15 3 2", f"1 {int(socket.SOCK_SEQPACKET)} 0", "0f00"]


def test_the_kernels_own_error_without_a_socket(namespace: Host) -> None:
    text = """
print(libc.getsockopt(99, 0, 16, None, None), errno.errorcode[ctypes.get_errno()])
"""
    assert printed(namespace, text) == [f"-1 {errno.errorcode[errno.EBADF]}"]
