"""A case written by our commands, as a user does: setkey files and kame-sysctl, loaded one by one.

What they print is kept, and what the same commands print where the kernel is the one in memory,
which does as Linux 6.1.
"""

import contextlib
import io
from collections.abc import Callable, Iterable, Iterator
from random import Random
from typing import NamedTuple
from unittest import mock

from kamexfrm.kernel import netlink
from kamexfrm.kernel.fake import FakeKernel
from kamexfrm.kernel.interface import Kernel
from kamexfrm.model.association import SecurityAssociation
from kamexfrm.model.knobs import KNOBS, Knobs
from kamexfrm.model.policy import SecurityPolicy
from kamexfrm.model.statement_text import (
    InexpressibleError,
    policy_deletion,
    policy_statement,
    sa_deletion,
)
from kamexfrm.setkey import script
from kamexfrm.setkey.command import main as setkey
from kamexfrm.sysctl.command import run as kame_sysctl
from kamexfrm.translate.xfrm.sa_to_kernel import sa_to_kernel
from kamexfrm.xfrm import Operation, XfrmMsg, encode_state
from tests.conformance.conformance_case import Case, sa_line

#: Where our commands take their kernel from.
_KERNELS = (netlink, script)


#: Written as it is: a command that changes nothing, and sees to what others did.
_DFBIT = "net.inet.ipsec.dfbit"


class Load(NamedTuple):
    """A command: kame-sysctl's arguments, or a setkey file; or SAs of another program."""

    knobs: tuple[str, ...] = ()
    script: str = ""
    foreign: tuple[SecurityAssociation, ...] = ()


class Printed(NamedTuple):
    """What a command left: its status and its errors."""

    status: int
    errors: str


def has_words(case: Case) -> bool:
    """Whether setkey's language has words for a case."""
    try:
        list(map(policy_statement, (*case.spd, *case.past.spd)))
    except InexpressibleError:
        return False
    return True


def loads(case: Case) -> Iterator[Load]:
    """Yield what brings a host from nothing to the case, through its past."""
    dice = Random(case.name)
    past = case.past
    yield Load(_changed(Knobs(), past.knobs))
    yield Load(script=_script(past.sad, past.spd, dice))
    yield Load(_changed(past.knobs, case.knobs))
    if dice.random() < 0.5:  # a whole file, as at boot and on reload
        gone = "flush;\nspdflush;\n"
    else:
        gone = "".join(f"{line}\n" for line in _deletions(past.sad, past.spd))
    if past.others:
        yield Load(script=gone + _script((), case.spd, dice))
        yield Load(foreign=case.sad)
        yield Load((f"{_DFBIT}={Knobs().dfbit}",))
    else:
        yield Load(script=gone + _script(case.sad, case.spd, dice))


def _changed(before: Knobs, after: Knobs) -> tuple[str, ...]:
    return tuple(
        f"{knob.name}={after.value(knob)}"
        for knob in KNOBS
        if after.value(knob) != before.value(knob)
    )


def _script(sad: Iterable[SecurityAssociation], spd: Iterable[SecurityPolicy], dice: Random) -> str:
    lines = [list(map(sa_line, sad)), list(map(policy_statement, spd))]
    dice.shuffle(lines)
    return "".join(f"{line}\n" for part in lines for line in part)


def _deletions(sad: Iterable[SecurityAssociation], spd: Iterable[SecurityPolicy]) -> Iterator[str]:
    yield from map(sa_deletion, sad)
    yield from (policy_deletion(entry.selector, entry.direction) for entry in spd)


def carry_out(load: Load, kernel: Kernel) -> Printed:
    """Carry out one load with a kernel's databases."""
    if load.foreign:
        adds = [sa_to_kernel(sa, sa.mode) for sa in load.foreign]
        failures = kernel.apply([Operation(XfrmMsg.NEWSA, encode_state(s)) for s in adds])
        return Printed(len(failures), "")
    if load.knobs:
        return _printed(lambda: kame_sysctl(list(load.knobs)), "")
    return _printed(lambda: setkey(["-f", "-"]), load.script)


def carry_out_in_memory(load: Load, kernel: FakeKernel) -> Printed:
    """Carry out one load with the kernel in memory in the place of the running one."""
    with contextlib.ExitStack() as patches:
        for module in _KERNELS:
            patches.enter_context(mock.patch.object(module, "NetlinkKernel", return_value=kernel))
        patches.enter_context(mock.patch.object(kernel, "close"))
        return carry_out(load, kernel)


def _printed(command: Callable[[], int], given: str) -> Printed:
    errors = io.StringIO()
    with (
        mock.patch("sys.stdin", io.TextIOWrapper(io.BytesIO(given.encode()))),
        contextlib.redirect_stdout(io.StringIO()),
        contextlib.redirect_stderr(errors),
    ):
        status = command()
    return Printed(status, errors.getvalue())
