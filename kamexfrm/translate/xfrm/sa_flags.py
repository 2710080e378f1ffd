"""The flags of an SA, as the kernel has them and back."""

from kamexfrm.model.association import NO_FLAGS, SaFlag
from kamexfrm.xfrm import XFRM_STATE_AF_UNSPEC, XFRM_STATE_ESN

#: Flags that other fields of an SA imply.
_IMPLIED = XFRM_STATE_ESN | XFRM_STATE_AF_UNSPEC


def sa_flags_to_kernel(flags: SaFlag, *, esn: bool, tunnel: bool) -> int:
    """Return the XFRM_STATE_* bits of an SA; tunnels take packets of both families."""
    return int(flags) | (XFRM_STATE_ESN if esn else 0) | (XFRM_STATE_AF_UNSPEC if tunnel else 0)


def sa_flags_from_kernel(flags: int) -> SaFlag:
    """Return an SA's flags without those that its other fields imply."""
    flags &= ~_IMPLIED
    return SaFlag(flags) if flags else NO_FLAGS
