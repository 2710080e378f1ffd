"""The report of a failure fits a screen: its cause, the next step, where the rest is."""

import io
import re

import pytest

from kamexfrm.rig.scenario.reading.document import read_text
from kamexfrm.rig.scenario.report import transcript as report
from kamexfrm.rig.scenario.report.closing import closing_line
from kamexfrm.rig.scenario.result import CaseResult
from kamexfrm.rig.scenario.run.runner import Runner

SAS = """
add 10.0.0.1 10.0.0.2 esp 0x201 -m transport -E aes-cbc ${key:128} -A hmac-sha1 ${key:160};
add 10.0.0.2 10.0.0.1 esp 0x202 -m transport -E aes-cbc ${key:128} -A hmac-sha1 ${key:160};
"""
OUT = "spdadd 10.0.0.1 10.0.0.2 any -P out ipsec esp/transport//require;\n"
IN = "spdadd 10.0.0.2 10.0.0.1 any -P in ipsec esp/transport//require;\n"
BOB_OUT = "spdadd 10.0.0.2 10.0.0.1 any -P out ipsec esp/transport//require;\n"
BOB_IN = "spdadd 10.0.0.1 10.0.0.2 any -P in ipsec esp/transport//require;\n"
PING = '[[steps]]\nping = "alice -> bob"\nexpect = "ok"\nwire = "esp"\ntimeout = 0.3\n'


def scenario(
    alice: str = SAS + OUT + IN, bob: str = SAS + BOB_OUT + BOB_IN, steps: str = PING
) -> str:
    return (
        'title = "two hosts"\nlinks = "alice 10.0.0.1/24 -- 10.0.0.2/24 bob"\nkernel = "esp"\n'
        f'[hosts.alice]\nsetkey = """{alice}"""\n[hosts.bob]\nsetkey = """{bob}"""\n{steps}'
    )


#: A scenario, the line that it closes with, and what is to be done next.
FAILURES = {
    "wrong key": (
        scenario(bob=(SAS + BOB_OUT + BOB_IN).replace("160};", "160+1};", 1)),
        "lost, expected ok: alice and bob have different authentication keys for esp 0x201",
        "make the SAs of both ends the same",
    ),
    "missing SA": (
        scenario(alice=SAS.replace("add 10.0.0.1", "#") + OUT + IN),
        "lost, expected ok: alice sends by `10.0.0.1 10.0.0.2 any -P out ipsec "
        "esp/transport//require': there is no esp SA from 10.0.0.1 to 10.0.0.2",
        "compare the policies and SAs of both ends",
    ),
    "wrong SPI": (
        scenario(bob=(SAS + BOB_OUT + BOB_IN).replace("0x201", "0x209")),
        "lost, expected ok: bob has no SA for spi 0x201",
        "make the SAs of both ends the same",
    ),
    "policy on one side alone": (
        scenario(bob=SAS + BOB_IN),
        "lost, expected ok: bob sends icmp 10.0.0.2 > 10.0.0.1 in clear",
        "compare the policies and SAs of both ends",
    ),
    "wrong expectation": (
        scenario(steps=PING.replace('"ok"\nwire', '"lost"\nwire')),
        "ok, expected lost: bob takes icmp 10.0.0.1 > 10.0.0.2 in by `",
        "if what was seen is right, change what line 18 of x.rig.toml expects",
    ),
    "other packets": (
        scenario(steps=PING.replace('"esp"', '"ah"')),
        "on alice -- bob was esp, expected ah",
        "if what was seen is right, change what line 18 of x.rig.toml expects",
    ),
    "syntax error": (
        scenario(alice=SAS + OUT + IN.replace(" in ", " inn ")),
        "alice: setkey refused: x.rig.toml,9: Invalid argument at ` inn ipsec esp/transport//re",
        "correct line 9 of x.rig.toml",
    ),
    "key of the wrong length": (
        scenario(alice=SAS.replace("128}", "120}", 1) + OUT + IN),
        "alice: setkey refused: x.rig.toml,6: Invalid key length at `0x**",
        "correct line 6 of x.rig.toml",
    ),
    "unreachable host": (
        scenario(steps=PING.replace("-> bob", "-> 10.9.9.9")),
        "refused (Network is unreachable), expected ok: no host has the address 10.9.9.9",
        "see addresses and routes: kamexfrm rig up x.rig.toml",
    ),
    "counter": (
        scenario(steps=PING + 'counter = "bob XfrmInNoStates"\n'),
        "bob's XfrmInNoStates did not rise, expected 1 or more",
        "if what was seen is right, change what line 18 of x.rig.toml expects",
    ),
    "refused step": (
        scenario(steps='[[steps]]\nsetkey = "add 10.0.0.1 10.0.0.2 esp 0x201;"\nhost = "bob"\n'),
        "setkey refused: x.rig.toml,19: ",
        "correct line 19 of x.rig.toml",
    ),
    "command": (
        scenario(steps='[[steps]]\nrun = "echo gone wrong >&2; exit 3"\nhost = "bob"\n'),
        "status 3, expected ok: gone wrong",
        "correct line 18 of x.rig.toml",
    ),
}


def told(result: CaseResult, width: int) -> list[str]:
    """Return what a terminal of that width shows of the case."""
    out = io.StringIO()
    transcript = report.Transcript(out, colour=False, width=width)
    transcript.begin(result.case)
    for step in result.steps:
        transcript.step(step)
    transcript.summary([result], 1.0, "the rest is elsewhere")
    return out.getvalue().splitlines()


@pytest.mark.dataplane
@pytest.mark.parametrize("what", FAILURES)
def test_a_failure_ends_with_its_cause_and_the_next_step_on_one_screen(what: str) -> None:
    text, closing, advice = FAILURES[what]
    (case,) = read_text(text, "x.rig.toml")
    result = Runner().run(case)
    assert closing_line(result).startswith(closing)
    assert result.failure
    assert result.failure.advice.startswith(advice)
    assert not [title for title, fact in result.failure.facts if "unsupported" in fact]
    for width, height in ((80, 24), (60, 30)):
        lines = told(result, width)
        assert len(lines) <= height
        assert max(map(len, lines)) <= width
        end = " ".join(" ".join(lines).split())
        assert f"next: {advice}" in end
        assert f"failed: x.rig.toml: {closing}"[:60] in end
        assert end.endswith("1 failed, 0 passed in 1.0 s")
        assert ("the rest is elsewhere" in end) == bool(result.failure.facts)


@pytest.mark.dataplane
def test_a_caret_stays_below_its_place_where_a_line_is_cut() -> None:
    (case,) = read_text(FAILURES["syntax error"][0], "x.rig.toml")
    result = Runner().run(case)
    for width in (0, 80, 60, 40):
        lines = told(result, width)
        at = next(number for number, line in enumerate(lines) if line.strip() == "^")
        assert re.match("inn ", lines[at - 1][lines[at].index("^") :]), lines
