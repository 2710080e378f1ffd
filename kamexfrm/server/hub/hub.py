"""The hub: one network namespace's PF_KEY. Requests come in, replies and broadcasts go out."""

import errno
import os
import sys
from collections.abc import Callable

from kamexfrm.errors import KamexfrmError
from kamexfrm.kernel.interface import Kernel
from kamexfrm.pfkey import PF_KEY_V2, SadbMsg, SadbType, decode_base, encode
from kamexfrm.server.hub.client import QUEUE_BYTES, Client
from kamexfrm.translate.pfkey import refusal
from kamexfrm.xfrm import (
    XFRMNLGRP_EXPIRE,
    XFRMNLGRP_MAPPING,
    XFRMNLGRP_MIGRATE,
    XFRMNLGRP_POLICY,
    XFRMNLGRP_SA,
)

GROUPS = (
    XFRMNLGRP_EXPIRE,
    XFRMNLGRP_SA,
    XFRMNLGRP_POLICY,
    XFRMNLGRP_MIGRATE,
    XFRMNLGRP_MAPPING,
)

#: The longest request that Linux's AF_KEY takes with the usual send buffer.
MESSAGE_BYTES = 212_960

_HEADER_BYTES = 16
_ORDER = sys.byteorder
_LAST_TYPE = SadbType.SADB_X_MIGRATE

#: What waits for all clients together; each one's share is never less than the second number.
_ALL_BYTES = 1 << 26
_LEAST_BYTES = 1 << 14


def _ignore() -> None:
    pass


class Hub:
    """PF_KEY on a kernel; whoever attaches a client answers for its rights."""

    def __init__(self, kernel: Kernel) -> None:
        self._kernel = kernel
        self._events = kernel.subscribe(GROUPS)
        self._clients: list[Client] = []
        self.queue_bytes = QUEUE_BYTES

    def fileno(self) -> int:
        """Return a descriptor that is readable while kernel events wait."""
        return self._events.fileno()

    def hear(self) -> None:
        """Take waiting kernel events to the clients; never raises for what an event holds."""
        self._events.receive()

    def attach(self, notify: Callable[[], None] = _ignore) -> Client:
        """Make a client; ``notify`` is called whenever a message was queued for it."""
        client = Client(self, notify)
        self._clients.append(client)
        self._share()
        return client

    def detach(self, client: Client) -> None:
        """Forget a client."""
        if client in self._clients:
            self._clients.remove(client)
            self._share()

    def _share(self) -> None:
        share = _ALL_BYTES // max(1, len(self._clients))
        self.queue_bytes = max(_LEAST_BYTES, min(QUEUE_BYTES, share))

    def close(self) -> None:
        """Stop listening; the kernel object is its maker's."""
        self._clients.clear()
        self._events.close()

    def take(self, client: Client, data: bytes) -> None:
        """Carry out a client's request; see Client.send()."""
        check_header(data)
        for each in self._clients:
            if each.promiscuous:
                each.put(data)
        base = decode_base(data)
        self.answer(client, refusal(base, errno.EOPNOTSUPP))

    def answer(self, client: Client, message: SadbMsg) -> None:
        """Send a message to a client alone, and a copy to those who are promiscuous."""
        data = encode(message)
        for each in self._clients:
            if each.promiscuous:
                each.put(data)
        client.put(data)


def check_header(data: bytes) -> None:
    """Refuse what no answer can be given to (Linux af_key.c pfkey_get_base_msg()).

    Raises KamexfrmError: EMSGSIZE where a message is not as long as it says, EINVAL where it is not
    of this version or of no type.
    """
    size = len(data)
    if not _HEADER_BYTES <= size <= MESSAGE_BYTES:
        raise _unsendable(errno.EMSGSIZE, f"a message of {size} bytes")
    words = int.from_bytes(data[4:6], _ORDER)
    if data[0] != PF_KEY_V2 or data[6:8] != b"\0\0" or not 0 < data[1] <= _LAST_TYPE:
        raise _unsendable(errno.EINVAL, "no header of PF_KEY version 2")
    if words * 8 != size:
        text = f"sadb_msg_len says {words * 8} bytes, the message has {size}"
        raise _unsendable(errno.EMSGSIZE, text)


def _unsendable(number: int, reason: str) -> KamexfrmError:
    return KamexfrmError(f"{os.strerror(number)} ({reason})", errno=number)
