"""Scenario files: what they say, and that a mistake is reported with file, line and key."""

import contextlib
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kamexfrm.rig.scenario.plan import Probe, Setkey
from kamexfrm.rig.scenario.reading.document import ScenarioError, read_file, read_text
from kamexfrm.rig.scenario.reading.lines import Lines
from kamexfrm.rig.scenario.reading.matrix import key_of
from kamexfrm.rig.scenario.stage.network import work_out_routes
from kamexfrm.setkey.mirror import mirror

TWO = 'links = "alice 10.0.0.1/24 fd00::1/64 -- 10.0.0.2/24 fd00::2/64 bob"\n'
CHAIN = 'links = "h1 10.1.0.2/16 -- 10.1.0.1/16 g1 10.0.0.1/24 -- 10.0.0.2/24 g2 10.2.0.1/16'
CHAIN += ' -- 10.2.0.2/16 h2"\n'


def error_of(text: str) -> str:
    with pytest.raises(ScenarioError) as caught:
        read_text(text, "x.rig.toml")
    return str(caught.value)


def test_a_chain_makes_hosts_and_links_in_its_order() -> None:
    (case,) = read_text(CHAIN, "x")
    assert list(case.hosts) == ["h1", "g1", "g2", "h2"]
    assert [link.name for link in case.links] == ["h1 -- g1", "g1 -- g2", "g2 -- h2"]
    assert case.hosts["g1"].forward
    assert not case.hosts["h1"].forward


def test_hosts_with_several_links_forward_and_routes_are_worked_out() -> None:
    (case,) = read_text(CHAIN, "x")
    routes = work_out_routes(case)
    assert dict(routes["h1"]) == {"10.0.0.0/24": "10.1.0.1", "10.2.0.0/16": "10.1.0.1"}
    assert dict(routes["g1"]) == {"10.2.0.0/16": "10.0.0.2"}


def test_a_host_that_does_not_forward_is_no_way() -> None:
    (case,) = read_text(CHAIN + "[hosts.g2]\nforward = false\n", "x")
    assert "10.2.0.0/16" not in dict(work_out_routes(case)["g1"])


def test_a_link_has_an_mtu_a_delay_and_loss() -> None:
    (case,) = read_text(
        'links = "a 10.0.0.1/24 -- mtu=1400 delay=5ms loss=1.5% 10.0.0.2/24 b"', "x"
    )
    (link,) = case.links
    assert (link.mtu, link.delay, link.loss) == (1400, 5.0, 1.5)


BEHIND_NAT = """
links = [
    "a 192.168.1.2/24 -- 192.168.1.1/24 gw",
    {link},
    "peer 10.2.0.1/24 -- 10.2.0.2/24 server",
]
"""


@pytest.mark.parametrize(
    "link",
    [
        '"gw 10.0.0.1/24 -- nat=gw 10.0.0.2/24 peer"',
        '{ between = "gw 10.0.0.1/24 -- 10.0.0.2/24 peer", nat = "gw" }',
        '{ between = "peer 10.0.0.2/24 -- 10.0.0.1/24 gw", nat = "gw" }',
    ],
)
def test_an_end_of_a_link_may_be_a_nat_that_has_no_way_in(link: str) -> None:
    (case,) = read_text(BEHIND_NAT.format(link=link), "x")
    assert case.links[1].nat == "gw"
    assert "NAT" in case.needs
    routes = work_out_routes(case)
    assert dict(routes["a"]) == {"10.0.0.0/24": "192.168.1.1", "10.2.0.0/24": "192.168.1.1"}
    assert dict(routes["server"]) == {"10.0.0.0/24": "10.2.0.1"}


def test_the_end_with_other_links_is_the_nat() -> None:
    for link in ("a 10.0.0.1/24 -- nat 10.0.0.2/24 b", "b 10.0.0.2/24 -- nat 10.0.0.1/24 a"):
        (case,) = read_text(f'links = ["{link}", "b 10.1.0.1/24 -- 10.1.0.2/24 c"]', "x")
        assert case.links[0].nat == "b"


def test_a_host_may_be_called_nat() -> None:
    (case,) = read_text('links = "a 10.0.0.1/24 -- 10.0.0.2/24 nat"', "x")
    assert list(case.hosts) == ["a", "nat"]
    assert case.links[0].nat == ""


@pytest.mark.parametrize(
    ("link", "message"),
    [
        ('"gw 10.0.0.1/24 -- nat 10.0.0.2/24 peer"', "gw and peer have other links; nat=HOST"),
        ('"gw 10.0.0.1/24 -- nat=pear 10.0.0.2/24 peer"', "no end of gw -- peer; did you mean"),
        ('"gw fd00::1/64 -- nat=gw fd00::2/64 peer"', "gw has no IPv4 address there"),
        ('{ between = "gw 10.0.0.1/24 -- 10.0.0.2/24 peer", nta = true }', "did you mean nat"),
        ('{ between = "gw 10.0.0.1/24 -- 10.0.0.2/24 peer", loss = 101 }', "more than all"),
        ("{ nat = true }", "between is wanted"),
        ("3", "chains of hosts are wanted"),
    ],
)
def test_a_nat_or_a_table_that_cannot_be_is_refused(link: str, message: str) -> None:
    with pytest.raises(ScenarioError, match=message):
        read_text(BEHIND_NAT.format(link=link), "x")


def test_a_matrix_multiplies_and_an_exclusion_takes_away() -> None:
    cases = read_text(
        TWO + '[matrix]\nfamily = [4, 6]\nlevel = ["use", "require"]\n'
        "[[exclude]]\nfamily = 6\nlevel = 'use'\n",
        "x",
    )
    assert [case.name for case in cases] == ["4-use", "4-require", "6-require"]


def test_names_stand_for_addresses_keys_and_the_values_of_a_case() -> None:
    cases = read_text(
        TWO + '[variables]\nkeys = "-E ${cipher.word}"\n'
        '[matrix]\nfamily = [4, 6]\ncipher = [{ name = "aes", word = "aes-cbc ${key:128}" }]\n'
        '[hosts.alice]\nsetkey = "add ${alice} ${bob} esp 1 ${keys}; # ${bob.6} ${alice.net}"\n',
        "x",
    )
    scripts = [case.hosts["alice"].script for case in cases]
    word = f"aes-cbc {key_of(128)}"
    assert [script.text.strip() for script in scripts if script] == [
        f"add 10.0.0.1 10.0.0.2 esp 1 -E {word}; # fd00::2 10.0.0.0/24",
        f"add fd00::1 fd00::2 esp 1 -E {word}; # fd00::2 fd00::/64",
    ]
    assert [case.name for case in cases] == ["4-aes", "6-aes"]


def test_a_mirror_has_the_same_sas_and_the_directions_exchanged() -> None:
    script = (
        "# -P out in a comment\n"
        'add a b esp 1 -A hmac-md5 "-P in a key 16";\n'
        "spdadd a b any -P out ipsec esp/transport//use;\n"
        "spdadd b a any -P\n in ipsec esp/transport//use;\n"
        "spdadd b a any -P fwd ipsec esp/transport//use;\n"
    )
    assert mirror(script) == (
        "# -P out in a comment\n"
        'add a b esp 1 -A hmac-md5 "-P in a key 16";\n'
        "spdadd a b any -P in ipsec esp/transport//use;\n"
        "spdadd b a any -P\n out ipsec esp/transport//use;\n"
        "#other end: spdadd b a any -P fwd ipsec esp/transport//use;\n"
    )


def test_a_script_in_a_scenario_has_the_lines_of_the_file() -> None:
    text = TWO + '[hosts.alice]\nsetkey = """\n\nflush;\n"""\n[hosts.bob]\nmirror = "alice"\n'
    text += "[[steps]]\nsetkey = 'flush;'\nhost = 'bob'\n"
    (case,) = read_text(text, "folder/x.rig.toml")
    (step,) = case.steps
    assert isinstance(step.action, Setkey)
    lines: Sequence[str] = text.splitlines()
    for script, word in (
        (case.hosts["alice"].script, "flush;"),
        (case.hosts["bob"].script, "flush;"),
        (step.action.script, "setkey = 'flush;'"),
    ):
        assert script
        assert script.file == "x.rig.toml"
        assert lines[script.text.splitlines().index("flush;")] == word


def test_a_mirror_of_a_mirror_is_the_script_itself() -> None:
    script = "spdadd a b any -P out none; spdadd b a any -P in none;"
    assert mirror(mirror(script)) == script


def test_steps_name_hosts_addresses_and_ports() -> None:
    (case,) = read_text(
        TWO + '[[steps]]\nudp = "alice -> bob:53"\n[[steps]]\ntcp = "bob -> [fd00::1]:80"\n'
        '[[steps]]\nping = "bob -> fd00::1"\n[[steps]]\nping = "bob -> alice"\nfamily = 6\n',
        "x",
    )
    probes = [step.action for step in case.steps]
    assert [(p.destination, p.port) for p in probes if isinstance(p, Probe)] == [
        ("10.0.0.2", 53),
        ("fd00::1", 80),
        ("fd00::1", 7),
        ("fd00::1", 7),
    ]


@pytest.mark.parametrize(
    ("script", "needs"),
    [
        ("add 10.0.0.1 10.0.0.2 esp 1 -E null;", True),
        ("add 10.0.0.1 10.0.0.2\n  ah 1 -A hmac-md5 x;", True),
        ("add 10.0.0.1[4500] 10.0.0.2[4500] esp-udp 1 -E null;", True),
        ("# add 10.0.0.1 10.0.0.2 esp 1;", False),
        ("spdadd 10.0.0.1 10.0.0.2 any -P out ipsec esp/transport//use;", False),
    ],
)
def test_only_sas_need_a_kernel_with_esp(script: str, needs: bool) -> None:
    (case,) = read_text(TWO + f"[[steps]]\nhost = 'alice'\nsetkey = '''{script}'''\n", "x")
    assert isinstance(case.steps[0].action, Setkey)
    assert case.needs_esp is needs


#: A mistake and what is said of it.
MISTAKES = [
    ("links = ", "x.rig.toml:1: Invalid value"),
    ("a = 1\nb = 2\n", "x.rig.toml:1: a: no such key; there is exclude"),
    (TWO + "\ntitel = 'x'\n", "x.rig.toml:3: titel: no such key; did you mean title?"),
    ("links = 'a 10.0.0.1/24'", "x.rig.toml:1: links: 'a 10.0.0.1/24' has no --"),
    ("links = 'a 10.0.0.1/24 -- 10.0.0.299/24 b'", "x.rig.toml:1: links: '10.0.0.299/24'"),
    ("links = 'a 10.0.0.1 -- 10.0.0.2/24 b'", "wants its prefix length"),
    ("links = 'a 10.0.0.1/24 -- delay=5 10.0.0.2/24 b'", "delay is in ms"),
    (TWO + "[hosts.alice]\nstekey = ''\n", "x.rig.toml:3: hosts.alice.stekey: no such key; did"),
    (TWO + "[hosts.bob]\nmirror = 'alcie'\n", "x.rig.toml:3: hosts.bob.mirror: no other host"),
    (TWO + "[hosts.bob]\nmirror = 'alice'\n", "alice has no setkey script of its own"),
    (TWO + "[hosts.bob]\nfile = 'nowhere'\n", "x.rig.toml:3: hosts.bob.file: nowhere: No such"),
    (TWO + "[hosts.bob]\nsetkey = '${blob}'\n", "x.rig.toml:3: hosts.bob.setkey: ${blob} stands"),
    (TWO + "[[steps]]\n\n[[steps]]\npnig = 'a -> b'\n", "x.rig.toml:2: steps[1]: what is to be"),
    (TWO + "[[steps]]\npnig = 'a -> b'\n", "x.rig.toml:3: steps[1].pnig: no such key; did you"),
    (TWO + "[[steps]]\nping = 'alice -> bbo'\n", "x.rig.toml:3: steps[1].ping: 'bbo' is neither"),
    (TWO + "[[steps]]\nping = 'alcie -> bob'\n", "no host is called alcie; did you mean alice?"),
    (TWO + "[[steps]]\nping = 'alice bob'\n", "HOST -> HOST or ADDRESS"),
    (
        TWO + "[[steps]]\nping = 'alice -> bob'\nwire = 'espp'\n",
        "x.rig.toml:4: steps[1].wire: 'espp' is never on the wire; did you mean esp",
    ),
    (
        TWO + "[[steps]]\nping = 'alice -> bob'\nexpect = 'fine'\n",
        "x.rig.toml:4: steps[1].expect: 'fine' is not known; there is lost, ok, refused",
    ),
    (TWO + "[[steps]]\nping = 'alice -> bob'\nmoves = 'x'\n", "HOST [esp|ah|ipcomp] SPI"),
    (
        TWO + "[[steps]]\nping = 'alice -> bob'\ncounter = 'bob XfrmInNoStats'\n",
        "steps[1].counter: no counter is called XfrmInNoStats; did you mean XfrmInNoStates?",
    ),
    (TWO + "[[steps]]\nping = 'alice -> bob'\nx=1\n", "steps[1].x: no su"),
    (TWO + "[[steps]]\nkill = 'nobody'\n", "x.rig.toml:3: steps[1].kill: nothing is called"),
    (TWO + "[[steps]]\nsetkey = 'flush;'\n", "x.rig.toml:2: steps[1]: on which host?"),
    (TWO + "[matrix]\nfamily = 4\n", "x.rig.toml:3: matrix.family: a list of values"),
    (TWO + "[matrix]\nfamily = [5]\n", "4 or 6 is wanted, not 5"),
    (TWO + "watch = 'alice -- carol'\n", "x.rig.toml:2: watch: no link"),
    ("title = 'nobody'\n", "no hosts"),
    (TWO + "[hosts.carol]\n", "x.rig.toml:2: hosts.carol: no link has this host; there is alice"),
    (TWO + "[hosts.bob]\nloopback = '1.2.3.400/32'\n", "x.rig.toml:3: hosts.bob.loopback: '1.2.3"),
    (
        TWO + "[variables]\na = '${b}'\nb = '${a}'\n",
        "x.rig.toml:3: variables.a: '${b}' stands for itself",
    ),
    (
        TWO + "[[steps]]\nudp = 'alice -> bob:70000'\n",
        "x.rig.toml:3: steps[1].udp: 70000 is no port",
    ),
    (
        TWO + "[[steps]]\nping = 'alice -> bob'\nsize = 70000\n",
        "steps[1].size: no packet is larger",
    ),
    (
        TWO + "[[steps]]\nping = 'alice -> bob'\npolicy = 'outt bypass'\n",
        "x.rig.toml:4: steps[1].policy: 'outt bypass': Invalid argument; a policy begins",
    ),
    (
        TWO + "[[steps]]\nsay = 'x'\nwire = 'esp'\n",
        "x.rig.toml:4: steps[1].wire: a line of the tra",
    ),
    (TWO + "[[steps]]\nwait = 'true'\nhost = ['alice', 'bob']\n", "steps[1].host: one host is"),
    (
        TWO + "[[steps]]\nstream = 'alice -> bob'\n[[steps]]\nstream = 'alice -> bob'\n",
        "steps[2].name: something is called 'stream' already",
    ),
    ('links = "a 10.0.0.1/24 -- loss=101% 10.0.0.2/24 b"\n', "links: 'loss=101%': more than all"),
]


@pytest.mark.parametrize(("text", "complaint"), MISTAKES, ids=range(len(MISTAKES)))
def test_a_mistake_is_told_with_file_line_and_key(text: str, complaint: str) -> None:
    assert complaint in error_of(text)


def test_lines_are_found_behind_strings_and_lists_of_several_lines() -> None:
    lines = Lines(
        'a = """\nb = 1\n[c]\n"""\nd = [\n  "]",\n  1,\n]\n[e.f]\ng.h = { i = 1 }\n'
        "[[j]]\nk = 1\n[[j]]\nk = 2\n"
    )
    assert lines.of(("a",)) == 1
    assert lines.of(("d", 1)) == 5
    assert lines.of(("e", "f")) == 9
    assert lines.of(("e", "f", "g", "h", "i")) == 10
    assert lines.of(("j", 0, "k")) == 12
    assert lines.of(("j", 1, "k")) == 14
    assert lines.of(("j", 1, "z")) == 13


@pytest.mark.parametrize("character", ["\x0b", "\x1c", "\x85", "\u2028"])
def test_only_a_line_feed_ends_a_line(character: str) -> None:
    lines = Lines(f"a = '{character}'\r\nb = 2\n")
    assert lines.of(("b",)) == 2


@given(st.text())
def test_any_text_is_read_or_refused(text: str) -> None:
    with contextlib.suppress(ScenarioError):
        read_text(text, "x")


def test_a_key_of_too_many_bits_stands_for_nothing() -> None:
    for bits in ("100000", "99999999999", "9" * 10_000, "1+" + "9" * 10_000):
        text = TWO + f'[hosts.alice]\nsetkey = "${{key:{bits}}}"\n'
        assert "stands for nothing" in error_of(text)


def test_names_that_stand_for_names_again_and_again_have_a_limit() -> None:
    doubled = "".join(f'v{at} = "${{v{at + 1}}}${{v{at + 1}}}"\n' for at in range(40))
    text = TWO + f'[variables]\n{doubled}v40 = ""\n[hosts.alice]\nsetkey = "${{v0}}"\n'
    assert "the names of a case stand for over 1000000 characters" in error_of(text)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("x = " + "[" * 100_000, "x.rig.toml: too deeply nested"),
        ("x = " + "1" * 10_000, "x.rig.toml: a number of thousands of digits"),
        ("y = 1\n" + "a." * 50_000 + "a = 1", "x.rig.toml:2: a key of over 100 words"),
        ("[" + "a." * 50_000 + "a]", "x.rig.toml:1: a key of over 100 words"),
        ("x = {" + "a." * 50_000 + "a = 1}", "x.rig.toml:1: a key of over 100 words"),
        ("x = {" + "'a' . " * 50_000 + "a = 1}", "x.rig.toml:1: a key of over 100 words"),
    ],
)
def test_what_would_take_all_time_or_memory_is_refused(text: str, reason: str) -> None:
    assert error_of(text) == reason


def test_a_file_without_an_end_is_refused() -> None:
    with pytest.raises(ScenarioError, match="/dev/zero: longer than 1 MiB"):
        read_file("/dev/zero")
    text = f"{TWO}[hosts.alice]\nfile = '/dev/zero'\n"
    assert "/dev/zero: longer than 1 MiB" in error_of(text)


IPSEC = """
links = [
    "a 10.0.0.1/24 fd00::1/64 -- 10.0.0.2/24 fd00::2/64 b",
    {{ kind = "ipsec", between = "{between}", reqid = {reqid}{more} }},
]
"""


@pytest.mark.parametrize(
    ("more", "ends"),
    [
        ("", ("10.0.0.2", "10.0.0.1")),
        (', tunnel = "fd00::2-fd00::1"', ("fd00::2", "fd00::1")),
    ],
)
def test_a_link_of_kind_ipsec_is_a_tunnel_between_two_hosts(
    more: str, ends: tuple[str, str]
) -> None:
    between = "b 10.9.0.1/30 -- 10.9.0.2/30 a"
    (case,) = read_text(IPSEC.format(between=between, reqid=7, more=more), "x")
    (tunnel,) = case.tunnels
    assert (tunnel.left.host, tunnel.right.host, tunnel.reqid) == ("b", "a", 7)
    assert tunnel.ends == ends
    assert [link.name for link in case.links] == ["a -- b"]
    assert not any(host.forward for host in case.hosts.values())
    assert "XFRM interfaces" in case.needs
    assert case.owner("10.9.0.1") == "b"


@pytest.mark.parametrize(
    ("between", "reqid", "more", "message"),
    [
        ("a 10.9.0.1/30 -- 10.9.0.2/30 c", "7", "", "a and c share no link"),
        ("a 10.9.0.1/30 -- 10.9.0.2/30 c", "7", ', tunnel = "1.1.1.1-2.2.2.2"', "the host c"),
        ("a 10.9.0.1/30", "7", "", "has no --"),
        ("a -- mtu=1400 b", "7", "", "two hosts and their addresses"),
        ("a 10.9.0.1/30 -- 10.9.0.2/30 b", "0", "", "a reqid from 1"),
        ("a 10.9.0.1/30 -- 10.9.0.2/30 b", "4294967296", "", "a reqid from 1"),
        ("a 10.9.0.1/30 -- 10.9.0.2/30 b", "7", ', tunnel = "10.0.0.1"', "LOCAL-REMOTE"),
        ("a 10.9.0.1/30 -- 10.9.0.2/30 b", "7", ', tunnel = "10.0.0.1-::1"', "one family"),
        ("a 10.9.0.1/30 -- 10.9.0.2/30 b", "7", ", speed = 1", "no such key"),
    ],
)
def test_a_tunnel_that_cannot_be_made_is_named(
    between: str, reqid: str, more: str, message: str
) -> None:
    text = IPSEC.format(between=between, reqid=reqid, more=more)
    with pytest.raises(ScenarioError, match=message):
        read_text(text, "x")


def test_a_link_of_another_kind_is_refused() -> None:
    with pytest.raises(ScenarioError, match="'gre' is not known"):
        read_text('links = ["a -- b", { kind = "gre", between = "a -- b", reqid = 1 }]', "x")
