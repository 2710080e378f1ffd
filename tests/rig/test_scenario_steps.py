"""Each kind of step does what it says; on the running kernel, for none of them needs an SA."""

import pytest

from kamexfrm.rig.scenario.reading.document import read_text
from kamexfrm.rig.scenario.report import transcript as report
from kamexfrm.rig.scenario.result import CaseResult
from kamexfrm.rig.scenario.run.runner import Runner

TWO = 'links = "alice 10.0.0.1/24 fd00::1/64 -- 10.0.0.2/24 fd00::2/64 bob"\nkernel = "any"\n'


def run(steps: str, head: str = TWO) -> CaseResult:
    (case,) = read_text(head + steps, "x.rig.toml")
    return Runner().run(case)


def passes(steps: str, head: str = TWO) -> list[str]:
    """Return what was seen at each step."""
    result = run(steps, head)
    assert result.passed, report.failure_text(result)
    return [step.seen for step in result.steps[1:]]


def fails(steps: str, head: str = TWO) -> str:
    failure = run(steps, head).failure
    assert failure
    return "\n".join((failure.message, *failure.causes))


@pytest.mark.parametrize("protocol", ["udp", "tcp"])
@pytest.mark.parametrize("family", [4, 6])
def test_questions_are_answered_by_the_rig(protocol: str, family: int) -> None:
    (seen,) = passes(
        f'[[steps]]\n{protocol} = "alice -> bob:99"\nsource-port = 77\nfamily = {family}\n'
        'size = 1200\nexpect = "ok"\nwire = "clear"\n'
    )
    assert seen == "ok, on the wire: clear"


def test_refused_is_more_than_lost() -> None:
    steps = '[[steps]]\nudp = "alice -> bob:9"\nexpect = "{}"\n'
    head = TWO + '[hosts.alice]\nsetkey = "spdadd 10.0.0.1 10.0.0.2 udp -P out discard;"\n'
    assert "refused (Operation not permitted)" in passes(steps.format("refused"), head)[0]
    passes(steps.format("lost"), head)
    assert "expected ok" in fails(steps.format("ok"), head)


def test_a_stream_tells_how_many_were_answered() -> None:
    stream = '[[steps]]\nstream = "alice -> bob:7"\nname = "s"\ntimeout = 0.1\n'
    end = '[[steps]]\nkill = "s"\nexpect = "ok"\n'
    block = '[[steps]]\nhost = "bob"\nsetkey = "spdadd 10.0.0.1 10.0.0.2 udp -P in discard;"\n'
    ping = '[[steps]]\nping = "alice -> bob"\nexpect = "ok"\nerrors = true\ncount = 3\n'
    wait = '[[steps]]\nudp = "alice -> bob:99"\nexpect = "lost"\n'
    *_, seen = passes(stream + ping + end)
    answered, _, sent, _ = seen.split()
    assert answered == sent
    assert "expected ok" in fails(stream + block + wait + end)


def test_commands_run_in_their_host_and_their_output_is_looked_at() -> None:
    passes(
        '[[steps]]\nrun = "ip -br addr; exit 3"\nhost = "alice"\nstatus = 3\n'
        'output = "10.0.0.1/24"\nabsent = "10.0.0.2/24"\n'
    )
    assert "status 3, expected ok" in fails('[[steps]]\nrun = "exit 3"\nhost = "alice"\n')
    assert "the output has no 'moon': sun" in fails(
        '[[steps]]\nrun = "echo sun"\nhost = "alice"\noutput = "moon"\n'
    )


def test_background_commands_are_waited_for_and_ended() -> None:
    passes(
        '[[steps]]\nrun = "echo up; exec sleep 1000"\nhost = "bob"\nname = "server"\n'
        '[[steps]]\nlog = "up"\nname = "server"\n'
        '[[steps]]\nwait = "ip link show eth0"\nhost = "bob"\n'
        '[[steps]]\nkill = "server"\noutput = "up"\n'
    )
    text = fails(
        '[[steps]]\nrun = "exec sleep 1000"\nhost = "bob"\nname = "server"\n'
        '[[steps]]\nlog = "up"\nname = "server"\ntimeout = 0.05\n'
    )
    assert "server: 'up': not within 0.05 s" in text
    assert "not within 0.05 s" in fails('[[steps]]\nwait = "false"\nhost = "bob"\ntimeout = 0.05\n')


def test_knobs_and_sysctls_are_set_and_shown() -> None:
    passes(
        '[[steps]]\nsysctl = ["net.inet.ipsec.esp_trans_deflev=2", "net.ipv4.ip_forward=1"]\n'
        'host = "alice"\noutput = ["1 -> 2", "net.ipv4.ip_forward = 1"]\n'
        '[[steps]]\nsysctl = "net.inet.ipsec.esp_trans_deflev"\nhost = "alice"\noutput = "= 2"\n'
        '[[steps]]\nsysctl = "net.inet.ipsec.nonsense=1"\nhost = "alice"\nexpect = "refused"\n'
    )


def test_knobs_of_a_host_may_be_written_as_a_table() -> None:
    head = TWO + "[hosts.alice.knobs]\nnet.inet.ipsec.ah_net_deflev = 2\n"
    passes(
        '[[steps]]\nsysctl = "net.inet.ipsec.ah_net_deflev"\nhost = "alice"\noutput = "= 2"\n', head
    )


def test_the_real_commands_do_the_same() -> None:
    passes(
        '[[steps]]\nsetkey = "spdadd 10.0.0.1 10.0.0.2 udp -P out none;"\nhost = "alice"\n'
        "real = true\n"
        '[[steps]]\nsetkey = "spddump;"\nhost = "alice"\nreal = true\n'
        'output = "out prio def none"\n'
        '[[steps]]\nsetkey = "spddump;"\nhost = "alice"\noutput = "out prio def none"\n'
        '[[steps]]\nsysctl = "net.inet.ipsec.esp_trans_deflev=2"\nhost = "bob"\nreal = true\n'
        'output = "1 -> 2"\n'
    )


def test_an_explanation_names_the_policy_and_sends_nothing() -> None:
    head = TWO + "[hosts.alice]\nsetkey = "
    head += '"spdadd 10.0.0.1 10.0.0.2 tcp -P out ipsec esp/transport//require;"\n'
    seen = passes(
        '[[steps]]\nexplain = "alice -> bob:80"\nupper = "tcp"\n'
        'output = ["esp/transport//require: missing", "dropped"]\nwire = "nothing"\n'
        '[[steps]]\nexplain = "alice -> bob"\noutput = "sent in clear"\n'
        '[[steps]]\nexplain = "alice -> bob"\nhost = "bob"\noutput = "accepted"\n',
        head,
    )
    assert "there is no ESP transport SA" in seen[0]


def test_a_failure_says_what_the_rules_say_of_both_ways() -> None:
    head = TWO + '[hosts.bob]\nsetkey = "spdadd 10.0.0.2 10.0.0.1 any -P out discard;"\n'
    failure = run('[[steps]]\nping = "alice -> bob"\nexpect = "ok"\ntimeout = 0.1\n', head).failure
    assert failure
    facts = dict(failure.facts)
    assert "sent in clear" in facts["alice, by KAME's rules, sending to 10.0.0.2"]
    assert "discard" in facts["bob, by KAME's rules, sending to 10.0.0.1"]
    assert "ICMP echo request" in facts["on alice -- bob"]


def test_switches_join_networks() -> None:
    head = (
        'links = """\nalice 10.0.0.1/24 -- switch\nbob 10.0.0.2/24 -- switch\n"""\n'
        'kernel = "any"\nwatch = "alice -- switch"\n[hosts.switch]\nbridge = true\n'
    )
    passes('[[steps]]\nping = "alice -> bob"\nexpect = "ok"\nwire = "clear"\n', head)


@pytest.mark.dataplane
def test_links_delay_and_have_an_mtu() -> None:
    head = 'links = "a 10.0.0.1/24 -- mtu=1400 delay=30ms 10.0.0.2/24 b"\n'
    result = run(
        '[[steps]]\nping = "a -> b"\nexpect = "ok"\n'
        '[[steps]]\nrun = "ip link show eth0; tc qdisc show dev eth0"\nhost = "a"\n'
        'output = ["mtu 1400", "delay 30ms"]\n',
        head,
    )
    assert result.passed, report.failure_text(result)


NAT = """
links = [
    "a 192.168.1.2/24 -- 192.168.1.1/24 gw",
    { between = "gw 203.0.113.1/24 -- 203.0.113.9/24 peer", nat = true },
    "b 192.168.2.2/24 -- 192.168.2.1/24 gw",
]
watch = "gw -- peer"
"""


@pytest.mark.dataplane("NAT")
def test_a_nat_hides_hosts_and_lets_their_replies_in() -> None:
    step = '[[steps]]\nudp = "{} -> peer:53"\nsource-port = 500\nexpect = "ok"\nwire = "clear"\n'
    back = '[[steps]]\nping = "peer -> a"\nexpect = "refused"\nwire = "nothing"\n'
    tcp = '[[steps]]\ntcp = "b -> peer:80"\nexpect = "ok"\n'
    result = run(step.format("a") + step.format("b") + tcp + back, NAT)
    assert result.passed, report.failure_text(result)
