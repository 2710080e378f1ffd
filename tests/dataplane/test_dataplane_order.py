"""First match: which of several policies a packet meets, judged by what becomes of it."""

import itertools
import random
from typing import NamedTuple

import pytest

from kamexfrm.rig import Host, TwoHosts, until
from tests.dataplane.dataplane_proof import (
    Watch,
    load,
    receive_all,
    receiver,
    send,
    setkey,
    waits_for_counter,
)

pytestmark = pytest.mark.dataplane

A, B, PORT = "10.0.0.1", "10.0.0.2", 7001

#: Selectors that all match one datagram from A to B, port 7001; from the narrowest to the widest.
SELECTORS = (
    f"{A} {B}[{PORT}] udp",
    f"{A} {B} udp",
    f"{A} {B} any",
    f"{A} 10.0.0.0/24 any",
    f"10.0.0.0/24 {B} udp",
    "10.0.0.0/24 10.0.0.0/24 any",
    "10.0.0.0/8 10.0.0.0/8 any",
    "0.0.0.0/0 0.0.0.0/0 any",
)

HIGH, DEF, LOW = 0x40000000, 0x80000000, 0xC0000000

#: How a priority is written, and its value: the lower is matched first.
PRIORITIES = {
    "": DEF,
    "prio def": DEF,
    "prio high": HIGH,
    "prio low": LOW,
    "prio high + 10": HIGH - 10,
    "prio low - 5": LOW + 5,
    "prio def + 1": DEF - 1,
    "prio 100": DEF - 100,
    "prio -100": DEF + 100,
}


class Entry(NamedTuple):
    """One spdadd."""

    selector: str
    action: str
    priority: str = ""

    def line(self, direction: str, command: str = "spdadd") -> str:
        return f"{command} {self.selector} -P {direction} {self.priority} {self.action};\n"


def first(entries: list[Entry]) -> Entry:
    """Return the entry that is to be met: by priority, then the oldest."""
    return min(entries, key=lambda entry: PRIORITIES[entry.priority])


def passes_out(a: Host) -> bool:
    """Whether A's datagram gets out; if not, a discard policy must have met it."""
    before = a.counters()
    with Watch([a], a) as watch:
        send(a, B, PORT)
    if watch.shows():
        assert watch.errors() == {}
        return True
    waits_for_counter(a, "XfrmOutPolBlock", before)
    return False


def passes_in(a: Host, b: Host) -> bool:
    """Whether B receives A's datagram; if not, a discard policy must have dropped it."""
    before = b.counters()
    with receiver(b, B, PORT) as link:
        send(a, B, PORT)
        taken = until(
            lambda: receive_all(link) or b.counters()["XfrmInPolBlock"] > before["XfrmInPolBlock"],
            what="the datagram's fate",
        )
    return isinstance(taken, list)


def passes(hosts: TwoHosts, direction: str) -> bool:
    return passes_out(hosts.a) if direction == "out" else passes_in(*hosts)


@pytest.mark.parametrize("direction", ["out", "in"])
def test_of_two_policies_the_older_one_is_met_whatever_their_selectors(
    two_hosts: TwoHosts, direction: str
) -> None:
    host = two_hosts.a if direction == "out" else two_hosts.b
    for one, other in itertools.permutations(SELECTORS, 2):
        for actions in (("none", "discard"), ("discard", "none")):
            entries = [Entry(one, actions[0]), Entry(other, actions[1])]
            load(host, "spdflush;" + "".join(entry.line(direction) for entry in entries))
            assert passes(two_hosts, direction) == (actions[0] == "none"), entries


@pytest.mark.parametrize("direction", ["out", "in"])
def test_high_comes_before_the_unmarked_and_low_after_them_in_whatever_order_they_are_added(
    two_hosts: TwoHosts, direction: str
) -> None:
    host = two_hosts.a if direction == "out" else two_hosts.b
    ranks = ("prio high", "", "prio low")
    for order in itertools.permutations(zip(SELECTORS[2:5], ranks, strict=True)):
        for winner in ("none", "discard"):
            loser = "discard" if winner == "none" else "none"
            entries = [
                Entry(selector, winner if rank == "prio high" else loser, rank)
                for selector, rank in order
            ]
            load(host, "spdflush;" + "".join(entry.line(direction) for entry in entries))
            assert passes(two_hosts, direction) == (winner == "none"), entries
            load(host, first(entries).line(direction, "spddelete"))
            second = [
                entry._replace(action=winner if entry.priority == "" else loser)
                for entry in entries
                if entry.priority != "prio high"
            ]
            load(host, "".join(entry.line(direction, "spdupdate") for entry in second))
            assert passes(two_hosts, direction) == (winner == "none"), second


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("direction", ["out", "in"])
def test_any_mixture_of_priorities_and_selectors_is_met_in_order(
    two_hosts: TwoHosts, direction: str, seed: int
) -> None:
    host = two_hosts.a if direction == "out" else two_hosts.b
    chance = random.Random(f"{direction} {seed}")
    for _ in range(4):
        load(host, "spdflush;")
        entries = [
            Entry(selector, chance.choice(("none", "discard")), chance.choice(list(PRIORITIES)))
            for selector in chance.sample(SELECTORS, len(SELECTORS))
        ]
        at = 0
        while at < len(entries):  # some statements to a script: also batches meet what is there
            step = chance.randint(1, 4)
            load(host, "".join(entry.line(direction) for entry in entries[at : at + step]))
            at += step
        while entries:
            expected = first(entries)
            assert passes(two_hosts, direction) == (expected.action == "none"), entries
            load(host, expected.line(direction, "spddelete"))
            entries.remove(expected)
        assert passes(two_hosts, direction)


def test_a_host_entry_and_a_prefix_keep_their_order_when_others_come_between(
    two_hosts: TwoHosts,
) -> None:
    # Enough entries of one priority before an older one use up the room between two numbers.
    a = two_hosts.a
    load(a, Entry(f"{A} {B} any", "none").line("out"))
    load(a, Entry("10.0.0.0/24 10.0.0.0/24 any", "discard").line("out"))
    for n in range(40):
        load(a, f"spdadd 10.9.{n}.0/24 10.8.0.0/16 any -P out prio def + 1 discard;")
    assert passes_out(a)
    load(a, Entry(f"{A} {B} any", "none").line("out", "spddelete"))
    assert not passes_out(a)
    load(a, Entry(f"{A} {B} any", "none").line("out"))
    assert not passes_out(a)
    load(a, Entry("10.0.0.0/24 10.0.0.0/24 any", "discard").line("out", "spddelete"))
    assert passes_out(a)


def test_an_updated_entry_goes_behind_the_others_as_in_kame(two_hosts: TwoHosts) -> None:
    a = two_hosts.a
    host, prefix = Entry(f"{A} {B} any", "none"), Entry(f"{A} 10.0.0.0/24 any", "discard")
    load(a, host.line("out") + prefix.line("out"))
    assert passes_out(a)
    load(a, host.line("out", "spdupdate"))
    assert not passes_out(a)


def test_a_refused_entry_changes_nothing_of_the_order(two_hosts: TwoHosts) -> None:
    a = two_hosts.a
    load(a, Entry(f"{A} {B} any", "none").line("out"))
    load(a, Entry(f"{A} 10.0.0.0/24 any", "discard").line("out"))
    for _ in range(3):
        setkey_done = setkey_refused(a, Entry(f"{A} {B} any", "discard", "prio high").line("out"))
        assert "File exists" in setkey_done
        assert passes_out(a)
    assert setkey(a, "-DP").count("spid=") == 2


def setkey_refused(host: Host, script: str) -> str:
    from tests.dataplane.dataplane_proof import try_setkey

    done = try_setkey(host, "-e", script)
    assert done.status == 1
    return done.stdout + done.stderr
