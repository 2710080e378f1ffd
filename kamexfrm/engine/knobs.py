"""The engine's half for the knobs: the marker first, then every entry that a knob concerns."""

from kamexfrm.engine.requests import SetKnob
from kamexfrm.engine.session import Session
from kamexfrm.kernel.interface import Request
from kamexfrm.model.knobs import Knobs
from kamexfrm.translate.marker import UNFINISHED
from kamexfrm.translate.plan import default_policies, rewritten
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
    session.must([Request(*step) for step in default_policies(before, after)])
    session.must(_default(before, after))
    finish(session)


def finish(session: Session) -> None:
    """Bring all entries to where the marker's knobs want them, and note that it is done."""
    operations = rewritten(session.policies(), session.knobs, session.unserved, session.now)
    session.must([Request(*step) for step in operations])
    session.marker = session.marker._replace(flags=session.marker.flags & ~UNFINISHED)
    session.write_marker()


def _both_discard(knobs: Knobs) -> bool:
    return knobs.inet.def_policy == 0 and knobs.inet6.def_policy == 0


def _default(before: Knobs, after: Knobs) -> list[Request]:
    # The namespace's own default survives a flush by anybody, but knows no families: it is set
    # when both are to discard, and "block without a marker" then tells of a foreign flush.
    if _both_discard(before) == _both_discard(after):
        return []
    action = XFRM_USERPOLICY_BLOCK if _both_discard(after) else XFRM_USERPOLICY_ACCEPT
    return [Request(XfrmMsg.SETDEFAULT, encode(Default(action, action, action)))]
