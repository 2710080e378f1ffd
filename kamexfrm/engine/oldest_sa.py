"""Policies that name the oldest of their SAs (``net.key.preferred_oldsa`` 1) let go of it in time.

A template that names an SA which is gone is served by no other one: its packets are dropped, or go
in clear at level use. So before an SA is deleted here, the policies that name it get the next.
What expires, or another program deletes, is told by an event afterwards: see ``kamexfrmd``.
"""

from collections.abc import Callable, Iterable

from kamexfrm.engine.knobs import carry_out
from kamexfrm.engine.session import Session
from kamexfrm.translate.xfrm.brief_state import SaName
from kamexfrm.translate.xfrm.marker import MarkerFlag
from kamexfrm.translate.xfrm.rewrite import rewritten
from kamexfrm.xfrm import StateId


def release(session: Session, doomed: Iterable[StateId]) -> None:
    """Let policies name other SAs than those that are about to be deleted; raises KernelError."""
    names = {(id.protocol, id.destination, id.spi) for id in doomed}
    _release(session, names.__contains__)


def release_all(session: Session, protocol: int) -> None:
    """Let policies name no SA of a protocol, or of any (0), before a flush; raises KernelError."""
    _release(session, lambda name: not protocol or name[0] == protocol)


def _release(session: Session, is_doomed: Callable[[SaName], bool]) -> None:
    if MarkerFlag.HAS_OLDEST_SA not in session.marker.flags:
        return
    session.send()
    if not any(map(is_doomed, session.oldest_sas().names())):
        return
    session.set_flags(MarkerFlag.UNFINISHED)  # for who comes after a kill before the deletion
    session.write_marker()
    session.leave_out(is_doomed)
    policies = session.policies()
    carry_out(session, [], rewritten(policies, session.knobs, session, session.time()))
