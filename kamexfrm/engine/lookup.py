"""Single policies of the kernel: by name, by id, a sidecar, the marker.

``setkey -D`` and ``kame-sysctl`` need a part of this each, so what only one of them needs is
imported where it is used.
"""

import errno
from typing import TYPE_CHECKING

from kamexfrm.errors import KernelError
from kamexfrm.kernel.interface import Kernel
from kamexfrm.translate.xfrm.tag import SIDECAR_IF_ID
from kamexfrm.xfrm import EMPTY_SELECTOR, XFRM_POLICY_FWD, Policy, PolicyId, Selector

if TYPE_CHECKING:
    from kamexfrm.translate.xfrm.marker import Marker


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
    wanted = PolicyId(selector, index=0, direction=XFRM_POLICY_FWD, if_id=SIDECAR_IF_ID)
    return find_policy(kernel, wanted)


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
