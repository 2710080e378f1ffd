"""PF_KEY for programs: what AF_KEY is in a kernel that has it, on netlink XFRM.

A ``Hub`` is one network namespace's PF_KEY, a ``Client`` is what one PF_KEY socket is. Transport is
apart: ``ServedSockets`` serves Unix sockets in an ``EventLoop``, ``PfKeySocket`` is for use within
a process.

Read on in this order: ``client_queue`` (one client's messages), ``bus`` (which clients get a
message), ``feed`` (kernel events in, broadcasts out), ``handlers`` (requests), ``hub``.
"""

from typing import TYPE_CHECKING

from kamexfrm.lazy import exports

if TYPE_CHECKING:
    from kamexfrm.hub.client_queue import Client
    from kamexfrm.hub.event_loop import EventLoop
    from kamexfrm.hub.hub import Hub
    from kamexfrm.hub.process_socket import PfKeySocket
    from kamexfrm.hub.served import ServedSocket, ServedSockets
else:
    __getattr__, __dir__ = exports(
        __name__,
        {
            "client_queue": "Client",
            "event_loop": "EventLoop",
            "hub": "Hub",
            "process_socket": "PfKeySocket",
            "served": "ServedSocket ServedSockets",
        },
    )

__all__ = ["Client", "EventLoop", "Hub", "PfKeySocket", "ServedSocket", "ServedSockets"]
