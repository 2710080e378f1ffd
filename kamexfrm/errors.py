"""The one exception tree: every error has an errno and, where there is one, a place.

Floor 0. Errors are raised where they are known and caught at the edge: in a command's main, in the
daemon's loop. An error's text never holds key material.
"""

import errno as _errno
import os

from kamexfrm.records import NamedTuple


class Place(NamedTuple):
    """Where in an input text something stands: file name, line and column, both from 1."""

    file: str
    line: int
    column: int = 0

    def __str__(self) -> str:
        """Return ``FILE:LINE:COLUMN``, without the column where it is not known."""
        return (
            f"{self.file}:{self.line}:{self.column}" if self.column else f"{self.file}:{self.line}"
        )


class KamexfrmError(Exception):
    """Anything kamexfrm itself raises; ``errno`` is a number from errno(3)."""

    errno: int = _errno.EINVAL

    def __init__(self, text: str = "", *, errno: int | None = None) -> None:
        if errno is not None:
            self.errno = errno
        self.text = text or os.strerror(self.errno)
        super().__init__(self.text)

    def __str__(self) -> str:
        return self.text


def invalid(reason: str, number: int = _errno.EINVAL) -> KamexfrmError:
    """Return an error worded as the kernel's are: strerror's text and a reason in brackets."""
    return KamexfrmError(f"{os.strerror(number)} ({reason})", errno=number)


class WireError(KamexfrmError):
    """Bytes that are not a message of the protocol; ``offset`` is in bytes from the start."""

    def __init__(self, text: str, offset: int) -> None:
        super().__init__(text)
        self.offset = offset

    def __str__(self) -> str:
        return f"{self.text} at byte {self.offset}"


class LanguageError(KamexfrmError):
    """A text that its language does not allow.

    ``reason`` is setkey's own wording, ``token`` the word that setkey would name, ``place`` where
    that word stands, ``hints`` further lines for a human.
    """

    def __init__(
        self,
        reason: str,
        *,
        token: str | None = None,
        place: Place | None = None,
        hints: tuple[str, ...] = (),
        errno: int | None = None,
    ) -> None:
        super().__init__(reason, errno=errno)
        self.token = token
        self.place = place
        self.hints = hints


class UnsupportedError(KamexfrmError):
    """Something that KAME has and Linux XFRM cannot do."""

    errno = _errno.EOPNOTSUPP


class KernelError(KamexfrmError):
    """The kernel refused: ``errno`` is its number, ``reason`` its extended ACK text or empty.

    ``attribute`` is the C name of the attribute of the request that it names as the cause
    (``XFRMA_ALG_AEAD``), or empty; the repr shows it, the text does not.
    """

    def __init__(self, errno: int, reason: str = "", attribute: str = "") -> None:
        super().__init__(os.strerror(errno), errno=errno)
        self.reason = reason
        self.attribute = attribute

    def __repr__(self) -> str:
        number = _errno.errorcode.get(self.errno, str(self.errno))
        words = [number]
        if self.reason:
            words.append(repr(self.reason))
        if self.attribute:
            words.append(f"attribute={self.attribute}")
        return f"KernelError({', '.join(words)})"

    def __str__(self) -> str:
        return f"{self.text} ({self.reason})" if self.reason else self.text
