"""The engine's half for the knobs: the marker first, then every entry that a knob concerns."""

from kamexfrm.engine.requests import SetKnob
from kamexfrm.engine.session import Session
from kamexfrm.kernel.interface import Request
from kamexfrm.translate.marker import UNFINISHED
from kamexfrm.translate.plan import catch_alls, rewritten
from kamexfrm.xfrm import XFRM_USERPOLICY_ACCEPT, XFRM_USERPOLICY_BLOCK, Default, XfrmMsg
from kamexfrm.xfrm import encode_default as encode


def set_knob(session: Session, request: SetKnob) -> None:
    """Write a knob; raises KnobError (EINVAL) and then changes nothing, or Refusal."""
    session.send()
    before = session.knobs
    after = before.replace(request.knob, request.value)
    if after == before and session.stored is not None:
        return
    session.marker = session.marker._replace(knobs=after, flags=session.marker.flags | UNFINISHED)
    session.write_marker()
    finish(session, defaults=request.knob.field == "def_policy")


def finish(session: Session, *, defaults: bool = False) -> None:
    """Bring all entries to where the marker's knobs want them, and note that it is done.

    ``defaults`` says that the namespace's own default may have to follow def_policy.
    """
    policies = session.policies()
    operations = catch_alls(policies, session.knobs)
    operations += rewritten(policies, session.knobs, session.unserved, session.now)
    session.must([Request(*step) for step in operations])
    if defaults:
        session.must(_default(session))
    session.marker = session.marker._replace(flags=session.marker.flags & ~UNFINISHED)
    session.write_marker()


def _default(session: Session) -> list[Request]:
    # The namespace's own default survives a flush by anybody, but knows no families: it is set
    # when both are to discard, and "block without a marker" then tells of a foreign flush.
    knobs = session.knobs
    blocks = knobs.inet.def_policy == 0 and knobs.inet6.def_policy == 0
    action = XFRM_USERPOLICY_BLOCK if blocks else XFRM_USERPOLICY_ACCEPT
    wanted = Default(action, action, action)
    if session.kernel.default() == wanted:
        return []
    return [Request(XfrmMsg.SETDEFAULT, encode(wanted))]
