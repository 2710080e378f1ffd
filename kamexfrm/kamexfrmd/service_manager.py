"""Notifications to a service manager, as sd_notify(3) sends them."""

import os
import socket
import struct
from collections.abc import Callable

from kamexfrm.command_line import printable

#: How long a full queue is waited for, in seconds.
_DEADLINE = 2

#: Linux struct timeval: seconds, microseconds.
_TIMEVAL = struct.Struct("@ll")


class ServiceManager:
    """The service manager that named a socket in NOTIFY_SOCKET, if one did.

    The socket is made at once: an abstract name belongs to the network namespace that the process
    was started in. ``log`` gets a sentence for what could not be sent.
    """

    def __init__(self, log: Callable[[str], None]) -> None:
        self._log = log
        self._name = os.environb.get(b"NOTIFY_SOCKET", b"")
        self._socket: socket.socket | None = None
        if self._name:
            self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
            # A timeout of Python's own would poll a socket that always has room of its own.
            deadline = _TIMEVAL.pack(_DEADLINE, 0)
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, deadline)

    def notify(self, state: str) -> None:
        """Send a state, e.g. ``READY=1``."""
        if self._socket is None:
            return
        name = self._name
        address = b"\0" + name[1:] if name.startswith(b"@") else name
        try:
            self._socket.sendto(state.encode(), address)
        except OSError as error:
            shown = printable(os.fsdecode(name), kept="")
            reason = error.strerror or error
            self._log(f"could not notify the service manager at NOTIFY_SOCKET={shown}: {reason}")

    def close(self) -> None:
        """Close the socket."""
        if self._socket is not None:
            self._socket.close()
