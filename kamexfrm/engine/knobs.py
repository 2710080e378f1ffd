"""Knobs are written: the marker first, then every entry that a knob concerns."""

import contextlib
import errno
from itertools import chain

from kamexfrm.engine.lookup import find_catch_alls
from kamexfrm.engine.requests import SetKnob
from kamexfrm.engine.session import Session
from kamexfrm.errors import KernelError, UnsupportedError, invalid
from kamexfrm.net import AF_INET, AF_INET6
from kamexfrm.translate.xfrm.marker import NO_FLAGS, MarkerFlag
from kamexfrm.translate.xfrm.plain_rewrite import plain_rewritten
from kamexfrm.translate.xfrm.rewrite import Rewriting, catch_alls, rewritten
from kamexfrm.xfrm import XFRM_USERPOLICY_ACCEPT, XFRM_USERPOLICY_BLOCK, Default, Operation, XfrmMsg
from kamexfrm.xfrm import encode_default as encode

_FOUND_BY_REWRITING = (
    MarkerFlag.HAS_TUNNEL_USE | MarkerFlag.HAS_ANY_REQID | MarkerFlag.HAS_OLDEST_SA
)


def set_knob(session: Session, request: SetKnob) -> None:
    """Write a knob; raises KnobError and then changes nothing, or KernelError.

    Where another process has the lock that is EBUSY: it may be about to write what it knew before.

    The entries that it concerns are rewritten at the end of the flush, once for all knobs that are
    written. The further knobs, but for ``preferred_oldsa``, act on SAs and SPIs when these are
    made, and never afterwards.
    """
    before = session.knobs
    after = before.replace(request.knob, request.value)
    if request.knob.field == "larval_lifetime":
        if session.kernel.larval_lifetime() != request.value:
            session.kernel.set_larval_lifetime(request.value)
        return
    is_default = request.knob.field == "def_policy"
    rewrites = is_default or (not session.knobs_changed and _has_false_catch_alls(session))
    if after == before and not rewrites:
        return
    if session.lock is not None and session.lock.is_taken:
        text = f"{session.lock.holder} holds this namespace's lock: try again once it is done"
        raise invalid(text, errno.EBUSY)
    session.send()
    if not (request.knob.rewrites_policies or rewrites):
        session.set_knobs(after)
        session.write_marker()
        return
    session.default_accepts |= is_default and request.value == 1
    session.knobs_changed = True
    session.set_knobs(after)
    session.set_flags(MarkerFlag.UNFINISHED)
    session.write_marker()


def _has_false_catch_alls(session: Session) -> bool:
    """Whether catch-alls are missing, too many, or not exactly what we write."""
    session.send()
    there = (find_catch_alls(session.kernel, family) for family in (AF_INET, AF_INET6))
    return bool(catch_alls(chain.from_iterable(there), session.knobs))


def finish(session: Session) -> bool:
    """Rewrite all entries as the marker's knobs and the SAs require, then clear UNFINISHED.

    Return whether def_policy's catch-alls were not as they should be.
    """
    plain = plain_rewritten(session.raw_policies(), session.knobs, session.has_reqids)
    session.unserved.clear()
    operations = catch_alls(plain.rest, session.knobs)
    rewriting = rewritten(plain.rest, session.knobs, session, session.time())
    flags = rewriting.flags | (MarkerFlag.HAS_ANY_REQID if plain.has_any_reqid else NO_FLAGS)
    rewriting = rewriting._replace(operations=[*rewriting.operations, *plain.operations])
    carry_out(session, operations, rewriting)
    _write_default(session)
    session.knobs_changed = False
    session.clear_flags(_FOUND_BY_REWRITING | MarkerFlag.UNFINISHED)
    session.set_flags(flags)
    asks = MarkerFlag.HAS_ANY_REQID in flags and MarkerFlag.HAS_REQID_SA in session.marker.flags
    if asks and not session.sa_lookup().has_reqids:
        session.clear_flags(MarkerFlag.HAS_REQID_SA)
    session.set_sa_digest()
    session.write_marker()
    return bool(operations)


def carry_out(session: Session, before: list[Operation], rewriting: Rewriting) -> None:
    """Carry out operations and a rewriting; raises the first KernelError, once all is tried."""
    operations = [*before, *rewriting.operations]
    after = {len(before) + at for at in rewriting.after}
    if not after:
        session.apply(operations)
        return
    first = [at for at in range(len(operations)) if at not in after]
    failures = session.kernel.apply([operations[at] for at in first]) if first else []
    failed = {first[failure.position] for failure in failures}
    second = [at for at in sorted(after) if at - 1 not in failed]
    failures += session.kernel.apply([operations[at] for at in second]) if second else []
    if failures:
        raise failures[0].error


def _write_default(session: Session) -> None:
    """Set the namespace's own default to block when both families discard, and back after that.

    It survives a flush by any program, but knows no families; "block without a marker" is then the
    sign of a foreign flush, which each session takes for def_policy 0 in both families. A default
    that another program set is left alone, except when def_policy 1 is written.
    """
    knobs = session.knobs
    blocks = knobs.inet.def_policy == 0 and knobs.inet6.def_policy == 0
    if blocks:
        # The marker first: after a kill in between, the next writer knows whose default it is.
        session.set_flags(MarkerFlag.OWN_DEFAULT)
        session.write_marker()
    elif not (session.default_accepts or MarkerFlag.OWN_DEFAULT in session.marker.flags):
        return
    action = XFRM_USERPOLICY_BLOCK if blocks else XFRM_USERPOLICY_ACCEPT
    wanted = Default(action, action, action)
    with contextlib.suppress(UnsupportedError):
        if _default_of(session) != wanted:
            session.apply([Operation(XfrmMsg.SETDEFAULT, encode(wanted))])
    session.default_accepts = False
    if not blocks:
        session.clear_flags(MarkerFlag.OWN_DEFAULT)


def _default_of(session: Session) -> Default:
    try:
        return session.kernel.default()
    except KernelError as error:
        # Linux before 5.14 has no such default: the catch-alls are enough.
        raise UnsupportedError("no default policy in this kernel", errno=error.errno) from None
