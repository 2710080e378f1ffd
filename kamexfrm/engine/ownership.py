"""Whose the policies are: those of other programs are taken over, or ours are given up.

Each policy changes by one UPDPOLICY, so that no packet finds none. Both run under the namespace's
lock, and can be repeated where they were killed.
"""

import time

from kamexfrm.engine import knobs
from kamexfrm.engine.session import Session
from kamexfrm.errors import KernelError
from kamexfrm.kernel.interface import Kernel
from kamexfrm.translate.xfrm.marker import MarkerFlag
from kamexfrm.translate.xfrm.ownership import Adoption, adoption, untagged
from kamexfrm.xfrm import XFRM_USERPOLICY_ACCEPT, Default, Operation, XfrmMsg, encode_default


def plan_adoption(kernel: Kernel) -> Adoption:
    """Return what adopt() would do now. Raises KernelError."""
    return _adoption(Session(kernel, time.time))


def _adoption(session: Session) -> Adoption:
    policies = session.policies()
    session.priorities.recover()
    order = session.priorities.order
    newest = order.newest() if order else 0
    return adoption(policies, session.knobs, newest, session.now)


def adopt(kernel: Kernel) -> Adoption:
    """Tag the policies of other programs in place; return what was done.

    They keep ids, counters and their place in the order of matching. Raises KernelError for the
    first policy that the kernel refuses to change; the others are done.
    """
    with kernel.lock() as lock:
        session = Session(kernel, time.time, lock=lock)
        found = _adoption(session)
        failures = kernel.apply(found.operations)
        session.priorities.resolve_ties()
        session.set_flags(MarkerFlag.UNFINISHED)
        knobs.finish(session)
    if failures:
        raise failures[0].error
    return found


def reset(kernel: Kernel, *, keep: bool) -> int:
    """Take the marker, sidecars, catch-alls and tags away; return the number of policies changed.

    Entries are kept as other programs' policies, or deleted. The namespace's own default is set to
    accept if def_policy had set it. Raises KernelError.
    """
    with kernel.lock() as lock:
        session = Session(kernel, time.time, lock=lock)
        operations = list(untagged(session.policies(), session.now, keep=keep))
        if session.stored is None:
            del operations[-1]  # which deletes the marker
        if MarkerFlag.OWN_DEFAULT in session.marker.flags:
            accept = Default(*[XFRM_USERPOLICY_ACCEPT] * 3)
            operations.insert(0, Operation(XfrmMsg.SETDEFAULT, encode_default(accept)))
        failures = kernel.apply(operations)
    if failures:
        raise KernelError(failures[0].error.errno, failures[0].error.reason)
    return len(operations)
