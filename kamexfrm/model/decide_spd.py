"""Which policy governs a packet: the first entry that matches, the socket's own, or def_policy.

KAME key.c key_allocsp() and key_cmpspidx_withmask(), ipsec.c ipsec_setspidx() and
getpolicybypcbsp().
"""

import errno
from collections.abc import Iterable
from typing import NamedTuple, assert_never

from kamexfrm.errors import KamexfrmError
from kamexfrm.model.decision import DefaultPolicy, EntryPolicy, Governing, NoPolicy, OwnPolicy
from kamexfrm.model.knobs import KNOBS, Knob, Knobs, deflev_field
from kamexfrm.model.packet import Packet, Path, SocketAction, SocketPolicies, SocketRule
from kamexfrm.model.policy import (
    ULPROTO_ANY,
    Direction,
    IpsecRequest,
    PolicyType,
    SecurityPolicy,
    Selector,
    SpdEntry,
)
from kamexfrm.net import AF_INET, IPPROTO_ICMP, IPPROTO_ICMPV6


class Spd(NamedTuple):
    """The SPD in the order of matching, a list for each of KAME's two directions."""

    inbound: tuple[EntryPolicy, ...] = ()
    outbound: tuple[EntryPolicy, ...] = ()

    @classmethod
    def of(cls, entries: Iterable[SpdEntry | SecurityPolicy]) -> "Spd":
        """Sort entries by priority, then by insertion, oldest first.

        Of plain policies the sequence is the insertion order. Entries of sockets and of XFRM
        interfaces, and those of direction fwd, twins or not, are left out. Raises KamexfrmError
        (EINVAL) for entrust and bypass, which belong to sockets (KAME key.c key_spdadd()).
        """
        # Differs on Linux: a fwd entry takes the place of the inbound one for forwarded packets.
        # KAME has no such direction and applies the inbound entry.
        rows = []
        for count, entry in enumerate(entries):
            policy, id_, order = _parts(entry)
            if policy is None:
                continue
            if policy.type in (PolicyType.ENTRUST, PolicyType.BYPASS):
                raise KamexfrmError("entrust and bypass are for sockets only", errno=errno.EINVAL)
            rows.append((policy.priority, order, count, policy, id_))
        rows.sort(key=lambda row: row[:3])
        inbound = (row[3:] for row in rows if row[3].direction is Direction.IN)
        outbound = (row[3:] for row in rows if row[3].direction is Direction.OUT)
        return cls(
            tuple(EntryPolicy(i, *row) for i, row in enumerate(inbound, 1)),
            tuple(EntryPolicy(i, *row) for i, row in enumerate(outbound, 1)),
        )

    def entries(self, direction: Direction) -> tuple[EntryPolicy, ...]:
        """Return the list of a direction."""
        return self.outbound if direction is Direction.OUT else self.inbound


def _parts(entry: SpdEntry | SecurityPolicy) -> tuple[SecurityPolicy | None, int, int]:
    match entry:
        case SpdEntry():
            apart = entry.socket or entry.interface
            return (None if apart else entry.policy), entry.id, entry.order
        case SecurityPolicy():
            return entry, 0, 0
        case _:
            assert_never(entry)


def _upper_seen(packet: Packet) -> tuple[int, int | None, int | None]:
    """Return the protocol and ports that KAME compares."""
    # Differs on Linux: ports of forwarded packets are matched there.
    # Differs from KAME: ICMP's type and code are matched over IPv4 too, as in ipsec-tools.
    if packet.fragment and packet.family == AF_INET and packet.path is not Path.IN:
        return ULPROTO_ANY, None, None
    if packet.path is Path.FORWARDED and packet.upper not in (IPPROTO_ICMP, IPPROTO_ICMPV6):
        return packet.upper, None, None
    return packet.upper, packet.source_port, packet.destination_port


def matches(selector: Selector, packet: Packet) -> bool:
    """Whether a selector matches a packet; only the selector can have wildcards."""
    upper, source_port, destination_port = _upper_seen(packet)
    return (
        selector.covers(packet.source, packet.destination)
        and selector.upper in (ULPROTO_ANY, upper)
        and selector.source_port in (None, source_port)
        and selector.destination_port in (None, destination_port)
    )


def first_match(packet: Packet, direction: Direction, spd: Spd) -> EntryPolicy | None:
    """Return the first entry that matches; nothing after it matters."""
    return next(
        (entry for entry in spd.entries(direction) if matches(entry.policy.selector, packet)), None
    )


def _default(packet: Packet, knobs: Knobs) -> DefaultPolicy:
    knob = _knob(packet.family, "def_policy")
    return DefaultPolicy(knob, knobs.value(knob))


def govern(
    packet: Packet, direction: Direction, spd: Spd, knobs: Knobs, socket: SocketPolicies | None
) -> Governing:
    """Return what governs a packet (KAME ipsec.c getpolicybypcbsp()).

    A privileged socket's bypass and ipsec come before the SPD, an unprivileged one's after it.
    A packet without a socket is treated as from one with entrust.
    """
    # Differs on Linux: a socket's policy always comes first, and setting it needs CAP_NET_ADMIN.
    if socket is None:
        socket = SocketPolicies()
    rule = socket.rule(direction)
    own = OwnPolicy(rule, socket.privileged)
    if socket.privileged and rule.action is not SocketAction.ENTRUST:
        return own
    entry = first_match(packet, direction, spd)
    if entry is not None:
        return entry
    match rule.action:
        case SocketAction.ENTRUST:
            return _default(packet, knobs)
        case SocketAction.IPSEC:
            return own
        case SocketAction.BYPASS:
            return NoPolicy(errno.EINVAL)
        case _:
            assert_never(rule.action)


def action_of(
    governing: EntryPolicy | OwnPolicy | DefaultPolicy,
) -> tuple[PolicyType, tuple[IpsecRequest, ...]]:
    """Return what a policy does, with its requests."""
    match governing:
        case EntryPolicy(policy=policy):
            return policy.type, policy.requests
        case OwnPolicy(rule=SocketRule(action, requests)):
            return PolicyType(action), requests
        case DefaultPolicy(value=value):
            return PolicyType.NONE if value else PolicyType.DISCARD, ()
        case _:
            assert_never(governing)


def deflev(request: IpsecRequest, family: int) -> Knob | None:
    """Return the knob that gives a request its level; None where it is written, or IPComp's."""
    field = deflev_field(request)
    return _knob(family, field) if field else None


def _knob(family: int, field: str) -> Knob:
    return next(knob for knob in KNOBS if knob.family == family and knob.field == field)
