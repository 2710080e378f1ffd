"""Single policies of the kernel: by name, by id, a sidecar, the marker.

``setkey -D`` and ``kame-sysctl`` need a part of this each, so what only one of them needs is
imported where it is used.
"""

import errno

from kamexfrm.errors import KernelError
from kamexfrm.kernel.interface import Kernel
from kamexfrm.net import AF_INET, AF_INET6
from kamexfrm.xfrm import (
    EMPTY_SELECTOR,
    XFRM_USERPOLICY_BLOCK,
    Default,
    Policy,
    PolicyId,
    Selector,
)

TYPE_CHECKING = False  # typing takes long to load
if TYPE_CHECKING:
    from collections.abc import Iterator

    from kamexfrm.engine.requests import SaDeleteAll
    from kamexfrm.translate.xfrm.marker import Marker
    from kamexfrm.xfrm import State

_BLOCKS = Default(XFRM_USERPOLICY_BLOCK, XFRM_USERPOLICY_BLOCK, XFRM_USERPOLICY_BLOCK)


def find_policy(kernel: Kernel, wanted: PolicyId) -> Policy | None:
    """Return a policy by its name, None where there is none; raises KernelError."""
    try:
        return kernel.policy(wanted)
    except KernelError as error:
        if error.errno == errno.ENOENT:
            return None
        raise


def find_sidecar(kernel: Kernel, selector: Selector) -> Policy | None:
    """Return the sidecar with a selector, None where there is none; raises KernelError."""
    from kamexfrm.translate.xfrm.policy_name import sidecar_id  # only some policies have one

    return find_policy(kernel, sidecar_id(selector))


def has_interface(kernel: Kernel, number: int) -> bool:
    """Whether the SAs of a reqid belong to an XFRM interface of ours; raises KernelError."""
    from kamexfrm.translate.xfrm.interface_policies import interface_policy_ids, is_interface_policy

    policy = find_policy(kernel, interface_policy_ids(number)[0])
    return policy is not None and is_interface_policy(policy)


def spd_policy_by_id(kernel: Kernel, id: int) -> Policy:
    """Return the policy of the SPD with an id (KAME's spid, the kernel's index).

    Foreign ones with an interface id or a mark are found too. The kernel finds those only by index,
    interface id and mark together, so they are searched for in a dump. Raises KernelError: ENOENT
    where there is none, EINVAL for an id of no direction (of a socket's policy), as AF_KEY does.
    """
    from kamexfrm.translate.xfrm.policy_from_kernel import is_ordinary
    from kamexfrm.xfrm import decode_policy, direction_of_index, policy_index

    if not id:
        raise KernelError(errno.ENOENT)  # to the kernel, 0 asks for a selector
    wanted = PolicyId(EMPTY_SELECTOR, index=id, direction=direction_of_index(id))
    policy = find_policy(kernel, wanted)
    if policy is None:
        payload = next((p for p in kernel.raw_policies() if policy_index(p) == id), None)
        policy = decode_policy(payload) if payload else None
    if policy is None or policy.policy_type or not is_ordinary(policy):
        raise KernelError(errno.ENOENT)
    return policy


def find_marker(kernel: Kernel) -> "Marker | None":
    """Return what the namespace's marker says, None where there is no marker.

    Raises KernelError, and UnsupportedError (EPROTO) for a marker that cannot be understood.
    """
    from kamexfrm.translate.xfrm.marker import MARKER_ID, read_marker

    policy = find_policy(kernel, MARKER_ID)
    return None if policy is None else read_marker(policy)


def default_blocks(kernel: Kernel) -> bool:
    """Whether the namespace's own default discards in all directions, as def_policy sets it.

    Raises KernelError. Linux before 5.14 has no such default.
    """
    try:
        return kernel.default() == _BLOCKS
    except KernelError as error:
        if error.errno == errno.EPERM:
            raise
        return False


def find_catch_alls(kernel: Kernel, family: int) -> list[Policy]:
    """Return what stands in the place of a family's three catch-alls; raises KernelError."""
    from kamexfrm.translate.xfrm.catch_all import catch_all_names

    found = (find_policy(kernel, name) for name in catch_all_names(family))
    return [policy for policy in found if policy is not None]


def discarding_families(kernel: Kernel) -> tuple[int, ...]:
    """Return the families for which def_policy 0 is in force, with or without a marker.

    Raises KernelError, and UnsupportedError (EPROTO) for a marker that cannot be understood.
    """
    marker = find_marker(kernel)
    if marker is None:
        return (AF_INET, AF_INET6) if default_blocks(kernel) else ()
    return tuple(
        family for family in (AF_INET, AF_INET6) if marker.knobs.of(family).def_policy == 0
    )


def states_between(kernel: Kernel, request: "SaDeleteAll") -> "Iterator[State]":
    """Return the SAs that a request about two addresses covers; raises KernelError."""
    from kamexfrm.model.policy import IPSEC_PROTOCOLS

    return (
        state
        for state in kernel.states(request.protocol or 0)
        if state.source == request.source
        and state.destination == request.destination
        and state.protocol in IPSEC_PROTOCOLS
    )
