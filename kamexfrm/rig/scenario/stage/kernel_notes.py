"""What a kernel does otherwise than Linux 6.1, in a sentence each; ipsec(4) has it under CAVEATS.

How packets are treated is in ``model.linux.differences``; what a kernel has or lacks is here.
"""

from typing import NamedTuple

from kamexfrm.model.linux.differences import DIFFERENCES
from kamexfrm.model.linux.kernel_range import holds_for


class Note(NamedTuple):
    """``kernels`` is a range; ``title`` is ipsec(4)'s."""

    kernels: str
    title: str
    text: str


#: What kernels have or lack.
NOTES = (
    Note(
        "<5.14",
        "no default of the namespace",
        "after another program's flush nothing stands for def_policy 0",
    ),
    Note(">=7.2", "no hmac-ripemd160", "an SA with hmac-ripemd160 is refused"),
)


def notes_of(release: str) -> list[Note]:
    """Return what is otherwise on a kernel, given by its release (uname(1))."""
    treated = (Note(d.kernels, d.title, d.reason) for d in DIFFERENCES if d.kernels)
    return [note for note in (*treated, *NOTES) if holds_for(note.kernels, release)]
