"""Per-socket policies: KAME's entrust, ipsec and bypass by Linux's IP_XFRM_POLICY.

Linux's own IP_IPSEC_POLICY needs AF_KEY, and there a socket with requests cannot send at all
(XfrmOutBundleGenError, seen on 6.1), so the native option is used.
"""

import errno
import socket
import warnings
from collections.abc import Callable
from typing import assert_never

from kamexfrm.engine.engine import Engine
from kamexfrm.engine.spd_add import check_number
from kamexfrm.errors import KamexfrmError, KernelError, UnsupportedError
from kamexfrm.kernel.netlink import NetlinkKernel
from kamexfrm.model.knobs import Knobs
from kamexfrm.model.language import parse_policy
from kamexfrm.model.policy import (
    Direction,
    PolicyType,
    SecurityPolicy,
    Selector,
    SocketPolicy,
)
from kamexfrm.net import Address
from kamexfrm.translate.xfrm.policy_to_kernel import (
    Placement,
    entrusting,
    policy_to_kernel,
    tunnel_uses,
)
from kamexfrm.xfrm import IP_XFRM_POLICY, IPV6_XFRM_POLICY, encode_socket_policy

#: Level and option of setsockopt(2), by family.
OPTIONS = {
    socket.AF_INET: (socket.IPPROTO_IP, IP_XFRM_POLICY),
    socket.AF_INET6: (socket.IPPROTO_IPV6, IPV6_XFRM_POLICY),
}


class _EngineHere:
    """A context that gives an engine on the kernel of this thread's namespace."""

    def __enter__(self) -> Engine:
        self._kernel = NetlinkKernel()
        return Engine(self._kernel)

    def __exit__(self, *_: object) -> None:
        self._kernel.close()


def set_policy(sock: socket.socket, text: str) -> None:
    """Give a socket a policy of its own for one direction (KAME ipsec_set_policy(3), ipsec(4)).

    ``text`` is ``in`` or ``out`` with ``entrust``, ``bypass`` or ``ipsec REQUEST...``; entrust
    takes away the socket's policies of both directions, as Linux knows no other way. Level default
    is what the knobs say now, and requests without a reqid take that of the SAs that would serve
    them now; later changes do not reach sockets.

    Raises LanguageError, KamexfrmError with KAME's errno (EINVAL for discard and none, EACCES for
    bypass without the right to it), UnsupportedError, KernelError (EPERM: CAP_NET_ADMIN is needed).
    """
    policy = _parse(text)
    options = OPTIONS.get(socket.AddressFamily(sock.family))
    if options is None:
        raise UnsupportedError("only IPv4 and IPv6 sockets have policies")
    if policy.type is PolicyType.ENTRUST:
        _call(lambda: sock.setsockopt(*options, None, 0), policy)
        return
    value = _encode(policy, int(sock.family))
    _call(lambda: sock.setsockopt(*options, value), policy)
    if sock.family == socket.AF_INET6 and not _is_v6_only(sock):
        warnings.warn(
            "Linux applies the policy to IPv6 only: this socket's IPv4-mapped traffic follows "
            "the SPD (set IPV6_V6ONLY, or use a socket of each family)",
            stacklevel=2,
        )


def _parse(text: str) -> SocketPolicy:
    policy = parse_policy(text)
    if policy.direction is Direction.FWD:
        raise KamexfrmError("sockets have in and out policies only")
    if policy.type in (None, PolicyType.DISCARD, PolicyType.NONE):
        raise KamexfrmError("a socket's policy is entrust, bypass or ipsec")
    if policy.type is PolicyType.IPSEC and not policy.requests:
        raise KamexfrmError("ipsec needs at least one request")
    return SocketPolicy(policy.direction, policy.type, policy.requests)


def _encode(policy: SocketPolicy, family: int) -> bytes:
    if policy.type is not PolicyType.IPSEC:
        return option_value(policy, family)
    with _EngineHere() as engine:
        return option_value(policy, family, engine)


def option_value(policy: SocketPolicy, family: int, engine: Engine | None = None) -> bytes:
    """Return the value of IP_XFRM_POLICY or IPV6_XFRM_POLICY that gives a socket a policy.

    Entrust becomes a policy that no packet matches, so that the SPD decides: the other direction's
    policy stays. Requests need the engine of the socket's namespace: level default is what the
    knobs say now, `unique` without a reqid takes one that is not in use, and other requests
    without one take the reqid of the SAs that would serve them now. Raises UnsupportedError,
    KernelError, KamexfrmError (ELOOP: too many requests).
    """
    direction, type_, requests = policy
    nowhere = Address.unspecified(family)
    selector, placement = Selector(nowhere, 0, nowhere, 0), Placement(0, 0)
    knobs, with_sa_reqids = Knobs(), None
    match type_:
        case PolicyType.ENTRUST:
            return encode_socket_policy(entrusting(family, direction))
        case PolicyType.BYPASS | PolicyType.NONE:
            written = SecurityPolicy(selector, direction, PolicyType.NONE)
        case PolicyType.DISCARD:
            written = SecurityPolicy(selector, direction, PolicyType.DISCARD)
        case PolicyType.IPSEC:
            if engine is None:
                raise TypeError("requests need an engine")
            check_number(requests)
            requests, knobs = engine.assign_reqids(requests), engine.knobs()
            written = SecurityPolicy(selector, direction, PolicyType.IPSEC, requests)
            with_sa_reqids = engine.with_sa_reqids(written)
        case _:
            assert_never(type_)
    if tunnel_uses(written, knobs):
        raise UnsupportedError(
            "Linux takes no outbound tunnel request of level use for a socket", errno=errno.EINVAL
        )
    return encode_socket_policy(
        policy_to_kernel(written, knobs, placement, 0, with_sa_reqids=with_sa_reqids).policy
    )


def _call(option: Callable[[], None], policy: SocketPolicy) -> None:
    try:
        option()
    except OSError as error:
        number = error.errno or errno.EIO
        if number == errno.EPERM and policy.type is PolicyType.BYPASS:
            raise KernelError(errno.EACCES, "bypass needs CAP_NET_ADMIN") from None
        reason = "a socket's policy needs CAP_NET_ADMIN" if number == errno.EPERM else ""
        raise KernelError(number, reason) from None


def _is_v6_only(sock: socket.socket) -> bool:
    # A raw socket is of one family, though Linux has no such option for it.
    raw = sock.type == socket.SOCK_RAW
    return raw or bool(sock.getsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY))
