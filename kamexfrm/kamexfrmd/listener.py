"""A listening Unix socket at a path: a process that may connect gets a PF_KEY socket."""

import contextlib
import errno
import os
import socket
import stat
import struct

from kamexfrm.errors import KernelError

#: Only the owner: connect(2) needs the right to write.
_MODE = 0o600

_BACKLOG = 128

#: Errors of accept(2) when there is no descriptor left.
_EXHAUSTED = (errno.EMFILE, errno.ENFILE)

#: Process id, user, group (Linux struct ucred).
_CREDENTIALS = struct.Struct("3i")


class Listener:
    """Listens at a path, which exists as long as this is open.

    What a killed process left at the path is replaced. Raises KernelError: EADDRINUSE where another
    process listens, EEXIST for a file that is no socket.
    """

    def __init__(self, path: str) -> None:
        self._path = path
        self._socket = socket.socket(
            socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC
        )
        try:
            _remove_stale(path)
            mask = os.umask(0o777 & ~_MODE)
            try:
                self._socket.bind(path)
            finally:
                os.umask(mask)
            self._inode = _inode(path)
            self._socket.listen(_BACKLOG)
        except OSError as error:
            self._socket.close()
            raise KernelError(error.errno or errno.EIO, path) from None
        except KernelError:
            self._socket.close()
            raise
        # Closed to accept and drop a connection, when there is no other descriptor left.
        self._spare = os.open("/dev/null", os.O_RDONLY | os.O_CLOEXEC)

    def fileno(self) -> int:
        """Return the descriptor that is readable while a connection waits."""
        return self._socket.fileno()

    def accept(self) -> socket.socket | None:
        """Accept a connection; return None if none waits, or if its user has no right to it."""
        try:
            peer, _ = self._socket.accept()
        except OSError as error:
            if error.errno in _EXHAUSTED:
                self._drop_one()
            return None
        credentials = peer.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
        if _CREDENTIALS.unpack(credentials)[1] not in (0, os.geteuid()):
            peer.close()
            return None
        return peer

    def _drop_one(self) -> None:
        os.close(self._spare)
        with contextlib.suppress(OSError):
            self._socket.accept()[0].close()
        self._spare = os.open("/dev/null", os.O_RDONLY | os.O_CLOEXEC)

    def close(self) -> None:
        """Stop listening, and remove the path if it is still ours."""
        self._socket.close()
        os.close(self._spare)
        with contextlib.suppress(OSError):
            if _inode(self._path) == self._inode:
                os.unlink(self._path)


def _inode(path: str) -> tuple[int, int]:
    status = os.lstat(path)
    return status.st_dev, status.st_ino


def _remove_stale(path: str) -> None:
    """Remove a socket on which no process listens; raises KernelError, OSError."""
    try:
        mode = os.lstat(path).st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(mode):
        raise KernelError(errno.EEXIST, f"{path} is not a socket")
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_CLOEXEC) as probe:
        try:
            probe.connect(path)
        except ConnectionRefusedError:
            os.unlink(path)
        else:
            raise KernelError(errno.EADDRINUSE, f"somebody serves {path}")
