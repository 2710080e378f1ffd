"""Per-socket policies: IP_IPSEC_POLICY as IP_XFRM_POLICY, and those forced by the command line.

The kernel's own IP_IPSEC_POLICY comes with af_key. A socket takes either option for one direction
at a time; IP_XFRM_POLICY needs CAP_NET_ADMIN, ours here, so the caller's rights are checked before.
"""

import contextlib
import errno
import os
import socket
import sys
from collections.abc import Callable, Iterator, Sequence

from kamexfrm.engine.engine import Engine
from kamexfrm.engine.socket_policy import OPTIONS, option_value
from kamexfrm.errors import KamexfrmError
from kamexfrm.exec import system
from kamexfrm.exec.caller import CAP_NET_RAW, Caller
from kamexfrm.exec.filter import IP_IPSEC_POLICY, IPV6_IPSEC_POLICY
from kamexfrm.exec.netns import Netns
from kamexfrm.kernel.namespace import within
from kamexfrm.model.policy import Direction, PolicyType, SocketPolicy
from kamexfrm.model.policy_text import PolicyText
from kamexfrm.pfkey import LINUX, Policy, SadbExt, decode_extension, encode_extension
from kamexfrm.translate.pfkey.policy import policy_to_extension, socket_policy_from_extension

#: The longest value that Linux takes: a page (xfrm_user_policy()).
MAX_VALUE = 4096

MIN_VALUE = 16  # struct sadb_x_policy
_SO_COOKIE = 57  # asm-generic/socket.h
_MAX_GIVEN = 65536
_TYPE_MASK = 0xF
_SOCK_PACKET = 10  # the packet family under another name
_PING = (socket.IPPROTO_ICMP, socket.IPPROTO_ICMPV6)

_FAMILIES = {IP_IPSEC_POLICY: socket.AF_INET, IPV6_IPSEC_POLICY: socket.AF_INET6}


def check_family(option: int, family: int) -> None:
    """Refuse the option of another family as Linux does; raises OSError, KamexfrmError."""
    if option == IPV6_IPSEC_POLICY and family == socket.AF_INET:
        raise system.error(errno.ENOPROTOOPT)
    if _FAMILIES[option] != family:
        raise KamexfrmError("the option of another family", errno=errno.EOPNOTSUPP)


def read_value(value: bytes, option: int, family: int) -> SocketPolicy:
    """Return the policy in a value of IP_IPSEC_POLICY or IPV6_IPSEC_POLICY for a family's socket.

    Raises KamexfrmError as Linux does: EOPNOTSUPP for the option of another family, EINVAL for a
    malformed policy; the number of the extension is not checked, and an incomplete word at the end
    is ignored (af_key.c pfkey_compile_policy()).
    """
    check_family(option, family)
    words = len(value) // 8
    if len(value) < MIN_VALUE or int.from_bytes(value[:2], LINUX.byte_order) != words:
        raise KamexfrmError(f"a policy of {len(value)} bytes")
    number = SadbExt.SADB_X_EXT_POLICY.to_bytes(2, LINUX.byte_order)
    extension = decode_extension(value[:2] + number + value[4 : words * 8])
    if not isinstance(extension, Policy):
        raise KamexfrmError("no policy")
    return socket_policy_from_extension(extension)


def set_on(sock: socket.socket, policy: SocketPolicy, engine: Callable[[], Engine]) -> None:
    """Give a socket, of IPv4 or IPv6, a policy; raises KamexfrmError, OSError."""
    level, option = OPTIONS[socket.AddressFamily(sock.family)]
    needed = engine() if policy.type is PolicyType.IPSEC else None
    sock.setsockopt(level, option, option_value(policy, int(sock.family), needed))


def inet_socket(caller: Caller, number: int) -> socket.socket | None:
    """Return a duplicate of a program's IP socket, None for any other descriptor."""
    try:
        descriptor = caller.duplicate(number)
    except OSError as error:
        if error.errno == errno.EBADF:
            return None
        raise
    try:
        sock = socket.socket(fileno=descriptor)
    except OSError:
        os.close(descriptor)
        return None
    if sock.family in (socket.AF_INET, socket.AF_INET6):
        return sock
    sock.close()
    return None


class PolicyTable:
    """The policies that sockets were given, as they were written: the kernel shows none of them.

    By the socket's cookie, a number that no other socket of this boot ever has. Of very many
    sockets, those that were given one last are kept.
    """

    def __init__(self) -> None:
        self._given: dict[int, dict[Direction, SocketPolicy]] = {}

    def note(self, sock: socket.socket, policy: SocketPolicy) -> None:
        """Remember the policy that a socket was given; raises OSError."""
        cookie = _cookie(sock)
        given = self._given.pop(cookie, {})
        given.pop(policy.direction, None)
        self._given[cookie] = {**given, policy.direction: policy}
        if len(self._given) > _MAX_GIVEN:
            del self._given[next(iter(self._given))]

    def value(self, sock: socket.socket, wanted: int) -> bytes:
        """Return a socket's policy as the value of IP_IPSEC_POLICY (KAME ipsec4_get_policy()).

        ``wanted`` is the direction in what the program handed over; 0 stands for the one that was
        set last. A socket that was given none has KAME's, entrust. Raises KamexfrmError (EINVAL),
        OSError.
        """
        if not 0 <= wanted <= Direction.OUT:
            raise KamexfrmError(f"a policy of direction {wanted}")
        given = self._given.get(_cookie(sock), {})
        direction = Direction(wanted) if wanted else next(reversed(given), Direction.OUT)
        policy = given.get(direction, SocketPolicy(direction))
        extension = policy_to_extension(policy.type, direction, policy.requests)
        return encode_extension(extension, LINUX)


def _cookie(sock: socket.socket) -> int:
    return int.from_bytes(sock.getsockopt(socket.SOL_SOCKET, _SO_COOKIE, 8), sys.byteorder)


def socket_policy_of(policy: PolicyText) -> SocketPolicy:
    """Return the policy that a text of the command line describes; raises KamexfrmError."""
    if policy.direction is Direction.FWD:
        raise KamexfrmError("sockets have in and out policies only")
    if policy.type is None:
        raise KamexfrmError("a direction alone is no policy: add ipsec, bypass, discard or entrust")
    if policy.type is PolicyType.IPSEC and not policy.requests:
        raise KamexfrmError("ipsec needs at least one request")
    return SocketPolicy(policy.direction, policy.type, policy.requests)


def make_socket(
    caller: Caller,
    netns: Netns,
    arguments: tuple[int, int, int],
    policies: Sequence[SocketPolicy],
    table: PolicyTable,
) -> socket.socket:
    """Make the IP socket that a program asks for, with policies; raises OSError, KamexfrmError.

    It is the program's as far as user, group and namespace go. The kernel gives its policies to
    the sockets that it accepts connections with, but not with SCTP. An IPv6 socket is for IPv6
    only: Linux would leave its IPv4 to the SPD.
    """
    family, kind, protocol = arguments
    if kind & _TYPE_MASK == _SOCK_PACKET:
        raise OSError(errno.ESOCKTNOSUPPORT, "packet sockets have no policies")
    if protocol == socket.IPPROTO_SCTP:
        raise OSError(errno.EPROTONOSUPPORT, "SCTP's further sockets would have no policies")
    raw = kind & _TYPE_MASK == socket.SOCK_RAW
    with within(netns.elsewhere), _as_caller(caller, kind, protocol):
        made = socket.socket(family, kind, protocol)
    try:
        if raw and not caller.is_capable(CAP_NET_RAW, netns.owners):
            raise OSError(errno.EPERM, "a raw socket needs CAP_NET_RAW")
        if family == socket.AF_INET6 and not raw:
            made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        for policy in policies:
            set_on(made, policy, netns.engine)
            table.note(made, policy)
    except BaseException:
        made.close()
        raise
    return made


@contextlib.contextmanager
def _as_caller(caller: Caller, kind: int, protocol: int) -> Iterator[None]:
    """Act as the caller in what the kernel checks of the maker of a socket.

    The owner is the maker's file-system user and group; a ping socket needs a group in
    net.ipv4.ping_group_range.
    """
    ours = os.geteuid(), os.getegid()
    theirs = caller.file_owner()
    ping = kind & _TYPE_MASK == socket.SOCK_DGRAM and protocol in _PING
    groups = os.getgroups()
    try:
        if ping:
            effective, further = caller.groups()
            with contextlib.suppress(OSError):  # without the right to it, they stay ours
                os.setgroups(further)
                os.setegid(effective)
        if theirs != ours:
            system.set_file_owner(*theirs)
        yield
    finally:
        if ping:
            with contextlib.suppress(OSError):
                os.setegid(ours[1])
                os.setgroups(groups)
        if theirs != ours:
            system.set_file_owner(*ours)
