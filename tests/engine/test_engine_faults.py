"""Whatever operation or read of a write fails, and how: the next one completes, and none opens.

Each script is run once to count its operations and reads, then once for each of them, each errno
and each way to fail.
"""

import random
from collections.abc import Callable
from typing import NamedTuple

import pytest

from kamexfrm.engine.engine import Engine
from kamexfrm.engine.requests import SetKnob
from kamexfrm.kernel.fake import FakeKernel
from kamexfrm.kernel.interface import Kernel
from kamexfrm.model.knobs import knob
from kamexfrm.net import Address
from tests.engine.faulty_kernel import (
    ERRNOS,
    Fault,
    FaultyKernel,
    Picture,
    Way,
    complete,
    entries,
    faults,
    is_protected,
    only_our_errors,
    picture,
    run_script,
)

#: Faults of each case that are tried on the running kernel.
SAMPLES = 20

NEAR, FAR = "10.0.0.1", "10.0.0.2"
FLOW = Address.parse(NEAR).packed, Address.parse(FAR).packed
KEYS = "-E aes-gcm-16 0x000102030405060708090a0b0c0d0e0f10111213"


def pair(near: str = NEAR, far: str = FAR, request: str = "esp/transport//require") -> str:
    return (
        f"spdadd {near} {far} any -P out ipsec {request};\n"
        f"spdadd {far} {near} any -P in ipsec {request};\n"
    )


OTHERS = "".join(f"spdadd 10.9.0.{at} 10.8.0.1 any -P out none;\n" for at in range(3))
SAS = f"add {NEAR} {FAR} esp 0x1001 {KEYS};\nadd {FAR} {NEAR} esp 0x1002 {KEYS};\n"
TUNNELS = (
    f"spdadd 10.1.0.0/16 10.2.0.0/16 any -P out ipsec esp/tunnel/{NEAR}-{FAR}/use;\n"
    f"spdadd 10.2.0.0/16 10.1.0.0/16 any -P in ipsec esp/tunnel/{FAR}-{NEAR}/use;\n"
)


class Case(NamedTuple):
    """What is there, and what is written in which a fault occurs.

    ``protects`` is whether the flow is protected before and after, ``replaces`` whether what is
    written says all there is, in order.
    """

    before: str
    write: Callable[[object], object]
    protects: bool = True
    replaces: bool = True


def script(text: str) -> Callable[[object], object]:
    return lambda kernel: run_script(kernel, text)


def knobs(**values: int) -> Callable[[object], object]:
    def write(kernel: object) -> None:
        engine = Engine(kernel)  # type: ignore[arg-type]  # a FaultyKernel answers as a Kernel
        for name, value in values.items():
            engine.submit(SetKnob(knob(f"net.inet.ipsec.{name}"), value))
        engine.flush()

    return write


DELETE = f"spddelete {NEAR} {FAR} any -P out;\nspddelete {FAR} {NEAR} any -P in;\n"
HIGH = f"spdadd {NEAR} {FAR} tcp -P out prio high discard;\n"
USES_AH = pair(request="ah/transport//default").replace(" any ", " tcp ")

#: Those that make no SAs run on any kernel.
POLICIES = {
    "a first load": Case("", script(OTHERS + pair()), protects=False, replaces=False),
    "a reload": Case(OTHERS + pair(), script("spdflush;\n" + pair() + OTHERS)),
    "a reload out of order": Case(OTHERS + pair(), script("spdflush;\n" + pair() + OTHERS + HIGH)),
    "a reload with fewer": Case(HIGH + OTHERS + pair(), script("spdflush;\n" + pair())),
    "entries deleted and added": Case(
        OTHERS + pair(), script(DELETE + pair(request="ah/transport//require")), replaces=False
    ),
    "tunnels that come again": Case(
        pair() + TUNNELS, script("spdflush;\n" + pair() + TUNNELS.replace("/use", "/require"))
    ),
    "tunnels that are used again": Case(
        pair() + TUNNELS.replace("/use", "/require"), script("spdflush;\n" + pair() + TUNNELS)
    ),
    "an update": Case(
        pair() + OTHERS,
        script(pair(request="ah/transport//require").replace("spdadd", "spdupdate")),
        replaces=False,
    ),
    "a knob": Case(pair() + USES_AH, knobs(ah_trans_deflev=2)),
    "def_policy 0": Case(pair(), knobs(def_policy=0)),
}

SAS_TOO = {
    "a reload with SAs": Case(OTHERS + pair() + SAS, script("flush;\nspdflush;\n" + SAS + pair())),
    "a tunnel's SA": Case(
        pair() + TUNNELS, script(f"add {NEAR} {FAR} esp 0x1001 -m tunnel {KEYS};\n")
    ),
    "an SA of mode any": Case(pair() + TUNNELS, script(SAS)),
    "an SA that goes": Case(pair() + TUNNELS + SAS, script(f"delete {NEAR} {FAR} esp 0x1001;\n")),
    "SAs between two hosts": Case(
        pair() + SAS, script(f"deleteall {NEAR} {FAR} esp;\n" + SAS), replaces=False
    ),
}

CASES = POLICIES | SAS_TOO


class Trial:
    """A case on a kernel that holds what was there.

    ``wrong`` is which laws did not hold at some moment.
    """

    def __init__(self, case: Case, kernel: Kernel) -> None:
        self.case = case
        self.kernel = kernel
        self.wrong: list[str] = []
        run_script(kernel, case.before)
        self.before = entries(kernel)
        self.completed: frozenset[object] = frozenset()

    def watch(self) -> None:
        if self.case.protects and not is_protected(self.kernel, *FLOW):
            self.wrong.append("in the clear")

    def run(self, fault: Fault | None = None, torn: int = -1) -> FaultyKernel:
        """Write with a fault; return the kernel that had it."""
        faulty = FaultyKernel(self.kernel, fault, self.watch, torn=torn)
        only_our_errors(lambda: self.case.write(faulty))
        self.watch()
        if faulty.held:
            self.wrong.append("the lock is held")
        return faulty

    def finish(self) -> None:
        """Complete what was left, and write it once more without a fault."""
        if error := only_our_errors(lambda: complete(self.kernel)):
            self.wrong.append(f"it cannot be completed: {error!r}")
        self.completed = entries(self.kernel)
        self.watch()
        error = only_our_errors(lambda: self.case.write(self.kernel))
        if error:
            self.wrong.append(f"it cannot be written again: {error!r}")
        self.watch()

    def found(self, wanted: Picture) -> list[str]:
        """Return what is wrong, once each."""
        if not self.completed <= self.before | wanted.entries:
            self.wrong.append("an entry is neither an old nor a new one")
        mine = picture(self.kernel)
        if not self.case.replaces:  # what was refused at first comes last
            mine, wanted = mine.unordered(), wanted.unordered()
        differs = [] if mine == wanted else ["the same write again gives something else"]
        return [*dict.fromkeys(self.wrong), *differs]


def fake() -> FakeKernel:
    return FakeKernel(clock=lambda: 1_700_000_000.0)


def whole(case: Case, kernel: Kernel) -> tuple[Picture, int]:
    """Return what a write gives without a fault, and how many operations and reads it takes."""
    trial = Trial(case, kernel)
    points = trial.run().points
    assert not trial.wrong
    only_our_errors(lambda: case.write(kernel))
    return picture(kernel), points


@pytest.mark.not_unit("each fault of each write takes half a minute")
@pytest.mark.parametrize("name", CASES)
def test_whatever_fails_the_same_write_completes_it_and_no_flow_was_open(name: str) -> None:
    wanted, points = whole(CASES[name], fake())
    found = []
    for fault in faults(points):
        trial = Trial(CASES[name], fake())
        assert trial.run(fault).hit
        trial.finish()
        found += [(fault, wrong) for wrong in trial.found(wanted)]
    assert not found


@pytest.mark.parametrize("name", [name for name in CASES if "reload" in name or "again" in name])
def test_a_dump_that_misses_an_entry_opens_nothing(name: str) -> None:
    wanted, _ = whole(CASES[name], fake())
    there = len(list(Trial(CASES[name], fake()).kernel.policies()))
    for torn in range(there):
        trial = Trial(CASES[name], fake())
        trial.run(torn=torn)
        trial.finish()
        assert trial.found(wanted) == []


@pytest.mark.parametrize("name", POLICIES)
def test_faults_of_the_real_kernel_open_nothing(
    name: str, kernel_of_kind: Callable[[str], Kernel]
) -> None:
    kernel = kernel_of_kind("real")
    wanted, points = whole(POLICIES[name], kernel)
    dice = random.Random(name)
    for _ in range(SAMPLES):
        run_script(kernel, "flush;\nspdflush;\n")
        for each in ("def_policy", "ah_trans_deflev"):
            knobs(**{each: 1})(kernel)
        trial = Trial(POLICIES[name], kernel)
        fault = Fault(dice.randrange(points), dice.choice(ERRNOS), dice.choice(list(Way)))
        trial.run(fault)
        trial.finish()
        assert (fault, trial.found(wanted)) == (fault, [])
