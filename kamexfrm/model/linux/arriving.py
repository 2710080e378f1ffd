"""A packet that arrives: its headers, then templates against headers, as Linux compares them."""

import itertools
from collections.abc import Sequence
from typing import NamedTuple

from kamexfrm.model.association import SadEntry
from kamexfrm.model.decide_input import decide_input
from kamexfrm.model.decide_spd import Spd, action_of
from kamexfrm.model.decision import DefaultPolicy, Governing, InputDecision, NoPolicy, Verdict
from kamexfrm.model.knobs import effective_level
from kamexfrm.model.linux.fate import Fate
from kamexfrm.model.linux.leaving import DEPTH, is_too_deep, with_ports_matched
from kamexfrm.model.linux.situation import Situation
from kamexfrm.model.packet import Packet, Path, Protection
from kamexfrm.model.policy import (
    Direction,
    IpsecProtocol,
    IpsecRequest,
    Level,
    Mode,
    PolicyType,
    SecurityPolicy,
    Selector,
)
from kamexfrm.net import ADDRESS_BYTES, Address

_ANYWHERE = b""
_TRANSPARENT = (IpsecProtocol.AH, IpsecProtocol.ESP, IpsecProtocol.IPCOMP)

#: A protocol that no packet has: entries that only say that there is a tunnel.
_NO_UPPER = 254


class _Template(NamedTuple):
    protocol: IpsecProtocol
    mode: Mode
    source: bytes
    optional: bool


class _Header(NamedTuple):
    protocol: IpsecProtocol | None  # None for an IPComp tunnel's helper: any optional request does
    mode: Mode
    source: bytes


def arriving(situation: Situation, kernel: frozenset[str]) -> Fate:
    """Return the fate of a packet for this host, or of the arrival of one to be forwarded."""
    packet, spd = situation.packet, situation.spd
    if situation.loops and "ipv4-loopback" in kernel:
        return Fate(received=True)
    if _sticks(situation, kernel):
        return Fate(drop="?")
    helped = [
        p for p in packet.protections if "helper-tunnel" in kernel and _is_helped(situation, p)
    ]
    if helped and len(packet.protections) + len(helped) > DEPTH:
        return Fate(drop="?")
    if packet.path is Path.FORWARDED:
        if situation.forward is not None and "fwd-entry" in kernel:
            spd = _inbound(spd, situation.forward)
        if "forwarded-ports" in kernel:
            matched = with_ports_matched(situation, spd, Direction.IN)
            spd = (*(e for e in spd if e.direction is not Direction.IN), *matched)
    if "tunnel-unasked" in kernel:
        tunnels = (p for p in packet.protections if p.mode is Mode.TUNNEL)
        spd += tuple(_tunnel_entry(situation, p) for p in tunnels)
    sad = _with_helped(situation, helped)
    decision = decide_input(packet, Spd.of(spd), sad, situation.knobs, situation.socket)
    accepted = decision.verdict is Verdict.ACCEPTED
    is_received = accepted or "in_nosa" not in decision.counters
    if is_received and "other-family" in kernel and _is_of_another_family(situation):
        return Fate(drop="?")
    if is_too_deep(decision.governing) and "six-requests" in kernel:
        return Fate(drop="?")
    if "input-headers" in kernel and decision.governing is not None:
        accepted = _admits(situation, decision.governing, kernel, helped)
    elif accepted and "no-policy-tunnel" in kernel and _is_bare_tunnel(packet, decision):
        accepted = False
    if accepted:
        return Fate(received=True)
    counters = decision.counters or ("?",)
    return Fate(drop=counters[0] if decision.verdict is Verdict.REJECTED else "in_polvio")


def _inbound(
    spd: tuple[SecurityPolicy, ...], forward: tuple[SecurityPolicy, ...]
) -> tuple[SecurityPolicy, ...]:
    """Return the entries with those for forwarded packets in the place of the inbound ones."""
    others = (entry for entry in spd if entry.direction is not Direction.IN)
    return (*others, *(entry._replace(direction=Direction.IN) for entry in forward))


def _with_helped(situation: Situation, helped: Sequence[Protection]) -> tuple[SadEntry, ...]:
    """Return the SAD with the SAs of some protections as if they were tunnels'."""
    tunnels = [situation.sa_of(protection) for protection in helped]
    return tuple(
        entry._replace(association=entry.association._replace(mode=Mode.TUNNEL))
        if entry.association in tunnels
        else entry
        for entry in situation.sad
    )


def _is_bare_tunnel(packet: Packet, decision: InputDecision) -> bool:
    tunnels = any(p.mode is Mode.TUNNEL for p in packet.protections)
    return tunnels and isinstance(decision.governing, DefaultPolicy)


def _is_helped(situation: Situation, protection: Protection) -> bool:
    """Whether the tunnel within a transport header is opened by what IPComp tunnels have.

    The kernel keeps an IP in IP state beneath each IPComp tunnel, found by its addresses alone.
    """
    sa = situation.sa_of(protection)
    is_bare = protection.mode is Mode.TUNNEL and sa is not None and sa.mode is Mode.TRANSPORT
    return (
        is_bare
        and protection.source.family == situation.packet.family
        and any(
            (other.protocol, other.mode, other.source, other.destination)
            == (IpsecProtocol.IPCOMP, Mode.TUNNEL, protection.source, protection.destination)
            for other, *_ in situation.sad
        )
    )


def _is_of_another_family(situation: Situation) -> bool:
    """Whether a transport header was outside a tunnel that changed the family.

    Its SA has a selector of its own family, which newer kernels compare with the inner packet's.
    """
    family = situation.packet.family
    others = (p for p in situation.packet.protections if p.source.family != family)
    found = map(situation.sa_of, others)
    return any(sa is not None and sa.mode is Mode.TRANSPORT for sa in found)


def _sticks(situation: Situation, kernel: frozenset[str]) -> bool:
    """Whether the kernel cannot take off a header whose SA is there."""
    outer: IpsecProtocol | None = None
    for protection in situation.packet.protections:
        sa = situation.sa_of(protection)
        if sa is None:
            return False
        outer = outer or protection.protocol
        is_ah = protection.protocol is IpsecProtocol.AH
        if is_ah and outer is not IpsecProtocol.AH and "ah-inside" in kernel:
            return True
        is_bare = protection.mode is Mode.TRANSPORT and sa.mode is Mode.TUNNEL
        if is_bare and "sa-mode" in kernel:
            return True
        if protection.mode is Mode.TUNNEL:
            outer = None
    return False


def _tunnel_entry(situation: Situation, protection: Protection) -> SecurityPolicy:
    """Return an entry that no packet matches and that has just this tunnel."""
    packet = situation.packet
    at = packet.protections.index(protection) + 1
    inner = packet.protections[at] if at < len(packet.protections) else packet
    nowhere = Address.unspecified(inner.source.family)
    ends = (protection.source, protection.destination)
    request = IpsecRequest(protection.protocol, Mode.TUNNEL, Level.USE, 0, *ends)
    return SecurityPolicy(
        Selector(nowhere, 0, nowhere, 0, _NO_UPPER), Direction.IN, PolicyType.IPSEC, (request,)
    )


def _admits(
    situation: Situation, governing: Governing, kernel: frozenset[str], helped: Sequence[Protection]
) -> bool:
    """Whether the kernel's comparison of templates with headers lets a packet in.

    Linux net/xfrm/xfrm_policy.c __xfrm_policy_check() and xfrm_policy_ok(): templates from the last
    to the first, headers from the outermost inwards.
    """
    family = situation.packet.family
    # A tunnel's source is compared as an address of the packet's family: of an IPv6 one around
    # IPv4, the first four bytes.
    size = ADDRESS_BYTES[family]
    headers: list[_Header] = []
    for p in situation.packet.protections:
        sa = situation.sa_of(p)
        if sa is None:
            continue
        source = sa.source.packed[:size]
        if p in helped:
            headers.append(_Header(p.protocol, Mode.TRANSPORT, source))
            headers.append(_Header(None, Mode.TUNNEL, p.source.packed[:size]))
        else:
            headers.append(_Header(p.protocol, p.mode, source))
    if isinstance(governing, NoPolicy):
        return True
    kind, requests = action_of(governing)
    templates: tuple[_Template, ...] = ()
    match kind:
        case PolicyType.DISCARD:
            return False
        case PolicyType.IPSEC:
            templates = tuple(
                _Template(
                    r.protocol,
                    r.mode,
                    r.source.packed[:size] if r.source and r.mode is Mode.TUNNEL else _ANYWHERE,
                    effective_level(r, family, situation.knobs) is Level.USE
                    or r.protocol is IpsecProtocol.IPCOMP,
                )
                for r in requests
            )
        case PolicyType.NONE | PolicyType.BYPASS if not isinstance(governing, DefaultPolicy):
            templates = tuple(_Template(p, Mode.TUNNEL, _ANYWHERE, True) for p in _TRANSPARENT)
        case PolicyType.NONE if "no-policy-tunnel" not in kernel:
            return True
        case _:
            pass
    orders = [templates] if "input-order" in kernel else itertools.permutations(templates)
    return any(_walk(order, headers, kernel) for order in orders)


def _walk(
    templates: Sequence[_Template], headers: Sequence[_Header], kernel: frozenset[str]
) -> bool:
    at = 0
    for template in reversed(templates):
        found = _step(template, headers, at, kernel)
        if found is None:
            return False
        at = found
    if "extra-tunnel" not in kernel:
        return True
    return all(header.mode is Mode.TRANSPORT for header in headers[at:])


def _step(
    template: _Template, headers: Sequence[_Header], start: int, kernel: frozenset[str]
) -> int | None:
    if template.optional and template.mode is Mode.TRANSPORT:
        return start
    for at in range(start, len(headers)):
        header = headers[at]
        same = header.protocol is template.protocol
        if (
            (same or (header.protocol is None and template.optional))
            and (header.mode is template.mode or "input-mode" not in kernel)
            and (
                template.mode is Mode.TRANSPORT
                or header.mode is Mode.TRANSPORT
                or template.source in (_ANYWHERE, header.source)
                or "input-source" not in kernel
            )
        ):
            return at + 1
        if header.mode is not Mode.TRANSPORT:
            break
    return start if template.optional else None
