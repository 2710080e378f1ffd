"""Policies from the kernel: what its entries mean to KAME.

An entry with our tag means what was written; any other means what the kernel does with it, in the
terms of Linux's AF_KEY (af_key.c).
"""

from collections.abc import Callable, Iterable, Iterator
from functools import lru_cache

from kamexfrm.model.policy import (
    ULPROTO_ANY,
    IpsecProtocol,
    IpsecRequest,
    Level,
    Owner,
    PolicyType,
    SecurityPolicy,
    Selector,
    SpdEntry,
)
from kamexfrm.translate.xfrm import tag as tags
from kamexfrm.translate.xfrm.catch_all import is_catch_all
from kamexfrm.translate.xfrm.numbers import (
    DIRECTIONS,
    direction_from_kernel,
    label_from_kernel,
    mode_from_kernel,
)
from kamexfrm.translate.xfrm.policy_name import scope_from_kernel, sidecar_selector
from kamexfrm.translate.xfrm.policy_to_kernel import is_entrusting
from kamexfrm.translate.xfrm.tag import ShareTag, TagReading
from kamexfrm.xfrm import (
    XFRM_MODE_TRANSPORT,
    XFRM_POLICY_BLOCK,
    XFRM_POLICY_FWD,
    XFRM_POLICY_OUT,
    Mark,
    Policy,
    Template,
)
from kamexfrm.xfrm import Selector as XfrmSelector

_Templates = tuple[Template, ...]
_Requests = tuple[IpsecRequest, ...]

#: Finds the sidecar with a selector, for the few entries that have one.
SidecarOf = Callable[[XfrmSelector], Policy | None]

_BROKEN = TagReading(None, broken=True)

# Looking up a member of an enumeration takes a twentieth of what an entry takes.
_DISCARD, _IPSEC, _NONE = PolicyType.DISCARD, PolicyType.IPSEC, PolicyType.NONE
_OURS = Owner.OURS

#: Makes a NamedTuple of all its fields, in half the time of calling it: a dump makes four of each.
_new = tuple.__new__


def selector_from_kernel(
    selector: XfrmSelector, mark: Mark | None = None, if_id: int = 0
) -> Selector:
    """Return KAME's selector; a partial port mask shows as its value."""
    (
        destination,
        source,
        destination_port,
        destination_mask,
        source_port,
        source_mask,
        _,
        destination_prefix,
        source_prefix,
        protocol,
        interface,
        _,
    ) = selector
    scope = None
    if interface or if_id or mark is not None:
        scope = scope_from_kernel(interface, mark, if_id)
    return _new(
        Selector,
        (
            source,
            source_prefix,
            destination,
            destination_prefix,
            protocol or ULPROTO_ANY,
            source_port if source_mask else None,
            destination_port if destination_mask else None,
            scope,
        ),
    )


def no_sidecar(selector: XfrmSelector) -> Policy | None:
    """Return None: for callers without sidecars."""
    return None


def read_tag(policy: Policy) -> TagReading:
    """Read the tag of a kernel policy; without tags in all its templates it is foreign.

    So is one with the mark of a catch-all that is an entry.
    """
    reading = tags.read_policy_words(policy.lifetime[:4])
    if reading.tag and (
        policy.selector.user == tags.CATCH_ALL_USER or _requests_ours(policy.templates) is None
    ):
        return _BROKEN
    return reading


def is_ordinary(policy: Policy) -> bool:
    """Whether an entry is one to show: not a marker, sidecar or catch-all of ours."""
    if policy.if_id:
        return policy.if_id not in tags.OUR_IF_IDS or policy.direction != XFRM_POLICY_FWD
    return not policy.selector.user or not is_catch_all(policy)


def placed_tag(policy: Policy) -> tags.PolicyTag | None:
    """Return the tag of an entry of ours with a place in the order of the SPD, else None.

    A socket's policy has our tag but no place: the kernel applies it before all others, and rejects
    a new priority for it. The policies of an XFRM interface are matched after all others of it.
    """
    if policy.direction > XFRM_POLICY_FWD or not is_ordinary(policy):
        return None
    tag = read_tag(policy).tag
    return None if tag is not None and tag.flags & tags.INTERFACE else tag


def is_sidecar(policy: Policy) -> bool:
    """Whether a policy is a sidecar of ours."""
    return policy.if_id == tags.SIDECAR_IF_ID and policy.direction == XFRM_POLICY_FWD


def sidecars_of(policies: Iterable[Policy]) -> dict[XfrmSelector, Policy]:
    """Collect the sidecars of a dump by their selector."""
    return {p.selector: p for p in policies if p.if_id and is_sidecar(p)}


def spd_entries_from_kernel(
    policies: Iterable[Policy], sidecar_of: SidecarOf
) -> Iterator[SpdEntry]:
    """Return the entries of a dump in its order, without markers, sidecars and catch-alls.

    Linux's sub policies (of Mobile IPv6) are left out as well.
    """
    for policy in policies:
        if is_ordinary(policy) and not policy.policy_type:
            yield spd_entry_from_kernel(policy, sidecar_of)


def has_sidecar(policy: Policy) -> bool:
    """Whether a policy of ours has a sidecar for what it cannot hold."""
    if policy.direction != XFRM_POLICY_OUT:
        return False
    tag = tags.policy_tag(policy.lifetime[:4])
    return tag is not None and tag.flags & tags.HAS_SIDECAR != 0


def spd_entry_from_kernel(policy: Policy, sidecar_of: SidecarOf = no_sidecar) -> SpdEntry:
    """Return what a dumped policy means."""
    # fmt: off
    (
        selector, direction, action, kernel_priority, index, _, _, lifetime, current, templates,
        if_id, mark,
    ) = policy[:12]
    # fmt: on
    if selector.user == tags.CATCH_ALL_USER:
        return _foreign(policy, Owner.FORGED)
    tag = tags.policy_tag(lifetime[:4])
    if tag is None:
        newer = tags.why_untagged(lifetime[0]).newer
        return _foreign(policy, Owner.NEWER if newer else Owner.FOREIGN)
    if direction > XFRM_POLICY_FWD:
        return _foreign(policy, Owner.FOREIGN)
    requests = _requests_ours(templates)
    if requests is None:
        return _foreign(policy, Owner.FOREIGN)
    priority, order, flags, created, life, valid = tag
    if flags & tags.HAS_SIDECAR:
        sidecar = sidecar_of(sidecar_selector(policy))
        if sidecar is not None:
            requests = _requests_ours(sidecar.templates) or ()
    written = (
        selector_from_kernel(selector, mark, if_id),
        DIRECTIONS[direction],
        _type_of(action, requests),
        requests,
        priority,
        life,
        valid,
        label_from_kernel(policy.security_context),
    )
    return _new(
        SpdEntry,
        (
            _new(SecurityPolicy, written),
            index,
            created,
            current.use_time,
            _OURS,
            order,
            kernel_priority,
            flags & tags.TWIN != 0,
            False,
            policy.if_id,
        ),
    )


def _type_of(action: int, requests: _Requests) -> PolicyType:
    if action == XFRM_POLICY_BLOCK:
        return _DISCARD
    return _IPSEC if requests else _NONE


def _foreign(policy: Policy, owner: Owner) -> SpdEntry:
    is_socket = policy.direction > XFRM_POLICY_FWD
    ours = _requests_ours(policy.templates) if is_socket else None
    requests = _requests_foreign(policy.templates) if ours is None else ours
    entrusts = is_socket and is_entrusting(policy)
    written = SecurityPolicy(
        selector_from_kernel(policy.selector, policy.mark, policy.if_id),
        direction_from_kernel(policy.direction),
        PolicyType.ENTRUST if entrusts else _type_of(policy.action, requests),
        requests,
        policy.priority,
        policy.lifetime.hard_add,
        policy.lifetime.hard_use,
        label_from_kernel(policy.security_context),
    )
    return SpdEntry(
        written,
        policy.index,
        policy.current.add_time,
        policy.current.use_time,
        owner,
        0,
        policy.priority,
        socket=is_socket,
        interface=policy.if_id,
    )


@lru_cache(maxsize=4096)
def _requests_ours(templates: _Templates) -> _Requests | None:
    """Read templates with our tag; None where one lacks it."""
    shares = [tags.read_share(template.share) for template in templates]
    if None in shares:
        return None
    return tuple(
        _request_ours(template, share)
        for template, share in zip(templates, shares, strict=True)
        if share and not (share.transparent or share.trigger)
    )


def _request_ours(template: Template, share: ShareTag) -> IpsecRequest:
    level = Level(share.level)
    shows = template.mode != XFRM_MODE_TRANSPORT or share.endpoints
    return IpsecRequest(
        IpsecProtocol(template.protocol),
        mode_from_kernel(template.mode),
        level,
        (template.reqid or template.calgos) if level is Level.UNIQUE else 0,
        template.source if shows else None,
        template.destination if shows else None,
    )


@lru_cache(maxsize=4096)
def _requests_foreign(templates: _Templates) -> _Requests:
    return tuple(_request_foreign(template) for template in templates)


def _request_foreign(template: Template) -> IpsecRequest:
    level = Level.UNIQUE if template.reqid else Level.REQUIRE
    shows = template.mode != XFRM_MODE_TRANSPORT
    return IpsecRequest(
        IpsecProtocol(template.protocol),
        mode_from_kernel(template.mode),
        Level.USE if template.optional else level,
        template.reqid,
        template.source if shows else None,
        template.destination if shows else None,
    )
