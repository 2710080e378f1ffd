"""An SPD in memory that accepts, refuses and answers as Linux does (net/xfrm/xfrm_user.c).

Each refusal and each extended ACK text was observed on 6.1 and 6.18; where the two differ, this is
6.18 (mode 5, IPTFS, is known).
"""

import errno
from collections.abc import Iterator
from typing import NoReturn

from kamexfrm.errors import KernelError
from kamexfrm.net import ADDRESS_BITS, AF_INET, AF_INET6, Address
from kamexfrm.xfrm import (
    EMPTY_SELECTOR,
    XFRM_MAX_DEPTH,
    XFRM_MODE_BEET,
    XFRM_MODE_IPTFS,
    XFRM_MODE_TUNNEL,
    XFRM_POLICY_BLOCK,
    XFRM_POLICY_FWD,
    XFRM_POLICY_OUT,
    XFRM_POLICY_TYPE_MAIN,
    XFRM_POLICY_TYPE_SUB,
    XFRM_SHARE_UNIQUE,
    LifetimeCurrent,
    Mark,
    Policy,
    PolicyId,
    Selector,
    SpdInfo,
    Template,
    direction_of_index,
)

#: Selector, direction, interface id, mark (value under its mask, mask), policy type.
Key = tuple[Selector, int, int, tuple[int, int], int]

_TUNNELS = (XFRM_MODE_TUNNEL, XFRM_MODE_BEET, XFRM_MODE_IPTFS)
_MODES = XFRM_MODE_IPTFS + 1

#: AH, ESP, IPComp; then Mobile IPv6's routing and destination options headers.
_TEMPLATE_PROTOCOLS = (51, 50, 108, 43, 60)


def invalid(reason: str) -> NoReturn:
    """Raise the refusal EINVAL with the kernel's text."""
    raise KernelError(errno.EINVAL, reason)


def check_prefixes(selector: Selector) -> None:
    """Refuse prefixes longer than the family's addresses; raises KernelError (EINVAL)."""
    bits = ADDRESS_BITS.get(selector.family)
    if bits and max(selector.destination_prefix, selector.source_prefix) > bits:
        version = 4 if bits == 32 else 6
        invalid(f"Invalid prefix length in selector (must be <= {bits} for IPv{version})")


def check_direction(direction: int) -> None:
    """Refuse what is not in, out or fwd; raises KernelError (EINVAL)."""
    if direction > XFRM_POLICY_FWD:
        invalid("Invalid policy direction")


def check_type(policy_type: int) -> None:
    """Refuse unknown policy types; raises KernelError (EINVAL)."""
    if policy_type not in (XFRM_POLICY_TYPE_MAIN, XFRM_POLICY_TYPE_SUB):
        invalid("Invalid policy type")


def _masked(mark: Mark | None) -> tuple[int, int]:
    return (mark.value & mark.mask, mark.mask) if mark else (0, 0)


def _template(template: Template, family: int) -> Template:
    """Return a template with the family it means."""
    if template.family:
        return template
    size = ADDRESS_BITS[family] // 8
    return template._replace(
        family=family,
        destination=Address(family, template.destination.packed[:size]),
        source=Address(family, template.source.packed[:size]),
    )


def _checked_templates(policy: Policy) -> tuple[Template, ...]:
    """Return the templates as they are kept; raises KernelError (validate_tmpl())."""
    if len(policy.templates) > XFRM_MAX_DEPTH:
        invalid(f"Template count must be <= XFRM_MAX_DEPTH ({XFRM_MAX_DEPTH})")
    previous = policy.selector.family
    kept = []
    for given in policy.templates:
        template = _template(given, policy.selector.family)
        if template.mode in _TUNNELS:
            if template.optional and policy.direction == XFRM_POLICY_OUT:
                invalid("Mode in optional template not allowed in outbound policy")
        elif template.family != previous:
            invalid("Mode in template doesn't support a family change")
        if template.mode >= _MODES:
            invalid(f"Mode in template must be < XFRM_MODE_MAX ({_MODES})")
        previous = template.family
        if template.family not in (AF_INET, AF_INET6):
            invalid("Invalid family in template")
        if template.protocol not in _TEMPLATE_PROTOCOLS:
            invalid("Invalid XFRM protocol in template")
        kept.append(template)
    return tuple(kept)


def check_policy(policy: Policy) -> Policy:
    """Return a policy as the kernel keeps it; raises KernelError (verify_newpolicy_info())."""
    if policy.share > XFRM_SHARE_UNIQUE:
        invalid("Invalid policy share")
    if policy.action > XFRM_POLICY_BLOCK:
        invalid("Invalid policy action")
    if policy.selector.family not in (AF_INET, AF_INET6):
        invalid("Invalid selector family")
    check_prefixes(policy.selector)
    check_direction(policy.direction)
    if policy.index and direction_of_index(policy.index) != policy.direction:
        invalid("Policy index doesn't match direction")
    check_type(policy.policy_type)
    value, mask = _masked(policy.mark)
    return policy._replace(
        templates=_checked_templates(policy),
        share=0,
        mark=Mark(value, mask) if value or mask else None,
    )


class FakeSpd:
    """The policies, oldest change first: a dump reads them backwards."""

    def __init__(self) -> None:
        self._policies: dict[Key, Policy] = {}
        self._by_index: dict[int, Key] = {}
        self._next_index = 0

    @staticmethod
    def _key(policy: Policy) -> Key:
        return (
            policy.selector,
            policy.direction,
            policy.if_id,
            _masked(policy.mark),
            policy.policy_type,
        )

    def dump(self) -> Iterator[Policy]:
        """Return all policies, the one that was written last first."""
        return iter(list(reversed(self._policies.values())))

    def add(self, policy: Policy, now: int, *, update: bool) -> Policy:
        """Write a policy and return what is kept; raises KernelError (EINVAL, EEXIST)."""
        policy = check_policy(policy)
        key = self._key(policy)
        if key in self._policies and not update:
            raise KernelError(errno.EEXIST)
        old = self._policies.pop(key, None)
        index = old.index if old else self._index(policy.direction, policy.index)
        policy = policy._replace(index=index, current=LifetimeCurrent(add_time=now))
        self._policies[key] = policy
        self._by_index[index] = key
        return policy

    def find(self, id: PolicyId) -> Policy:
        """Return a policy by index or by selector; raises KernelError (EINVAL, ENOENT)."""
        check_type(id.policy_type)
        check_direction(id.direction)
        tail = (id.direction, id.if_id, _masked(id.mark), id.policy_type)
        key = self._by_index.get(id.index) if id.index else (id.selector, *tail)
        found = self._policies.get(key) if key and key[1:] == tail else None
        if found is None:
            raise KernelError(errno.ENOENT)
        return found

    def delete(self, id: PolicyId) -> tuple[PolicyId, Policy]:
        """Delete a policy; return how the event names it, and what it was; raises KernelError."""
        policy = self.find(id)
        self._drop([policy])
        selector = EMPTY_SELECTOR if id.index else policy.selector
        return PolicyId(selector, index=id.index, direction=id.direction), policy

    def flush(self, policy_type: int) -> bool:
        """Delete all policies of a type; return whether there were any; raises KernelError."""
        check_type(policy_type)
        doomed = [p for p in self._policies.values() if p.policy_type == policy_type]
        self._drop(doomed)
        return bool(doomed)

    def expire(self, now: int) -> list[Policy]:
        """Delete and return those whose time is over (xfrm_policy_timer())."""
        over = [policy for policy in self._policies.values() if _is_over(policy, now)]
        self._drop(over)
        return over

    def use(self, id: PolicyId, now: int) -> None:
        """Note that a packet met a policy, as traffic would; raises KernelError (ENOENT)."""
        policy = self.find(id)
        current = policy.current._replace(use_time=now)
        self._policies[self._key(policy)] = policy._replace(current=current)

    def info(self) -> SpdInfo:
        """Return how many there are in each direction."""
        counts = [0, 0, 0]
        for policy in self._policies.values():
            counts[policy.direction] += 1
        return SpdInfo(counts[0], counts[1], counts[2])

    def _drop(self, doomed: list[Policy]) -> None:
        for policy in doomed:
            del self._policies[self._key(policy)]
            del self._by_index[policy.index]

    def _index(self, direction: int, wanted: int) -> int:
        """Return a free index: the wanted one, else the next of a direction (xfrm_gen_index())."""
        taken = self._by_index
        if wanted and wanted not in taken:
            return wanted
        while True:
            index = self._next_index | direction or 8
            self._next_index = (self._next_index + 8) & 0xFFFFFFFF
            if index not in taken:
                return index


def _is_over(policy: Policy, now: int) -> bool:
    limits, current = policy.lifetime, policy.current
    used = current.use_time or current.add_time
    return bool(
        (limits.hard_add and current.add_time + limits.hard_add <= now)
        or (limits.hard_use and used + limits.hard_use <= now)
    )
