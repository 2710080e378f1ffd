"""Knobs are read, with a warning where they are lost or not what the kernel does, and written."""

from kamexfrm.engine.engine import Engine
from kamexfrm.engine.lookup import find_marker
from kamexfrm.errors import KamexfrmError, KernelError
from kamexfrm.kernel.interface import Kernel
from kamexfrm.model.knobs import Knob, Knobs
from kamexfrm.net import AF_INET, AF_INET6
from kamexfrm.records import NamedTuple
from kamexfrm.xfrm import XFRM_USERPOLICY_BLOCK

TYPE_CHECKING = False  # typing takes long to load
if TYPE_CHECKING:
    from kamexfrm.sysctl.settings import Assignments

NO_EXEMPTIONS = (
    "warning: def_policy 0 discards whatever no policy lets pass:"
    " neighbour discovery, DHCP, IKE and ::1 are not exempt"
)
_LOST = (
    "warning: this namespace's variables are lost, probably by `ip xfrm policy flush`:"
    " they are at their start values, while packets that match no policy are still discarded;"
    " write def_policy again"
)
_FALSE = (
    "warning: def_policy is 0, but policies behind it are missing or were changed by another"
    " program: packets may pass; a write of def_policy puts them right"
)
_BLOCKED = (
    "warning: whatever def_policy says, this namespace discards packets that match no policy:"
    " see `ip xfrm policy getdefault`"
)

#: Catch-alls of a family: one for each direction of the kernel.
_DIRECTIONS = 3


class State(NamedTuple):
    """The knobs in force, and a warning about them or nothing."""

    knobs: Knobs
    warning: str = ""


def read(kernel: Kernel) -> State:
    """Return the namespace's knobs.

    Raises KamexfrmError (EPROTO) when there are some that we cannot read, and KernelError.
    """
    knobs = Engine(kernel).knobs()
    blocks = _blocks(kernel)
    if blocks and find_marker(kernel) is None:
        return State(knobs, _LOST)
    discarding = [family for family in (AF_INET, AF_INET6) if knobs.of(family).def_policy == 0]
    if discarding and not _discards(kernel, discarding):
        return State(knobs, _FALSE)
    return State(knobs, _BLOCKED if blocks and len(discarding) < 2 else "")


def _discards(kernel: Kernel, families: list[int]) -> bool:
    """Whether def_policy's catch-alls are all there, or a writer is at work on them."""
    from kamexfrm.engine.lookup import find_catch_alls
    from kamexfrm.translate.xfrm.catch_all import is_catch_all
    from kamexfrm.translate.xfrm.marker import MarkerFlag

    for family in families:
        if sum(map(is_catch_all, find_catch_alls(kernel, family))) != _DIRECTIONS:
            marker = find_marker(kernel)
            return marker is not None and MarkerFlag.UNFINISHED in marker.flags
    return True


def _blocks(kernel: Kernel) -> bool:
    """Whether packets that match no policy are discarded by the namespace's own default."""
    try:
        return XFRM_USERPOLICY_BLOCK in kernel.default()
    except KernelError:
        return False  # kernels before 5.14 have no such default


def write(kernel: Kernel, assignments: "Assignments") -> tuple[dict[Knob, KamexfrmError], str]:
    """Write variables; return the errors, and the process that kept the lock from us or nothing.

    Raises KernelError when nothing at all can be written.
    """
    from kamexfrm.engine.requests import SetKnob

    engine = Engine(kernel)
    for knob, value in assignments.items():
        engine.submit(SetKnob(knob, value))
    written = engine.try_flush()
    errors = {r.knob: error for r, error in written.rejected if isinstance(r, SetKnob)}
    return errors, written.lock_holder
