"""SAs are added, updated, deleted and flushed: KAME's key_add(), key_delete(), key_flush().

A Linux SA has one mode; KAME's mode `any` serves both. An SA of mode any is therefore made a
tunnel one while some tunnel request of the SPD needs it, and a transport one otherwise.
"""

import errno

from kamexfrm.engine import oldest_sa, sad_load
from kamexfrm.engine.lookup import states_between
from kamexfrm.engine.requests import SaAdd, SaDelete, SaDeleteAll, SaFlush
from kamexfrm.engine.session import Session
from kamexfrm.errors import KernelError, invalid
from kamexfrm.model.association import SecurityAssociation
from kamexfrm.model.policy import IPSEC_PROTOCOLS, Direction, IpsecProtocol, Mode
from kamexfrm.translate.xfrm.any_reqid import is_any_reqid
from kamexfrm.translate.xfrm.brief_state import brief_states
from kamexfrm.translate.xfrm.interface_policies import may_belong
from kamexfrm.translate.xfrm.marker import MarkerFlag
from kamexfrm.translate.xfrm.policy_from_kernel import sidecars_of, spd_entries_from_kernel
from kamexfrm.translate.xfrm.sa_defaults import with_sysctls
from kamexfrm.translate.xfrm.sa_to_kernel import recreate, sa_id_to_kernel, sa_to_kernel
from kamexfrm.translate.xfrm.tag import is_mode_any
from kamexfrm.xfrm import (
    XFRM_MODE_TRANSPORT,
    XFRM_MODE_TUNNEL,
    Operation,
    State,
    StateId,
    XfrmMsg,
    decode_state,
    encode_state,
    encode_state_flush,
    encode_state_id,
)

#: What a tunnel request and an SA must have in common: protocol, source, destination, reqid.
_Want = tuple[int, object, object, int]

#: ESP, AH and IPComp, as PF_KEY flushes them; 0 would take the states of Mobile IPv6 along.
_IPSEC_PROTO_ANY = 255

#: Stands for the reqid of requests that take SAs of any reqid: those without one, and inbound ones.
_ANY_REQID = -1


def check(association: SecurityAssociation) -> None:
    """Refuse what KAME and RFC 2367 do not allow; raises KamexfrmError (EINVAL)."""
    if association.spi == 0:
        raise invalid("SPI 0 names no SA")
    auth = association.authentication
    if (
        association.protocol is IpsecProtocol.AH
        and auth is not None
        and auth.algorithm is not None
        and not auth.algorithm.takes_key
    ):
        raise invalid("AH needs an authentication key")


def sa_add(session: Session, request: SaAdd) -> None:
    """Add or update an SA; raises KamexfrmError."""
    association = with_sysctls(request.association, session.knobs)
    check(association)
    mode = association.mode
    if mode is Mode.ANY:
        mode = Mode.TRANSPORT
        session.set_flags(MarkerFlag.HAS_MODE_ANY)
    if association.reqid:
        session.set_flags(MarkerFlag.HAS_REQID_SA)
    state = sa_to_kernel(association, mode, by_program=request.by_program)
    state = state._replace(sequence=request.sequence)
    session.reqids.claim((association.reqid,))
    if association.reqid and may_belong(state) and not state.if_id:
        state = state._replace(if_id=session.interface_of(association.reqid))
    if session.load is not None and sad_load.add(session, session.load, request, state):
        return
    payload = encode_state(state)
    type_ = XfrmMsg.UPDSA if request.replace else XfrmMsg.NEWSA
    session.mark_sad_changed()
    session.transactions.add(request, (Operation(type_, payload),))


def sa_delete(session: Session, request: SaDelete) -> None:
    """Delete an SA; without one, the kernel refuses the request with ESRCH."""
    if session.load is not None:
        sad_load.delete(session, session.load, request)
        return
    id = sa_id_to_kernel(request.id)
    oldest_sa.release(session, (id,))
    session.mark_sad_changed()
    session.transactions.add(request, (Operation(XfrmMsg.DELSA, encode_state_id(id)),))


def sa_delete_all(session: Session, request: SaDeleteAll) -> None:
    """Delete the SAs between two addresses; raises KernelError (ESRCH) when there is none."""
    if session.load is not None:
        sad_load.delete_all(session, session.load, request)
        return
    session.send()
    doomed = [_id_of(state) for state in states_between(session.kernel, request)]
    if not doomed:
        raise KernelError(errno.ESRCH)
    oldest_sa.release(session, doomed)
    session.mark_sad_changed()
    operations = [Operation(XfrmMsg.DELSA, encode_state_id(id)) for id in doomed]
    session.transactions.add(request, operations)


def sa_flush(session: Session, request: SaFlush) -> None:
    """Delete all SAs of a protocol, or all."""
    if session.load is not None:
        sad_load.flush(session, session.load, request)
        return
    oldest_sa.release_all(session, request.protocol or 0)
    session.mark_sad_changed()
    payload = encode_state_flush(request.protocol or _IPSEC_PROTO_ANY)
    session.transactions.add(request, (Operation(XfrmMsg.FLUSHSA, payload),))


def choose_modes(session: Session) -> None:
    """Make each SA of mode any a tunnel or a transport one, as the SPD now needs it."""
    # The kernel's helper state below an IPComp tunnel has a copy of the selector, with our mark.
    states = [
        (state, payload)
        for state, payload in brief_states(session.kernel.state_runs())
        if is_mode_any(state.user) and state.spi and state.protocol in IPSEC_PROTOCOLS
    ]
    if not states:
        session.clear_flags(MarkerFlag.HAS_MODE_ANY)
        return
    session.set_flags(MarkerFlag.HAS_MODE_ANY)
    policies = session.policies()
    wanted: set[_Want] = {
        (
            int(r.protocol),
            r.source,
            r.destination,
            _ANY_REQID if is_any_reqid(r) or entry.policy.direction is Direction.IN else r.reqid,
        )
        for entry in spd_entries_from_kernel(policies, sidecars_of(policies).get)
        for r in entry.policy.requests
        if r.mode is Mode.TUNNEL and entry.policy.direction is not Direction.FWD
    }
    # The kernel lists the newest first. The older of two is recreated first: the newer stays newer.
    for state, payload in reversed(states):
        is_tunnel = False
        if wanted:
            ends = (state.protocol, state.source, state.destination)
            is_tunnel = (*ends, state.reqid) in wanted or (*ends, _ANY_REQID) in wanted
        mode = XFRM_MODE_TUNNEL if is_tunnel else XFRM_MODE_TRANSPORT
        if state.mode != mode:
            _recreate(session, decode_state(payload), mode)


def _id_of(state: State) -> StateId:
    return StateId(state.destination, state.spi, state.protocol, state.family, mark=state.mark)


def _recreate(session: Session, state: State, mode: int) -> None:
    """Replace an SA by one of another mode; the old one is put back if the kernel refuses it."""
    id = _id_of(state)
    delete = Operation(XfrmMsg.DELSA, encode_state_id(id))
    again = recreate(state, mode, session.time())
    failures = session.kernel.apply([delete, Operation(XfrmMsg.NEWSA, encode_state(again))])
    if any(f.position == 1 for f in failures):
        back = recreate(state, state.mode, session.time())
        session.kernel.apply([Operation(XfrmMsg.NEWSA, encode_state(back))])
        raise failures[-1].error
    session.mark_sad_changed()
