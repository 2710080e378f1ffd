"""Runs as the page shows them, made by hand: two cases, one failed, with texts of all kinds."""

import dataclasses

from kamexfrm.rig.scenario.plan import Case
from kamexfrm.rig.scenario.reading.document import read_text
from kamexfrm.rig.scenario.result import (
    HOUSEKEEPING,
    CaseResult,
    Crossing,
    Failure,
    Observation,
    Rise,
    RunResult,
    StepResult,
)

SCENARIO = r'''
title = "four hosts and a tunnel"
links = """
h1 10.1.0.2/16 fd01::2/64 -- 10.1.0.1/16 fd01::1/64 g1 10.0.0.1/24 2001:db8:1234:5678::1/64 \
    -- 10.0.0.2/24 2001:db8:1234:5678::2/64 g2 10.2.0.1/16 -- 10.2.0.2/16 h2
h1 10.3.0.1/24 -- mtu=1400 10.3.0.2/24 monitor
"""
watch = "g1 -- g2"
[hosts.g1]
knobs = ["net.inet.ipsec.def_policy=1"]
[[steps]]
ping = "h1 -> h2"
[[steps]]
say = "and now the other way"
[[steps]]
ping = "h2 -> h1"
'''

_ENDS = "2001:db8:1234:5678::1 > 2001:db8:1234:5678::2"


def case(title: str = "", file: str = "four.rig.toml") -> Case:
    """Return a case of four hosts, with another title."""
    (found,) = read_text(SCENARIO, file)
    return dataclasses.replace(found, title=title) if title else found


def observation() -> Observation:
    """Return packets in both directions, protected and in clear, and things that rose."""
    crossings = (
        Crossing("h1 -- g1", "h1", "g1", 0, HOUSEKEEPING, "10.1.0.2 > 10.1.0.1", "ARP 28 bytes"),
        Crossing("h1 -- g1", "h1", "g1", 1e-4, "clear", "10.1.0.2 > 10.2.0.2", "ICMP 84 bytes"),
        Crossing("g1 -- g2", "g1", "g2", 2e-4, "esp", _ENDS, "ESP spi=0x2001 seq=1 136 bytes"),
        Crossing("g1 -- g2", "g2", "g1", 3e-4, "esp", _ENDS, "ESP spi=0x2002 seq=1 136 bytes"),
    )
    return Observation(
        crossings,
        (Rise("g1", "esp 0x2001 10.0.0.1 > 10.0.0.2", 1),),
        (Rise("g2", "XfrmInNoStates", 1),),
        (Rise("h2", "ICMP echo requests", 1),),
    )


def passed(title: str = "") -> CaseResult:
    """Return a case that passed."""
    steps = (
        StepResult(0, 1, "h1, g1, g2, h2 up, 3 links", "", 0.2),
        StepResult(1, 12, "h1: ping 10.2.0.2", "ok, on the wire: esp", 0.01, None, observation()),
        StepResult(2, 14, "and now the other way", "", 0.01, None, Observation()),
        StepResult(3, 16, "h2: ping 10.1.0.2", "ok", 0.01, None, Observation()),
    )
    return CaseResult(case(title), 0.25, steps)


def failed(words: str = "") -> CaseResult:
    """Return a case that failed at its first step; ``words`` are in each of its texts."""
    failure = Failure(
        f"lost, expected ok{words}",
        (f"g2 has no SA{words}", "g2's XfrmInNoStates rose by 1"),
        ((f"g2# setkey -DP{words}", f"No SPD entries.{words}"),),
    )
    steps = (
        StepResult(0, 1, f"h1, g1, g2, h2 up, 3 links{words}", f"a warning{words}", 0.2),
        StepResult(1, 12, f"h1: ping{words}", f"lost{words}", 3.2, failure, observation()),
    )
    return CaseResult(case(words, f"f{words}.rig.toml"), 3.5, steps)


def run(*results: CaseResult) -> RunResult:
    """Return a run of these cases."""
    return RunResult(results, "6.1.0-test", 1.8e9, 4.2)
