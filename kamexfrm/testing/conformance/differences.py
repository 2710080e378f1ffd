"""What Linux answers otherwise than 6.1 to the suite, and from which release to which.

A kernel that is not Linux is to do as 6.1.
"""

import os
from typing import NamedTuple

from kamexfrm.kernel.interface import Kernel
from kamexfrm.kernel.netlink import NetlinkKernel
from kamexfrm.model.linux.kernel_range import holds_for


class Difference(NamedTuple):
    """``kernels`` is the range of those that differ (``kernel_range``)."""

    kernels: str
    reason: str

    def holds(self, kernel: Kernel) -> bool:
        """Whether a kernel is a Linux that differs."""
        return isinstance(kernel, NetlinkKernel) and holds_for(self.kernels, os.uname().release)


NO_REASONS = Difference("<6.1", "xfrm_user.c refuses without a word: its extended ACKs are of 6.1")
NO_DEFAULT = Difference("<5.14", "XFRM_MSG_SETDEFAULT and GETDEFAULT came with 5.14")
MARKS_AS_WRITTEN = Difference("<6.1", "bits of a mark outside its mask tell policies apart")
OPTIONAL_TUNNELS = Difference("<5.11", "validate_tmpl() lets tunnels be optional on output")


def words(kernel: Kernel, reason: str) -> str:
    """Return the reason that a kernel gives where Linux 6.1 gives ``reason``."""
    return "" if NO_REASONS.holds(kernel) else reason
