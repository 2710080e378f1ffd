"""What must be seen of a case: KAME's decision, and the same with the kernel's differences.

Each difference is a switch. With all switches off the answer is what ``decide`` says; with all on,
it is what this kernel must show, to the letter. A difference counts for a case when the answer
would be another one without it.
"""

import errno
import itertools
from collections.abc import Callable, Sequence
from typing import NamedTuple
from unittest import mock

from kamexfrm.model import decide_output as output
from kamexfrm.model.association import SadEntry, SecurityAssociation
from kamexfrm.model.decide_input import decide_input
from kamexfrm.model.decide_sad import outbound_sa, sad_entry
from kamexfrm.model.decide_spd import Spd, action_of, matches
from kamexfrm.model.decision import (
    DefaultPolicy,
    Governing,
    InputDecision,
    NoPolicy,
    OwnPolicy,
    Rule,
    SaIndex,
    Verdict,
)
from kamexfrm.model.knobs import effective_level
from kamexfrm.model.packet import Path, Protection, SocketPolicies
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
from tests.conformance.conformance_case import Case
from tests.conformance.conformance_wire import Seal


class Expected(NamedTuple):
    """What must be seen: as in ``Seen``; ``drop`` is the kind of the error counter, or empty."""

    wire: tuple[Seal, ...] | None = None
    received: bool = False
    errno: int = 0
    acquired: frozenset[int] = frozenset()
    drop: str = ""


#: The kernel's error counters by what KAME's struct ipsecstat calls them.
COUNTERS = {
    "out_polvio": {"XfrmOutPolBlock"},
    "out_nosa": {"XfrmOutNoStates"},
    "in_polvio": {"XfrmInPolBlock", "XfrmInTmplMismatch", "XfrmInNoPols"},
    "in_nosa": {"XfrmInNoStates"},
}

#: The addresses between which a request looks up its SA; None for those of the packet.
_Ends = tuple[Address | None, Address | None] | None

#: How many states a packet may meet on its way in (XFRM_MAX_DEPTH).
_DEPTH = 6

_ANYWHERE = b""
_TRANSPARENT = (IpsecProtocol.AH, IpsecProtocol.ESP, IpsecProtocol.IPCOMP)

#: A protocol that no packet here has: entries that only say that there is a tunnel.
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


def expected(case: Case, kernel: frozenset[str]) -> Expected:
    """Return what must be seen where the named differences hold."""
    any_mode = frozenset(sa.spi for sa in case.sad if sa.mode is Mode.ANY)
    if "transport-endpoints" in kernel:
        spd = tuple(e._replace(requests=_without_endpoints(e.requests)) for e in case.spd)
        case = case.replace(spd=spd, socket=_socket_without_endpoints(case.socket))
    if "one-mode" in kernel:
        case = case.replace(sad=_modes(case))
    if "one-reqid" in kernel:
        case = _with_reqids(case, any_mode)
    if case.packet.path is Path.OUT:
        return _leaving(case, kernel)
    arrival = _arriving(case, kernel)
    if case.packet.path is Path.IN or not arrival.received:
        return arrival
    return _leaving(case, kernel)._replace(errno=0)


def _without_endpoints(requests: tuple[IpsecRequest, ...]) -> tuple[IpsecRequest, ...]:
    return tuple(
        r._replace(source=None, destination=None) if r.mode is Mode.TRANSPORT else r
        for r in requests
    )


def _socket_without_endpoints(socket: SocketPolicies | None) -> SocketPolicies | None:
    if socket is None:
        return None
    out = socket.outbound
    return socket._replace(outbound=out._replace(requests=_without_endpoints(out.requests)))


def _modes(case: Case) -> tuple[SecurityAssociation, ...]:
    """Give SAs of mode any the one mode they have: a tunnel's, where some entry asks for that."""
    tunnels = {
        (
            r.protocol,
            r.source,
            r.destination,
            r.reqid if e.direction is Direction.OUT and r.level is Level.UNIQUE else None,
        )
        for e in case.spd
        for r in e.requests
        if r.mode is Mode.TUNNEL
    }

    def mode(sa: SecurityAssociation) -> Mode:
        if sa.mode is not Mode.ANY:
            return sa.mode
        name = (sa.protocol, sa.source, sa.destination)
        asked = (*name, sa.reqid) in tunnels or (*name, None) in tunnels
        return Mode.TUNNEL if asked else Mode.TRANSPORT

    # Made again, such an SA is the newest.
    remade = [sa for sa in case.sad if sa.mode is not mode(sa) is Mode.TUNNEL]
    kept = [sa for sa in case.sad if sa not in remade]
    return tuple(sa._replace(mode=mode(sa)) for sa in (*kept, *remade))


def _with_reqids(case: Case, any_mode: frozenset[int]) -> Case:
    """Give outbound requests without a number the one reqid that their template names.

    ``any_mode`` are the SPIs of SAs that were declared with mode any: they have heads of their own.
    """
    spd = tuple(
        e._replace(requests=_numbered(case, any_mode, e.selector, e.requests))
        if e.direction is Direction.OUT
        else e
        for e in case.spd
    )
    socket = case.socket
    if socket is not None:
        nowhere = Address.unspecified(case.packet.family)
        anything = Selector(nowhere, 0, nowhere, 0)
        requests = _numbered(case, any_mode, anything, socket.outbound.requests)
        socket = socket._replace(outbound=socket.outbound._replace(requests=requests))
    return case.replace(spd=spd, socket=socket)


def _numbered(
    case: Case,
    any_mode: frozenset[int],
    selector: Selector,
    requests: tuple[IpsecRequest, ...],
) -> tuple[IpsecRequest, ...]:
    """Return requests with the reqid that their templates name."""
    found = []
    ends: _Ends = None  # the packet's own
    for request in requests:
        inner = ends
        if request.mode is Mode.TUNNEL:
            ends = (request.source, request.destination)
        serving = [sa for sa in case.sad if _may_serve(sa, request, ends, selector)]
        level = effective_level(request, selector.family, case.knobs)
        if request.mode is Mode.TUNNEL and level is Level.USE and not serving:
            ends = inner  # it is left out
        elif request.level is not Level.UNIQUE:
            request = request._replace(reqid=_reqid(any_mode, serving))  # noqa: PLW2901
        found.append(request)
    return tuple(found)


def _may_serve(
    sa: SecurityAssociation, request: IpsecRequest, ends: _Ends, selector: Selector
) -> bool:
    mine = (sa.source, sa.destination)
    there = selector.covers(*mine) if ends is None else mine == ends
    fits = sa.protocol is request.protocol and sa.mode in (Mode.ANY, request.mode)
    return there and fits and request.reqid in (0, sa.reqid)


def _reqid(any_mode: frozenset[int], serving: Sequence[SecurityAssociation]) -> int:
    """Return the reqid that serves most pairs of hosts; of equals that of the newest head."""
    pairs: dict[int, set[tuple[Address, Address]]] = {}
    heads: dict[tuple[object, ...], int] = {}
    for sa in serving:
        ends = (sa.source, sa.destination)
        pairs.setdefault(sa.reqid, set()).add(ends)
        heads.setdefault((*ends, sa.spi in any_mode, sa.reqid), sa.reqid)
    most = max(map(len, pairs.values()), default=0)
    return next((n for n in reversed(heads.values()) if len(pairs[n]) == most), 0)


def _entries(case: Case) -> list[SadEntry]:
    return [sad_entry(sa, created=at) for at, sa in enumerate(case.sad)]


# Output


def _finder(
    kernel: frozenset[str], family: int
) -> Callable[[Sequence[SadEntry], SaIndex], SadEntry | None]:
    def find(sad: Sequence[SadEntry], sought: SaIndex) -> SadEntry | None:
        other = sought.mode is Mode.TRANSPORT and sought.source.family != family
        if other and "family-change" in kernel:
            return None
        if "one-reqid" in kernel:
            sad = [entry for entry in sad if entry.association.reqid == sought.reqid]
        if "newest-sa" not in kernel:
            return outbound_sa(sad, sought)
        found = (one for one in reversed(sad) if outbound_sa([one], sought))
        return next(found, None)

    return find


def _leaving(case: Case, kernel: frozenset[str]) -> Expected:
    packet, spd = case.packet, case.spd
    if packet.path is Path.FORWARDED:
        if "forwarded-ports" in kernel:
            spd = _with_ports_matched(case, Direction.OUT)
        if "forwarded-transport" in kernel:
            nothing = packet.upper in (6, 17)
            ports = (None, None) if nothing else (packet.source_port, packet.destination_port)
            packet = packet._replace(path=Path.OUT, source_port=ports[0], destination_port=ports[1])
    with mock.patch.object(output, "outbound_sa", _finder(kernel, packet.family)):
        decision = output.decide_output(
            packet, Spd.of(spd), _entries(case), case.knobs, case.socket
        )
    drop = "out_polvio" if "out_polvio" in decision.counters else ""
    drop = "out_nosa" if "out_nosa" in decision.counters else drop
    number = decision.errno
    if decision.rule is Rule.DISCARD and "discard-eperm" in kernel:
        number = errno.EPERM
    if (
        decision.rule is Rule.SA_MISSING
        and isinstance(decision.governing, OwnPolicy)
        and "socket-eagain" in kernel
    ):
        number, drop = errno.EAGAIN, ""
    acquired = frozenset(int(index.protocol) for index in decision.acquires)
    return Expected(
        None if decision.verdict is Verdict.DROPPED else tuple(map(_seal, decision.bundle)),
        errno=number,
        acquired=acquired if case.listens else frozenset(),
        drop=drop,
    )


def _seal(layer: tuple[IpsecProtocol, Mode, Address, Address, int]) -> Seal:
    return Seal(*layer)


def _with_ports_matched(case: Case, direction: Direction) -> tuple[SecurityPolicy, ...]:
    """Return the entries that match a forwarded packet's ports, without their own."""
    seen = case.packet._replace(path=Path.IN)
    return tuple(
        entry._replace(selector=entry.selector._replace(source_port=None, destination_port=None))
        for entry in case.spd
        if entry.direction is direction and matches(entry.selector, seen)
    )


# Input


def _arriving(case: Case, kernel: frozenset[str]) -> Expected:
    packet, spd, knobs = case.packet, case.spd, case.knobs
    sad = _entries(case)
    if _sticks(case, kernel):
        return Expected(drop="?")
    helped = [p for p in packet.protections if "helper-tunnel" in kernel and _is_helped(case, p)]
    if helped and len(packet.protections) + len(helped) > _DEPTH:
        return Expected(drop="?")
    for protection in helped:  # the SA does as if it were a tunnel's
        sad = [
            entry._replace(association=entry.association._replace(mode=Mode.TUNNEL))
            if entry.association == _sa_of(case, protection)
            else entry
            for entry in sad
        ]
    if packet.path is Path.FORWARDED and "forwarded-ports" in kernel:
        spd = tuple(e for e in spd if e.direction is not Direction.IN)
        spd += _with_ports_matched(case, Direction.IN)
    if "tunnel-unasked" in kernel:
        spd += tuple(_tunnel_entry(case, p) for p in packet.protections if p.mode is Mode.TUNNEL)
    decision = decide_input(packet, Spd.of(spd), sad, knobs, case.socket)
    accepted = decision.verdict is Verdict.ACCEPTED
    if "input-headers" in kernel and decision.governing is not None:
        accepted = _admits(case, decision.governing, kernel, helped)
    elif accepted and "no-policy-tunnel" in kernel and _is_bare_tunnel(case, decision):
        accepted = False
    if accepted:
        return Expected(received=True)
    counters = decision.counters or ("?",)
    return Expected(drop=counters[0] if decision.verdict is Verdict.REJECTED else "in_polvio")


def _is_bare_tunnel(case: Case, decision: InputDecision) -> bool:
    tunnels = any(p.mode is Mode.TUNNEL for p in case.packet.protections)
    return tunnels and isinstance(decision.governing, DefaultPolicy)


def _sa_of(case: Case, protection: Protection) -> SecurityAssociation | None:
    return next(
        (
            sa
            for sa in case.sad
            if (sa.destination, sa.protocol, sa.spi)
            == (protection.destination, protection.protocol, protection.spi)
        ),
        None,
    )


def _is_helped(case: Case, protection: Protection) -> bool:
    """Whether the tunnel within a transport header is opened by what IPComp tunnels have.

    The kernel keeps an IP in IP state beneath each IPComp tunnel, found by its addresses alone.
    """
    sa = _sa_of(case, protection)
    is_bare = protection.mode is Mode.TUNNEL and sa is not None and sa.mode is Mode.TRANSPORT
    return (
        is_bare
        and protection.source.family == case.packet.family
        and any(
            (other.protocol, other.mode, other.source, other.destination)
            == (IpsecProtocol.IPCOMP, Mode.TUNNEL, protection.source, protection.destination)
            for other in case.sad
        )
    )


def _sticks(case: Case, kernel: frozenset[str]) -> bool:
    """Whether the kernel cannot take off a header whose SA is there."""
    outer: IpsecProtocol | None = None
    for protection in case.packet.protections:
        sa = _sa_of(case, protection)
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


def _tunnel_entry(case: Case, protection: Protection) -> SecurityPolicy:
    """Return an entry that no packet matches and that has just this tunnel."""
    packet = case.packet
    at = packet.protections.index(protection) + 1
    inner = packet.protections[at] if at < len(packet.protections) else packet
    nowhere = Address.unspecified(inner.source.family)
    ends = (protection.source, protection.destination)
    request = IpsecRequest(protection.protocol, Mode.TUNNEL, Level.USE, 0, *ends)
    return SecurityPolicy(
        Selector(nowhere, 0, nowhere, 0, _NO_UPPER), Direction.IN, PolicyType.IPSEC, (request,)
    )


def _admits(
    case: Case, governing: Governing, kernel: frozenset[str], helped: Sequence[Protection]
) -> bool:
    """Whether the kernel's comparison of templates with headers lets a packet in.

    Linux net/xfrm/xfrm_policy.c __xfrm_policy_check() and xfrm_policy_ok(): templates from the last
    to the first, headers from the outermost inwards.
    """
    family = case.packet.family
    # A tunnel's source is compared as an address of the packet's family: of an IPv6 one around
    # IPv4, the first four bytes.
    size = ADDRESS_BYTES[family]
    headers: list[_Header] = []
    for p in case.packet.protections:
        sa = _sa_of(case, p)
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
                    effective_level(r, family, case.knobs) is Level.USE
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
