"""How long a larval SA lives: net.core.xfrm_acq_expires of the calling thread's namespace.

Linux shows this file in namespaces of the first user namespace only (xfrm_sysctl.c). Elsewhere it
cannot be changed and is what every namespace starts with.
"""

import errno

from kamexfrm.errors import KernelError

#: Seconds (Linux xfrm_sysctl.c __xfrm_sysctl_init()).
START = 30

_FILE = "/proc/sys/net/core/xfrm_acq_expires"
_NOT_SHOWN = "only in the first user namespace does Linux show net.core.xfrm_acq_expires"


def read() -> int:
    """Return the seconds; raises KernelError when the file cannot be read."""
    try:
        with open(_FILE, encoding="ascii") as file:
            return int(file.read())
    except FileNotFoundError:
        return START
    except OSError as error:
        raise KernelError(error.errno or errno.EIO, _FILE) from None


def write(seconds: int) -> None:
    """Set the seconds for larval SAs made from now on.

    Raises KernelError: EOPNOTSUPP where Linux does not show the file, else its errno.
    """
    try:
        with open(_FILE, "w", encoding="ascii") as file:
            file.write(f"{seconds}\n")
    except FileNotFoundError:
        raise KernelError(errno.EOPNOTSUPP, _NOT_SHOWN) from None
    except OSError as error:
        raise KernelError(error.errno or errno.EIO, _FILE) from None
