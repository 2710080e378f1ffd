"""A script leaves the same in the kernel whichever way it gets to the engine, in one piece or many.

``-f`` and ``-e`` write in batches, ``-c`` after every command, a program as it likes.
"""

import random
from collections.abc import Callable
from pathlib import Path

import pytest

from kamexfrm.engine.engine import Engine
from kamexfrm.engine.requests import (
    SaAdd,
    SaDelete,
    SaDeleteAll,
    SaFlush,
    SpdAdd,
    SpdDelete,
    SpdFlush,
    Write,
)
from kamexfrm.errors import KernelError, LanguageError
from kamexfrm.kernel.netlink import NetlinkKernel
from kamexfrm.net import IPPROTO_AH
from kamexfrm.rig import Rig
from kamexfrm.setkey import statements as s
from kamexfrm.setkey.parser import parse
from kamexfrm.translate.xfrm.tag import MARKER_IF_ID, read_policy_words
from kamexfrm.xfrm import Policy, State
from tests.golden.golden_samples import SAMPLES
from tests.golden.setkey_here import hosts_file, run  # noqa: F401  (a fixture)

Way = Callable[[Path, tuple[str, ...]], None]


def as_file(path: Path, options: tuple[str, ...]) -> None:
    run(*options, "-f", str(path))


def as_input(path: Path, options: tuple[str, ...]) -> None:
    run(*options, "-f", "-", stdin=path.read_bytes())


def as_typed(path: Path, options: tuple[str, ...]) -> None:
    run(*options, "-c", stdin=path.read_bytes())


def as_argument(path: Path, options: tuple[str, ...]) -> None:
    run(*options, "-e", path.read_text())


def by_a_program(path: Path, options: tuple[str, ...]) -> None:
    kernel = NetlinkKernel()
    try:
        engine = Engine(kernel)
        try:
            for statement in parse(path.read_bytes()):
                if isinstance(statement, s.Exit):
                    break
                carry_out(engine, statement, twin="-k" not in options)
        except LanguageError:
            pass
        engine.try_flush()
    finally:
        kernel.close()


def carry_out(engine: Engine, statement: s.Statement, *, twin: bool) -> None:
    """Ask the engine for what a statement says; what only reads is left out."""
    for request in requests_of(statement, twin=twin):
        engine.try_submit(request)
    if isinstance(statement, s.GetSpi):
        for association in statement.associations:
            try:
                engine.get_spi(association)
            except KernelError:
                continue


def requests_of(statement: s.Statement, *, twin: bool) -> list[Write]:
    match statement:
        case s.Add() | s.Update():
            replace = isinstance(statement, s.Update)
            return [SaAdd(association, replace) for association in statement.associations]
        case s.Delete(id=id) if id is not None:
            return [SaDelete(id)]
        case s.DeleteAll():
            return [
                SaDeleteAll(source, destination, protocol)
                for source, destination in statement.pairs
                for protocol in statement.protocols
            ]
        case s.Flush():
            return [SaFlush(protocol) for protocol in statement.protocols]
        case s.SpdAdd() | s.SpdUpdate():
            return [SpdAdd(statement.policy, twin, isinstance(statement, s.SpdUpdate))]
        case s.SpdDelete():
            return [SpdDelete(statement.selector, statement.direction, twin)]
        case s.SpdFlush():
            return [SpdFlush()]
    return []


WAYS: tuple[Way, ...] = (as_file, as_input, as_typed, as_argument, by_a_program)


def kernel_state() -> tuple[list[Policy], list[State]]:
    """Return both databases decoded and sorted, without times and indexes.

    Where the kernel lists an entry depends on when it was last written; what comes first for a
    packet is in its priority. Of that the rank among its direction's counts, not the number; for
    what has an interface id, and so meets no packet, not even that.
    """
    kernel = NetlinkKernel()
    try:
        policies, states = list(kernel.policies()), list(kernel.states())
    finally:
        kernel.close()
    used = sorted({(policy.direction, policy.priority) for policy in policies if not policy.if_id})
    policies = [
        p._replace(priority=0 if p.if_id else used.index((p.direction, p.priority)))
        for p in policies
    ]
    return sorted(map(without_time, policies), key=repr), sorted(
        map(without_luck, states), key=repr
    )


def without_time(policy: Policy) -> Policy:
    current = policy.current._replace(add_time=0, use_time=0)
    policy = policy._replace(index=0, current=current)
    if policy.if_id == MARKER_IF_ID:  # its checksum of the SAs counts in which order they were made
        words = policy.lifetime
        return policy._replace(lifetime=words._replace(hard_packets=words.hard_packets >> 32))
    if read_policy_words(policy.lifetime[:4]).tag is None:
        return policy
    return policy._replace(lifetime=policy.lifetime._replace(soft_packets=0))  # our creation time


def without_luck(state: State) -> State:
    current = state.current._replace(add_time=0, use_time=0)
    # The care-of address is the time of creation of an SA that was made anew.
    state = state._replace(current=current, last_used=0, care_of_address=None)
    chosen = state.protocol == IPPROTO_AH and state.authentication is None  # getspi 0
    return state._replace(spi=0) if chosen else state


def is_readable(path: Path) -> bool:
    """Whether a script can be read to its end: then it makes no difference when it is."""
    try:
        for _ in parse(path.read_bytes()):
            pass
    except LanguageError:
        return False
    return True


def assert_all_ways_agree(path: Path, *options: str) -> None:
    if not is_readable(path):
        options = ("--as-read", *options)
    found = {}
    with Rig() as rig:
        for way in WAYS:
            host = rig.host(way.__name__)
            host.call(way, path, options)
            found[way] = host.call(kernel_state)
    for way in WAYS[1:]:
        assert found[way] == found[as_file], way.__name__


@pytest.mark.both_kernels
@pytest.mark.usefixtures("hosts_file")
@pytest.mark.parametrize("name", sorted(path.name for path in SAMPLES.glob("*.conf")))
def test_a_recorded_script_leaves_the_same_whichever_way_it_comes(name: str) -> None:
    assert_all_ways_agree(SAMPLES / name, *(["-k"] if name.startswith("10k") else []))


ENDS = ("10.0.0.1", "10.0.0.2", "10.0.1.0/24", "10.0.2.0/24[80]", "10.0.0.0/8")
ENDS6 = ("::1", "2001:db8::/32", "2001:db8::1[443]", "::/0")
POLICIES = (
    *("none", "discard", "prio high none", "prio low ipsec esp/transport//require"),
    *("ipsec esp/transport//default", "ipsec ah/transport//use esp/transport//unique"),
    *("ipsec esp/tunnel/10.0.0.1-10.0.0.2/use", "ipsec esp/tunnel/10.0.0.1-10.0.0.2/unique:7"),
    *("prio def + 5 ipsec esp/tunnel/2001:db8::1-2001:db8::2/default", "prio high - 7 discard"),
)
KEYS = "-E aes-cbc 0x000102030405060708090a0b0c0d0e0f -A hmac-sha256 0x" + "0011" * 16


def random_script(seed: int, length: int) -> str:
    """Return commands about few selectors and SAs, so that many meet what earlier ones did."""
    chance = random.Random(seed)
    lines = []
    for _ in range(length):
        kind = chance.random()
        ends = " ".join(chance.choices(chance.choice((ENDS, ENDS, ENDS6)), k=2))
        direction = chance.choice(("in", "out", "out", "fwd"))
        if kind < 0.5:
            lines.append(f"spdadd {ends} any -P {direction} {chance.choice(POLICIES)};")
        elif kind < 0.6:
            lines.append(f"spdupdate {ends} any -P {direction} {chance.choice(POLICIES)};")
        elif kind < 0.75:
            lines.append(f"spddelete {ends} any -P {direction};")
        else:
            pair = " ".join(chance.sample(("10.0.0.1", "10.0.0.2"), 2))
            spi = chance.randrange(1000, 1005)
            if kind < 0.92:
                mode = chance.choice(("", "-m tunnel", "-m transport -u 7", "-r 64"))
                lines.append(f"add {pair} esp {spi} {mode} {KEYS};")
            elif kind < 0.98:
                lines.append(f"delete {pair} esp {spi};")
            else:
                lines.append(chance.choice((f"deleteall {pair};", "flush esp;")))
    return "\n".join(lines) + "\n"


@pytest.mark.both_kernels
@pytest.mark.parametrize("seed", range(4))
def test_a_random_script_leaves_the_same_whichever_way_it_comes(seed: int, tmp_path: Path) -> None:
    path = tmp_path / "random.conf"
    path.write_text(random_script(seed, 150))
    # A load lets an old policy stay where the one that comes for it is refused: so not as a load.
    assert_all_ways_agree(path, "--as-read")
