"""Numbers and small structures of KAME and of XFRM, a pair of functions for each.

KAME counts directions and modes from one, with 0 for any; XFRM counts them from zero. The kernel's
modes that KAME has no word for are numbers of ``Mode`` without a name.
"""

from kamexfrm.model.policy import Direction, Mode, SecurityContext
from kamexfrm.xfrm import SecurityContext as XfrmSecurityContext
from kamexfrm.xfrm import Selector as XfrmSelector

#: KAME's direction by the kernel's: XFRM_POLICY_IN, OUT, FWD, then in and out of a socket's own
#: policy. Hot paths index it directly.
DIRECTIONS = (Direction.IN, Direction.OUT, Direction.FWD, Direction.IN, Direction.OUT)


def direction_to_kernel(direction: Direction) -> int:
    """Return XFRM_POLICY_IN, OUT or FWD."""
    return direction - 1


def direction_from_kernel(direction: int) -> Direction:
    """Return KAME's direction of an SPD entry or of a socket's policy; never raises."""
    return DIRECTIONS[direction % 5]


def mode_to_kernel(mode: Mode) -> int:
    """Return the XFRM_MODE_* number of a mode other than any."""
    return mode - 1


def mode_from_kernel(mode: int) -> Mode:
    """Return KAME's mode, a ``Mode`` without a name where KAME has none."""
    return Mode(mode + 1)


def label_to_kernel(label: SecurityContext | None) -> XfrmSecurityContext | None:
    """Return the kernel's form of an LSM's label: with a NUL that counts, as PF_KEY has it.

    SELinux stores another one behind it (security/selinux/xfrm.c).
    """
    if label is None:
        return None
    doi, algorithm, text = label
    return XfrmSecurityContext(doi, algorithm, text if text.endswith(b"\0") else text + b"\0")


def label_from_kernel(label: XfrmSecurityContext | None) -> SecurityContext | None:
    """Return an LSM's label from the kernel's form, as it is stored."""
    return None if label is None else SecurityContext(*label)


def is_narrow(selector: XfrmSelector) -> bool:
    """Whether a selector leaves out some packets by their addresses, protocol or ports."""
    masks = selector.destination_port_mask | selector.source_port_mask
    prefixes = selector.destination_prefix | selector.source_prefix
    return bool(masks | prefixes | selector.protocol)
