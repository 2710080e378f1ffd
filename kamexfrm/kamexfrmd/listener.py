"""A listening Unix socket at a path: a process that may connect gets a PF_KEY socket."""

import contextlib
import errno
import os
import socket
import stat
import struct

from kamexfrm.command_line import printable
from kamexfrm.errors import KernelError
from kamexfrm.kernel.lock import process_name

#: Only the owner: connect(2) needs the right to write.
_MODE = 0o600

_BACKLOG = 128

#: Errors of accept(2) when there is no descriptor left.
_EXHAUSTED = (errno.EMFILE, errno.ENFILE)

#: Process id, user, group (Linux struct ucred).
_CREDENTIALS = struct.Struct("3i")

#: The longest path of a Unix socket, in bytes (sun_path with a zero at its end).
_LONGEST_PATH = 107


class Listener:
    """Listens at a path, which exists as long as this is open.

    What a killed process of the same user left at the path is replaced. Raises KernelError:
    EADDRINUSE where another process has the path, EEXIST for what is no socket or another user's,
    ENAMETOOLONG, and what lstat(2) and bind(2) raise.
    """

    def __init__(self, path: str) -> None:
        self._path = path
        self._shown = printable(path, kept="")
        if len(os.fsencode(path)) > _LONGEST_PATH:
            reason = f"{self._shown} has more than {_LONGEST_PATH} bytes"
            raise KernelError(errno.ENAMETOOLONG, reason)
        self._socket = socket.socket(
            socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC
        )
        try:
            self._remove_stale()
            mask = os.umask(0o777 & ~_MODE)
            try:
                self._socket.bind(path)
            finally:
                os.umask(mask)
            self._inode = _inode(path)
            self._socket.listen(_BACKLOG)
        except OSError as error:
            self._socket.close()
            raise KernelError(error.errno or errno.EIO, self._shown) from None
        except KernelError:
            self._socket.close()
            raise
        # Closed to accept and drop a connection, when there is no other descriptor left.
        self._spare = os.dup(self._socket.fileno())

    def _remove_stale(self) -> None:
        """Remove a socket on which no process listens; raises KernelError, OSError."""
        try:
            status = os.lstat(self._path)
        except FileNotFoundError:
            return
        if not stat.S_ISSOCK(status.st_mode):
            raise KernelError(errno.EEXIST, f"{self._shown} is not a socket")
        # Non-blocking: who never accepts would keep us waiting for room in the backlog.
        with socket.socket(
            socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC
        ) as probe:
            try:
                probe.connect(self._path)
            except ConnectionRefusedError:
                pass
            except BlockingIOError:
                reason = f"a process that accepts no connection listens at {self._shown}"
                raise KernelError(errno.EADDRINUSE, reason) from None
            except OSError as error:
                if error.errno != errno.EPROTOTYPE:
                    raise
                reason = f"another process has a socket of another type at {self._shown}"
                raise KernelError(errno.EADDRINUSE, reason) from None
            else:
                peer, _ = _credentials(probe)
                raise KernelError(
                    errno.EADDRINUSE, f"{process_name(peer)} listens at {self._shown}"
                )
        if status.st_uid != os.geteuid():
            raise KernelError(errno.EEXIST, f"{self._shown} is a socket of user {status.st_uid}")
        os.unlink(self._path)

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
        _, user = _credentials(peer)
        if user not in (0, os.geteuid()):
            peer.close()
            return None
        return peer

    def _drop_one(self) -> None:
        self._close_spare()
        with contextlib.suppress(OSError):
            self._socket.accept()[0].close()
        with contextlib.suppress(OSError):  # another process may have taken the system's last
            self._spare = os.dup(self._socket.fileno())

    def _close_spare(self) -> None:
        spare, self._spare = self._spare, -1
        if spare >= 0:
            os.close(spare)

    def close(self) -> None:
        """Stop listening, and remove the path if it is still ours."""
        self._socket.close()
        self._close_spare()
        with contextlib.suppress(OSError):
            if _inode(self._path) == self._inode:
                os.unlink(self._path)


def _inode(path: str) -> tuple[int, int]:
    status = os.lstat(path)
    return status.st_dev, status.st_ino


def _credentials(peer: socket.socket) -> tuple[int, int]:
    """Return process id and user of the process that connected, or that listens."""
    credentials = peer.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    process, user, _ = _CREDENTIALS.unpack(credentials)
    return process, user
