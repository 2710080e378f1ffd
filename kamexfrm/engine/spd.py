"""The engine's half for policies: add, replace, delete, flush (KAME key_spdadd() and its kin)."""

import errno
from itertools import pairwise

from kamexfrm.engine.jobs import Undo
from kamexfrm.engine.requests import MAX_REQUESTS, SpdAdd, SpdDelete, SpdDeleteId, SpdFlush
from kamexfrm.engine.session import FORGET_ROUTES, Session
from kamexfrm.errors import KamexfrmError, Refusal, refuse
from kamexfrm.kernel.interface import Request
from kamexfrm.model.policy import (
    Direction,
    IpsecRequest,
    PolicyType,
    SecurityContext,
    SecurityPolicy,
)
from kamexfrm.translate import tag as tags
from kamexfrm.translate.entry import has_sidecar, is_ordinary, is_sidecar, verdict_of
from kamexfrm.translate.marker import (
    HAS_MODE_ANY,
    HAS_NUMBERED_SA,
    HAS_TUNNEL_USE,
    HAS_UNNUMBERED,
    OWN_DEFAULT,
    Marker,
    marker_policy,
)
from kamexfrm.translate.plan import (
    delete_by_index,
    delete_policy,
    delete_sidecar,
)
from kamexfrm.translate.policy import (
    Installed,
    Placement,
    install,
    selector_to_kernel,
    tunnel_uses,
)
from kamexfrm.translate.serving import has_unnumbered
from kamexfrm.translate.shape import encode_plain, encode_twin
from kamexfrm.xfrm import (
    EMPTY_SELECTOR,
    XFRM_POLICY_FWD,
    XFRM_POLICY_IN,
    XFRM_POLICY_OUT,
    Policy,
    PolicyId,
    XfrmMsg,
    encode_policy,
    encode_policy_flush,
)
from kamexfrm.xfrm import SecurityContext as Label

#: An entry's tag has 32 bits for each of its lifetimes, in seconds: 136 years.
LIFETIME_MAX = 0xFFFFFFFF

_NEW, _UPDATE = XfrmMsg.NEWPOLICY, XfrmMsg.UPDPOLICY


def _always(step: Request) -> Undo:
    return lambda: step


def _label_of(context: SecurityContext | None) -> Label | None:
    return None if context is None else Label(*context)


def check(policy: SecurityPolicy) -> None:
    """Refuse what KAME's kernel or AF_KEY would; raises KamexfrmError."""
    if policy.type in (PolicyType.ENTRUST, PolicyType.BYPASS):
        raise refuse(f"{policy.type.name.lower()} is for sockets only")
    if policy.type is PolicyType.IPSEC and not policy.requests:
        # Linux would take it for `none` and let everything pass.
        raise refuse("ipsec needs at least one request")
    if max(policy.lifetime, policy.validtime) > LIFETIME_MAX:
        raise refuse(f"a lifetime over {LIFETIME_MAX} seconds")
    check_number(policy.requests)


def check_number(requests: tuple[IpsecRequest, ...]) -> None:
    """Refuse more requests than the kernel takes; raises KamexfrmError (ELOOP)."""
    if len(requests) > MAX_REQUESTS:
        raise refuse(f"at most {MAX_REQUESTS} requests", errno.ELOOP)


def spd_add(session: Session, request: SpdAdd) -> None:
    """Add or replace a policy with its fwd twin and sidecar; raises KamexfrmError."""
    policy, twin, replace, _ = request
    selector, direction, type_, requests, priority, lifetime, validtime, context = policy
    unusual = not 0 < len(requests) <= MAX_REQUESTS or type_ is not PolicyType.IPSEC
    if unusual or lifetime | validtime > LIFETIME_MAX:
        check(policy)
    family = selector[0][0]
    shape = session.shape(type_, requests, direction, family)
    if replace or context is not None or not shape.plain or direction is Direction.FWD:
        _add_with_care(session, request)
        return
    if shape.unnumbered:
        session.note(HAS_UNNUMBERED)
        if session.has_numbers():
            _add_with_care(session, request)
            return
    if shape.tunnel:
        session.tunnels_changed = True
    if shape.reqids:
        session.reqids.claim(shape.reqids)
    number, order = session.placing.place(priority)
    entry = Request(_NEW, encode_plain(policy, shape, number, order, session.now))
    if twin and direction is Direction.IN:
        copy = Request(_NEW, encode_twin(policy, shape, number, order, session.now))
        _add_pair(session, request, entry, copy)
    else:
        session.jobs.issue(request, (entry,))


def _add_with_care(session: Session, request: SpdAdd) -> None:
    """Add or replace a policy that needs a look at what is there, or numbers of its own."""
    policy = request.policy
    session.tunnels_changed = True
    policy = policy._replace(requests=session.reqids.numbered(policy.requests))
    uses = tunnel_uses(policy, session.knobs)
    unserved: tuple[IpsecRequest, ...] = ()
    if uses:
        unserved = session.unserved(uses)
        session.begin_to_follow(HAS_TUNNEL_USE)
    fitted = None
    if has_unnumbered(policy):
        session.note(HAS_UNNUMBERED)
        fitted = session.fitted(policy, unserved)
    placement = Placement(*session.placing.place(policy.priority))
    installed = install(
        policy, session.knobs, placement, session.now, unserved=unserved, fitted=fitted
    )
    twin = None
    if request.twin and policy.direction is Direction.IN:
        forward = policy._replace(direction=Direction.FWD)
        twin = install(forward, session.knobs, placement, session.now, twin=True).policy
    entry = Request(_NEW, encode_policy(installed.policy))
    if request.replace:
        _replace(session, request, installed, twin)
    elif installed.sidecar:
        _add_with_sidecar(session, request, installed)
    elif twin:
        _add_pair(session, request, entry, Request(_NEW, encode_policy(twin)))
    elif policy.direction is Direction.FWD:
        _add_forward(session, request, installed.policy)
    else:
        session.jobs.issue(request, (entry,))


def _add_with_sidecar(session: Session, request: SpdAdd, installed: Installed) -> None:
    # The sidecar may only be written once it is known that the entry itself is new.
    policy, sidecar = installed
    assert sidecar is not None  # noqa: S101
    label = policy.security_context
    if session.find(policy.selector, policy.direction, label=label):
        raise Refusal(errno.EEXIST)
    operations = (
        Request(_UPDATE, encode_policy(sidecar)),
        Request(_NEW, encode_policy(policy)),
    )
    undo = (
        _always(Request(*delete_sidecar(policy.selector))),
        _always(Request(*delete_policy(policy.selector, policy.direction, label))),
    )
    session.jobs.issue(request, operations, undo)


def _add_pair(session: Session, request: SpdAdd, entry: Request, copy: Request) -> None:
    selector, label = selector_to_kernel(request.policy.selector), _label_of(request.policy.context)
    undo = (
        lambda: Request(*delete_policy(selector, XFRM_POLICY_IN, label)),
        lambda: Request(*delete_policy(selector, XFRM_POLICY_FWD, label)),
    )
    copied = PolicyId(selector, index=0, direction=XFRM_POLICY_FWD, security_context=label)

    def settle(failures: dict[int, Refusal]) -> KamexfrmError | None:
        if 0 in failures:
            return failures[0]
        if failures[1].errno != errno.EEXIST:
            return failures[1]
        tag = verdict_of(session.kernel.policy(copied)).tag
        if tag is None:
            return Refusal(errno.EEXIST, "a foreign fwd policy with this selector is in the way")
        if tag.flags & tags.TWIN:  # left behind by somebody who deleted the in entry alone
            session.must([Request(_UPDATE, copy.payload)])
        return None

    session.jobs.issue(request, (entry, copy), undo, settle)


def _add_forward(session: Session, request: SpdAdd, forward: Policy) -> None:
    payload = encode_policy(forward)

    def settle(failures: dict[int, Refusal]) -> KamexfrmError | None:
        if failures[0].errno != errno.EEXIST:
            return failures[0]
        wanted = PolicyId(
            forward.selector,
            index=0,
            direction=XFRM_POLICY_FWD,
            security_context=forward.security_context,
        )
        tag = verdict_of(session.kernel.policy(wanted)).tag
        if tag is None or not tag.flags & tags.TWIN:
            return failures[0]
        session.must([Request(_UPDATE, payload)])  # an explicit fwd takes the twin over
        return None

    session.jobs.issue(request, (Request(_NEW, payload),), settle=settle)


def _replace(session: Session, request: SpdAdd, installed: Installed, twin: Policy | None) -> None:
    policy, sidecar = installed
    label = policy.security_context
    operations: list[Request] = []
    undo: list[Undo] = []

    def update(new: Policy, old: Policy | None) -> None:
        operations.append(Request(_UPDATE, encode_policy(new)))
        undo.append(
            _always(
                Request(_UPDATE, encode_policy(old))
                if old
                else Request(*delete_policy(new.selector, new.direction, label))
            )
        )

    old = session.find(policy.selector, policy.direction, label=label)
    if sidecar:
        kept = session.find(policy.selector, XFRM_POLICY_FWD, tags.SIDECAR_IF_ID)
        operations.append(Request(_UPDATE, encode_policy(sidecar)))
        undo.append(
            _always(
                Request(_UPDATE, encode_policy(kept))
                if kept
                else Request(*delete_sidecar(policy.selector))
            )
        )
    update(policy, old)
    if twin:
        there = session.find(twin.selector, XFRM_POLICY_FWD, label=label)
        tag = verdict_of(there).tag if there else None
        if there and tag is None:
            raise Refusal(errno.EEXIST, "a foreign fwd policy with this selector is in the way")
        if tag is None or tag.flags & tags.TWIN:
            update(twin, there)
    if old and has_sidecar(old) and not sidecar:
        operations.append(Request(*delete_sidecar(policy.selector)))
        undo.append(None)
    session.jobs.issue(request, operations, undo)
    session.send()


def spd_delete(session: Session, request: SpdDelete) -> None:
    """Delete a policy, its automatic fwd copy and its sidecar; raises Refusal (ENOENT)."""
    selector = selector_to_kernel(request.selector)
    label = _label_of(request.label)
    there = session.find(selector, request.direction - 1, label=label)
    twin = None
    if request.twin and request.direction is Direction.IN:
        twin = session.find(selector, XFRM_POLICY_FWD, label=label)
    _delete(session, request, there, twin)


def spd_delete_id(session: Session, request: SpdDeleteId) -> None:
    """Delete a policy by id; raises Refusal (ENOENT)."""
    session.send()
    there = _by_id(session, request.id)
    if there is None:
        raise Refusal(errno.ENOENT)
    twin = None
    if there.direction == XFRM_POLICY_IN:
        twin = session.find(there.selector, XFRM_POLICY_FWD, label=there.security_context)
    _delete(session, request, there, twin)


def _by_id(session: Session, id: int) -> Policy | None:
    try:
        wanted = PolicyId(EMPTY_SELECTOR, index=id, direction=id & 7)
        there = session.kernel.policy(wanted) if id else None
    except Refusal as refusal:
        if refusal.errno not in (errno.ENOENT, errno.EINVAL):
            raise
        # Foreign entries of an interface or a mark are not found by their index alone.
        there = next((p for p in session.kernel.policies() if p.index == id), None)
    return there if there and is_ordinary(there) else None


def _delete(
    session: Session,
    request: SpdDelete | SpdDeleteId,
    there: Policy | None,
    forward: Policy | None,
) -> None:
    session.tunnels_changed = True
    operations: list[Request] = []
    undo: list[Undo] = []
    tag = verdict_of(forward).tag if forward else None
    if forward and tag and tag.flags & tags.TWIN:
        operations.append(Request(*delete_by_index(forward)))
        undo.append(_always(Request(_NEW, encode_policy(forward))))
    if there is None:
        session.must(operations)
        raise Refusal(errno.ENOENT)
    operations.append(Request(*delete_by_index(there)))
    undo.append(None)
    # A deletion does not make the kernel look again: connected flows that met this entry in clear
    # would stay so, past what is matched behind it.
    session.forget_routes |= there.direction == XFRM_POLICY_OUT
    if has_sidecar(there):
        operations.append(Request(*delete_sidecar(there.selector)))
        undo.append(None)
    session.jobs.issue(request, operations, undo)
    session.send()


def spd_flush(session: Session, request: SpdFlush) -> None:
    """Delete all policies; the knobs and def_policy's catch-alls outlive it."""
    session.send()
    session.tunnels_changed = True
    knobs = session.knobs
    flags = session.marker.flags & (HAS_MODE_ANY | HAS_NUMBERED_SA | OWN_DEFAULT)
    kept = session.reqids.note(Marker(knobs, flags=flags))
    if 0 in (knobs.inet.def_policy, knobs.inet6.def_policy):
        _delete_all(session)
        session.marker = kept
        session.placing.forget()
        session.write_marker()
        return
    fresh = kept._replace(reqid=Marker().reqid) == Marker()
    operations = [Request(XfrmMsg.FLUSHPOLICY, encode_policy_flush())]
    session.placing.forget()
    if fresh:
        session.reqids.forget()
        session.marker, session.stored = Marker(), None
    else:
        session.marker = session.stored = kept
        operations.append(Request(_UPDATE, encode_policy(marker_policy(kept))))
    session.jobs.issue(request, operations)
    session.send()


def _delete_all(session: Session) -> None:
    """Delete all but the catch-alls and the marker; raises Refusal.

    FLUSHPOLICY is not atomic: clear packets were seen inside one. So they go one by one, but an
    entry together with its twin or its sidecar, which have its selector.
    """
    doomed = [
        p
        for p in session.kernel.policies()
        if (is_ordinary(p) or is_sidecar(p)) and p.direction <= XFRM_POLICY_FWD
    ]
    doomed.sort(key=lambda p: p.selector)
    ends = [at for at, (a, b) in enumerate(pairwise(doomed), 1) if a.selector != b.selector]
    operations = [Request(*delete_by_index(p)) for p in doomed]
    failures = session.kernel.apply([*operations, FORGET_ROUTES], [*ends, len(operations)])
    for failure in failures:
        if failure.refusal.errno != errno.ENOENT:
            raise failure.refusal
