"""The rig: hosts made of network namespaces, captures, and a guest kernel with ESP and AH.

``Rig``, ``two_hosts`` and ``gateways`` make networks; ``Host`` runs things in them; ``Capture``
sees packets; ``until`` waits; ``Guest`` and ``run_in_guest`` boot a kernel; ``kernel_has_esp``
and ``kernel_has_ah`` probe the running one.
"""

from typing import TYPE_CHECKING

from kamexfrm.lazy import exports

if TYPE_CHECKING:
    from kamexfrm.rig.capture import Capture
    from kamexfrm.rig.condition import until
    from kamexfrm.rig.guest import Guest, GuestError, GuestTimeoutError, run_in_guest
    from kamexfrm.rig.host import Completed, Host, Interface
    from kamexfrm.rig.namespace import Namespace
    from kamexfrm.rig.packet import Packet, read_packet
    from kamexfrm.rig.probe import kernel_has_ah, kernel_has_esp
    from kamexfrm.rig.rig import Gateways, Rig, TwoHosts, gateways, two_hosts
else:
    __getattr__, __dir__ = exports(
        __name__,
        {
            "capture": "Capture",
            "condition": "until",
            "guest": "Guest GuestError GuestTimeoutError run_in_guest",
            "host": "Completed Host Interface",
            "namespace": "Namespace",
            "packet": "Packet read_packet",
            "probe": "kernel_has_ah kernel_has_esp",
            "rig": "Gateways Rig TwoHosts gateways two_hosts",
        },
    )

__all__ = [
    "Capture",
    "Completed",
    "Gateways",
    "Guest",
    "GuestError",
    "GuestTimeoutError",
    "Host",
    "Interface",
    "Namespace",
    "Packet",
    "Rig",
    "TwoHosts",
    "gateways",
    "kernel_has_ah",
    "kernel_has_esp",
    "read_packet",
    "run_in_guest",
    "two_hosts",
    "until",
]
