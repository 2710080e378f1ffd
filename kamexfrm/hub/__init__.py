"""PF_KEY for programs: what AF_KEY is in a kernel that has it, on netlink XFRM.

A ``Hub`` is one network namespace's PF_KEY, a ``Client`` is what one PF_KEY socket is. Transport is
apart: ``unix_socket`` and ``served`` serve Unix sockets, ``process_socket`` has ``PfKeySocket`` for
use within a process.

Read on in this order: ``client_queue`` (one client's messages), ``bus`` (which clients get a
message), ``feed`` (kernel events in, broadcasts out), ``handlers`` (requests), ``hub``.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from kamexfrm.hub.client_queue import Client
    from kamexfrm.hub.hub import Hub
    from kamexfrm.hub.process_socket import PfKeySocket

__all__ = ["Client", "Hub", "PfKeySocket"]

_MODULES = {"Client": "client_queue", "Hub": "hub", "PfKeySocket": "process_socket"}


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        from importlib import import_module

        return getattr(import_module(f"kamexfrm.hub.{_MODULES[name]}"), name)
    raise AttributeError(f"module 'kamexfrm.hub' has no attribute {name!r}")
