"""What a decision is about: a packet, how it arrived protected, and the socket it belongs to.

Pure data for ``decide``. Protections are listed outermost first, as a receiver removes them.
"""

from enum import IntEnum
from typing import NamedTuple

from kamexfrm.model.policy import Direction, IpsecProtocol, IpsecRequest, Mode
from kamexfrm.net import Address


class Path(IntEnum):
    """Where a packet goes; a forwarded one meets the inbound policy first, then the outbound."""

    IN = 1
    OUT = 2
    FORWARDED = 3


class Protection(NamedTuple):
    """One IPsec header that was removed from an arriving packet, with the IP header before it.

    ``mode`` is TUNNEL where the header held an IP packet, else TRANSPORT. ``source`` and
    ``destination`` are of the IP header that preceded it: a tunnel's outer addresses. ``spi`` is
    looked up in the SAD; None means an SA that is assumed to exist. ``authenticated`` says for ESP
    whether an ICV was checked. KAME ignores the reqid.
    """

    protocol: IpsecProtocol
    mode: Mode
    source: Address
    destination: Address
    spi: int | None = None
    reqid: int = 0
    authenticated: bool = True


class Packet(NamedTuple):
    """A packet as the policy sees it: without protection, before or after IPsec.

    ``upper`` is an IP protocol number. Ports are None where the protocol has none; for ICMP and
    ICMPv6 the source port is the type and the destination port the code. ``fragment`` marks an
    IPv4 fragment. ``protections`` belong to packets that arrive.
    """

    path: Path
    source: Address
    destination: Address
    upper: int
    source_port: int | None = None
    destination_port: int | None = None
    protections: tuple[Protection, ...] = ()
    fragment: bool = False

    @property
    def family(self) -> int:
        """The address family of the packet that the policy sees."""
        return self.source.family


class SocketAction(IntEnum):
    """What a socket's policy may do in one direction (numbers of KAME IPSEC_POLICY_*)."""

    IPSEC = 2
    ENTRUST = 3
    BYPASS = 4


class SocketRule(NamedTuple):
    """A socket's policy for one direction; requests belong to IPSEC."""

    action: SocketAction = SocketAction.ENTRUST
    requests: tuple[IpsecRequest, ...] = ()


class SocketPolicies(NamedTuple):
    """A socket's policies; ``privileged`` is whether uid 0 created it, not who set the policy."""

    outbound: SocketRule = SocketRule()
    inbound: SocketRule = SocketRule()
    privileged: bool = False

    def rule(self, direction: Direction) -> SocketRule:
        """Return the rule of a direction."""
        return self.outbound if direction is Direction.OUT else self.inbound
