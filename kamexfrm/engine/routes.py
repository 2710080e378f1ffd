"""Making the kernel drop cached routes, so that connected flows look up policies and SAs again.

Without it a flow that went out in clear does not notice a new SA, nor a deleted policy.
"""

import errno

from kamexfrm.errors import KernelError
from kamexfrm.kernel.interface import Kernel
from kamexfrm.net import AF_INET, AF_INET6, Address
from kamexfrm.translate.xfrm.tag import ROUTES_IF_ID, ROUTES_PRIORITY
from kamexfrm.xfrm import (
    XFRM_POLICY_BLOCK,
    XFRM_POLICY_FWD,
    Default,
    Operation,
    Policy,
    PolicyId,
    Selector,
    XfrmMsg,
    encode_default,
    encode_policy,
    encode_policy_id,
)

#: A SETDEFAULT that changes nothing but drops routes (xfrm_user.c xfrm_set_default()).
BY_DEFAULT = (Operation(XfrmMsg.SETDEFAULT, encode_default(Default(0, 0, 0))),)


def renewal(kernel: Kernel) -> tuple[Operation, ...]:
    """Return the operations that drop routes; raises KernelError (EPERM).

    Linux before 5.14 has no SETDEFAULT. There a policy of each family that no packet matches is
    added, which drops that family's routes (xfrm_policy.c xfrm_policy_insert()), and deleted.
    """
    try:
        kernel.default()
    except KernelError as error:
        if error.errno == errno.EPERM:
            raise
        if error.errno == errno.EINVAL:
            return _by_policies()
    return BY_DEFAULT


def _by_policies() -> tuple[Operation, ...]:
    anywhere = [Address.unspecified(family) for family in (AF_INET, AF_INET6)]
    selectors = [Selector(address, address, family=address.family) for address in anywhere]
    added = [
        Policy(
            selector,
            XFRM_POLICY_FWD,
            action=XFRM_POLICY_BLOCK,
            priority=ROUTES_PRIORITY,
            if_id=ROUTES_IF_ID,
        )
        for selector in selectors
    ]
    names = [
        PolicyId(selector, index=0, direction=XFRM_POLICY_FWD, if_id=ROUTES_IF_ID)
        for selector in selectors
    ]
    return (
        *(Operation(XfrmMsg.UPDPOLICY, encode_policy(policy)) for policy in added),
        *(Operation(XfrmMsg.DELPOLICY, encode_policy_id(name)) for name in names),
    )
