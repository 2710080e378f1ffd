"""Which client gets which message (Linux af_key.c pfkey_broadcast()).

There are four audiences: the sender alone, the registered clients, all clients, and the promiscuous
ones. The last get a copy of every message, requests too; one that is addressed to them as well
comes twice.
"""

from collections.abc import Iterator

from kamexfrm.hub.client_queue import Client, QueueMemory


class Bus:
    """The clients of a hub; ``memory`` is what their queues share."""

    def __init__(self) -> None:
        self.memory = QueueMemory()
        self._clients: dict[Client, None] = {}
        self._promiscuous: dict[Client, None] = {}
        self._registered: dict[Client, None] = {}

    def __iter__(self) -> Iterator[Client]:
        return iter(tuple(self._clients))

    def __len__(self) -> int:
        return len(self._clients)

    def add(self, client: Client) -> None:
        """Send broadcasts to a client from now on."""
        self._clients[client] = None
        self.memory.share(len(self._clients))

    def remove(self, client: Client) -> None:
        """Send nothing more to a client."""
        for audience in (self._clients, self._promiscuous, self._registered):
            audience.pop(client, None)
        self.memory.share(len(self._clients))

    def update_subscription(self, client: Client) -> None:
        """Follow a change of a client's ``registered`` or ``promiscuous``."""
        for audience, belongs in (
            (self._promiscuous, client.promiscuous),
            (self._registered, bool(client.registered)),
        ):
            if belongs:
                audience[client] = None
            else:
                audience.pop(client, None)

    def is_congested(self) -> bool:
        """Whether there are clients and all of them are slow readers."""
        return 0 < len(self._clients) <= self.memory.slow_readers

    def has_registered(self) -> bool:
        """Whether any client is registered for the kernel's own messages."""
        return bool(self._registered)

    def to_promiscuous(self, data: bytes) -> None:
        """Send the promiscuous clients their copy."""
        for client in self._promiscuous:
            client.put(data)

    def to_one(self, client: Client, data: bytes) -> None:
        """Send to one client."""
        self.to_promiscuous(data)
        client.put(data)

    def to_registered(self, data: bytes, sender: Client | None = None) -> None:
        """Send to the registered clients, and to the sender of the request."""
        self.to_promiscuous(data)
        for client in self._registered:
            client.put(data)
        if sender is not None and sender not in self._registered:
            sender.put(data)

    def to_all(self, data: bytes, besides: Client | None = None) -> None:
        """Send to all clients except ``besides``."""
        self.to_promiscuous(data)
        for client in self._clients:
            if client is not besides:
                client.put(data)
