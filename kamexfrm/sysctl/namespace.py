"""The knobs as the kernel has them: read with an eye on trouble, written by the engine."""

from typing import NamedTuple

from kamexfrm.engine.engine import Engine
from kamexfrm.engine.lookup import find_marker
from kamexfrm.engine.requests import Rejected, SetKnob
from kamexfrm.errors import KamexfrmError, KernelError
from kamexfrm.kernel.interface import Kernel
from kamexfrm.model.knobs import Knob, Knobs
from kamexfrm.sysctl.settings import Assignments
from kamexfrm.xfrm import XFRM_USERPOLICY_BLOCK

NO_EXEMPTIONS = (
    "warning: def_policy 0 discards whatever no policy lets pass:"
    " neighbour discovery, DHCP, IKE and ::1 are not exempt"
)
_LOST = (
    "warning: this namespace's variables are lost, probably by `ip xfrm policy flush`:"
    " they are at their start values, while packets that match no policy are still discarded;"
    " write def_policy again"
)
_BLOCKED = (
    "warning: whatever def_policy says, this namespace discards packets that match no policy:"
    " see `ip xfrm policy getdefault`"
)


class State(NamedTuple):
    """The knobs in force, and a warning about them or nothing."""

    knobs: Knobs
    warning: str = ""


def read(kernel: Kernel) -> State:
    """Return the namespace's knobs.

    Raises KamexfrmError (EPROTO) when there are some that we cannot read, and KernelError.
    """
    marker, lifetime = find_marker(kernel), kernel.larval_lifetime()
    knobs = (marker.knobs if marker else Knobs())._replace(larval_lifetime=lifetime)
    if not _blocks(kernel):
        return State(knobs)
    if marker is None:
        return State(knobs, _LOST)
    meant = knobs.inet.def_policy == 0 and knobs.inet6.def_policy == 0
    return State(knobs, "" if meant else _BLOCKED)


def _blocks(kernel: Kernel) -> bool:
    """Whether packets that match no policy are discarded by the namespace's own default."""
    try:
        return XFRM_USERPOLICY_BLOCK in kernel.default()
    except KernelError:
        return False  # kernels before 5.14 have no such default


def write(kernel: Kernel, assignments: Assignments) -> tuple[dict[Knob, KamexfrmError], str]:
    """Write variables; return what was refused, and who kept the lock from us, if anybody.

    Raises KernelError when nothing at all can be written.
    """
    refused: dict[Knob, KamexfrmError] = {}

    def note(one: Rejected) -> None:
        if isinstance(one.request, SetKnob):
            refused[one.request.knob] = one.error

    engine = Engine(kernel, note)
    for knob, value in assignments.items():
        engine.submit(SetKnob(knob, value))
    engine.flush()
    return refused, engine.lock_holder
