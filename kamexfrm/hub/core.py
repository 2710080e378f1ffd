"""What the handlers of requests work with."""

from typing import NamedTuple

from kamexfrm.engine.engine import Engine
from kamexfrm.hub.bus import Bus
from kamexfrm.hub.client_queue import Client
from kamexfrm.hub.feed import Feed
from kamexfrm.hub.paced_engine import PacedEngine
from kamexfrm.kernel.interface import Kernel
from kamexfrm.pfkey import SadbMsg, addressed, encode


class Core(NamedTuple):
    """The parts of a hub: ``engine`` reads, ``writer`` writes."""

    kernel: Kernel
    engine: Engine
    bus: Bus
    feed: Feed
    writer: PacedEngine

    def reply(self, client: Client, request: SadbMsg, message: SadbMsg) -> None:
        """Answer a client's request."""
        wire = encode(message)
        self.bus.to_one(client, addressed(wire, message.type, request.seq, request.pid))
