"""Policies: KAME's model to the kernel's, and the kernel's back to KAME's.

Pure. What a policy becomes depends on the knobs (level default) and, for outbound tunnel requests
of level use, on whether an SA serves them now: Linux refuses an optional tunnel template on output
(xfrm_user.c validate_tmpl()), so such a request is left out while no SA serves it.
"""

from functools import lru_cache
from typing import NamedTuple

from kamexfrm.model.knobs import FamilyKnobs, Knobs, effective_level
from kamexfrm.model.policy import (
    ULPROTO_ANY,
    Direction,
    IpsecProtocol,
    IpsecRequest,
    Level,
    Mode,
    Owner,
    PolicyType,
    SecurityContext,
    SecurityPolicy,
    Selector,
    SpdEntry,
)
from kamexfrm.net import Address
from kamexfrm.translate import tag as tags
from kamexfrm.translate.tag import PolicyTag, ShareTag, Verdict
from kamexfrm.xfrm import (
    XFRM_MODE_TRANSPORT,
    XFRM_MODE_TUNNEL,
    XFRM_POLICY_ALLOW,
    XFRM_POLICY_BLOCK,
    XFRM_POLICY_FWD,
    LifetimeConfig,
    Policy,
    Template,
)
from kamexfrm.xfrm import SecurityContext as XfrmSecurityContext
from kamexfrm.xfrm import Selector as XfrmSelector

#: The reqid of trigger templates: no SA has it, so they only provoke ACQUIRE.
TRIGGER_REQID = 0xF0000001

#: Kernel priority of def_policy's catch-alls; no other entry of ours has it.
CATCH_ALL_PRIORITY = 0xFFFFFFFF

_ALL_ALGORITHMS = 0xFFFFFFFF
_PROTOCOLS = (IpsecProtocol.AH, IpsecProtocol.ESP, IpsecProtocol.IPCOMP)


class Placement(NamedTuple):
    """Where an entry stands: the kernel's priority and its insertion order."""

    kernel_priority: int
    order: int


class Installed(NamedTuple):
    """What the kernel gets for one entry: the policy and, where it does not say all, a sidecar."""

    policy: Policy
    sidecar: Policy | None = None


def selector_to_kernel(selector: Selector) -> XfrmSelector:
    """Return the kernel's selector: protocol 255 becomes 0, ports get full or empty masks."""
    source_port, destination_port = selector.source_port, selector.destination_port
    return XfrmSelector(
        selector.destination,
        selector.source,
        destination_port or 0,
        0 if destination_port is None else 0xFFFF,
        source_port or 0,
        0 if source_port is None else 0xFFFF,
        selector.source.family,
        selector.destination_prefix,
        selector.source_prefix,
        0 if selector.upper == ULPROTO_ANY else selector.upper,
    )


def selector_from_kernel(selector: XfrmSelector) -> Selector:
    """Return KAME's selector; a partial port mask shows as its value."""
    return Selector(
        selector.source,
        selector.source_prefix,
        selector.destination,
        selector.destination_prefix,
        selector.protocol or ULPROTO_ANY,
        selector.source_port if selector.source_port_mask else None,
        selector.destination_port if selector.destination_port_mask else None,
    )


def is_tunnel_use(request: IpsecRequest, direction: Direction, family: int, knobs: Knobs) -> bool:
    """Whether a request is one that Linux cannot hold: outbound, tunnel, effectively use."""
    return (
        direction is Direction.OUT
        and request.mode is Mode.TUNNEL
        and effective_level(request, family, knobs) is Level.USE
    )


def tunnel_uses(policy: SecurityPolicy, knobs: Knobs) -> tuple[IpsecRequest, ...]:
    """Return the requests of a policy that are to be swapped in and out as SAs come and go."""
    if policy.direction is not Direction.OUT or policy.type is not PolicyType.IPSEC:
        return ()
    family = policy.selector.family
    return tuple(r for r in policy.requests if is_tunnel_use(r, Direction.OUT, family, knobs))


def _as_written(request: IpsecRequest, family: int) -> Template:
    """Return a template that says all of a request, for entries that no packet meets."""
    nowhere = Address.unspecified(family)
    endpoints = request.source is not None and request.destination is not None
    source, destination = request.source or nowhere, request.destination or nowhere
    return Template(
        destination,
        source,
        protocol=request.protocol,
        mode=request.mode - 1,
        reqid=request.reqid,
        family=source.family,
        share=tags.share_of(ShareTag(request.level, endpoints and request.mode is Mode.TRANSPORT)),
        optional=int(request.level in (Level.DEFAULT, Level.USE)),
    )


def _outbound(request: IpsecRequest, family: int, knobs: Knobs, *, served: bool) -> Template:
    nowhere = Address.unspecified(family)
    level = effective_level(request, family, knobs)
    if request.mode is not Mode.TUNNEL:
        return Template(
            nowhere,
            nowhere,
            protocol=request.protocol,
            mode=XFRM_MODE_TRANSPORT,
            reqid=request.reqid,
            family=family,
            share=tags.share_of(ShareTag(request.level)),
            optional=int(level is Level.USE),
        )
    if level is Level.USE and not served:
        return Template(
            nowhere,
            nowhere,
            protocol=request.protocol,
            mode=XFRM_MODE_TRANSPORT,
            reqid=TRIGGER_REQID,
            family=family,
            share=tags.share_of(ShareTag(request.level, trigger=True)),
            optional=1,
        )
    assert request.source is not None and request.destination is not None  # noqa: S101, PT018
    return Template(
        request.destination,
        request.source,
        protocol=request.protocol,
        mode=XFRM_MODE_TUNNEL,
        reqid=request.reqid,
        family=request.source.family,
        share=tags.share_of(ShareTag(request.level)),
    )


def _inbound(request: IpsecRequest, family: int, knobs: Knobs) -> Template:
    # KAME checks no reqid on input (ipsec.c ipsec_in_reject()): it is only remembered, in calgos.
    # IPComp counts for nothing there either, so its template is optional at every level.
    level = effective_level(request, family, knobs)
    optional = level is Level.USE or request.protocol is IpsecProtocol.IPCOMP
    written = _as_written(request, family)
    return written._replace(
        reqid=0,
        optional=int(optional),
        calgos=request.reqid if request.level is Level.UNIQUE else _ALL_ALGORITHMS,
    )


def _transparent(family: int) -> tuple[Template, ...]:
    """Return the templates that let tunnelled packets pass an inbound entry without requests."""
    nowhere = Address.unspecified(family)
    return tuple(
        Template(
            nowhere,
            nowhere,
            protocol=protocol,
            mode=XFRM_MODE_TUNNEL,
            family=family,
            share=tags.share_of(ShareTag(Level.DEFAULT, transparent=True)),
            optional=1,
        )
        for protocol in _PROTOCOLS
    )


@lru_cache(maxsize=4096)
def _templates(
    type_: PolicyType,
    requests: tuple[IpsecRequest, ...],
    direction: Direction,
    family: int,
    knobs: FamilyKnobs,
    unserved: tuple[IpsecRequest, ...],
) -> tuple[Template, ...]:
    if type_ is not PolicyType.IPSEC:
        accepts = type_ is PolicyType.NONE and direction is not Direction.OUT
        return _transparent(family) if accepts else ()
    both = Knobs(knobs, knobs)
    if direction is Direction.OUT:
        return tuple(_outbound(r, family, both, served=r not in unserved) for r in requests)
    return tuple(_inbound(r, family, both) for r in requests)


def _needs_sidecar(policy: SecurityPolicy, unserved: tuple[IpsecRequest, ...]) -> bool:
    """Whether an outbound policy's templates leave something out that was written."""
    return bool(unserved) or any(
        request.source is not None and request.mode is not Mode.TUNNEL
        for request in policy.requests
    )


def install(
    policy: SecurityPolicy,
    knobs: Knobs,
    placement: Placement,
    created: int,
    *,
    twin: bool = False,
    unserved: tuple[IpsecRequest, ...] = (),
    remaining: tuple[int, int] | None = None,
) -> Installed:
    """Return what the kernel gets for an entry of ours.

    ``created`` is in seconds since the epoch. ``unserved`` are those of ``tunnel_uses()`` that no
    SA serves. ``remaining`` (seconds) replaces lifetime and validtime in the kernel's timers, for
    an entry that is written again: UPDPOLICY restarts its clock.
    """
    selector, direction, type_, requests, priority, lifetime, validtime, context = policy
    family = selector.source.family
    templates = _templates(type_, requests, direction, family, knobs.of(family), unserved)
    flags = tags.TWIN if twin else 0
    sidecar = None
    if direction is Direction.OUT and _needs_sidecar(policy, unserved):
        flags |= tags.HAS_SIDECAR | (tags.IN_CLEAR if unserved else 0)
    words = tags.policy_words(
        PolicyTag(priority, placement.order, flags, created, lifetime, validtime)
    )
    hard_add, hard_use = remaining or (lifetime, validtime)
    kernel_selector = selector_to_kernel(selector)
    label = None if context is None else XfrmSecurityContext(*context)
    kernel = Policy(
        kernel_selector,
        direction - 1,
        action=XFRM_POLICY_BLOCK if type_ is PolicyType.DISCARD else XFRM_POLICY_ALLOW,
        priority=placement.kernel_priority,
        lifetime=LifetimeConfig(*words, 0, hard_add, 0, hard_use),
        templates=templates,
        security_context=label,
    )
    if flags & tags.HAS_SIDECAR:
        words = tags.policy_words(
            PolicyTag(priority, placement.order, tags.SIDECAR, created, lifetime, validtime)
        )
        sidecar = kernel._replace(
            direction=XFRM_POLICY_FWD,
            lifetime=LifetimeConfig(*words, 0, hard_add, 0, 0),
            templates=tuple(_as_written(request, family) for request in requests),
            if_id=tags.SIDECAR_IF_ID,
        )
    return Installed(kernel, sidecar)


def verdict_of(policy: Policy) -> Verdict:
    """Read the tag of a kernel policy, its templates' included: all say so, or it is foreign."""
    verdict = tags.read_policy_words(policy.lifetime[:4])
    if verdict.tag and not all(tags.read_share(t.share) for t in policy.templates):
        return Verdict(None, broken=True)
    return verdict


def is_ordinary(policy: Policy) -> bool:
    """Whether an entry is one to show: not a marker, sidecar or catch-all of ours."""
    return not (
        policy.if_id in (tags.MARKER_IF_ID, tags.SIDECAR_IF_ID)
        and policy.direction == XFRM_POLICY_FWD
    ) and not is_catch_all(policy)


def is_sidecar(policy: Policy) -> bool:
    """Whether a policy is a sidecar of ours."""
    return policy.if_id == tags.SIDECAR_IF_ID and policy.direction == XFRM_POLICY_FWD


def is_catch_all(policy: Policy) -> bool:
    """Whether a policy is one of def_policy's."""
    return policy.selector.user == tags.CATCH_ALL_USER and policy.priority == CATCH_ALL_PRIORITY


def catch_all(family: int, direction: int) -> Policy:
    """Return def_policy's block policy for a family and a kernel direction (0 to 2)."""
    nowhere = Address.unspecified(family)
    words = tags.policy_words(PolicyTag(0xFFFFFFFF, 0, tags.CATCH_ALL))
    return Policy(
        XfrmSelector(nowhere, nowhere, family=family, user=tags.CATCH_ALL_USER),
        direction,
        action=XFRM_POLICY_BLOCK,
        priority=CATCH_ALL_PRIORITY,
        lifetime=LifetimeConfig(*words),
    )


def _request_ours(template: Template, share: ShareTag) -> IpsecRequest:
    level = Level(share.level)
    shows = template.mode != XFRM_MODE_TRANSPORT or share.endpoints
    remembered = template.calgos if template.calgos != _ALL_ALGORITHMS else 0
    return IpsecRequest(
        IpsecProtocol(template.protocol),
        Mode(template.mode + 1),
        level,
        (template.reqid or remembered) if level is Level.UNIQUE else 0,
        template.source if shows else None,
        template.destination if shows else None,
    )


@lru_cache(maxsize=4096)
def _requests_ours(templates: tuple[Template, ...]) -> tuple[IpsecRequest, ...]:
    requests = []
    for template in templates:
        share = tags.read_share(template.share)
        if share is None or share.transparent or share.trigger:
            continue
        requests.append(_request_ours(template, share))
    return tuple(requests)


@lru_cache(maxsize=4096)
def _requests_foreign(templates: tuple[Template, ...]) -> tuple[IpsecRequest, ...]:
    """Read templates without a tag as Linux's AF_KEY shows them (af_key.c)."""
    requests = []
    for template in templates:
        level = Level.UNIQUE if template.reqid else Level.REQUIRE
        if template.optional:
            level = Level.USE
        shows = template.mode != XFRM_MODE_TRANSPORT
        requests.append(
            IpsecRequest(
                IpsecProtocol(template.protocol),
                Mode(template.mode + 1),
                level,
                template.reqid,
                template.source if shows else None,
                template.destination if shows else None,
            )
        )
    return tuple(requests)


def _context(policy: Policy) -> SecurityContext | None:
    label = policy.security_context
    return None if label is None else SecurityContext(label.doi, label.algorithm, label.text)


def _foreign(policy: Policy, owner: Owner) -> SpdEntry:
    requests = _requests_foreign(policy.templates)
    if policy.action == XFRM_POLICY_BLOCK:
        type_ = PolicyType.DISCARD
    else:
        type_ = PolicyType.IPSEC if requests else PolicyType.NONE
    written = SecurityPolicy(
        selector_from_kernel(policy.selector),
        Direction(policy.direction % 3 + 1),
        type_,
        requests,
        policy.priority,
        policy.lifetime.hard_add,
        policy.lifetime.hard_use,
        _context(policy),
    )
    return SpdEntry(
        written,
        policy.index,
        policy.current.add_time,
        policy.current.use_time,
        owner,
        0,
        policy.priority,
        socket=policy.direction > XFRM_POLICY_FWD,
    )


def entry_from_kernel(policy: Policy, sidecar: Policy | None = None) -> SpdEntry:
    """Return what a dumped policy means; ``sidecar`` is the one with its selector, if any."""
    tag, newer, _broken = verdict_of(policy)
    if tag is None or policy.direction > XFRM_POLICY_FWD:
        return _foreign(policy, Owner.NEWER if newer else Owner.FOREIGN)
    templates = policy.templates
    if tag.flags & tags.HAS_SIDECAR and sidecar is not None:
        templates = sidecar.templates
    requests = _requests_ours(templates)
    if policy.action == XFRM_POLICY_BLOCK:
        type_ = PolicyType.DISCARD
    else:
        type_ = PolicyType.IPSEC if requests else PolicyType.NONE
    written = SecurityPolicy(
        selector_from_kernel(policy.selector),
        Direction(policy.direction + 1),
        type_,
        requests,
        tag.priority,
        tag.lifetime,
        tag.validtime,
        _context(policy),
    )
    return SpdEntry(
        written,
        policy.index,
        tag.created,
        policy.current.use_time,
        Owner.OURS,
        tag.order,
        policy.priority,
        twin=bool(tag.flags & tags.TWIN),
    )
