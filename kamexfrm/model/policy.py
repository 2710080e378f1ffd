"""Security policies as KAME has them: selector, direction, action and an ordered list of requests.

A policy's first request is its innermost header. Numbers are KAME's (netinet6/ipsec.h); the
direction FWD and the priority are the two additions of ipsec-tools for Linux.
"""

from enum import IntEnum

from kamexfrm.lazy import printed_by
from kamexfrm.net import IPPROTO_GRE, IPPROTO_ICMP, IPPROTO_ICMPV6, IPPROTO_MH, Address
from kamexfrm.records import NamedTuple
from kamexfrm.wirenumber import WireNumber

#: Upper-layer protocol "any" (KAME IPSEC_ULPROTO_ANY).
ULPROTO_ANY = 255

#: Upper protocols whose type and code stand where others have ports, and those and GRE's key.
ICMP_UPPERS = frozenset((IPPROTO_ICMP, IPPROTO_ICMPV6, IPPROTO_MH))
TYPED_UPPERS = ICMP_UPPERS | {IPPROTO_GRE}

#: ipsec-tools' priorities: 32 bits, the lower number is matched first.
PRIORITY_HIGH = 0x40000000
PRIORITY_DEFAULT = 0x80000000
PRIORITY_LOW = 0xC0000000

#: `unique:N` is printed so up to this number (KAME IPSEC_MANUAL_REQID_MAX), `unique#N` above it.
MANUAL_REQID_MAX = 0x3FFF


class Level(IntEnum):
    """Whether a request requires its protection (KAME IPSEC_LEVEL_*)."""

    DEFAULT = 0
    USE = 1
    REQUIRE = 2
    UNIQUE = 3


class PolicyType(IntEnum):
    """What is done with a matching packet (KAME IPSEC_POLICY_*)."""

    DISCARD = 0
    NONE = 1
    IPSEC = 2
    ENTRUST = 3
    BYPASS = 4


class Direction(IntEnum):
    """Which way a packet goes (KAME IPSEC_DIR_*); FWD is Linux's, for forwarded packets."""

    IN = 1
    OUT = 2
    FWD = 3


class Mode(WireNumber):
    """KAME IPSEC_MODE_*; a larger number is a mode of Linux, one above its XFRM_MODE_*."""

    ANY = 0
    TRANSPORT = 1
    TUNNEL = 2
    BEET = 5  # Linux's: the one mode that PF_KEY has a number for besides KAME's three


#: The modes whose requests name both ends of a tunnel; an SA's ends are not the packet's there.
TUNNEL_MODES = frozenset((Mode.TUNNEL, Mode.BEET))


class IpsecProtocol(WireNumber):
    """An IPsec protocol by its IP protocol number."""

    ESP = 50
    AH = 51
    IPCOMP = 108


#: The protocols of PF_KEY's SAs; the kernel's helper states (IPIP beneath IPComp) have others.
IPSEC_PROTOCOLS = frozenset((IpsecProtocol.ESP, IpsecProtocol.AH, IpsecProtocol.IPCOMP))


#: Printed as setkey writes them.
_request_text = printed_by("kamexfrm.model.policy_text", "format_request")
_selector_text = printed_by("kamexfrm.model.statement_text", "shown_selector")
_policy_text = printed_by("kamexfrm.model.statement_text", "shown_policy")
_socket_text = printed_by("kamexfrm.model.policy_text", "format_socket_policy")


class IpsecRequest(NamedTuple):
    """One ``protocol/mode/src-dst/level`` of a policy.

    ``reqid`` (32 bits) belongs to level UNIQUE, where 0 means a generated one; a foreign entry
    may carry one at any level. Endpoints are None where none were written; tunnels have both.
    """

    protocol: IpsecProtocol
    mode: Mode
    level: Level = Level.DEFAULT
    reqid: int = 0
    source: Address | None = None
    destination: Address | None = None

    def __str__(self) -> str:
        return _request_text(self)


class Mark(NamedTuple):
    """Linux's mark: a packet matches where its own mark under ``mask`` is ``value`` (32 bits)."""

    value: int
    mask: int = 0xFFFFFFFF


class Scope(NamedTuple):
    """What narrows a selector further on Linux: a device, a mark, an XFRM interface.

    ``interface`` is the index of the device that packets leave by, 0 for any. ``if_id`` is the
    XFRM interface's, 0 for packets of none.
    """

    interface: int = 0
    mark: Mark | None = None
    if_id: int = 0


class Selector(NamedTuple):
    """What packets an entry matches: prefixes in bits, ports None for any.

    ``scope`` is None for an entry without one.

    For ICMP and ICMPv6 (and MH) the source port is the type and the destination port the code; for
    GRE the two are the key's upper and lower half. Addresses are kept as written, host bits too:
    KAME compares entries unmasked (key.c key_cmpspidx_exactly).
    """

    source: Address
    source_prefix: int
    destination: Address
    destination_prefix: int
    upper: int = ULPROTO_ANY
    source_port: int | None = None
    destination_port: int | None = None
    scope: Scope | None = None

    @property
    def family(self) -> int:
        """The address family of both sides."""
        return self.source.family

    @property
    def is_of_two_hosts(self) -> bool:
        """Whether both prefixes are whole addresses."""
        return self.source_prefix == self.destination_prefix == self.source.bits

    def __str__(self) -> str:
        return _selector_text(self)

    def covers(self, source: Address, destination: Address) -> bool:
        """Whether both addresses lie in the selector's prefixes, at any upper protocol.

        >>> net, host = Address.parse("10.0.0.0"), Address.parse("10.0.0.9")
        >>> Selector(net, 24, net, 24).covers(host, host)
        True
        """
        return source.is_within(self.source, self.source_prefix) and destination.is_within(
            self.destination, self.destination_prefix
        )

    def overlaps(self, other: "Selector") -> bool:
        """Whether some packet matches both selectors.

        >>> net, host = Address.parse("10.0.0.0"), Address.parse("10.0.0.9")
        >>> Selector(net, 24, net, 24).overlaps(Selector(host, 32, net, 0))
        True
        """
        source, destination = (
            min(self.source_prefix, other.source_prefix),
            min(self.destination_prefix, other.destination_prefix),
        )
        return (
            self.family == other.family
            and (self.upper == other.upper or ULPROTO_ANY in (self.upper, other.upper))
            and _may_be_same(self.source_port, other.source_port)
            and _may_be_same(self.destination_port, other.destination_port)
            and self.source.is_within(other.source, source)
            and self.destination.is_within(other.destination, destination)
        )


def _may_be_same(port: int | None, other: int | None) -> bool:
    return port == other or port is None or other is None


class SecurityContext(NamedTuple):
    """An LSM label (setkey's ``-ctx DOI ALGORITHM "LABEL"``)."""

    doi: int
    algorithm: int
    label: bytes


class SecurityPolicy(NamedTuple):
    """An entry of the SPD as it is written.

    ``lifetime`` and ``validtime`` are seconds since creation and since last use, 0 for none.
    ``priority`` is ipsec-tools' 32-bit value.
    """

    selector: Selector
    direction: Direction
    type: PolicyType
    requests: tuple[IpsecRequest, ...] = ()
    priority: int = PRIORITY_DEFAULT
    lifetime: int = 0
    validtime: int = 0
    label: SecurityContext | None = None

    def __str__(self) -> str:
        return _policy_text(self)


class SocketPolicy(NamedTuple):
    """A socket's own policy for one direction, IN or OUT (KAME ipsec_set_policy(3)).

    Requests belong to type IPSEC.
    """

    direction: Direction
    type: PolicyType = PolicyType.ENTRUST
    requests: tuple[IpsecRequest, ...] = ()

    def __str__(self) -> str:
        return _socket_text(self)


class Owner(IntEnum):
    """The owner of an entry of the kernel's SPD."""

    OURS = 0
    FOREIGN = 1  # no tag: strongSwan, ip xfrm, AF_KEY
    NEWER = 2  # tagged by a later version of this program: shown, not changed
    FORGED = 3  # it has the mark of def_policy's catch-alls but is none of them


class SpdEntry(NamedTuple):
    """A policy as the kernel holds it.

    ``id`` is the kernel's policy index (KAME's spid), ``created`` and ``last_used`` are seconds
    since the epoch (0 for never), ``order`` the insertion number among ours, ``kernel_priority``
    the number the kernel sorts by. ``twin`` says that it is the automatic fwd twin of an in entry,
    ``socket`` that it is a per-socket policy (its direction is then IN or OUT). ``interface`` is
    the number of the XFRM interface whose packets alone meet the entry, 0 for all others.
    """

    policy: SecurityPolicy
    id: int
    created: int
    last_used: int
    owner: Owner
    order: int
    kernel_priority: int
    twin: bool = False
    socket: bool = False
    interface: int = 0

    def __str__(self) -> str:
        return _policy_text(self.policy)
