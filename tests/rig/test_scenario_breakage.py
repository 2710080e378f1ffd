"""One thing broken in a scenario: it fails, and its first five lines name the cause."""

import dataclasses
import re
from collections.abc import Iterator

import pytest

from kamexfrm.rig.scenario.plan import Case, Probe, Script, Step
from kamexfrm.rig.scenario.reading import gallery
from kamexfrm.rig.scenario.reading.document import read_file, read_text
from kamexfrm.rig.scenario.report import transcript as report
from kamexfrm.rig.scenario.result import CaseResult
from kamexfrm.rig.scenario.run.runner import Runner

pytestmark = pytest.mark.dataplane

HOST = """
add 10.0.0.1 10.0.0.2 esp 0x1001 -m transport -E aes-cbc ${key:128} -A hmac-sha1 ${key:160};
add 10.0.0.2 10.0.0.1 esp 0x1002 -m transport -E aes-cbc ${key:128} -A hmac-sha1 ${key:160};
"""
ALICE = (
    HOST
    + """spdadd 10.0.0.1 10.0.0.2 any -P out ipsec esp/transport//require;
spdadd 10.0.0.2 10.0.0.1 any -P in ipsec esp/transport//require;
"""
)
BOB = (
    HOST
    + """spdadd 10.0.0.2 10.0.0.1 any -P out ipsec esp/transport//require;
spdadd 10.0.0.1 10.0.0.2 any -P in ipsec esp/transport//require;
"""
)
STEP = '[[steps]]\nping = "alice -> bob"\nexpect = "ok"\nwire = "esp"\ntimeout = 0.3\n'


def run(text: str) -> CaseResult:
    (case,) = read_text(text, "x.rig.toml")
    return Runner().run(case)


def causes_of(result: CaseResult) -> list[str]:
    """Return the first five lines from the failure on."""
    assert not result.passed
    lines = report.failure_text(result).splitlines()
    at = next(number for number, line in enumerate(lines) if "FAILED" in line)
    return lines[at : at + 5]


def transport(alice: str = ALICE, bob: str = BOB, step: str = STEP) -> CaseResult:
    return run(
        'links = "alice 10.0.0.1/24 -- 10.0.0.2/24 bob"\n'
        f"[hosts.alice]\nsetkey = '''{alice}'''\n[hosts.bob]\nsetkey = '''{bob}'''\n{step}"
    )


def test_unbroken_it_passes() -> None:
    result = transport()
    assert result.passed, report.failure_text(result)


#: What is put in the place of what in bob's script, and what is said.
BREAKAGES = {
    "authentication key": (
        "-A hmac-sha1 ${key:160}",
        "-A hmac-sha1 ${key:160+1}",
        "different authentication keys for esp 0x1001",
    ),
    "encryption key": (
        "-E aes-cbc ${key:128}",
        "-E aes-cbc ${key:128+1}",
        "different encryption keys for esp 0x1001",
    ),
    "encryption algorithm": (
        "-E aes-cbc ${key:128}",
        "-E blowfish-cbc ${key:128}",
        "different encryption algorithms (aes-cbc and blowfish-cbc)",
    ),
    "key size": (
        "-E aes-cbc ${key:128}",
        "-E aes-cbc ${key:256}",
        "different encryption keys (128 and 256 bits) for esp 0x1001",
    ),
    "icv": (
        "-A hmac-sha1 ${key:160}",
        "-A hmac-sha256 ${key:256}",
        "different authentication algorithms (hmac-sha1 and hmac-sha256)",
    ),
    "spi in": (
        "esp 0x1001",
        "esp 0x1009",
        "bob has no SA for spi 0x1001 of esp to 10.0.0.2; it has esp",
    ),
    "spi out": (
        "esp 0x1002",
        "esp 0x1009",
        "alice has no SA for spi 0x1009 of esp to 10.0.0.1; it has",
    ),
    "address of an SA": (
        "add 10.0.0.2 10.0.0.1 esp",
        "add 10.0.0.2 10.0.0.3 esp",
        "there is no esp SA from 10.0.0.2 to 10.0.0.1; there is esp",
    ),
    "mode": (
        "0x1002 -m transport",
        "0x1002 -m tunnel",
        "have different modes (transport and tunnel)",
    ),
    "address of the out policy": (
        "spdadd 10.0.0.2 10.0.0.1 any -P out",
        "spdadd 10.0.0.2 10.0.0.3 any -P out",
        "bob sends icmp 10.0.0.2 > 10.0.0.1 in clear, it has no outbound policy for it; it has "
        "`10.0.0.2 10.0.0.3 any -P out ipsec esp/transport//require'",
    ),
    "protocol wanted": (
        "-P in ipsec esp/transport//require",
        "-P in ipsec ah/transport//require",
        "bob takes in by `10.0.0.1 10.0.0.2 any -P in ipsec ah/transport//require'; came: esp",
    ),
    "level": (
        "-P out ipsec esp/transport//require",
        "-P out ipsec esp/transport//unique:7",
        "its id is 0, the policy wants unique:7",
    ),
    "discard": (
        "-P in ipsec esp/transport//require",
        "-P in discard",
        "bob's XfrmInPolBlock rose by 1",
    ),
}


@pytest.mark.parametrize("what", BREAKAGES)
def test_one_broken_word_is_named_within_five_lines(what: str) -> None:
    old, new, said = BREAKAGES[what]
    assert old in BOB
    lines = causes_of(transport(bob=BOB.replace(old, new)))
    assert said in "\n".join(lines), lines


def test_a_missing_sa_is_named() -> None:
    lines = causes_of(transport(alice=ALICE.replace("\nadd 10.0.0.1", "\n#")))
    assert "there is no esp SA from 10.0.0.1 to 10.0.0.2" in "\n".join(lines)


def test_level_use_instead_of_require_shows_in_clear_text() -> None:
    both = [text.replace("require", "use").replace("add", "#", 2) for text in (ALICE, BOB)]
    lines = causes_of(transport(*(text.replace("spd#", "spdadd") for text in both)))
    assert "expected esp" in lines[0]
    assert "there is no esp SA" in "\n".join(lines)


def test_a_script_that_setkey_refuses_is_told_in_its_words() -> None:
    lines = causes_of(
        transport(bob="spdadd 10.0.0.2 10.0.0.1 any -P out ipsec esp/transprot//use;")
    )
    assert "bob: setkey refused" in lines[0]
    assert "transprot" in "\n".join(lines)


CHAIN = """
links = "h1 10.1.0.2/16 -- 10.1.0.1/16 g1 10.0.0.1/24 -- 10.0.0.2/24 g2 10.2.0.1/16 -- 10.2.0.2/16 h2"
[hosts.WHO]
WHAT
[[steps]]
ping = "h1 -> TARGET"
expect = "ok"
timeout = 0.3
"""  # noqa: E501


@pytest.mark.parametrize(
    ("who", "what", "said"),
    [
        ("h1", "routes = []", "h1 has no route to 10.2.0.2"),
        ("g1", "routes = []", "g1 has no route to 10.2.0.2"),
        ("h2", "routes = []", "h2 has no route to 10.1.0.2"),
        ("g2", "routes = []", "g2 has no route to 10.1.0.2"),
        ("h1", 'routes = ["default via 10.1.0.9"]', "h1's gateway 10.1.0.9 to 10.2.0.2 is no"),
    ],
)
def test_a_missing_route_is_named(who: str, what: str, said: str) -> None:
    text = CHAIN.replace("WHO", who).replace("WHAT", what).replace("TARGET", "h2")
    assert said in "\n".join(causes_of(run(text)))


def test_a_gateway_that_does_not_forward_is_named() -> None:
    text = CHAIN.replace("WHO", "g2").replace("TARGET", "h2")
    text = text.replace("WHAT", "sysctl = ['net.ipv4.ip_forward=0']")
    assert "g2 does not forward (net.ipv4.ip_forward is 0)" in "\n".join(causes_of(run(text)))


def test_an_address_of_nobody_is_named() -> None:
    text = CHAIN.replace("WHO", "g2").replace("WHAT", "").replace("TARGET", "10.2.0.7")
    assert "no host has the address 10.2.0.7" in "\n".join(causes_of(run(text)))


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ('moves = "alice esp 0x1009"', "alice has no SA esp 0x1009"),
        ('rests = "alice esp 0x1001"', "alice's SA esp 0x1001 moved"),
        ('counter = "bob XfrmInNoStates"', "bob's XfrmInNoStates did not rise, expected 1 or more"),
    ],
)
def test_expectations_of_sas_and_counters_are_checked(more: str, said: str) -> None:
    assert said in causes_of(transport(step=STEP + more + "\n"))[0]


GALLERY = {
    kind: read_file(gallery.path_of(kind))[0] for kind in ("transport", "tunnel", "natt", "nested")
}

#: What is put in the place of what in a statement of a script, and what is to be reported.
MUTATIONS = {
    "encryption key": (r"(-E \S+ 0x\w*)\w", r"\1f", "different encryption keys for"),
    "authentication key": (r"(-A \S+ 0x\w*)\w", r"\1f", "different authentication keys for"),
    "algorithm": (r"-E aes-cbc", "-E blowfish-cbc", "different encryption algorithms"),
    "spi": (r"(esp|ah|esp-udp) 0x(\w+)", r"\1 0x7\2", "has no SA"),
    "destination": (r"^(add \S+ \d+\.\d+\.\d+)\.\d+", r"\1.99", "no SA|is no (esp|ah) SA"),
    "mode": (r"-m (transport|tunnel)", "MODE", "different modes"),
    "no SA": (r"^add .*", "", "there is no (esp|ah) SA|has no SA"),
    "no policy": (r"^spdadd .*", "", "it has no outbound policy|has no inbound policy"),
    "policy's source": (r"^spdadd \S+", "spdadd 192.0.2.7", "has no (in|out)bound policy"),
    # Through a NAT what is sent in clear is answered so: the sender drops that.
    "policy's protocol": (r" any ", " sctp ", "has no (in|out)bound policy|came: clear"),
    "level": (r"/require", "/use", "//?use|/\\S+/use"),
    "none": (r"ipsec .*;", "none;", "-P (in|out) none"),
    "discard": (r"ipsec .*;", "discard;", "discards .* by"),
    "id": (r"(-P out .*)/require", r"\1/unique:99", "the policy wants unique:99"),
    "tunnel's end": (r"tunnel/([^-]*)-([^/]*)", r"tunnel/\2-\1", "not its address|wants a tunnel"),
}


def broken_cases() -> Iterator[tuple[str, Case, str]]:
    """Yield a name, a case with one statement of one host broken, and what is to be reported."""
    for kind, case in GALLERY.items():
        for host, plan in case.hosts.items():
            for statement in plan.script.text.splitlines() if plan.script else ():
                for name, (old, new, said) in MUTATIONS.items():
                    word = "transport" if "-m tunnel" in statement else "tunnel"
                    broken = re.sub(old, new.replace("MODE", f"-m {word}"), statement)
                    if broken == statement or not plan.script:
                        continue
                    script = plan.script.text.replace(statement, broken)
                    hurt = dataclasses.replace(plan, script=Script(script))
                    hosts = {**case.hosts, host: hurt}
                    words = " ".join(statement.split()[:4])
                    yield (
                        f"{kind}: {name} of {host}: {words}",
                        dataclasses.replace(case, hosts=hosts, steps=hasty(case.steps)),
                        said,
                    )


def hasty(steps: tuple[Step, ...]) -> tuple[Step, ...]:
    """Wait less for answers: many do not come."""
    return tuple(
        dataclasses.replace(step, action=dataclasses.replace(step.action, timeout=0.3))
        if isinstance(step.action, Probe)
        else step
        for step in steps
    )


#: All of them take minutes, and all pass: some are taken, spread over all scenarios.
SOME = list(broken_cases())[::6]


@pytest.mark.parametrize(("name", "case", "said"), SOME, ids=[broken[0] for broken in SOME])
def test_one_broken_word_of_the_gallery_is_named_within_five_lines(
    name: str, case: Case, said: str
) -> None:
    lines = "\n".join(causes_of(Runner().run(case)))
    assert re.search(said, lines), lines
