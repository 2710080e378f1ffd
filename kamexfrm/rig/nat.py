"""Address translation on an interface, by traffic control: no packet filter has to be there.

The action ct (tc-ct(8)) of the interface's egress hook translates the source of what leaves to
the interface's address, and a port if it must; that of its ingress hook translates back the
replies. Connection tracking remembers which is which. Guest kernels have this where they lack
the chain type nat of nf_tables. pyroute2 has no such action, so the message is made here.

Source: Linux uapi linux/rtnetlink.h, linux/pkt_cls.h and linux/tc_act/tc_ct.h.
"""

import ipaddress
import os
import socket
import struct
from typing import Final

from pyroute2 import IPRoute

from kamexfrm.rig.wiring import os_errors
from kamexfrm.xfrm import encode_attribute, encode_attributes

_RTM_NEWTFILTER: Final = 44
_NLMSG_ERROR: Final = 2
_FLAGS: Final = 0x1 | 0x4 | 0x200 | 0x400  # NLM_F_REQUEST, _ACK, _EXCL, _CREATE

_EGRESS, _INGRESS = 0xFFFFFFF3, 0xFFFFFFF2  # TC_H_CLSACT with TC_H_MIN_EGRESS, _INGRESS
_ETH_P_IP: Final = 0x0800
_PRIORITY: Final = 1

_NESTED: Final = 0x8000
_TCA_KIND, _TCA_OPTIONS = 1, 2
_TCA_MATCHALL_ACT: Final = 2
_TCA_ACT_KIND, _TCA_ACT_OPTIONS = 1, 2
_TCA_CT_PARMS, _TCA_CT_ACTION, _TCA_CT_NAT_IPV4_MIN = 1, 3, 9
_COMMIT, _NAT, _NAT_SRC = 1, 8, 16  # TCA_CT_ACT_...

_HEADER = struct.Struct("=IHHII")  # struct nlmsghdr
_TCMSG = struct.Struct("=BxxxiIII")
_TC_CT = struct.Struct("=IIiii")  # tc_gen: index, capab, action, refcnt, bindcnt
_PIPE: Final = 3  # TC_ACT_PIPE: what follows the last action is the usual way of the packet


def masquerade(name: str, address: str) -> None:
    """Translate the source of IPv4 packets that leave by an interface to its address, and back.

    Raises OSError; ENOENT and EOPNOTSUPP where the kernel has no sch_ingress, cls_matchall or
    act_ct.
    """
    index = socket.if_nametoindex(name)
    with IPRoute() as route, os_errors():
        route.tc("add", "clsact", index)
    packed = ipaddress.IPv4Address(address).packed
    source = encode_attribute(_TCA_CT_NAT_IPV4_MIN, packed)
    _add_filter(index, _EGRESS, _action(_COMMIT | _NAT | _NAT_SRC, source))
    _add_filter(index, _INGRESS, _action(_NAT))


def _action(flags: int, more: bytes = b"") -> bytes:
    """Return the attributes of an action ct."""
    options = encode_attributes(
        [
            (_TCA_CT_PARMS, _TC_CT.pack(0, 0, _PIPE, 0, 0)),
            (_TCA_CT_ACTION, struct.pack("=H", flags)),
        ]
    )
    return encode_attributes(
        [(_TCA_ACT_KIND, b"ct\0"), (_TCA_ACT_OPTIONS | _NESTED, options + more)]
    )


def _add_filter(index: int, parent: int, action: bytes) -> None:
    """Give all IPv4 packets of a hook to an action; raises OSError."""
    actions = encode_attribute(_PRIORITY | _NESTED, action)
    options = encode_attribute(_TCA_MATCHALL_ACT | _NESTED, actions)
    body = _TCMSG.pack(0, index, 0, parent, _PRIORITY << 16 | socket.htons(_ETH_P_IP))
    body += encode_attributes([(_TCA_KIND, b"matchall\0"), (_TCA_OPTIONS | _NESTED, options)])
    message = _HEADER.pack(_HEADER.size + len(body), _RTM_NEWTFILTER, _FLAGS, 1, 0) + body
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE) as link:
        link.send(message)
        answer = link.recv(1 << 16)
    kind = _HEADER.unpack_from(answer)[1]
    number = -struct.unpack_from("=i", answer, _HEADER.size)[0]
    if kind == _NLMSG_ERROR and number:
        raise OSError(number, os.strerror(number))
