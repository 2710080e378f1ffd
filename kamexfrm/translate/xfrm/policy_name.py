"""How the kernel tells policies apart: selector, direction, mark, if_id, label. Pure."""

from kamexfrm.model.policy import ULPROTO_ANY, Direction, Scope, SecurityContext, Selector
from kamexfrm.model.policy import Mark as EntryMark
from kamexfrm.translate.xfrm.numbers import direction_to_kernel, label_to_kernel
from kamexfrm.translate.xfrm.tag import SIDECAR_IF_ID
from kamexfrm.xfrm import XFRM_POLICY_FWD, Mark, Policy, PolicyId
from kamexfrm.xfrm import Selector as XfrmSelector

_U32 = 0xFFFFFFFF


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
        selector.scope.interface if selector.scope else 0,
    )


def mark_to_kernel(mark: EntryMark | None) -> Mark | None:
    """Return the kernel's form of a mark."""
    return None if mark is None else Mark(*mark)


def mark_from_kernel(mark: Mark | None) -> EntryMark | None:
    """Return a mark from the kernel's form; one that every packet has is none."""
    return None if mark is None or not any(mark) else EntryMark(*mark)


def scope_from_kernel(interface: int, mark: Mark | None, if_id: int) -> Scope | None:
    """Return what narrows a policy besides its addresses, None where nothing does."""
    scope = Scope(interface, mark_from_kernel(mark), if_id)
    return scope if any(scope) else None


def policy_id(
    selector: Selector, direction: Direction, label: SecurityContext | None = None
) -> PolicyId:
    """Return the kernel's name of an entry."""
    scope = selector.scope or Scope()
    return PolicyId(
        selector_to_kernel(selector),
        index=0,
        direction=direction_to_kernel(direction),
        if_id=scope.if_id,
        mark=mark_to_kernel(scope.mark),
        security_context=label_to_kernel(label),
    )


def name_of(policy: Policy, direction: int | None = None) -> PolicyId:
    """Return the name of a policy, or of the one that differs from it in its direction."""
    return PolicyId(
        policy.selector,
        index=0,
        direction=policy.direction if direction is None else direction,
        if_id=policy.if_id,
        mark=policy.mark,
        policy_type=policy.policy_type,
        security_context=policy.security_context,
    )


def sidecar_selector(policy: Policy | PolicyId) -> XfrmSelector:
    """Return the selector of an entry's sidecar.

    The sidecar's own interface id says what it is. So the entry's, and its mark, go into a word
    of the selector that the kernel compares and does not use: entries that differ in these alone
    have sidecars of their own.
    """
    mark = policy.mark
    if not policy.if_id and mark is None:
        return policy.selector
    value, mask = mark or (0, 0)
    user = policy.if_id * 0x9E3779B1 ^ value * 0x85EBCA6B ^ mask * 0xC2B2AE35
    return policy.selector._replace(user=user & _U32 | 1)


def sidecar_id(selector: XfrmSelector) -> PolicyId:
    """Return the name of the sidecar with a selector."""
    return PolicyId(selector, index=0, direction=XFRM_POLICY_FWD, if_id=SIDECAR_IF_ID)
