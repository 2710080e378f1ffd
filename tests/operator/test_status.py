"""kamexfrm status: what serves a policy, what becomes of packets, and what is about to be wrong."""

import json
import subprocess

import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st

from kamexfrm.cli.command import main
from kamexfrm.engine.engine import Engine
from kamexfrm.kernel.fake import FakeKernel
from kamexfrm.kernel.netlink import NetlinkKernel
from kamexfrm.library.ipsec import Ipsec
from kamexfrm.model.policy import Direction
from kamexfrm.operator.status import Status, look
from tests.operator.schemas import valid

KEY = "0x" + "11" * 16


def status(script: str) -> Status:
    kernel = FakeKernel()
    Ipsec(kernel).run(script)
    return look(kernel)


def served(found: Status) -> list[tuple[str | int | None, ...]]:
    return [tuple(each) for policy in found.policies for each in policy.served]


@pytest.mark.parametrize(
    ("policy", "sas", "expected"),
    [
        ("esp/transport//require", "", ("require", None, 0)),
        ("esp/transport//use", "0x900 -m transport", ("use", 0x900, 1)),
        ("esp/transport//default", "0x900 -m tunnel", ("use", None, 0)),
        ("esp/transport//require", "0x900 -m any", ("require", 0x900, 1)),
        ("esp/transport//unique:7", "0x900 -m transport -u 8", ("require", None, 0)),
        ("esp/transport//unique:7", "0x900 -m transport -u 7", ("require", 0x900, 1)),
        ("esp/tunnel/10.0.0.1-10.0.0.2/require", "0x900 -m tunnel", ("require", 0x900, 1)),
        ("ah/transport//require", "0x900 -m transport", ("require", None, 0)),
    ],
)
def test_each_request_names_the_sa_that_serves_it(
    policy: str, sas: str, expected: tuple[object, ...]
) -> None:
    add = f"add 10.0.0.1 10.0.0.2 esp {sas} -E aes-cbc {KEY};" if sas else ""
    found = status(f"{add} spdadd 10.0.0.1 10.0.0.2 any -P out ipsec {policy};")
    [row] = served(found)
    assert row[1:] == expected
    lacks = [p for p in found.problems if "has no SA" in p.text]
    assert bool(lacks) is (expected[1] is None)
    if lacks:
        assert ("leave in clear" in lacks[0].text) is (expected[0] == "use")


def test_a_policy_for_networks_counts_its_sas() -> None:
    adds = "".join(
        f"add 10.0.0.1 10.0.0.{i} esp 0x{900 + i} -m transport -E aes-cbc {KEY};" for i in (2, 3)
    )
    found = status(adds + "spdadd 10.0.0.0/24 10.0.0.0/24 any -P out ipsec esp/transport//use;")
    [(_, _, spi, several)] = served(found)
    assert several == 2
    assert spi is not None
    assert not found.problems


def test_an_sa_that_ends_soon_is_a_problem() -> None:
    now = 1000.0
    kernel = FakeKernel(clock=lambda: now)
    kernel_add = f"add 10.0.0.1 10.0.0.2 esp 0x900 -lh 100 -E aes-cbc {KEY};"
    Ipsec(kernel).run(kernel_add)
    [sa] = look(kernel).sas
    assert sa.share == 1.0  # by this machine's clock, which is long after
    assert any("0x900 to 10.0.0.2 ends soon" in p.text for p in look(kernel).problems)


def run(*words: str) -> str:
    done = CliRunner().invoke(main, ["status", *words])
    assert done.exit_code == 0, done.output
    return done.stdout


def test_the_screen_and_the_document_of_a_real_namespace(real_kernel: NetlinkKernel) -> None:
    assert run().startswith("no problems\n")
    ipsec = Ipsec(real_kernel)
    for i in range(30):
        ipsec.run(f"spdadd 10.0.0.{i} 10.1.0.1 any -P out ipsec esp/transport//require;")
    ipsec.run("spdadd 10.1.0.1 10.0.0.1 any -P in ipsec esp/transport//require;")
    batch = "xfrm policy add src 10.2.0.0/16 dst 10.3.0.0/16 dir out priority 5"
    subprocess.run(["ip", *batch.split()], check=True)
    screen = run()
    assert "policies: 32, 1 of other programs\n" in screen
    assert "and 10 more policies without an SA: --all shows them\n" in screen
    assert "  and 12 more: --all shows them\n" in screen
    assert "spid=" in screen
    assert "probably" in screen
    assert "10.0.0.29 10.1.0.1" not in screen
    assert "10.0.0.29 10.1.0.1" in run("--all")
    assert "policies:" not in run("--quiet")
    document = valid(json.loads(run("--json")))
    assert len(document["problems"]) == 30
    assert [p["position"] for p in document["policies"]] == list(range(1, 34))
    assert document["policies"][0]["owner"] == "foreign"
    assert sum(p["automatic_fwd"] for p in document["policies"]) == 1
    assert document["knobs"]["net.inet.ipsec.def_policy"] == 1


def test_def_policy_without_exemptions_is_a_problem(real_kernel: NetlinkKernel) -> None:
    Ipsec(real_kernel).knobs.inet.def_policy = 0
    assert "def_policy is 0 for IPv4 and no policy of action none exempts anything" in run()
    done = CliRunner().invoke(main, ["exempt", "dhcp"])
    assert done.exit_code == 0
    assert "exempts anything" not in run()


LINES = [
    "spdadd 10.0.0.{n} 10.0.1.1 any -P out ipsec esp/transport//require;",
    "spdadd 10.0.0.{n} 10.0.1.1 tcp -P out prio high ipsec esp/transport//use ah/transport//use;",
    "spdadd 10.0.0.{n} 10.0.1.0/24 any -P out ipsec esp/transport//unique:{n};",
    "spdadd 10.0.0.{n} 10.0.1.1 udp -P out ipsec esp/tunnel/10.9.0.1-10.9.0.2/require;",
    "spdadd 10.0.0.{n} 10.0.1.1 sctp -P out ipsec esp/tunnel/10.9.0.1-10.9.0.3/use;",
    "spdadd 10.0.1.1 10.0.0.{n} any -P in ipsec esp/transport//require;",
    "spdadd 10.0.0.{n} 10.0.1.1 icmp -P out discard;",
    "spdadd 10.0.0.{n} 10.0.1.1 igmp -P in prio low none;",
    "spdadd fe80::{n} fe80::1 any -mark {n} -P out ipsec esp/transport//require;",
    "add 10.0.0.{n} 10.0.1.1 esp 0x90{n} -m transport -u {n} -E aes-cbc " + KEY + ";",
    "add 10.0.0.{n} 10.0.1.1 ah 0x90{n} -m transport -A hmac-sha1 0x" + "11" * 20 + ";",
    "add 10.9.0.1 10.9.0.2 esp 0x91{n} -m tunnel -lh 900 -E aes-cbc " + KEY + ";",
]


@given(st.lists(st.tuples(st.sampled_from(LINES), st.integers(1, 4)), unique=True, max_size=14))
@settings(deadline=None, max_examples=40)
def test_what_the_screen_shows_is_the_beginning_of_all(lines: list[tuple[str, int]]) -> None:
    kernel = FakeKernel()
    Ipsec(kernel).run("".join(line.format(n=n) for line, n in lines))
    entries = [e for e in Engine(kernel).spd() if not e.twin]
    everything, some = look(kernel), look(kernel, 3)
    whole = [each for each in everything.policies if not each.entry.twin]
    assert [each.entry for each in whole] == sorted(entries, key=lambda e: e.kernel_priority)
    shown = list(some.policies)
    assert [each.entry for each in shown] == [each.entry for each in whole[:3]]
    assert [each.served for each in shown] == [each.served for each in whole[:3]]
    lacking = [
        each
        for each in whole
        if each.entry.policy.direction is Direction.OUT
        and any(served.spi is None for served in each.served)
    ]
    assert some.counts._replace(unnamed=0) == everything.counts
    assert some.counts.policies == len(entries)
    assert some.counts.unnamed == max(0, len(lacking) - 3)
    named = [p.text for p in everything.problems if "has no SA" in p.text]
    assert len(named) == sum(served.spi is None for each in lacking for served in each.served)
    assert [p.text for p in some.problems if "has no SA" in p.text] == named[
        : sum(served.spi is None for each in lacking[:3] for served in each.served)
    ]
