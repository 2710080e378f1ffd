"""Per-socket policies: KAME's entrust, ipsec and bypass by Linux's IP_XFRM_POLICY.

Linux's own IP_IPSEC_POLICY needs AF_KEY, and there a socket with requests cannot send at all
(XfrmOutBundleGenError, seen on 6.1), so the native option is used.
"""

import errno
import socket
import warnings
from collections.abc import Callable
from types import TracebackType

from kamexfrm.engine.door import Engine
from kamexfrm.engine.spd import check_number
from kamexfrm.errors import KamexfrmError, Refusal, UnsupportedError
from kamexfrm.kernel.netlink import NetlinkKernel
from kamexfrm.model.knobs import Knobs
from kamexfrm.model.language import PolicyText, parse_policy
from kamexfrm.model.policy import Direction, PolicyType, SecurityPolicy, Selector
from kamexfrm.net import Address
from kamexfrm.translate.policy import Placement, install, tunnel_uses
from kamexfrm.xfrm import encode_socket_policy

#: Level and option of setsockopt(2), by family (linux/in.h, linux/in6.h).
_OPTIONS = {
    socket.AF_INET: (socket.IPPROTO_IP, 17),
    socket.AF_INET6: (socket.IPPROTO_IPV6, 35),
}


class _Here:
    """An engine on the kernel of this thread's namespace, for as long as it is needed."""

    def __enter__(self) -> Engine:
        self._kernel = NetlinkKernel()
        return Engine(self._kernel)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._kernel.close()


def set_policy(sock: socket.socket, text: str) -> None:
    """Give a socket a policy of its own for one direction (KAME ipsec_set_policy(3), ipsec(4)).

    ``text`` is ``in`` or ``out`` with ``entrust``, ``bypass`` or ``ipsec REQUEST...``; entrust
    takes away the socket's policies of both directions, as Linux knows no other way. Level default
    is what the knobs say now, and requests without a number look for SAs of the reqid that those
    have which would serve them now; later changes do not reach sockets.

    Raises LanguageError, KamexfrmError with KAME's errno (EINVAL for discard and none, EACCES for
    bypass without the right to it), UnsupportedError, Refusal (EPERM: CAP_NET_ADMIN is needed).
    """
    policy = parse_policy(text)
    options = _OPTIONS.get(socket.AddressFamily(sock.family))
    if options is None:
        raise UnsupportedError("only IPv4 and IPv6 sockets have policies")
    _check(policy)
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


def _check(policy: PolicyText) -> None:
    if policy.direction is Direction.FWD:
        raise KamexfrmError("sockets have in and out policies only")
    if policy.type in (None, PolicyType.DISCARD, PolicyType.NONE):
        raise KamexfrmError("a socket's policy is entrust, bypass or ipsec")
    if policy.type is PolicyType.IPSEC and not policy.requests:
        raise KamexfrmError("ipsec needs at least one request")
    check_number(policy.requests)


def _encode(policy: PolicyText, family: int) -> bytes:
    nowhere = Address.unspecified(family)
    anything = Selector(nowhere, 0, nowhere, 0)
    placement = Placement(0, 0)
    if policy.type is PolicyType.BYPASS:
        written = SecurityPolicy(anything, policy.direction, PolicyType.NONE)
        return encode_socket_policy(install(written, Knobs(), placement, 0).policy)
    with _Here() as engine:
        requests = engine.numbered(policy.requests)
        knobs = engine.knobs()
        written = SecurityPolicy(anything, policy.direction, PolicyType.IPSEC, requests)
        fitted = engine.fitted(written)
    if tunnel_uses(written, knobs):
        raise UnsupportedError(
            "Linux takes no outbound tunnel request of level use for a socket", errno=errno.EINVAL
        )
    return encode_socket_policy(install(written, knobs, placement, 0, fitted=fitted).policy)


def _call(option: Callable[[], None], policy: PolicyText) -> None:
    try:
        option()
    except OSError as error:
        number = error.errno or errno.EIO
        if number == errno.EPERM and policy.type is PolicyType.BYPASS:
            raise Refusal(errno.EACCES, "bypass needs CAP_NET_ADMIN") from None
        reason = "a socket's policy needs CAP_NET_ADMIN" if number == errno.EPERM else ""
        raise Refusal(number, reason) from None


def _is_v6_only(sock: socket.socket) -> bool:
    # A raw socket is of one family, though Linux has no such option for it.
    raw = sock.type == socket.SOCK_RAW
    return raw or bool(sock.getsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY))
