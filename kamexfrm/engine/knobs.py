"""The engine's half for the knobs: the marker first, then every entry that a knob concerns."""

import contextlib

from kamexfrm.engine.requests import SetKnob
from kamexfrm.engine.session import Session
from kamexfrm.errors import KernelError, UnsupportedError
from kamexfrm.translate.xfrm.marker import (
    HAS_ANY_REQID,
    HAS_REQID_SA,
    HAS_TUNNEL_USE,
    OWN_DEFAULT,
    UNFINISHED,
    follows_sas,
)
from kamexfrm.translate.xfrm.rewrite import catch_alls, rewritten
from kamexfrm.xfrm import XFRM_USERPOLICY_ACCEPT, XFRM_USERPOLICY_BLOCK, Default, Operation, XfrmMsg
from kamexfrm.xfrm import encode_default as encode


def set_knob(session: Session, request: SetKnob) -> None:
    """Write a knob; raises KnobError and then changes nothing, or KernelError.

    The entries that it concerns follow at the end of the flush, once for all knobs that are
    written. SAs and SPIs follow the further knobs when they are made, and never afterwards.
    """
    before = session.knobs
    after = before.replace(request.knob, request.value)
    if request.knob.field == "larval_lifetime":
        if session.kernel.larval_lifetime() != request.value:
            session.kernel.set_larval_lifetime(request.value)
        return
    is_default = request.knob.field == "def_policy"
    if after == before and not is_default:
        return
    session.send()
    if not request.knob.is_policys:
        session.marker = session.marker._replace(knobs=after)
        session.write_marker()
        return
    session.opens |= is_default and request.value == 1
    session.knobs_changed = True
    session.forget_templates()
    session.marker = session.marker._replace(knobs=after, flags=session.marker.flags | UNFINISHED)
    session.write_marker()


def finish(session: Session) -> None:
    """Bring all entries to where the marker's knobs want them, and note that it is done."""
    policies = session.policies()
    operations = catch_alls(policies, session.knobs)
    rewriting = rewritten(policies, session.knobs, session, session.now)
    session.must([*operations, *rewriting.operations])
    _follow_default(session)
    session.knobs_changed = False
    flags = session.marker.flags & ~(UNFINISHED | HAS_TUNNEL_USE | HAS_ANY_REQID)
    flags |= HAS_TUNNEL_USE if rewriting.has_tunnel_use else 0
    if rewriting.has_any_reqid:
        flags |= HAS_ANY_REQID
        if flags & HAS_REQID_SA and not session.sa_lookup().has_reqids:
            flags &= ~HAS_REQID_SA
    digest = session.sa_lookup().digest if follows_sas(flags) else 0
    session.marker = session.marker._replace(flags=flags, sa_digest=digest)
    session.write_marker()


def _follow_default(session: Session) -> None:
    """Set the namespace's own default to block when both families discard, and back after that.

    It survives a flush by anybody, but knows no families; "block without a marker" then tells of
    a foreign flush. One that somebody else set is left alone, but by who writes def_policy 1.
    """
    knobs = session.knobs
    blocks = knobs.inet.def_policy == 0 and knobs.inet6.def_policy == 0
    if blocks:
        # Noted first: whoever goes on after a kill in between knows whose it is.
        session.note(OWN_DEFAULT)
        session.write_marker()
    elif not (session.opens or session.marker.flags & OWN_DEFAULT):
        return
    action = XFRM_USERPOLICY_BLOCK if blocks else XFRM_USERPOLICY_ACCEPT
    wanted = Default(action, action, action)
    with contextlib.suppress(UnsupportedError):
        if _default_of(session) != wanted:
            session.must([Operation(XfrmMsg.SETDEFAULT, encode(wanted))])
    session.opens = False
    if not blocks:
        session.marker = session.marker._replace(flags=session.marker.flags & ~OWN_DEFAULT)


def _default_of(session: Session) -> Default:
    try:
        return session.kernel.default()
    except KernelError as error:
        # Linux before 5.14 has no such default: the catch-alls are enough.
        raise UnsupportedError("no default policy in this kernel", errno=error.errno) from None
