"""The policies and SAs of XFRM interfaces: route-based IPsec, KAME's successors' if_ipsec(4).

An interface's number is both its if_id and the reqid of its SAs. SAs of that reqid get the if_id,
whoever adds them: those written here when they are written, others by ``claim()``. An SA that is
there already gets it where it stands, so that it loses neither its sequence numbers nor a packet.
"""

import errno
from collections.abc import Iterable

from kamexfrm.engine.lookup import find_policy
from kamexfrm.engine.requests import InterfaceAdd, InterfaceDelete
from kamexfrm.engine.session import Session
from kamexfrm.errors import KernelError, invalid
from kamexfrm.translate.xfrm.interface_policies import (
    InterfaceTunnel,
    interface_policies,
    interface_policy_ids,
    is_interface_policy,
    may_belong,
    tunnels_of,
)
from kamexfrm.translate.xfrm.marker import MarkerFlag
from kamexfrm.translate.xfrm.sa_lookup import is_usable
from kamexfrm.translate.xfrm.sa_to_kernel import recreate
from kamexfrm.translate.xfrm.tag import OUR_IF_IDS
from kamexfrm.xfrm import (
    Operation,
    Policy,
    State,
    StateId,
    XfrmMsg,
    brief_state,
    decode_state,
    encode_policy,
    encode_policy_id,
    encode_state,
    encode_state_id,
)

_NUMBER_MAX = 0xFFFFFFFF


def check(tunnel: InterfaceTunnel) -> None:
    """Refuse what can be no interface's tunnel; raises KamexfrmError (EINVAL)."""
    number, local, remote = tunnel
    if not 0 < number <= _NUMBER_MAX:
        raise invalid(f"an interface's reqid is from 1 to {_NUMBER_MAX}, not {number}")
    if number in OUR_IF_IDS:
        raise invalid(f"reqid {number} is kamexfrm's own: take another one")
    if local.family != remote.family:
        raise invalid("the ends of a tunnel are of one family")
    if local == remote or local.is_unspecified or remote.is_unspecified:
        raise invalid("the ends of a tunnel are two addresses of hosts")


def add(session: Session, request: InterfaceAdd) -> None:
    """Write an interface's policies and give it the SAs of its reqid; raises KamexfrmError."""
    check(request.tunnel)
    there = _policies(session, request.tunnel.number)
    if any(policy is not None and not is_interface_policy(policy) for policy in there):
        why = f"another program's policies have if_id {request.tunnel.number}: take another number"
        raise KernelError(errno.EEXIST, why)
    if not request.replace and any(there):
        raise KernelError(errno.EEXIST, f"if_id {request.tunnel.number} has policies already")
    session.send()
    session.tunnels_changed = True
    session.invalidates_routes = True
    # Written before the policies: who adds an SA meanwhile looks for its interface.
    session.set_flags(MarkerFlag.HAS_INTERFACE)
    session.reqids.claim((request.tunnel.number,))
    session.write_marker()
    made = interface_policies(request.tunnel, session.now)
    session.apply([Operation(XfrmMsg.UPDPOLICY, encode_policy(policy)) for policy in made])
    if session.knobs.preferred_oldsa:
        session.set_sa_dependent(MarkerFlag.HAS_OLDEST_SA)
        session.sad_changed = True  # its policies name no SA yet
    claim(session)


def delete(session: Session, request: InterfaceDelete) -> None:
    """Delete an interface's policies; its SAs are ordinary ones again. Raises KernelError (ENOENT).

    An SA cannot lose an if_id where it stands: it is made anew, its numbers going on.
    """
    number = request.number
    there = _policies(session, number)
    doomed = [policy is not None and is_interface_policy(policy) for policy in there]
    ids = interface_policy_ids(number)
    operations = [
        Operation(XfrmMsg.DELPOLICY, encode_policy_id(id))
        for id, mine in zip(ids, doomed, strict=True)
        if mine
    ]
    session.tunnels_changed = True
    session.invalidates_routes = True
    session.apply(operations)
    states = [s for s in _states(session, {number}) if s.if_id == number]
    for state in states:
        _release(session, state)
    if not tunnels_of(session.kernel.policies()):
        session.clear_flags(MarkerFlag.HAS_INTERFACE)
    session.write_marker()
    if not (operations or states):
        raise KernelError(errno.ENOENT, f"nothing belongs to if_id {number}")


def _policies(session: Session, number: int) -> list[Policy | None]:
    session.send()
    return [find_policy(session.kernel, id) for id in interface_policy_ids(number)]


def claim(session: Session) -> int:
    """Give the SAs of interfaces' reqids that others added their if_id; return how many there were.

    Raises KernelError. Source: Linux xfrm_state.c xfrm_state_update().
    """
    if MarkerFlag.HAS_INTERFACE not in session.marker.flags:
        return 0
    session.send()
    numbers = set(tunnels_of(session.kernel.policies()))
    if not numbers:
        session.clear_flags(MarkerFlag.HAS_INTERFACE)
        return 0
    states = [s for s in _states(session, numbers) if not s.if_id and is_usable(s)]
    operations = [
        Operation(XfrmMsg.UPDSA, encode_state(state._replace(if_id=state.reqid)))
        for state in states
        if may_belong(state)
    ]
    if operations:
        session.mark_sad_changed()
        for failure in session.kernel.apply(operations):
            if failure.error.errno != errno.ESRCH:  # it may have expired meanwhile
                raise failure.error
    return len(operations)


def _states(session: Session, reqids: Iterable[int]) -> list[State]:
    """Return the SAs of some reqids; of the others nothing is decoded."""
    return [
        decode_state(payload)
        for payload in session.kernel.raw_states()
        if brief_state(payload)[0] in reqids
    ]


def _release(session: Session, state: State) -> None:
    """Make an SA anew without its if_id; it is put back if the kernel refuses it."""
    id = StateId(state.destination, state.spi, state.protocol, state.family, mark=state.mark)
    again = recreate(state, state.mode, session.time())
    again = again._replace(selector=state.selector, flags=state.flags)
    free = Operation(XfrmMsg.NEWSA, encode_state(again._replace(if_id=0)))
    gone = Operation(XfrmMsg.DELSA, encode_state_id(id))
    session.mark_sad_changed()
    for failure in session.kernel.apply([gone, free]):
        if failure.position == 1:
            session.kernel.apply([Operation(XfrmMsg.NEWSA, encode_state(again))])
            raise failure.error
