"""Who hears what (Linux af_key.c pfkey_broadcast()).

There are four audiences: the sender alone, those who registered, everybody, and the promiscuous.
The last hear all that anybody hears, requests too, and what they are meant to hear a second time.
"""

from collections.abc import Iterator

from kamexfrm.hub.client_queue import QUEUE_BYTES, Client

#: What may wait for all clients together; each one's share is never less than the second number.
_ALL_BYTES = 1 << 26
_LEAST_BYTES = 1 << 14

#: So many clients need not share.
_MOST_WHOLE = _ALL_BYTES // QUEUE_BYTES


class Bus:
    """The clients of a hub. ``queue_bytes`` is each one's share of the memory for messages."""

    def __init__(self) -> None:
        self.queue_bytes = QUEUE_BYTES
        #: How many clients do not keep up with reading.
        self.slow_readers = 0
        self._clients: dict[Client, None] = {}
        self._promiscuous: dict[Client, None] = {}
        self._registered: dict[Client, None] = {}

    def __iter__(self) -> Iterator[Client]:
        return iter(tuple(self._clients))

    def __len__(self) -> int:
        return len(self._clients)

    def add(self, client: Client) -> None:
        """Let a client hear."""
        self._clients[client] = None
        self._share()

    def remove(self, client: Client) -> None:
        """Let a client hear no more."""
        for audience in (self._clients, self._promiscuous, self._registered):
            audience.pop(client, None)
        self._share()

    def heed(self, client: Client) -> None:
        """Let a client hear what its ``registered`` and ``promiscuous`` say now."""
        for audience, belongs in (
            (self._promiscuous, client.promiscuous),
            (self._registered, bool(client.registered)),
        ):
            if belongs:
                audience[client] = None
            else:
                audience.pop(client, None)

    def _share(self) -> None:
        clients = len(self._clients)
        self.queue_bytes = (
            QUEUE_BYTES if clients <= _MOST_WHOLE else max(_LEAST_BYTES, _ALL_BYTES // clients)
        )

    def is_congested(self) -> bool:
        """Whether nobody keeps up."""
        return 0 < len(self._clients) <= self.slow_readers

    def is_anybody_registered(self) -> bool:
        """Whether the kernel's own messages interest anybody."""
        return bool(self._registered)

    def to_promiscuous(self, data: bytes) -> None:
        """Give the promiscuous their copy."""
        for client in self._promiscuous:
            client.put(data)

    def to_one(self, client: Client, data: bytes) -> None:
        """Tell one client."""
        self.to_promiscuous(data)
        client.put(data)

    def to_registered(self, data: bytes, asker: Client | None = None) -> None:
        """Tell those who registered, and whoever asked."""
        self.to_promiscuous(data)
        for client in self._registered:
            client.put(data)
        if asker is not None and asker not in self._registered:
            asker.put(data)

    def to_all(self, data: bytes, besides: Client | None = None) -> None:
        """Tell everybody, ``besides`` one."""
        self.to_promiscuous(data)
        for client in self._clients:
            if client is not besides:
                client.put(data)
