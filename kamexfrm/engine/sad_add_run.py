"""Many SAs are added at once: what sa_add() does with each, without an object for each."""

from kamexfrm.engine.requests import SaAddRun
from kamexfrm.engine.sad import check
from kamexfrm.engine.session import Session
from kamexfrm.errors import KamexfrmError
from kamexfrm.model.policy import Mode
from kamexfrm.translate.xfrm.marker import MarkerFlag
from kamexfrm.translate.xfrm.sa_defaults import with_sysctls
from kamexfrm.translate.xfrm.sa_fast_path import encode_run
from kamexfrm.xfrm import pack_requests


def sa_add_run(session: Session, request: SaAddRun) -> bool:
    """Add SAs; false, and nothing is done, where one may need care: each is added by itself then.

    Raises KernelError for what concerns no single SA.
    """
    if session.load is not None and session.load.states:
        return False  # one of them may come again
    run = request.run
    if run.first.reqid and session.interface_of(run.first.reqid):
        return False
    first = with_sysctls(run.first, session.knobs)
    mode = Mode.TRANSPORT if first.mode is Mode.ANY else first.mode
    try:
        check(first)
        group = encode_run(run, first, mode)
    except KamexfrmError:
        return False
    if first.mode is Mode.ANY:
        session.set_flags(MarkerFlag.HAS_MODE_ANY)
    if first.reqid:
        session.set_flags(MarkerFlag.HAS_REQID_SA)
    session.reqids.claim((first.reqid,))
    session.mark_sad_changed()
    operations, ends = pack_requests([group], session.kernel.port)
    failures = session.send_packed(operations, ends)
    transactions = session.transactions
    transactions.settle_run(
        operations, ends, failures, lambda at, sent: transactions.add(request.request(at), sent)
    )
    return True
