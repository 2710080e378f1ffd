"""Emptying a kernel's databases past our own commands, which may be what is broken."""

import errno

from kamexfrm.errors import KernelError
from kamexfrm.kernel.interface import Kernel
from kamexfrm.xfrm import (
    XFRM_USERPOLICY_ACCEPT,
    Default,
    Operation,
    XfrmMsg,
    encode_default,
    encode_policy_flush,
    encode_state_flush,
)

_FLUSHES = (
    Operation(XfrmMsg.FLUSHPOLICY, encode_policy_flush()),
    Operation(XfrmMsg.FLUSHSA, encode_state_flush(0)),
)
_DEFAULT = Operation(XfrmMsg.SETDEFAULT, encode_default(Default(*[XFRM_USERPOLICY_ACCEPT] * 3)))


def empty(kernel: Kernel) -> None:
    """Delete all policies and SAs, and have the namespace's default accept, where there is one."""
    assert kernel.apply([*_FLUSHES, _DEFAULT] if has_default(kernel) else _FLUSHES) == []


def has_default(kernel: Kernel) -> bool:
    """Whether a namespace has a default on this kernel: Linux before 5.14 knows none."""
    try:
        kernel.default()
    except KernelError as error:
        if error.errno != errno.EINVAL:
            raise
        return False
    return True
