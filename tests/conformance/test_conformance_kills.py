"""kill -9 before each message that a command sends: what is left is sound, and is completed.

A command is carried out again and again by a child that is killed before its first, second, third
... send, until it comes to its end. After each death the next command, about something else, must
find and leave a state in which every entry is one that was written, acts as written, and is whole.
"""

import contextlib
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import pytest

from kamexfrm.engine.session import Session
from kamexfrm.kernel.netlink import NetlinkKernel
from kamexfrm.model.policy import Direction, Owner, SecurityPolicy, Selector
from kamexfrm.rig import Host
from kamexfrm.setkey.command import main as setkey
from kamexfrm.sysctl.command import run as kame_sysctl
from kamexfrm.translate.xfrm.marker import MarkerFlag
from kamexfrm.translate.xfrm.policy_from_kernel import sidecars_of, spd_entries_from_kernel
from kamexfrm.translate.xfrm.policy_to_kernel import TRIGGER_REQID
from kamexfrm.translate.xfrm.rewrite import catch_alls, rewritten
from kamexfrm.xfrm import Default
from tests.emptying import has_default

INET, INET6 = "net.inet.ipsec.", "net.inet6.ipsec6."
A, B = "10.0.0.1", "10.0.0.2"
KEYS = "-E aes-cbc 0x" + "01" * 16 + " -A hmac-sha1 0x" + "02" * 20
ANY = f"add {A} {B} esp 0x1001 {KEYS}; add {B} {A} esp 0x1002 -r 32 {KEYS};"
NUMBERED = f"add {A} {B} esp 0x1001 -m transport -u 7 {KEYS};"
TUNNEL = f"add {A} {B} esp 0x1001 -m tunnel {KEYS};"
USE = f"spdadd 10.1.0.0/16 10.2.0.0/16 any -P out ipsec esp/tunnel/{A}-{B}/use;"
TRANSPORT = f"spdadd {A} {B} any -P out ipsec esp/transport//require;"
ENDS = f"ipsec esp/transport/{A}-{B}/use ah/transport//require"

#: So many that they are written in several pieces.
MANY = "".join(
    f"spdadd 10.{n}.0.1 10.0.{n}.2 any -P {'in' if n % 3 else 'out'} ipsec esp/transport//default;"
    for n in range(150)
)

#: So many entries between two neighbours that there is no room for one more.
TIGHT = f"spdadd {A} 10.3.0.2 any -P out prio def - 1 none;"
TIGHT += "".join(f"spdadd {A} 10.4.0.{n} any -P in prio def + {n} none;" for n in range(1, 13))
TIGHT += f"spdadd {A} 10.3.0.1 any -P out none;"

#: The command after: about something else.
NEXT = "spdadd 10.99.0.1 10.99.0.2 any -P in ipsec esp/transport//use;"


class Trial(NamedTuple):
    """A command, and what is there before; ``knobs`` are kame-sysctl's arguments."""

    before: str = ""
    knobs: tuple[str, ...] = ()
    script: str = ""
    sysctl: tuple[str, ...] = ()


BOTH = (f"{INET}def_policy=0", f"{INET6}def_policy=0")

#: What needs no SA, for any kernel.
POLICIES = {
    "spdadd with its twin": Trial(script="spdadd 10.1.0.1 10.0.0.2 tcp -P in discard;"),
    "spdadd with a sidecar": Trial(script=f"spdadd {A} {B} any -P out {ENDS};"),
    "spdadd with a swap": Trial(script=USE),
    "spdadd of a number": Trial(script=f"spdadd {A} {B} any -P out ipsec esp/transport//unique;"),
    "spdadd of an explicit fwd": Trial(
        before=f"spdadd {A} {B} any -P in ipsec esp/transport//use;",
        script=f"spdadd {A} {B} any -P fwd none;",
    ),
    "spdupdate to a sidecar": Trial(
        before=f"spdadd {A} {B} any -P out none;", script=f"spdupdate {A} {B} any -P out {ENDS};"
    ),
    "spdupdate from a sidecar": Trial(
        before=f"spdadd {A} {B} any -P out {ENDS};",
        script=f"spdupdate {A} {B} any -P out ipsec esp/transport//require;",
    ),
    "spdupdate with its twin": Trial(
        before=f"spdadd {A} {B} any -P in none;",
        script=f"spdupdate {A} {B} any -P in ipsec esp/tunnel/{A}-{B}/require;",
    ),
    "spddelete with its twin": Trial(
        before=f"spdadd {A} {B} any -P in none;", script=f"spddelete {A} {B} any -P in;"
    ),
    "spddelete with a sidecar": Trial(
        before=USE, script="spddelete 10.1.0.0/16 10.2.0.0/16 any -P out;"
    ),
    "spdflush": Trial(before=MANY + USE, knobs=(f"{INET}ah_net_deflev=2",), script="spdflush;"),
    "spdflush under def_policy 0": Trial(before=MANY + USE, knobs=BOTH, script="spdflush;"),
    "renumbering": Trial(before=TIGHT, script=f"spdadd {A} 10.5.0.1 any -P out discard;"),
    "a level": Trial(before=MANY + USE, sysctl=(f"{INET}esp_trans_deflev=2",)),
    "a level of tunnels": Trial(
        before=USE.replace("/use", "/default"), sysctl=(f"{INET}esp_net_deflev=2",)
    ),
    "def_policy 0 for both": Trial(before=TRANSPORT, sysctl=BOTH),
    "def_policy 1 after 0 for both": Trial(knobs=BOTH, sysctl=(f"{INET}def_policy=1",)),
    "all at once": Trial(before=MANY + USE, knobs=BOTH, sysctl=("--preset", "linux")),
}

SAS = {
    "an SA made again as a tunnel": Trial(before=ANY, script=USE.replace("/use", "/require")),
    "an SA made again as a transport one": Trial(
        before=USE + ANY, script="spddelete 10.1.0.0/16 10.2.0.0/16 any -P out;"
    ),
    "SAs of mode any and a flush": Trial(before=USE + ANY, script="spdflush;"),
    "add of an SA with a reqid": Trial(before=TRANSPORT, script=NUMBERED),
    "delete of an SA with a reqid": Trial(
        before=TRANSPORT + NUMBERED, script=f"delete {A} {B} esp 0x1001;"
    ),
    "add of a tunnel's SA": Trial(before=USE, script=TUNNEL),
    "flush of a tunnel's SA": Trial(before=USE + TUNNEL, script="flush;"),
}


@pytest.fixture
def kernel(namespace: Host) -> Iterator[NetlinkKernel]:
    """Yield the kernel of a new host, with the test inside it."""
    del namespace
    connection = NetlinkKernel()
    yield connection
    connection.close()


class Commands:
    """Our commands, in this process or in a child that is killed."""

    def __init__(self, directory: Path) -> None:
        self._script = directory / "script"

    def setkey(self, script: str) -> None:
        """Carry out a script; nothing may be wrong with it."""
        self._script.write_text(script, encoding="ascii")
        assert setkey(["-f", str(self._script)]) == 0

    def sysctl(self, arguments: Sequence[str]) -> None:
        assert kame_sysctl(["-q", *arguments]) == 0

    def prepare(self, trial: Trial) -> None:
        """Make what is there before, from nothing."""
        self.setkey("spdflush; flush;")
        self.sysctl(["--preset", "kame"])
        if trial.before:
            self.setkey(trial.before)
        if trial.knobs:
            self.sysctl(trial.knobs)

    def act(self, trial: Trial) -> None:
        if trial.sysctl:
            self.sysctl(trial.sysctl)
        if trial.script:
            self.setkey(trial.script)

    def killed(self, trial: Trial, life: int) -> bool:
        """Carry out the command in a child that sends so many times; return whether it died."""
        child = os.fork()
        if not child:
            with contextlib.suppress(BaseException):
                _kill_me_after(life)
                self.act(trial)
            os._exit(0)
        _, status = os.waitpid(child, 0)
        return os.WIFSIGNALED(status)


def _kill_me_after(life: int) -> None:
    left = life
    send = NetlinkKernel._send
    sys.stderr = open(os.devnull, "w")  # noqa: SIM115 - for the rest of a child's short life

    def counted(self: NetlinkKernel, data: bytes) -> None:
        nonlocal left
        if not left:
            os.kill(os.getpid(), signal.SIGKILL)
        left -= 1
        send(self, data)

    NetlinkKernel._send = counted  # type: ignore[method-assign]


@pytest.fixture
def commands(kernel: NetlinkKernel, tmp_path: Path) -> Commands:
    return Commands(tmp_path)


def without_number(policy: SecurityPolicy) -> SecurityPolicy:
    return policy._replace(requests=tuple(r._replace(reqid=0) for r in policy.requests))


def written(kernel: NetlinkKernel) -> set[SecurityPolicy]:
    """Return what entries say, but for those of the command after."""
    policies = list(kernel.policies())
    found = list(spd_entries_from_kernel(policies, sidecars_of(policies).get))
    assert all(entry.owner is Owner.OURS for entry in found)
    return {
        without_number(entry.policy)
        for entry in found
        if not entry.twin and str(entry.policy.selector.source) != "10.99.0.1"
    }


def assert_sound(kernel: NetlinkKernel) -> None:
    """Hold that all acts as it says, and that nothing is half there."""
    policies = list(kernel.policies())
    session = Session(kernel, time.time)
    assert not session.marker.flags & MarkerFlag.UNFINISHED
    assert rewritten(policies, session.knobs, session, session.now).operations == []
    assert catch_alls(policies, session.knobs) == []
    off = session.knobs.inet.def_policy == session.knobs.inet6.def_policy == 0
    wanted = Default(1, 1, 1) if off else Default(2, 2, 2)
    assert not has_default(kernel) or kernel.default() == wanted
    entries = list(spd_entries_from_kernel(policies, sidecars_of(policies).get))
    places: dict[tuple[Selector, Direction], bool] = {
        (e.policy.selector, e.policy.direction): e.twin for e in entries
    }
    for (selector, direction), twin in places.items():
        if direction is Direction.IN:
            assert (selector, Direction.FWD) in places
        if twin:
            assert (selector, Direction.IN) in places
    for way in Direction:
        mine = [e for e in entries if e.policy.direction is way]
        mine.sort(key=lambda e: e.kernel_priority)
        assert len({e.kernel_priority for e in mine}) == len(mine)
        plain = [(e.policy.priority, e.order) for e in mine if not e.twin]
        assert plain == sorted(plain)


def sas(kernel: NetlinkKernel) -> dict[int, object]:
    return {s.spi: (s.authentication, s.encryption) for s in kernel.states() if s.spi}


def each_death(
    commands: Commands, kernel: NetlinkKernel, trial: Trial, check: Callable[[], None]
) -> None:
    """Kill the command at each of its sends; ``check`` after the next command."""
    commands.prepare(trial)
    before, sas_before = written(kernel), sas(kernel)
    commands.act(trial)
    after, sas_after = written(kernel), sas(kernel)
    deaths = 0
    while True:
        commands.prepare(trial)
        died = commands.killed(trial, deaths)
        commands.setkey(NEXT)
        assert_sound(kernel)
        found = written(kernel)
        assert before & after <= found <= before | after
        kept = sas_before.keys() & sas_after.keys()
        assert {spi: sas(kernel)[spi] for spi in kept} == {spi: sas_before[spi] for spi in kept}
        check()
        if not died:
            assert (found, sas(kernel)) == (after, sas_after)
            assert deaths > 2
            return
        deaths += 1


@pytest.mark.parametrize("name", POLICIES)
def test_a_command_about_policies_may_be_killed_before_any_message(
    commands: Commands, kernel: NetlinkKernel, name: str
) -> None:
    each_death(commands, kernel, POLICIES[name], lambda: None)


def test_one_more_entry_between_neighbours_gives_all_of_them_new_numbers(
    commands: Commands, kernel: NetlinkKernel
) -> None:
    def numbers() -> dict[int, int]:
        return {p.index: p.priority for p in kernel.policies() if not p.if_id}

    commands.prepare(POLICIES["renumbering"])
    before = numbers()
    commands.act(POLICIES["renumbering"])
    after = numbers()
    assert sum(after[index] != number for index, number in before.items()) > 10


@pytest.mark.dataplane
@pytest.mark.parametrize("name", SAS)
def test_a_command_about_sas_may_be_killed_before_any_message(
    commands: Commands, kernel: NetlinkKernel, name: str
) -> None:
    def check() -> None:
        tunnels = {
            (s.source, s.destination) for s in kernel.states() if s.mode == 1 and s.spi > 0xFF
        }
        reqids = {s.reqid for s in kernel.states()}
        for policy in kernel.policies():
            for template in policy.templates if policy.direction == 1 else ():
                if template.mode == 1 and "require" not in name and template.optional:
                    assert (template.source, template.destination) in tunnels
                if template.mode == 0 and template.reqid != TRIGGER_REQID and reqids:
                    assert template.reqid in reqids

    each_death(commands, kernel, SAS[name], check)
