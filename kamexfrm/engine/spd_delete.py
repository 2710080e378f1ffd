"""Policies are deleted and flushed: KAME's key_spddelete(), key_spddelete2(), key_spdflush()."""

import errno
from itertools import pairwise

from kamexfrm.engine import spd_load
from kamexfrm.engine.lookup import spd_policy_by_id
from kamexfrm.engine.requests import SpdDelete, SpdDeleteId, SpdFlush
from kamexfrm.engine.session import Session
from kamexfrm.engine.transactions import Undo, always
from kamexfrm.errors import KernelError
from kamexfrm.model.policy import Direction
from kamexfrm.translate.xfrm.catch_all import stands_for_one
from kamexfrm.translate.xfrm.interface_policies import is_interface_policy, refuse_interface
from kamexfrm.translate.xfrm.marker import Marker, MarkerFlag, marker_policy
from kamexfrm.translate.xfrm.policy_from_kernel import (
    has_sidecar,
    is_ordinary,
    is_sidecar,
)
from kamexfrm.translate.xfrm.policy_name import name_of, policy_id, sidecar_selector
from kamexfrm.translate.xfrm.rewrite import catch_alls, delete_by_index, delete_sidecar
from kamexfrm.xfrm import (
    XFRM_POLICY_FWD,
    XFRM_POLICY_IN,
    XFRM_POLICY_OUT,
    Operation,
    Policy,
    XfrmMsg,
    encode_policy,
    encode_policy_flush,
)

_NEW, _UPDATE = XfrmMsg.NEWPOLICY, XfrmMsg.UPDPOLICY

_KEPT_BY_FLUSH = (
    MarkerFlag.HAS_MODE_ANY
    | MarkerFlag.HAS_REQID_SA
    | MarkerFlag.OWN_DEFAULT
    | MarkerFlag.HAS_INTERFACE
)


def spd_delete(session: Session, request: SpdDelete) -> None:
    """Delete a policy, its automatic fwd twin and its sidecar; raises KernelError (ENOENT)."""
    if session.load is not None and spd_load.delete(session, session.load, request):
        return
    selector, direction, label = request.selector, request.direction, request.label
    there = session.find_policy(policy_id(selector, direction, label))
    refuse_interface(there)
    twin = None
    if request.twin and direction is Direction.IN:
        twin = session.find_policy(policy_id(selector, Direction.FWD, label))
    _delete(session, request, there, twin)


def spd_delete_id(session: Session, request: SpdDeleteId) -> None:
    """Delete a policy by id; raises KernelError (ENOENT, EINVAL)."""
    session.send()
    there = spd_policy_by_id(session.kernel, request.id)
    refuse_interface(there)
    twin = None
    if there.direction == XFRM_POLICY_IN:
        twin = session.find_policy(name_of(there, XFRM_POLICY_FWD))
    _delete(session, request, there, twin)


def _delete(
    session: Session,
    request: SpdDelete | SpdDeleteId,
    there: Policy | None,
    forward: Policy | None,
) -> None:
    session.tunnels_changed = True
    operations: list[Operation] = []
    undo: list[Undo] = []
    if forward and spd_load.goes_along(request, forward):
        operations.append(delete_by_index(forward))
        undo.append(always(Operation(_NEW, encode_policy(forward))))
    if there is None:
        session.apply(operations)
        raise KernelError(errno.ENOENT)
    operations.append(delete_by_index(there))
    undo.append(None)
    # A deletion does not make the kernel drop cached routes: connected flows that this entry let
    # pass in clear would go on so, past the entries behind it.
    session.invalidates_routes |= there.direction == XFRM_POLICY_OUT
    if has_sidecar(there):
        operations.append(delete_sidecar(sidecar_selector(there)))
        undo.append(None)
    session.transactions.add(request, operations, undo)
    session.send()


def spd_flush(session: Session, request: SpdFlush) -> None:
    """Delete all policies; the knobs, def_policy's catch-alls and interfaces' policies stay."""
    if session.load is not None:
        spd_load.flush(session, session.load)
        return
    session.send()
    session.tunnels_changed = True
    knobs = session.knobs
    kept = session.reqids.with_last(Marker(knobs, flags=session.marker.flags & _KEPT_BY_FLUSH))
    has_interface = MarkerFlag.HAS_INTERFACE in session.marker.flags | session.assumed_flags
    if has_interface or 0 in (knobs.inet.def_policy, knobs.inet6.def_policy):
        _delete_all(session)
        session.reset(kept)
        session.priorities.reset()
        session.write_marker()
        return
    fresh = kept._replace(reqid=Marker().reqid) == Marker()
    operations = [Operation(XfrmMsg.FLUSHPOLICY, encode_policy_flush())]
    session.priorities.reset()
    if fresh:
        session.reqids.reset()
        session.reset(Marker())
        session.stored = None
    else:
        session.reset(kept)
        session.stored = kept
        operations.append(Operation(_UPDATE, encode_policy(marker_policy(kept))))
    session.transactions.add(request, operations)
    session.send()


def _delete_all(session: Session) -> None:
    """Delete all but catch-alls, which are put right first, marker and interfaces' policies.

    Raises KernelError.

    FLUSHPOLICY is not atomic: clear packets were seen during one. So they are deleted one by one,
    but an entry together with its twin or its sidecar, which have its selector.
    """
    doomed, standing = [], []
    for policy in session.kernel.policies():
        if policy.selector.user and stands_for_one(policy):
            standing.append(policy)
        elif is_interface_policy(policy):
            continue
        elif (is_ordinary(policy) or is_sidecar(policy)) and policy.direction <= XFRM_POLICY_FWD:
            doomed.append(policy)
    session.apply(catch_alls(standing, session.knobs))
    doomed.sort(key=lambda p: p.selector)
    ends = [at for at, (a, b) in enumerate(pairwise(doomed), 1) if a.selector != b.selector]
    operations = [delete_by_index(p) for p in doomed]
    failures = session.kernel.apply([*operations, *session.renewal()], [*ends, len(operations)])
    for failure in failures:
        if failure.error.errno != errno.ENOENT:
            raise failure.error
