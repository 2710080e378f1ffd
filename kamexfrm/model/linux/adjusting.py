"""Databases as Linux has them: one mode for an SA, one reqid for a request, no endpoints.

Each function returns a situation in which what KAME's rules say is what Linux does.
"""

from collections.abc import Sequence

from kamexfrm.model.association import SadEntry, SecurityAssociation
from kamexfrm.model.knobs import Knobs, effective_level
from kamexfrm.model.linux.situation import Situation
from kamexfrm.model.packet import SocketAction, SocketPolicies, SocketRule
from kamexfrm.model.policy import Direction, IpsecRequest, Level, Mode, Selector
from kamexfrm.net import Address

#: The addresses between which a request looks up its SA; None for those of the packet.
_Ends = tuple[Address | None, Address | None] | None


def adjusted(situation: Situation, kernel: frozenset[str]) -> Situation:
    """Return the situation with the named differences of the databases in it."""
    any_mode = frozenset(sa.spi for sa, *_ in situation.sad if sa.mode is Mode.ANY)
    if "socket-tunnel-use" in kernel:
        situation = _without_refused(situation)
    if "transport-endpoints" in kernel:
        spd = tuple(e._replace(requests=_without_endpoints(e.requests)) for e in situation.spd)
        socket = _socket_without_endpoints(situation.socket)
        situation = situation._replace(spd=spd, socket=socket)
    if "one-mode" in kernel and any_mode:
        situation = situation._replace(sad=_modes(situation))
    if "one-reqid" in kernel:
        situation = _with_reqids(situation, any_mode)
    return situation


def _without_refused(situation: Situation) -> Situation:
    """Take a socket's outbound policy away that the kernel does not accept."""
    socket = situation.socket
    if socket is None:
        return situation
    refused = any(
        request.mode is Mode.TUNNEL
        and effective_level(request, situation.packet.family, situation.knobs) is Level.USE
        for request in socket.outbound.requests
    )
    if not refused or socket.outbound.action is not SocketAction.IPSEC:
        return situation
    return situation._replace(socket=socket._replace(outbound=SocketRule()))


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


def _modes(situation: Situation) -> tuple[SadEntry, ...]:
    """Give SAs of mode any the one mode they have: a tunnel's, where some entry asks for that."""
    tunnels = {
        (
            r.protocol,
            r.source,
            r.destination,
            r.reqid if e.direction is Direction.OUT and r.level is Level.UNIQUE else None,
        )
        for e in situation.spd
        for r in e.requests
        if r.mode is Mode.TUNNEL
    }

    def mode(sa: SecurityAssociation) -> Mode:
        if sa.mode is not Mode.ANY:
            return sa.mode
        name = (sa.protocol, sa.source, sa.destination)
        asked = (*name, sa.reqid) in tunnels or (*name, None) in tunnels
        return Mode.TUNNEL if asked else Mode.TRANSPORT

    def with_mode(entry: SadEntry) -> SadEntry:
        sa = entry.association
        return entry._replace(association=sa._replace(mode=mode(sa)))

    # Made again, such an SA is the newest.
    kept: list[SadEntry] = []
    remade: list[SadEntry] = []
    for entry in situation.sad:
        changed = with_mode(entry)
        was = entry.association.mode
        (remade if was is not changed.association.mode is Mode.TUNNEL else kept).append(changed)
    newest = max((entry.created for entry in situation.sad), default=0)
    return (*kept, *(entry._replace(created=newest) for entry in remade))


def _with_reqids(situation: Situation, any_mode: frozenset[int]) -> Situation:
    """Give outbound requests without a number the one reqid that their template names.

    ``any_mode`` are the SPIs of SAs that were declared with mode any: they have heads of their own.
    """
    numbering = _Numbering(tuple(sa for sa, *_ in situation.sad), situation.knobs, any_mode)
    spd = tuple(
        e._replace(requests=numbering.numbered(e.selector, e.requests))
        if e.direction is Direction.OUT
        else e
        for e in situation.spd
    )
    socket = situation.socket
    if socket is not None:
        nowhere = Address.unspecified(situation.packet.family)
        anything = Selector(nowhere, 0, nowhere, 0)
        requests = numbering.numbered(anything, socket.outbound.requests)
        socket = socket._replace(outbound=socket.outbound._replace(requests=requests))
    return situation._replace(spd=spd, socket=socket)


class _Numbering:
    """Chooses reqids by a SAD and knobs."""

    def __init__(
        self, sad: Sequence[SecurityAssociation], knobs: Knobs, any_mode: frozenset[int]
    ) -> None:
        self._sad = sad
        self._knobs = knobs
        self._any_mode = any_mode

    def numbered(
        self, selector: Selector, requests: tuple[IpsecRequest, ...]
    ) -> tuple[IpsecRequest, ...]:
        """Return requests with the reqid that their templates name."""
        found = []
        ends: _Ends = None  # the packet's own
        for request in requests:
            inner = ends
            if request.mode is Mode.TUNNEL:
                ends = (request.source, request.destination)
            serving = [sa for sa in self._sad if _may_serve(sa, request, ends, selector)]
            level = effective_level(request, selector.family, self._knobs)
            if request.mode is Mode.TUNNEL and level is Level.USE and not serving:
                ends = inner  # it is left out
            elif request.level is not Level.UNIQUE:
                request = request._replace(reqid=self._reqid(serving))  # noqa: PLW2901
            found.append(request)
        return tuple(found)

    def _reqid(self, serving: Sequence[SecurityAssociation]) -> int:
        """Return the reqid that serves most pairs of hosts; of equals that of the newest head."""
        pairs: dict[int, set[tuple[Address, Address]]] = {}
        heads: dict[tuple[object, ...], int] = {}
        for sa in serving:
            ends = (sa.source, sa.destination)
            pairs.setdefault(sa.reqid, set()).add(ends)
            heads.setdefault((*ends, sa.spi in self._any_mode, sa.reqid), sa.reqid)
        most = max(map(len, pairs.values()), default=0)
        return next((n for n in reversed(heads.values()) if len(pairs[n]) == most), 0)


def _may_serve(
    sa: SecurityAssociation, request: IpsecRequest, ends: _Ends, selector: Selector
) -> bool:
    if sa.protocol is not request.protocol or sa.mode not in (Mode.ANY, request.mode):
        return False
    if request.reqid not in (0, sa.reqid):
        return False
    if ends is None:
        return selector.covers(sa.source, sa.destination)
    return (sa.source, sa.destination) == ends
