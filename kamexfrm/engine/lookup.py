"""What the kernel holds of one name, where that there is nothing is an answer and no error."""

import errno

from kamexfrm.errors import KernelError
from kamexfrm.kernel.interface import Kernel
from kamexfrm.translate.xfrm.marker import MARKER_ID, Marker, read_marker
from kamexfrm.xfrm import Policy, PolicyId


def find_policy(kernel: Kernel, wanted: PolicyId) -> Policy | None:
    """Return a policy by its name, None where there is none; raises KernelError."""
    try:
        return kernel.policy(wanted)
    except KernelError as error:
        if error.errno == errno.ENOENT:
            return None
        raise


def find_marker(kernel: Kernel) -> Marker | None:
    """Return what the namespace's marker says, None where there is no marker.

    Raises KernelError, and UnsupportedError (EPROTO) for a marker that cannot be understood.
    """
    policy = find_policy(kernel, MARKER_ID)
    return None if policy is None else read_marker(policy)
