"""Policies are added and replaced: KAME's key_spdadd(), for SPDADD and SPDUPDATE.

What a plain entry does not need is loaded where it is used.
"""

from __future__ import annotations

import errno

from kamexfrm.engine.requests import MAX_REQUESTS, SpdAdd
from kamexfrm.engine.transactions import always
from kamexfrm.errors import KamexfrmError, KernelError, invalid
from kamexfrm.model.policy import Direction, IpsecRequest, PolicyType, SecurityPolicy
from kamexfrm.translate.xfrm import tag as tags
from kamexfrm.translate.xfrm.any_reqid import has_any_reqid
from kamexfrm.translate.xfrm.fast_path import encode_plain, encode_selector, encode_twin
from kamexfrm.translate.xfrm.marker import MarkerFlag
from kamexfrm.translate.xfrm.numbers import direction_to_kernel
from kamexfrm.translate.xfrm.policy_name import (
    name_of,
    policy_id,
    sidecar_id,
    sidecar_selector,
)
from kamexfrm.translate.xfrm.policy_to_kernel import (
    Installed,
    Placement,
    policy_to_kernel,
    tunnel_uses,
)
from kamexfrm.xfrm import (
    XFRM_POLICY_FWD,
    XFRM_POLICY_IN,
    Operation,
    Policy,
    XfrmMsg,
    encode_policy,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from kamexfrm.engine.session import Session
    from kamexfrm.engine.spd_places import Slot
    from kamexfrm.engine.transactions import Undo

#: An entry's tag has 32 bits for each of its lifetimes, in seconds: 136 years.
LIFETIME_MAX = 0xFFFFFFFF

_NEW, _UPDATE = XfrmMsg.NEWPOLICY, XfrmMsg.UPDPOLICY
_NEW_PAIR = (_NEW, _NEW)


def check(policy: SecurityPolicy) -> None:
    """Refuse what KAME's kernel or AF_KEY would; raises KamexfrmError."""
    if policy.type in (PolicyType.ENTRUST, PolicyType.BYPASS):
        raise invalid(f"{policy.type.name.lower()} is for sockets only")
    if policy.type is PolicyType.IPSEC and not policy.requests:
        # Linux would take it for `none` and let everything pass.
        raise invalid("ipsec needs at least one request")
    if max(policy.lifetime, policy.validtime) > LIFETIME_MAX:
        raise invalid(f"a lifetime over {LIFETIME_MAX} seconds")
    scope = policy.selector.scope
    if scope is not None and scope.if_id in tags.OUR_IF_IDS:
        raise invalid(f"if_id {scope.if_id} is reserved for what setkey itself keeps")
    check_number(policy.requests)


def check_number(requests: tuple[IpsecRequest, ...]) -> None:
    """Refuse more requests than the kernel takes; raises KamexfrmError (ELOOP)."""
    if len(requests) > MAX_REQUESTS:
        raise invalid(f"at most {MAX_REQUESTS} requests", errno.ELOOP)


def spd_add(session: Session, request: SpdAdd) -> None:
    """Add or replace a policy with its fwd twin and sidecar; raises KamexfrmError."""
    policy, twin, replace, _ = request
    selector, direction, type_, requests, priority, lifetime, validtime, label = policy
    unusual = not 0 < len(requests) <= MAX_REQUESTS or type_ is not PolicyType.IPSEC
    if unusual or lifetime | validtime > LIFETIME_MAX or selector[7] is not None:
        check(policy)
    family = selector[0][0]
    template = session.template(type_, requests, direction, family)
    special = label is not None or selector[7] is not None  # what tells it apart besides
    if replace or special or not template.plain or direction is Direction.FWD:
        _add_with_care(session, request)
        return
    if (template.any_reqid and session.has_reqids()) or session.names_spis(policy):
        _add_with_care(session, request)
        return
    if template.tunnel:
        session.tunnels_changed = True
    if template.reqids:
        session.reqids.claim(template.reqids)
    load = session.load
    paired = twin and direction is Direction.IN
    if paired and load is not None:
        from kamexfrm.engine.spd_load import makes_twin

        paired = makes_twin(load, request)
    if load is not None and load.has_policies():
        from kamexfrm.engine.spd_load import refuse_second
        from kamexfrm.engine.spd_places import keep, place

        name = hash(encode_selector(selector))
        directions = (XFRM_POLICY_IN, XFRM_POLICY_FWD) if paired else (template.direction,)
        refuse_second(session, load, name, request)
        slot = keep(session, load, template, name, policy, directions)
        if slot is None:
            slot = place(session, load, name, directions, priority)
        elif not slot.types:
            return
        number, order, types = slot
    else:
        number, order = session.priorities.place(priority)
        types = _NEW_PAIR
    entry = Operation(types[0], encode_plain(policy, template, number, order, session.now))
    if paired:
        forward = Operation(types[1], encode_twin(policy, template, number, order, session.now))
        add_pair(session, request, entry, forward)
    else:
        session.transactions.add(request, (entry,))


def _add_with_care(session: Session, request: SpdAdd) -> None:
    """Add or replace a policy that depends on what is there, or needs reqids of its own."""
    from kamexfrm.engine import spd_load
    from kamexfrm.engine.spd_places import Slot, place, policy_name

    policy = request.policy
    session.tunnels_changed = True
    load = session.load
    name = policy_name(policy.selector, policy.label)
    requests = policy.requests
    if load is not None:
        requests = spd_load.kept_reqids(session, load, request, name)
    policy = policy._replace(requests=session.reqids.assign_reqids(requests))
    uses = tunnel_uses(policy, session.knobs)
    without_sa: tuple[IpsecRequest, ...] = ()
    if uses:
        without_sa = session.without_sa(uses)
        session.set_sa_dependent(MarkerFlag.HAS_TUNNEL_USE)
    with_sa_reqids = None
    if has_any_reqid(policy):
        session.set_flags(MarkerFlag.HAS_ANY_REQID)
        with_sa_reqids = session.with_sa_reqids(policy, without_sa)
    spis: tuple[int, ...] = ()
    if session.names_spis(policy):
        session.set_sa_dependent(MarkerFlag.HAS_OLDEST_SA)
        spis = session.spis(policy, with_sa_reqids or policy.requests, without_sa)
    paired = spd_load.makes_twin(load, request)
    if load is not None and load.has_policies():
        direction = direction_to_kernel(policy.direction)
        directions = (XFRM_POLICY_IN, XFRM_POLICY_FWD) if paired else (direction,)
        spd_load.refuse_second(session, load, name, request)
        slot = place(session, load, name, directions, policy.priority)
    else:
        slot = Slot(*session.priorities.place(policy.priority), _NEW_PAIR)
    placement = Placement(slot.number, slot.order)
    installed = policy_to_kernel(
        policy,
        session.knobs,
        placement,
        session.now,
        companion=policy.direction is Direction.FWD and not request.twin,
        without_sa=without_sa,
        with_sa_reqids=with_sa_reqids,
        spis=spis,
    )
    if load is not None and installed.sidecar:
        load.sidecars.discard(installed.sidecar.selector)
    twin = None
    if paired:
        forward = policy._replace(direction=Direction.FWD)
        twin = policy_to_kernel(forward, session.knobs, placement, session.now, twin=True).policy
    entry = Operation(_NEW, encode_policy(installed.policy))
    if slot.replaces():
        _replace_old(session, request, slot, installed, twin)
    elif request.replace:
        _replace(session, request, installed, twin)
    elif installed.sidecar:
        _add_with_sidecar(session, request, installed)
    elif twin:
        add_pair(session, request, entry, Operation(_NEW, encode_policy(twin)))
    elif policy.direction is Direction.FWD:
        _add_forward(session, request, installed.policy)
    else:
        session.transactions.add(request, (entry,))


def _replace_old(
    session: Session, request: SpdAdd, slot: Slot, installed: Installed, twin: Policy | None
) -> None:
    """Write an entry of a load where an old one of its name is; its sidecar comes first."""
    policy, sidecar = installed
    operations = [Operation(slot.types[0], encode_policy(policy))]
    if twin:
        operations.append(Operation(slot.types[1], encode_policy(twin)))
    if sidecar:  # an entry that refers to one that was refused would lose its requests
        session.send()
        session.apply([Operation(_UPDATE, encode_policy(sidecar))])
    session.transactions.add(request, operations)


def _add_with_sidecar(session: Session, request: SpdAdd, installed: Installed) -> None:
    from kamexfrm.translate.xfrm.rewrite import delete_policy, delete_sidecar

    # The sidecar may only be written once it is known that the entry itself is new.
    policy, sidecar = installed
    assert sidecar is not None  # noqa: S101
    name = name_of(policy)
    if session.find_policy(name):
        raise KernelError(errno.EEXIST)
    operations = (
        Operation(_UPDATE, encode_policy(sidecar)),
        Operation(_NEW, encode_policy(policy)),
    )
    undo = (
        always(delete_sidecar(sidecar.selector)),
        always(delete_policy(name)),
    )
    session.transactions.add(request, operations, undo)


def add_pair(session: Session, request: SpdAdd, entry: Operation, twin: Operation) -> None:
    """Add an in entry and its twin to what is sent next; both are there in the end, or none."""
    from kamexfrm.translate.xfrm.policy_from_kernel import read_tag
    from kamexfrm.translate.xfrm.rewrite import delete_policy

    policy = request.policy
    name = policy_id(policy.selector, Direction.IN, policy.label)
    twin_name = policy_id(policy.selector, Direction.FWD, policy.label)
    # One that took an old one's place stays: without either, its packets would pass in clear.
    undo = (
        (lambda: delete_policy(name)) if entry.type == _NEW else None,
        (lambda: delete_policy(twin_name)) if twin.type == _NEW else None,
    )

    def on_failure(failures: dict[int, KernelError]) -> KamexfrmError | None:
        if 0 in failures:
            return failures[0]
        if failures[1].errno != errno.EEXIST:
            return failures[1]
        tag = read_tag(session.kernel.policy(twin_name)).tag
        if tag is None:
            return KernelError(
                errno.EEXIST, "a foreign fwd policy with this selector is in the way"
            )
        if tag.flags & tags.TWIN:  # left by a program that deleted the in entry alone
            session.apply([Operation(_UPDATE, twin.payload)])
        return None

    session.transactions.add(request, (entry, twin), undo, on_failure)


def _add_forward(session: Session, request: SpdAdd, forward: Policy) -> None:
    """Add an explicit fwd entry, in its turn also where it takes a twin over."""
    from kamexfrm.translate.xfrm.policy_from_kernel import read_tag

    there = session.find_policy(name_of(forward))
    tag = read_tag(there).tag if there else None
    type_ = _UPDATE if tag and tag.flags & tags.TWIN else _NEW
    session.transactions.add(request, (Operation(type_, encode_policy(forward)),))


def _replace(session: Session, request: SpdAdd, installed: Installed, twin: Policy | None) -> None:
    from kamexfrm.translate.xfrm.interface_policies import refuse_interface
    from kamexfrm.translate.xfrm.policy_from_kernel import has_sidecar, read_tag
    from kamexfrm.translate.xfrm.rewrite import delete_policy, delete_sidecar

    policy, sidecar = installed
    operations: list[Operation] = []
    undo: list[Undo] = []

    def update(new: Policy, old: Policy | None, deletion: Operation) -> None:
        operations.append(Operation(_UPDATE, encode_policy(new)))
        undo.append(always(Operation(_UPDATE, encode_policy(old)) if old else deletion))

    old = session.find_policy(name_of(policy))
    refuse_interface(old)
    if sidecar:
        kept = session.find_policy(sidecar_id(sidecar.selector))
        update(sidecar, kept, delete_sidecar(sidecar.selector))
    update(policy, old, delete_policy(name_of(policy)))
    if twin:
        there = session.find_policy(name_of(twin))
        tag = read_tag(there).tag if there else None
        if there and tag is None:
            raise KernelError(errno.EEXIST, "a foreign fwd policy with this selector is in the way")
        if tag is None or tag.flags & tags.TWIN:
            update(twin, there, delete_policy(name_of(twin)))
    if old and has_sidecar(old) and not sidecar:
        operations.append(delete_sidecar(sidecar_selector(policy)))
        undo.append(None)
    session.transactions.add(request, operations, undo)
    session.send()
