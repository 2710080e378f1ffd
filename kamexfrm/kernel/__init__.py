"""The only way to the kernel: operations on XFRM's databases, over netlink or in memory.

``Kernel`` says what a kernel can do; ``NetlinkKernel`` is the real one, ``FakeKernel`` keeps it
all in memory for tests. Both pass the same conformance suite.
"""

from kamexfrm.lazy import exports

TYPE_CHECKING = False  # typing takes long to load
if TYPE_CHECKING:
    from kamexfrm.kernel.connection import NetlinkEvents
    from kamexfrm.kernel.fake import FakeKernel
    from kamexfrm.kernel.interface import Event, Events, Failure, Kernel, Lock
    from kamexfrm.kernel.lock import NamespaceLock
    from kamexfrm.kernel.netlink import NetlinkKernel
else:
    __getattr__, __dir__ = exports(
        __name__,
        {
            "connection": "NetlinkEvents",
            "fake": "FakeKernel",
            "interface": "Event Events Failure Kernel Lock",
            "lock": "NamespaceLock",
            "namespace": "",
            "netlink": "NetlinkKernel",
        },
    )

__all__ = [
    "Event",
    "Events",
    "Failure",
    "FakeKernel",
    "Kernel",
    "Lock",
    "NamespaceLock",
    "NetlinkEvents",
    "NetlinkKernel",
]
