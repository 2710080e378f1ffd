"""Policies to the kernel: what it gets for an entry of KAME's model. Pure.

This depends on the knobs (level default) and, for outbound tunnel requests of level use, on whether
there is an SA for them now: Linux rejects an optional tunnel template on output (xfrm_user.c
validate_tmpl()), so such a request is left out while it has no SA.
"""

from collections.abc import Iterator, Sequence
from functools import lru_cache

from kamexfrm.model.knobs import FamilyKnobs, Knobs, effective_level
from kamexfrm.model.policy import (
    TUNNEL_MODES,
    Direction,
    IpsecProtocol,
    IpsecRequest,
    Level,
    Mode,
    PolicyType,
    Scope,
    SecurityPolicy,
)
from kamexfrm.net import Address
from kamexfrm.records import NamedTuple
from kamexfrm.translate.xfrm import tag as tags
from kamexfrm.translate.xfrm.numbers import direction_to_kernel, label_to_kernel, mode_to_kernel
from kamexfrm.translate.xfrm.policy_name import (
    mark_to_kernel,
    selector_to_kernel,
    sidecar_selector,
)
from kamexfrm.translate.xfrm.tag import PolicyTag, ShareTag
from kamexfrm.xfrm import (
    ANY_ALGORITHM,
    XFRM_MODE_TRANSPORT,
    XFRM_MODE_TUNNEL,
    XFRM_POLICY_ALLOW,
    XFRM_POLICY_BLOCK,
    XFRM_POLICY_FWD,
    LifetimeConfig,
    Policy,
    Template,
)
from kamexfrm.xfrm import Selector as XfrmSelector

#: The reqid of trigger templates: no SA has it, so they only provoke ACQUIRE.
TRIGGER_REQID = 0xF0000001

_NO_SCOPE = Scope()

_PROTOCOLS = (IpsecProtocol.AH, IpsecProtocol.ESP, IpsecProtocol.IPCOMP)


class Placement(NamedTuple):
    """The place of an entry: the kernel's priority and the insertion order."""

    kernel_priority: int
    order: int


class Installed(NamedTuple):
    """What the kernel gets for one entry: the policy and, where that cannot hold all, a sidecar."""

    policy: Policy
    sidecar: Policy | None = None


def is_tunnel_use(request: IpsecRequest, direction: Direction, family: int, knobs: Knobs) -> bool:
    """Whether Linux cannot hold a request: outbound, tunnel, effective level use."""
    return (
        direction is Direction.OUT
        and request.mode in TUNNEL_MODES
        and effective_level(request, family, knobs) is Level.USE
    )


def tunnel_uses(policy: SecurityPolicy, knobs: Knobs) -> tuple[IpsecRequest, ...]:
    """Return the requests that the policy holds only while there are SAs for them."""
    if policy.direction is not Direction.OUT or policy.type is not PolicyType.IPSEC:
        return ()
    family = policy.selector.family
    return tuple(r for r in policy.requests if is_tunnel_use(r, Direction.OUT, family, knobs))


def _as_written(request: IpsecRequest, family: int) -> Template:
    """Return a template with all of a request, for policies that match no packet."""
    nowhere = Address.unspecified(family)
    endpoints = request.source is not None and request.destination is not None
    source, destination = request.source or nowhere, request.destination or nowhere
    return Template(
        destination,
        source,
        protocol=request.protocol,
        mode=mode_to_kernel(request.mode),
        reqid=request.reqid,
        family=source.family,
        share=tags.share_of(ShareTag(request.level, endpoints and request.mode is Mode.TRANSPORT)),
        optional=int(request.level in (Level.DEFAULT, Level.USE)),
    )


def _outbound(request: IpsecRequest, family: int, knobs: Knobs, *, has_sa: bool) -> Template:
    nowhere = Address.unspecified(family)
    level = effective_level(request, family, knobs)
    if request.mode not in TUNNEL_MODES:
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
    if level is Level.USE and not has_sa:
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
        mode=mode_to_kernel(request.mode),
        reqid=request.reqid,
        family=request.source.family,
        share=tags.share_of(ShareTag(request.level)),
    )


def _inbound(request: IpsecRequest, family: int, knobs: Knobs) -> Template:
    # KAME checks no reqid on input (ipsec.c ipsec_in_reject()): it is only stored, in calgos.
    # IPComp does not count there either, so its template is optional at every level.
    level = effective_level(request, family, knobs)
    optional = level is Level.USE or request.protocol is IpsecProtocol.IPCOMP
    written = _as_written(request, family)
    return written._replace(
        reqid=0,
        optional=int(optional),
        calgos=request.reqid if request.level is Level.UNIQUE else ANY_ALGORITHM,
    )


def _transparent(family: int) -> tuple[Template, ...]:
    """Return the templates with which tunnelled packets pass an inbound entry without requests."""
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
def templates_to_kernel(
    type_: PolicyType,
    requests: tuple[IpsecRequest, ...],
    direction: Direction,
    family: int,
    knobs: FamilyKnobs,
    without_sa: tuple[IpsecRequest, ...],
) -> tuple[Template, ...]:
    """Return the templates of an entry; ``without_sa`` as for policy_to_kernel()."""
    if type_ is not PolicyType.IPSEC:
        accepts = type_ is PolicyType.NONE and direction is not Direction.OUT
        return _transparent(family) if accepts else ()
    both = Knobs(knobs, knobs)
    if direction is Direction.OUT:
        return tuple(
            _outbound(r, inner, both, has_sa=r not in without_sa)
            for r, inner in _with_families(requests, family, without_sa)
        )
    return tuple(_inbound(r, inner, both) for r, inner in _with_families(requests, family))


def _with_families(
    requests: Sequence[IpsecRequest], family: int, left_out: Sequence[IpsecRequest] = ()
) -> Iterator[tuple[IpsecRequest, int]]:
    """Yield each request with the family of the packet that it protects: a tunnel changes it.

    Linux rejects a transport template of any other (xfrm_user.c validate_tmpl()). ``left_out``
    are tunnels that are not installed now.
    """
    for request in requests:
        yield request, family
        if request.mode in TUNNEL_MODES and request.source and request not in left_out:
            family = request.source.family


def _needs_sidecar(policy: SecurityPolicy, without_sa: tuple[IpsecRequest, ...]) -> bool:
    """Whether an outbound policy's templates leave out something that was written."""
    return bool(without_sa) or any(
        request.source is not None and request.mode not in TUNNEL_MODES
        for request in policy.requests
    )


def policy_to_kernel(
    policy: SecurityPolicy,
    knobs: Knobs,
    placement: Placement,
    created: int,
    *,
    twin: bool = False,
    companion: bool = False,
    without_sa: tuple[IpsecRequest, ...] = (),
    with_sa_reqids: tuple[IpsecRequest, ...] | None = None,
    spis: tuple[int, ...] = (),
    remaining: tuple[int, int] | None = None,
) -> Installed:
    """Return what the kernel gets for an entry of ours.

    ``created`` is in seconds since the epoch. ``companion`` is for an fwd entry of a program that
    writes its own. ``without_sa`` are those of ``tunnel_uses()`` that have no SA,
    ``with_sa_reqids`` the requests with the reqids of their SAs, ``spis`` those that their
    templates name.
    ``remaining`` (seconds) replaces lifetime and validtime in the kernel's timers, for an entry
    that is rewritten: UPDPOLICY restarts its clock.
    """
    selector, direction, type_, requests, priority, lifetime, validtime, label = policy
    family = selector.source.family
    asked = requests if with_sa_reqids is None else with_sa_reqids
    templates = templates_to_kernel(type_, asked, direction, family, knobs.of(family), without_sa)
    if spis:
        from kamexfrm.translate.xfrm.oldest_sa import with_spis

        templates = with_spis(templates, spis)
    flags = (tags.TWIN if twin else 0) | (tags.COMPANION if companion else 0)
    sidecar = None
    if direction is Direction.OUT and _needs_sidecar(policy, without_sa):
        flags |= tags.HAS_SIDECAR | (tags.IN_CLEAR if without_sa else 0)
    words = tags.policy_words(
        PolicyTag(priority, placement.order, flags, created, lifetime, validtime)
    )
    hard_add, hard_use = remaining or (lifetime, validtime)
    scope = selector.scope or _NO_SCOPE
    kernel = Policy(
        selector_to_kernel(selector),
        direction_to_kernel(direction),
        action=XFRM_POLICY_BLOCK if type_ is PolicyType.DISCARD else XFRM_POLICY_ALLOW,
        priority=placement.kernel_priority,
        lifetime=LifetimeConfig(*words, 0, hard_add, 0, hard_use),
        templates=templates,
        if_id=scope.if_id,
        mark=mark_to_kernel(scope.mark),
        security_context=label_to_kernel(label),
    )
    if flags & tags.HAS_SIDECAR:
        words = tags.policy_words(
            PolicyTag(priority, placement.order, tags.SIDECAR, created, lifetime, validtime)
        )
        sidecar = kernel._replace(
            selector=sidecar_selector(kernel),
            direction=XFRM_POLICY_FWD,
            lifetime=LifetimeConfig(*words, 0, hard_add, 0, 0),
            templates=tuple(_as_written(r, inner) for r, inner in _with_families(requests, family)),
            if_id=tags.SIDECAR_IF_ID,
            mark=None,
        )
    return Installed(kernel, sidecar)


def entrusting(family: int, direction: Direction) -> Policy:
    """Return a socket's policy that leaves each packet to the SPD: it matches no packet.

    There is no other way to remove the policy of one direction only. Source: Linux xfrm_policy.c
    xfrm_sk_policy_lookup().
    """
    return Policy(_no_packet(family), direction_to_kernel(direction))


def is_entrusting(policy: Policy) -> bool:
    """Whether a socket's policy is one that matches no packet."""
    return policy.selector == _no_packet(policy.selector.family)


def _no_packet(family: int) -> XfrmSelector:
    """Return a selector for packets from the address of all bits to itself."""
    highest = Address(family, b"\xff" * len(Address.unspecified(family).packed))
    bits = 8 * len(highest.packed)
    return XfrmSelector(highest, highest, 0, 0, 0, 0, family, bits, bits)
