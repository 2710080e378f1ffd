"""KAME's IPsec interface for Linux, on netlink XFRM: setkey, levels, knobs, PF_KEY.

The parts are loaded when they are first named: ``kamexfrm.pfkey``, ``kamexfrm.xfrm``,
``kamexfrm.model``, ``kamexfrm.engine``, ``kamexfrm.kernel``, ``kamexfrm.rig``, the function
``kamexfrm.set_policy(sock, TEXT)`` for per-socket policies, and ``kamexfrm.PfKeySocket()``, which
is to this process what a PF_KEY socket is where the kernel has any.
"""

from typing import Any

__version__ = "0.1.0"

_PARTS = frozenset(
    ("algorithms", "engine", "errors", "kernel", "model", "net", "pfkey", "rig", "xfrm")
)


def __getattr__(name: str) -> Any:
    if name == "set_policy":
        from kamexfrm.engine.socket_policy import set_policy

        return set_policy
    if name == "PfKeySocket":
        from kamexfrm.hub.process_socket import PfKeySocket

        return PfKeySocket
    if name in _PARTS:
        from importlib import import_module

        return import_module(f"kamexfrm.{name}")
    raise AttributeError(f"module 'kamexfrm' has no attribute {name!r}")
