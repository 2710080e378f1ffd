"""X_POLICY, PF_KEY's form of what is done with a packet, to KAME's model and back. Pure.

It stands in messages about the SPD and is the value of setsockopt(IP_IPSEC_POLICY). Level
``default`` travels as itself; Linux's af_key made it ``require``. Sources: KAME key.c key_msg2sp()
and key_sp2msg(), ipsec.c ipsec_set_policy(); Linux af_key.c parse_ipsecrequest().
"""

import errno
from dataclasses import replace

from kamexfrm.errors import invalid
from kamexfrm.model.policy import (
    Direction,
    IpsecProtocol,
    IpsecRequest,
    Level,
    Mode,
    PolicyType,
    SocketPolicy,
)
from kamexfrm.pfkey import IpsecDirection, IpsecLevel, IpsecMode, IpsecPolicy, Policy, Sockaddr
from kamexfrm.pfkey import IpsecRequest as PolicyRequest
from kamexfrm.translate.pfkey.parts import address_from_sockaddr

#: Linux shows a socket's own policy with a direction three above that of an SPD entry.
SOCKET_DIRECTION = 3

#: The types of SPD entries; the others are for sockets (KAME key_spdadd()).
SPD_TYPES = (PolicyType.DISCARD, PolicyType.NONE, PolicyType.IPSEC)

_PROTOCOLS = {int(protocol): protocol for protocol in IpsecProtocol}


def mode_to_message(mode: Mode) -> IpsecMode:
    """Return PF_KEY's number of a mode, that of any for a mode without one."""
    if mode == Mode.BEET:
        return IpsecMode.IPSEC_MODE_BEET
    return IpsecMode(mode) if mode <= Mode.TUNNEL else IpsecMode.IPSEC_MODE_ANY


def mode_from_message(mode: IpsecMode) -> Mode:
    """Return the mode of a PF_KEY's number up to BEET."""
    return Mode.BEET if mode == IpsecMode.IPSEC_MODE_BEET else Mode(int(mode))


def _request_extension(request: IpsecRequest) -> PolicyRequest:
    source, destination = request.source, request.destination
    return PolicyRequest(
        int(request.protocol),
        mode_to_message(request.mode),
        IpsecLevel(request.level),
        request.reqid,
        None if source is None or destination is None else Sockaddr(source),
        None if source is None or destination is None else Sockaddr(destination),
    )


def policy_to_extension(
    type: PolicyType,
    direction: Direction,
    requests: tuple[IpsecRequest, ...] = (),
    *,
    priority: int = 0,
    id: int = 0,
    socket: bool = False,
) -> Policy:
    """Return X_POLICY: in a message, or as the value of setsockopt(IP_IPSEC_POLICY)."""
    listed = tuple(_request_extension(r) for r in requests) if type is PolicyType.IPSEC else ()
    number = direction + (SOCKET_DIRECTION if socket else 0)
    return Policy(IpsecPolicy(type), IpsecDirection(number), id, priority, listed)


def _request_from(request: PolicyRequest, *, from_kernel: bool) -> IpsecRequest:
    protocol = _PROTOCOLS.get(request.proto)
    if protocol is None:
        raise invalid(f"a request for protocol {request.proto}", errno.EPROTONOSUPPORT)
    beet = from_kernel and request.mode == IpsecMode.IPSEC_MODE_BEET
    if not beet and not Mode.TRANSPORT <= request.mode <= Mode.TUNNEL:
        raise invalid(f"a request of mode {int(request.mode)}")
    if request.level > IpsecLevel.IPSEC_LEVEL_UNIQUE:
        raise invalid(f"a request of level {int(request.level)}")
    mode, level = Mode.BEET if beet else Mode(int(request.mode)), Level(int(request.level))
    source = destination = None
    if request.source is not None:
        source, destination = (
            address_from_sockaddr(request.source),
            address_from_sockaddr(request.destination),
        )
        if source.family != destination.family:
            raise invalid("a request between two families")
        if mode is Mode.TRANSPORT and source.is_unspecified and destination.is_unspecified:
            source = destination = None
    elif mode is Mode.TUNNEL:
        raise invalid("a tunnel without its endpoints")
    # A reqid belongs to level unique: at any other, key_msg2sp() ignores it.
    reqid = request.reqid if from_kernel or level is Level.UNIQUE else 0
    return IpsecRequest(protocol, mode, level, reqid, source, destination)


def requests_from_extension(
    extension: Policy, *, from_kernel: bool = False
) -> tuple[IpsecRequest, ...]:
    """Return the requests in X_POLICY; raises KamexfrmError as key_msg2sp() does.

    EPROTONOSUPPORT for a protocol that is not AH, ESP or IPComp, EINVAL for an unknown mode or
    level and for a tunnel without endpoints. ``from_kernel`` is for messages that a kernel made:
    a reqid counts at any level there, and BEET is a mode.
    """
    return tuple(_request_from(r, from_kernel=from_kernel) for r in extension.requests)


def type_from_extension(extension: Policy, allowed: tuple[PolicyType, ...]) -> PolicyType:
    """Return the action; raises KamexfrmError (EINVAL) for one that is not allowed."""
    for type in allowed:
        if int(type) == int(extension.type):
            return type
    raise invalid(f"a policy of type {int(extension.type)}")


def direction_from_extension(extension: Policy, last: Direction) -> Direction:
    """Return the direction; raises KamexfrmError (EINVAL) for one beyond ``last``."""
    number = int(extension.direction)
    if not Direction.IN <= number <= last:
        raise invalid(f"a policy of direction {number}")
    return Direction(number)


def socket_policy_from_extension(extension: Policy) -> SocketPolicy:
    """Return the policy that a socket is to have; raises KamexfrmError (EINVAL).

    The direction is in or out. Differs from KAME: discard and none are accepted, as by Linux's
    af_key, where KAME ipsec_set_policy() rejects them; so are ipsec without a request, which is
    none, and a level without a name, which is require.
    """
    direction = direction_from_extension(extension, Direction.OUT)
    known = tuple(
        request
        if request.level <= IpsecLevel.IPSEC_LEVEL_UNIQUE
        else replace(request, level=IpsecLevel.IPSEC_LEVEL_REQUIRE)
        for request in extension.requests
    )
    type_ = type_from_extension(extension, tuple(PolicyType))
    return SocketPolicy(
        direction, type_, requests_from_extension(replace(extension, requests=known))
    )
