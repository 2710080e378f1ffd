"""The error of guests."""

import errno

from kamexfrm.errors import KamexfrmError


class GuestError(KamexfrmError):
    """The guest is missing, did not boot, or died before the command ended."""

    errno = errno.EIO
