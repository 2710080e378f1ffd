"""KAME's IPsec interface for Linux, on netlink XFRM: setkey, levels, knobs, PF_KEY.

The parts are loaded when they are first named: ``kamexfrm.pfkey``, ``kamexfrm.xfrm``,
``kamexfrm.model``, ``kamexfrm.translate``, ``kamexfrm.kernel``, ``kamexfrm.engine``,
``kamexfrm.hub``, ``kamexfrm.rig``, the function ``kamexfrm.set_policy(sock, TEXT)`` for per-socket
policies, and ``kamexfrm.PfKeySocket()``, which is to this process what a PF_KEY socket is where
the kernel has any.
"""

from typing import TYPE_CHECKING

from kamexfrm.lazy import exports

if TYPE_CHECKING:
    from kamexfrm import (
        algorithms,
        engine,
        errors,
        hub,
        kernel,
        model,
        net,
        pfkey,
        rig,
        translate,
        xfrm,
    )
    from kamexfrm.engine.socket_policy import set_policy
    from kamexfrm.hub.process_socket import PfKeySocket
else:
    __getattr__, __dir__ = exports(
        __name__,
        {
            "algorithms": "",
            "engine": "",
            "engine.socket_policy": "set_policy",
            "errors": "",
            "hub": "",
            "hub.process_socket": "PfKeySocket",
            "kernel": "",
            "model": "",
            "net": "",
            "pfkey": "",
            "rig": "",
            "translate": "",
            "xfrm": "",
        },
    )

__all__ = [
    "PfKeySocket",
    "algorithms",
    "engine",
    "errors",
    "hub",
    "kernel",
    "model",
    "net",
    "pfkey",
    "rig",
    "set_policy",
    "translate",
    "xfrm",
]

__version__ = "0.1.0"
