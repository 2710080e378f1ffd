"""The policies of an XFRM interface, as KAME's successors make them for if_ipsec(4). Pure.

An interface is a tunnel between two hosts with a number N. Whatever is routed into it matches its
policies, any to any, whose request is ``esp/tunnel/LOCAL-REMOTE/unique:N``. There is one for each
direction and each family inside; a policy with an interface id N is only met by packets of the
interface with that id (Linux xfrm_policy.c xfrm_policy_match()), and asks for SAs with the id
(xfrm_state_find()). So the SAs of reqid N get the id too, and serve the interface alone.
"""

import errno
from collections.abc import Iterable

from kamexfrm.errors import KernelError
from kamexfrm.model.knobs import Knobs
from kamexfrm.model.policy import (
    Direction,
    IpsecProtocol,
    IpsecRequest,
    Level,
    Mode,
    PolicyType,
    SecurityPolicy,
    Selector,
)
from kamexfrm.net import AF_INET, AF_INET6, Address
from kamexfrm.records import NamedTuple
from kamexfrm.translate.xfrm import tag as tags
from kamexfrm.translate.xfrm.policy_name import selector_to_kernel
from kamexfrm.translate.xfrm.policy_to_kernel import Placement, policy_to_kernel
from kamexfrm.xfrm import (
    XFRM_MODE_TRANSPORT,
    XFRM_POLICY_FWD,
    XFRM_POLICY_IN,
    XFRM_POLICY_OUT,
    Policy,
    PolicyId,
    State,
)

_FAMILIES = (AF_INET, AF_INET6)
_DIRECTIONS = (XFRM_POLICY_OUT, XFRM_POLICY_IN, XFRM_POLICY_FWD)


class InterfaceTunnel(NamedTuple):
    """An interface's tunnel: its number, which is if_id and reqid (32 bits, not 0), and its ends.

    The ends are of one family, ``local`` our own.
    """

    number: int
    local: Address
    remote: Address


def _anywhere(family: int) -> Selector:
    nowhere = Address.unspecified(family)
    return Selector(nowhere, 0, nowhere, 0)


def interface_policies(tunnel: InterfaceTunnel, now: int) -> list[Policy]:
    """Return an interface's six policies; ``now`` is in seconds since the epoch."""
    made = []
    for family in _FAMILIES:
        for direction in (Direction.OUT, Direction.IN, Direction.FWD):
            out = direction is Direction.OUT
            request = IpsecRequest(
                IpsecProtocol.ESP,
                Mode.TUNNEL,
                Level.UNIQUE,
                tunnel.number,
                tunnel.local if out else tunnel.remote,
                tunnel.remote if out else tunnel.local,
            )
            written = SecurityPolicy(_anywhere(family), direction, PolicyType.IPSEC, (request,))
            installed = policy_to_kernel(
                written,
                Knobs(),  # its level is unique whatever they say
                Placement(tags.INTERFACE_PRIORITY, 0),
                now,
                twin=direction is Direction.FWD,
            )
            lifetime = installed.policy.lifetime
            words = lifetime._replace(hard_bytes=lifetime.hard_bytes | tags.INTERFACE)
            made.append(installed.policy._replace(if_id=tunnel.number, lifetime=words))
    return made


def interface_policy_ids(number: int) -> list[PolicyId]:
    """Return the names of an interface's policies, outbound ones first."""
    return [
        PolicyId(selector_to_kernel(_anywhere(family)), index=0, direction=direction, if_id=number)
        for direction in _DIRECTIONS
        for family in _FAMILIES
    ]


def is_interface_policy(policy: Policy) -> bool:
    """Whether a policy of the kernel is an XFRM interface's."""
    if not policy.if_id:
        return False
    tag = tags.policy_tag(policy.lifetime[:4])
    return tag is not None and tag.flags & tags.INTERFACE != 0


def refuse_interface(policy: Policy | None) -> None:
    """Refuse to change or delete one policy of an XFRM interface; raises KernelError (EPERM)."""
    if policy is not None and is_interface_policy(policy):
        why = f"it belongs to the interface of if_id {policy.if_id}: delete that"
        raise KernelError(errno.EPERM, why)


def tunnels_of(policies: Iterable[Policy]) -> dict[int, InterfaceTunnel]:
    """Return the tunnels that the outbound policies of interfaces name, by their numbers."""
    found: dict[int, InterfaceTunnel] = {}
    for policy in policies:
        if policy.direction != XFRM_POLICY_OUT or not is_interface_policy(policy):
            continue
        for template in policy.templates:
            ends = (template.source, template.destination)
            found.setdefault(policy.if_id, InterfaceTunnel(policy.if_id, *ends))
    return found


def may_belong(state: State) -> bool:
    """Whether an SA is one that an interface may have: ESP, not declared for transport mode."""
    return (
        state.reqid != 0
        and state.protocol == IpsecProtocol.ESP
        and (state.mode != XFRM_MODE_TRANSPORT or tags.is_mode_any(state.selector.user))
    )
