"""What the running kernel can do, asked by doing it in a namespace made for the question."""

import errno
import functools
import os
import socket
import struct
from collections.abc import Callable

from kamexfrm.net import IPPROTO_AH, IPPROTO_ESP
from kamexfrm.rig.namespace import Namespace

NETLINK_XFRM = 6
XFRM_MSG_NEWSA = 0x10
NLM_F_REQUEST = 0x01
NLM_F_ACK = 0x04
NLMSG_ERROR = 2
XFRMA_ALG_AUTH = 1
XFRMA_ALG_CRYPT = 2

#: struct xfrm_usersa_info (linux/xfrm.h, 224 bytes): selector, id, source, lifetimes, statistics.
_SELECTOR = struct.Struct("@16s16sHHHHHBBB3xiI")
_ID = struct.Struct("@16s4sB3x")
_LIFETIME = struct.Struct("@8Q32x")
_TAIL = struct.Struct("@12xIIHBBB7x")
_NLMSGHDR = struct.Struct("@IHHII")
_UNLIMITED = 0xFFFFFFFFFFFFFFFF

#: The kernel's answers to "this protocol is not there".
_ABSENT = {errno.EPROTONOSUPPORT, errno.ENOENT, errno.EINVAL, errno.ENOSYS, errno.EAFNOSUPPORT}


@functools.cache
def kernel_has_esp() -> bool:
    """Return whether the running kernel takes an ESP SA; needs CAP_SYS_ADMIN, else False."""
    null = _algorithm(XFRMA_ALG_CRYPT, b"ecb(cipher_null)", b"")
    digest = _algorithm(XFRMA_ALG_AUTH, b"hmac(sha1)", bytes(range(20)))
    return _takes(IPPROTO_ESP, null + digest)


@functools.cache
def kernel_has_ah() -> bool:
    """Return whether the running kernel takes an AH SA; needs CAP_SYS_ADMIN, else False."""
    return _takes(IPPROTO_AH, _algorithm(XFRMA_ALG_AUTH, b"hmac(sha1)", bytes(range(20))))


@functools.cache
def kernel_has_netem() -> bool:
    """Return whether the running kernel delays and loses packets (tc-netem(8))."""
    from kamexfrm.rig import wiring

    return _makes(lambda: wiring.impair("lo", 1.0, 0.0))


@functools.cache
def kernel_has_bridge() -> bool:
    """Return whether the running kernel makes bridges."""
    from kamexfrm.rig import wiring

    return _makes(lambda: wiring.bridge("br0", []))


#: What a scenario may need of a kernel, and how the running one is asked.
ABILITIES: dict[str, Callable[[], bool]] = {
    "ESP": kernel_has_esp,
    "AH": kernel_has_ah,
    "netem": kernel_has_netem,
    "bridges": kernel_has_bridge,
}


def _makes(make: Callable[[], None]) -> bool:
    """Whether something can be made in a namespace of its own."""
    try:
        namespace = Namespace()
    except PermissionError:
        return False
    try:
        with namespace.enter():
            make()
    except OSError as error:
        if error.errno in _ABSENT | {errno.EOPNOTSUPP}:
            return False
        raise
    finally:
        namespace.close()
    return True


def _algorithm(attribute: int, name: bytes, key: bytes) -> bytes:
    """Return a netlink attribute with a struct xfrm_algo: name, key length in bits, key."""
    value = struct.pack("@64sI", name, len(key) * 8) + key
    return struct.pack("@HH", 4 + len(value), attribute) + value + bytes(-len(value) % 4)


def _takes(protocol: int, algorithms: bytes) -> bool:
    """Add an SA of that protocol between two documentation addresses (RFC 5737)."""
    source, destination = (socket.inet_aton(text) for text in ("192.0.2.1", "192.0.2.2"))
    selector = _SELECTOR.pack(destination, source, 0, 0, 0, 0, socket.AF_INET, 32, 32, 0, 0, 0)
    sa = (
        selector
        + _ID.pack(destination, struct.pack("!I", 0x1000), protocol)
        + source.ljust(16, b"\0")
        + _LIFETIME.pack(*[_UNLIMITED] * 4, 0, 0, 0, 0)
        + _TAIL.pack(0, 0, socket.AF_INET, 0, 0, 0)
    )
    header = _NLMSGHDR.pack(
        _NLMSGHDR.size + len(sa) + len(algorithms),
        XFRM_MSG_NEWSA,
        NLM_F_REQUEST | NLM_F_ACK,
        1,
        0,
    )
    try:
        namespace = Namespace()
    except PermissionError:
        return False
    try:
        with (
            namespace.enter(),
            socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, NETLINK_XFRM) as kernel,
        ):
            kernel.send(header + sa + algorithms)
            answer = kernel.recv(65536)
    except OSError as error:  # a kernel without XFRM has no such netlink family
        if error.errno in _ABSENT | {errno.ESOCKTNOSUPPORT}:
            return False
        raise
    finally:
        namespace.close()
    kind = _NLMSGHDR.unpack_from(answer)[1]
    number = -struct.unpack_from("@i", answer, _NLMSGHDR.size)[0] if kind == NLMSG_ERROR else 0
    if number and number not in _ABSENT:
        raise OSError(number, os.strerror(number))
    return number == 0
