"""PF_KEY for programs: what AF_KEY is in a kernel that has it, on netlink XFRM.

A ``Hub`` is one network namespace's PF_KEY, a ``Client`` is what one PF_KEY socket is. How bytes
reach a client is nobody's business here: ``server.stream`` does it over Unix sockets,
``server.socket`` within a process.
"""

from kamexfrm.hub.client_queue import Client
from kamexfrm.hub.hub import Hub

__all__ = ["Client", "Hub"]
