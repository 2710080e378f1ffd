"""What becomes of a packet, as it can be seen from outside."""

from typing import NamedTuple

from kamexfrm.model.decision import Layer, Verdict
from kamexfrm.model.packet import Path


class Fate(NamedTuple):
    """``wire`` are the headers it leaves with, innermost first: () for clear, None for nothing.

    ``received`` is whether the receiving socket gets it, or the output of a forwarded one;
    ``errno`` the sender's error, ``acquired`` the protocols of SAs that are asked for. ``drop`` is
    the kind of the error counter in the words of struct ipsecstat, ``?`` for one of no such word,
    empty where none moves.
    """

    wire: tuple[Layer, ...] | None = None
    received: bool = False
    errno: int = 0
    acquired: frozenset[int] = frozenset()
    drop: str = ""

    def verdict(self, path: Path) -> Verdict:
        """Return the fate in a word.

        Of a packet that is not forwarded the input rejects, which moves a counter of input.
        """
        if path is Path.IN:
            return Verdict.ACCEPTED if self.received else Verdict.REJECTED
        if self.wire is None:
            arrives = path is Path.OUT or self.received
            return Verdict.DROPPED if arrives else Verdict.REJECTED
        return Verdict.PROTECTED if self.wire else Verdict.CLEAR
