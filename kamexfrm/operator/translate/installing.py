"""The kernel objects that setkey makes of a state: made on a kernel in memory."""

from kamexfrm.engine.engine import Engine
from kamexfrm.engine.requests import Rejected, SaAdd, SetKnob, SpdAdd, Write
from kamexfrm.errors import Place
from kamexfrm.kernel.fake import FakeKernel
from kamexfrm.model.knobs import KNOBS, Knobs
from kamexfrm.operator.file_state import FileState
from kamexfrm.operator.translate.objects import Objects, Remark, ordinary, plain_state


def installed(state: FileState, knobs: Knobs) -> Objects:
    """Return what setkey would write into an empty namespace with these variables."""
    kernel = FakeKernel()
    engine = Engine(kernel)
    start = Knobs()
    requests: list[Write] = [
        SetKnob(knob, knobs.value(knob))
        for knob in KNOBS
        if knobs.value(knob) != start.value(knob) and knob.field != "larval_lifetime"
    ]
    requests += (SaAdd(sa, cookie=statement) for sa, statement in state.sa_statements)
    requests += (SpdAdd(each.policy, cookie=each) for each in state.policy_statements)
    rejected: list[Rejected] = []
    for request in requests:
        if written := engine.try_submit(request):
            rejected += written.rejected
    rejected += engine.try_flush().rejected
    return Objects(
        # A dump begins with the newest.
        tuple(map(plain_state, reversed(list(kernel.states())))),
        tuple(ordinary(kernel.policies())),
        tuple(map(_remark, rejected)),
    )


def _remark(one: Rejected) -> Remark:
    place: Place | None = getattr(one.request.cookie, "place", None)
    return Remark(place, f"left out, since it is rejected: {one.error}")
