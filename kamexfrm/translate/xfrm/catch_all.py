"""The catch-alls: the policies that discard what no other policy matches, under def_policy 0. Pure.

Each is recognised by all that it is. A policy with their mark that differs in anything, as one that
another program has made to let packets pass, is not one of them.
"""

from functools import lru_cache

from kamexfrm.net import AF_INET, AF_INET6, Address
from kamexfrm.translate.xfrm import tag as tags
from kamexfrm.translate.xfrm.tag import PolicyTag
from kamexfrm.xfrm import (
    XFRM_POLICY_BLOCK,
    XFRM_POLICY_FWD,
    XFRM_POLICY_TYPE_MAIN,
    LifetimeConfig,
    LifetimeCurrent,
    Policy,
    PolicyId,
    Selector,
)

_UNUSED = LifetimeCurrent()


@lru_cache(maxsize=6)
def catch_all(family: int, direction: int) -> Policy:
    """Return def_policy's block policy for a family and a kernel direction (0 to 2)."""
    nowhere = Address.unspecified(family)
    words = tags.policy_words(PolicyTag(0xFFFFFFFF, 0, tags.CATCH_ALL))
    return Policy(
        Selector(nowhere, nowhere, family=family, user=tags.CATCH_ALL_USER),
        direction,
        action=XFRM_POLICY_BLOCK,
        priority=tags.CATCH_ALL_PRIORITY,
        lifetime=LifetimeConfig(*words),
    )


def catch_all_names(family: int) -> list[PolicyId]:
    """Return the names under which the kernel finds a family's three."""
    selector = catch_all(family, 0).selector
    return [PolicyId(selector, index=0, direction=direction) for direction in range(3)]


def has_mark(policy: Policy) -> bool:
    """Whether a policy has the mark of a catch-all, be it one or not."""
    return policy.selector.user == tags.CATCH_ALL_USER


def is_catch_all(policy: Policy) -> bool:
    """Whether a policy is one of def_policy's in each part, but for id and counters."""
    return stands_for_one(policy) and policy._replace(
        index=0, current=_UNUSED, attributes=()
    ) == catch_all(policy.selector.family, policy.direction)


def stands_for_one(policy: Policy) -> bool:
    """Whether a policy has the name of a catch-all: the kernel has room for one of that name."""
    return (
        has_mark(policy)
        and policy.selector.family in (AF_INET, AF_INET6)
        and policy.direction <= XFRM_POLICY_FWD
        and not policy.if_id
        and policy.mark is None
        and policy.policy_type == XFRM_POLICY_TYPE_MAIN
        and policy.security_context is None
        and policy.selector == catch_all(policy.selector.family, policy.direction).selector
    )
