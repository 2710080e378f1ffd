"""What small PF_KEY programs are made of, with the system calls of setkey, racoon and iked."""

import ctypes
import os
import select
import socket
import struct
from collections.abc import Callable

AF_KEY, PF_KEY_V2 = 15, 2
REGISTER, FLUSH, DUMP, SPDDUMP, SPDFLUSH, PROMISC = 7, 9, 10, 18, 19, 11
ESP = 3


def pf_key(flags: int = 0) -> socket.socket:
    return socket.socket(AF_KEY, socket.SOCK_RAW | flags, PF_KEY_V2)


def raw_socket(family: int, kind: int, protocol: int) -> int:
    """Make a socket just as it is asked for: Python's own adds SOCK_CLOEXEC."""
    libc = ctypes.CDLL(None, use_errno=True)
    made = libc.socket(family, kind, ctypes.c_int(protocol))
    if made < 0:
        raise OSError(ctypes.get_errno(), "socket")
    return int(made)


def header(type: int, satype: int = 0, seq: int = 1, pid: int = 0, words: int = 2) -> bytes:
    """Return a message that is only its base header."""
    return struct.pack("=BBBBHHII", PF_KEY_V2, type, 0, satype, words, 0, seq, pid or os.getpid())


def base(message: bytes) -> tuple[int, int, int, int, int]:
    """Return type, errno, satype, seq and pid of a message."""
    _, type, error, satype, _, _, seq, pid = struct.unpack_from("=BBBBHHII", message)
    return type, error, satype, seq, pid


def refusal_of(call: Callable[..., object], *arguments: object) -> int:
    """Return the errno that a call fails with, 0 if it does not."""
    try:
        call(*arguments)
    except OSError as error:
        return error.errno or 0
    return 0


def ask(sock: socket.socket, type: int, satype: int = 0, seq: int = 1) -> bytes:
    """Send a request as setkey does, and wait for the answer."""
    sock.send(header(type, satype, seq))
    return sock.recv(1 << 16)


def ask_impatiently(sock: socket.socket, type: int, satype: int = 0, seq: int = 1) -> bytes:
    """Send a request as racoon does, and read the answer at once."""
    sock.send(header(type, satype, seq))
    head = sock.recv(16, socket.MSG_PEEK | socket.MSG_DONTWAIT)
    length = struct.unpack_from("=H", head, 4)[0] * 8
    sock.recv(length, socket.MSG_PEEK)
    return sock.recv(length)


def send_a_thousand(sock: socket.socket, type: int) -> None:
    """Send as racoon does when it deletes a peer's SAs: without waiting, or looking for answers."""
    sock.setblocking(False)
    for seq in range(1000):
        sock.send(header(type, 0, seq))


def ask_by_poll(sock: socket.socket, type: int, satype: int = 0, seq: int = 1) -> bytes:
    """Send a request as iked does, and wait for a millisecond."""
    os.writev(sock.fileno(), [header(type, satype, seq)])
    waiting = select.poll()
    waiting.register(sock, select.POLLIN)
    if not waiting.poll(1):
        raise TimeoutError("no answer within a millisecond")
    sock.recv(16, socket.MSG_PEEK)
    return os.read(sock.fileno(), 1 << 16)
