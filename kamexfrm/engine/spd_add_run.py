"""Many policies are added at once: what spd_add() does with each, without an object for each."""

from array import array
from collections.abc import Sequence
from itertools import chain

from kamexfrm.engine.load import Load
from kamexfrm.engine.requests import MAX_REQUESTS, SpdAddRun
from kamexfrm.engine.session import Session
from kamexfrm.engine.spd_add import add_pair
from kamexfrm.errors import KamexfrmError
from kamexfrm.model.policy import Direction, PolicyType
from kamexfrm.model.policy_run import PolicyGroup
from kamexfrm.translate.xfrm.brief_policy import plain_content
from kamexfrm.translate.xfrm.fast_path import FastPathTemplate, encode_group, group_names
from kamexfrm.xfrm import XFRM_POLICY_FWD, Operation, pack_requests


def spd_add_run(session: Session, request: SpdAddRun) -> int:
    """Add policies whose messages depend on nothing that is there; return how many.

    The others, which follow these, are to be added one by one. Raises KernelError for what concerns
    no single policy.
    """
    run, load = request.run, session.load
    if load is not None and load.plan.forwards:
        return 0
    templates = [_template(session, group) for group in run.groups]
    plain = [template for template in templates if template is not None]
    if len(plain) < len(templates):
        return 0
    if any(template.any_reqid for template in plain) and session.has_reqids():
        return 0
    if session.knobs.preferred_oldsa and any(session.names_spis(g.first) for g in run.groups):
        return 0
    added = run.total
    if load is not None and load.has_policies():
        added = _keep(load, request, plain)
    elif not _write(session, request, plain):
        return 0
    if added:
        for template in plain:
            session.tunnels_changed |= template.tunnel
            session.reqids.claim(template.reqids)
    return added


def _write(session: Session, request: SpdAddRun, templates: Sequence[FastPathTemplate]) -> bool:
    """Write all policies behind what is there, unless the order of all has to be known for it."""
    run = request.run
    places = session.priorities.place_run(run.priorities())
    if places is None:
        return False
    groups = [
        encode_group(group, template, places, session.now, twins=_makes_twins(request, group))
        for group, template in zip(run.groups, templates, strict=True)
    ]
    operations, ends = pack_requests(groups, session.kernel.port)
    failures = session.send_packed(operations, ends)

    before = session.transactions.number

    def add(at: int, sent: list[Operation]) -> None:
        session.transactions.number = before + request.place(at) + 1
        if len(sent) > 1:
            add_pair(session, request.request(at), *sent)
        else:
            session.transactions.add(request.request(at), sent)

    session.transactions.settle_run(operations, ends, failures, add)
    return True


def _keep(load: Load, request: SpdAddRun, templates: Sequence[FastPathTemplate]) -> int:
    """Return how many policies are there already, where they are to be; see spd_places.keep()."""
    replacement, run = load.replacement, request.run
    if replacement is None or load.plan.deleted:
        return 0
    entries: list[tuple[int, bytes, tuple[int, ...]]] = [(0, b"", ())] * run.total
    for group, template in zip(run.groups, templates, strict=True):
        directions = bytes((template.direction,))
        contents: tuple[int, ...] = (plain_content(template, group.first.priority),)
        if _makes_twins(request, group):
            directions += bytes((XFRM_POLICY_FWD,))
            contents += (plain_content(template, group.first.priority, twin=True),)
        for at, name in zip(group.at, group_names(group), strict=True):
            entries[at] = hash(name), directions, contents
    sizes = [len(directions) for _, directions, _ in entries]
    names = [name for name, directions, _ in entries for _ in directions]
    kept = replacement.keep_run(
        names,
        b"".join(directions for _, directions, _ in entries),
        array("q", chain.from_iterable(contents for _, _, contents in entries)),
        sizes,
    )
    if kept:
        load.todo = max(0, load.todo - kept)
        load.last = run.priorities()[kept - 1], replacement.last
    return kept


def _makes_twins(request: SpdAddRun, group: PolicyGroup) -> bool:
    return request.twin and group.first.direction is Direction.IN


def _template(session: Session, group: PolicyGroup) -> FastPathTemplate | None:
    """Return the template of a group, None where its entries need care."""
    selector, direction, type_, requests, _, lifetime, validtime, label = group.first
    if type_ not in (PolicyType.IPSEC, PolicyType.DISCARD, PolicyType.NONE):
        return None
    if type_ is PolicyType.IPSEC and not 0 < len(requests) <= MAX_REQUESTS:
        return None
    special = label is not None or selector.scope is not None
    if direction is Direction.FWD or lifetime or validtime or special:
        return None
    try:
        template = session.template(type_, requests, direction, selector.family)
    except KamexfrmError:
        return None
    return template if template.plain else None
