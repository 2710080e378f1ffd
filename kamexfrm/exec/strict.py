"""The message of sendto, sendmsg, write and writev, read from the sender's memory.

The message itself is not parsed here; a wrong length gives an errno.
"""

import errno
import struct

from kamexfrm.exec import system
from kamexfrm.exec.caller import Caller
from kamexfrm.exec.seccomp import Notification
from kamexfrm.exec.system import Machine
from kamexfrm.hub.header import MESSAGE_BYTES

_MSG_OOB = 1
_VECTORS = 1024  # UIO_MAXIOV of linux/uio.h
_IOVEC = struct.Struct("=QQ")  # address, length
#: struct user_msghdr of 64 bits: name and its length, vectors and their number, control and its
#: length, flags.
_MSGHDR = struct.Struct("=QI4xQQQQI4x")


def sent_message(notification: Notification, caller: Caller, machine: Machine) -> bytes:
    """Return the message that a call sends; raises OSError as the kernel does.

    EMSGSIZE for what is too long for any message, EFAULT, EINVAL for too many vectors.
    """
    _, where, count, flags, *_ = notification.arguments
    number = notification.number
    if number == machine.sendto:
        _check_flags(flags)
        return _gather(caller, [(where, count)])
    if number == machine.sendmsg:
        _check_flags(notification.arguments[2])
        _, _, vectors, many, _, _, _ = _MSGHDR.unpack(caller.read(where, _MSGHDR.size))
        return _gather(caller, _vectors(caller, vectors, many, errno.EMSGSIZE))
    if number == machine.writev:
        return _gather(caller, _vectors(caller, where, count & 0xFFFFFFFF, errno.EINVAL))
    return _gather(caller, [(where, count)])


def _check_flags(flags: int) -> None:
    if flags & _MSG_OOB:
        raise system.error(errno.EOPNOTSUPP)


def _vectors(caller: Caller, where: int, many: int, too_many: int) -> list[tuple[int, int]]:
    if many > _VECTORS:
        raise system.error(too_many)
    return [*_IOVEC.iter_unpack(caller.read(where, many * _IOVEC.size))] if many else []


def _gather(caller: Caller, parts: list[tuple[int, int]]) -> bytes:
    """Return the bytes of several places, each given by address and length in bytes."""
    if sum(count for _, count in parts) > MESSAGE_BYTES:
        raise system.error(errno.EMSGSIZE)
    return b"".join(caller.read(where, count) for where, count in parts if count)
