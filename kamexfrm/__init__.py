"""KAME's IPsec interface for Linux, on netlink XFRM: setkey, levels, knobs, PF_KEY.

``kamexfrm.open()`` gives the SAs, policies and knobs of a network namespace, ``kamexfrm.events()``
what happens in it. ``kamexfrm.policy()``, ``sa()``, ``key()``, ``packet()`` and ``address()`` make
the objects that go in. ``kamexfrm.decide()`` says what KAME does with a packet,
``kamexfrm.set_policy()`` gives a socket a policy of its own, and ``kamexfrm.PfKeySocket()`` is to
this process what a PF_KEY socket is where the kernel has any.

The parts are loaded when they are first named: ``kamexfrm.pfkey`` and ``kamexfrm.xfrm`` (codecs),
``kamexfrm.model``, ``kamexfrm.translate``, ``kamexfrm.kernel``, ``kamexfrm.engine``,
``kamexfrm.hub``, ``kamexfrm.rig``, ``kamexfrm.library``; ``kamexfrm.testing`` has a kernel in
memory for tests.
"""

from kamexfrm.lazy import exports

TYPE_CHECKING = False  # typing takes long to load
if TYPE_CHECKING:
    from kamexfrm import (
        algorithms,
        engine,
        errors,
        hub,
        kernel,
        library,
        model,
        net,
        pfkey,
        rig,
        testing,
        translate,
        xfrm,
    )
    from kamexfrm.engine.socket_policy import set_policy
    from kamexfrm.hub.process_socket import PfKeySocket
    from kamexfrm.library.event_stream import Events, events
    from kamexfrm.library.ipsec import Ipsec, open
    from kamexfrm.library.objects import address, key, packet, policy, sa, sa_from_text, sa_id
    from kamexfrm.model.decider import decide
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
            "library": "",
            "library.event_stream": "Events events",
            "library.ipsec": "Ipsec open",
            "library.objects": "address key packet policy sa sa_from_text sa_id",
            "model": "",
            "model.decider": "decide",
            "net": "",
            "pfkey": "",
            "rig": "",
            "testing": "",
            "translate": "",
            "xfrm": "",
        },
    )

__all__ = [
    "Events",
    "Ipsec",
    "PfKeySocket",
    "address",
    "algorithms",
    "decide",
    "engine",
    "errors",
    "events",
    "hub",
    "kernel",
    "key",
    "library",
    "model",
    "net",
    "open",
    "packet",
    "pfkey",
    "policy",
    "rig",
    "sa",
    "sa_from_text",
    "sa_id",
    "set_policy",
    "testing",
    "translate",
    "xfrm",
]

__version__ = "0.1.0"
