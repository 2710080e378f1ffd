"""SAs within a load: one that comes again stays, or is replaced in one piece."""

import errno
from os import uname, urandom

from kamexfrm.engine import oldest_sa
from kamexfrm.engine.load import Load
from kamexfrm.engine.lookup import states_between
from kamexfrm.engine.requests import SaAdd, SaDelete, SaDeleteAll, SaFlush
from kamexfrm.engine.session import Session
from kamexfrm.engine.transactions import always
from kamexfrm.errors import KamexfrmError, KernelError
from kamexfrm.model.policy import IPSEC_PROTOCOLS, IpsecProtocol
from kamexfrm.translate.xfrm.sa_lookup import is_usable
from kamexfrm.translate.xfrm.sa_restart import as_kept, is_same, restart, stand_in, succeed
from kamexfrm.translate.xfrm.sa_to_kernel import sa_id_to_kernel
from kamexfrm.xfrm import Operation, State, StateId, XfrmMsg, encode_state, encode_state_id


def _id_of(state: State) -> StateId:
    return StateId(state.destination, state.spi, state.protocol, state.family, mark=state.mark)


def flush(session: Session, load: Load, request: SaFlush) -> None:
    """Count all SAs of a protocol, or all, as old; raises KernelError."""
    session.send()
    load.marked = None
    for state in session.kernel.states(request.protocol or 0):
        if state.protocol in IPSEC_PROTOCOLS and state.spi:
            load.states[_id_of(state)] = state


def delete(session: Session, load: Load, request: SaDelete) -> None:
    """Count one SA as old; raises KernelError (ESRCH)."""
    session.send()
    id = sa_id_to_kernel(request.id)
    if id in load.states:
        raise KernelError(errno.ESRCH)
    load.states[id] = session.kernel.state(id)
    load.marked = None


def delete_all(session: Session, load: Load, request: SaDeleteAll) -> None:
    """Count the SAs between two addresses as old; raises KernelError (ESRCH)."""
    session.send()
    found = {
        _id_of(s): s
        for s in states_between(session.kernel, request)
        if s.spi and _id_of(s) not in load.states
    }
    if not found:
        raise KernelError(errno.ESRCH)
    load.states.update(found)
    load.marked = None


def add(session: Session, load: Load, request: SaAdd, wanted: State) -> bool:
    """Let an SA that comes again stay, or replace it; false where none of its name was deleted."""
    id = _id_of(wanted)
    there = load.states.pop(id, None) or load.states.pop(_taken_for(load, id), None)
    if there is None:
        return False
    session.mark_sad_changed()
    if is_usable(there) and is_same(there, as_kept(wanted, uname().release)):
        session.transactions.add(request, restart(there, wanted, session.now))
        return True
    # The new one cannot be made while the old one is there. All reaches the kernel in one piece.
    again = Operation(XfrmMsg.NEWSA, encode_state(succeed(there, wanted)))
    back = always(Operation(XfrmMsg.NEWSA, encode_state(there)))
    gone = Operation(XfrmMsg.DELSA, encode_state_id(_id_of(there)))
    if not is_usable(there) or there.protocol == IpsecProtocol.IPCOMP:
        session.transactions.add(request, (gone, again), (back, None))
        return True
    oldest_sa.release(session, (_id_of(there),))
    spare = stand_in(there, int.from_bytes(urandom(4), "big") | 1 << 31, urandom)
    made = Operation(XfrmMsg.NEWSA, encode_state(spare))
    unmade = Operation(XfrmMsg.DELSA, encode_state_id(_id_of(spare)))

    def on_failure(failures: dict[int, KernelError]) -> KamexfrmError | None:
        return failures.get(1) or failures.get(2)

    operations = (made, gone, again, unmade)
    session.transactions.add(request, operations, (None, back, None, None), on_failure)
    return True


def _taken_for(load: Load, id: StateId) -> StateId:
    """Return the name of an old SA that the kernel takes for one: one of them has no mark.

    Source: Linux xfrm_state.c xfrm_state_add() and xfrm_state_lookup(), where an SA without a mark
    is one for all marks.
    """
    if id.mark is not None:
        return id._replace(mark=None)
    if load.marked is None:
        load.marked = {each._replace(mark=None): each for each in load.states if each.mark}
    return load.marked.get(id, id)


def finish(session: Session, load: Load) -> None:
    """Delete the old SAs that have not come again; raises KernelError."""
    session.send()
    if not load.states:
        return
    oldest_sa.release(session, load.states)
    session.mark_sad_changed()
    operations = [Operation(XfrmMsg.DELSA, encode_state_id(id)) for id in load.states]
    for failure in session.kernel.apply(operations):
        if failure.error.errno != errno.ESRCH:
            raise failure.error
