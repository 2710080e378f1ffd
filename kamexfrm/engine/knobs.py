"""The engine's half for the knobs: the marker first, then every entry that a knob concerns."""

from kamexfrm.engine.requests import SetKnob
from kamexfrm.engine.session import Session
from kamexfrm.errors import Refusal
from kamexfrm.kernel.interface import Request
from kamexfrm.translate.marker import (
    HAS_NUMBERED_SA,
    HAS_TUNNEL_USE,
    HAS_UNNUMBERED,
    UNFINISHED,
)
from kamexfrm.translate.plan import catch_alls, rewritten
from kamexfrm.xfrm import XFRM_USERPOLICY_ACCEPT, XFRM_USERPOLICY_BLOCK, Default, XfrmMsg
from kamexfrm.xfrm import encode_default as encode


def set_knob(session: Session, request: SetKnob) -> None:
    """Write a knob; raises KnobError and then changes nothing, or Refusal.

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
    session.defaults_changed |= is_default
    session.knobs_changed = True
    session.forget_shapes()
    session.marker = session.marker._replace(knobs=after, flags=session.marker.flags | UNFINISHED)
    session.write_marker()


def finish(session: Session) -> None:
    """Bring all entries to where the marker's knobs want them, and note that it is done."""
    policies = session.policies()
    operations = catch_alls(policies, session.knobs)
    rewriting = rewritten(policies, session.knobs, session, session.now)
    session.must([Request(*step) for step in (*operations, *rewriting.operations)])
    if session.defaults_changed:
        session.must(_default(session))
        session.defaults_changed = False
    session.knobs_changed = False
    flags = session.marker.flags & ~(UNFINISHED | HAS_TUNNEL_USE | HAS_UNNUMBERED)
    flags |= HAS_TUNNEL_USE if rewriting.has_tunnel_use else 0
    if rewriting.has_unnumbered:
        flags |= HAS_UNNUMBERED
        if flags & HAS_NUMBERED_SA and not session.services().has_numbers:
            flags &= ~HAS_NUMBERED_SA
    session.marker = session.marker._replace(flags=flags)
    session.write_marker()


def _default(session: Session) -> list[Request]:
    # The namespace's own default survives a flush by anybody, but knows no families: it is set
    # when both are to discard, and "block without a marker" then tells of a foreign flush.
    knobs = session.knobs
    blocks = knobs.inet.def_policy == 0 and knobs.inet6.def_policy == 0
    action = XFRM_USERPOLICY_BLOCK if blocks else XFRM_USERPOLICY_ACCEPT
    wanted = Default(action, action, action)
    try:
        if session.kernel.default() == wanted:
            return []
    except Refusal:
        return []  # Linux before 5.14 has no such default: the catch-alls are enough
    return [Request(XfrmMsg.SETDEFAULT, encode(wanted))]
