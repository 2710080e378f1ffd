"""``kamexfrm translate``: what ip(8) makes of the lines is what setkey makes of the file.

KAMEXFRM_TRANSLATE_CASES is the number of random files that are tried in a guest (2).
"""

import json
import os
import re
import socket
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from click.testing import CliRunner

from kamexfrm.cli.command import main
from kamexfrm.engine.engine import Engine
from kamexfrm.engine.requests import SaAdd, SpdAdd
from kamexfrm.errors import KamexfrmError
from kamexfrm.kernel.netlink import NetlinkKernel
from kamexfrm.model.knobs import Knobs
from kamexfrm.operator.file_state import FileState
from kamexfrm.operator.translate import ip_reading, setkey_writing
from kamexfrm.operator.translate.installing import installed
from kamexfrm.operator.translate.ip_writing import lines
from kamexfrm.operator.translate.objects import Objects, Remark, ordinary, plain_state
from kamexfrm.rig import Host, Rig
from kamexfrm.setkey.parser import parse
from kamexfrm.translate.xfrm.policy_to_kernel import TRIGGER_REQID
from kamexfrm.xfrm import LifetimeConfig, Policy, State, Template
from tests.operator.kame_machine import Machine
from tests.operator.schemas import valid
from tests.operator.translate_cases import associations, policies, whole

#: Files with policies and SAs, and SAs of one file; each command takes long in a guest.
CASES = int(os.environ.get("KAMEXFRM_TRANSLATE_CASES", "2"))
SAS = 10


def objects_of(script: str) -> Objects:
    state = FileState()
    for statement in parse(script):
        state.take(statement)
    return installed(state, Knobs())


def to_ip(script: str) -> str:
    remarks: list[Remark] = []
    text = "".join(f"{line}\n" for line in lines(objects_of(script), remarks))
    assert remarks == []
    return text


def to_setkey(text: str) -> str:
    remarks: list[Remark] = []
    found = setkey_writing.written(ip_reading.read(text, "-"), remarks)
    return "".join(f"{line}\n" for line in setkey_writing.statements(found, remarks))


def text_of(machine: Machine) -> str:
    sas, entries = [sa.text() for sa in machine.sad], [e.text() for e in machine.spd]
    return "".join(f"{line}\n" for line in (*sas, *entries))


def unnumbered(found: Sequence[Policy]) -> list[Policy]:
    """Return policies in their order, without the numbers that make it."""
    return [policy._replace(priority=0) for policy in found]


def there(host: Host) -> tuple[list[State], list[Policy]]:
    """Return what a host's kernel has, without tags."""
    with host.enter():
        kernel = NetlinkKernel()
        states = [plain_state(state) for state in kernel.states()]
        found = ordinary(kernel.policies())
        kernel.close()
    return states, found


@pytest.fixture
def hosts() -> Iterator[tuple[Host, Host]]:
    with Rig() as rig:
        yield rig.host("one"), rig.host("other")


def load(host: Host, script: str) -> None:
    """Do what setkey does, without another process: they start slowly in a guest."""
    state = FileState()
    for statement in parse(script):
        state.take(statement)
    with host.enter():
        kernel = NetlinkKernel()
        engine = Engine(kernel)
        for sa, _ in state.sa_statements:
            engine.submit(SaAdd(sa))
        for policy in state.policies:
            engine.submit(SpdAdd(policy))
        engine.flush()
        kernel.close()


def run_lines(host: Host, text: str) -> None:
    done = host.run(["sh", "-e"], input=text, timeout=120)
    assert (done.status, done.stdout, done.stderr) == (0, "", "")


def test_the_lines_make_the_policies_that_setkey_makes(hosts: tuple[Host, Host]) -> None:
    one, other = hosts
    script = policies("translate", 60)
    load(one, script)
    run_lines(other, to_ip(script))
    wanted = there(one)[1]
    assert wanted == there(other)[1]
    assert len(wanted) > 60
    for options in ([], ["-s"], ["-d"]):
        dump = other.run(["ip", *options, "xfrm", "policy"]).stdout
        again = objects_of(to_setkey(dump))
        hidden = {p.selector for p in wanted if any(map(is_trigger, p.templates))}
        left, right = (
            [policy for policy in each if policy.selector not in hidden]
            for each in (unnumbered(again.policies), unnumbered(wanted))
        )
        assert left == right


def is_trigger(template: Template) -> bool:
    """Whether a template stands for a tunnel of level use without an SA, whose ends are gone."""
    return template.reqid == TRIGGER_REQID


@pytest.mark.dataplane
def test_the_lines_make_the_sas_that_setkey_makes(hosts: tuple[Host, Host]) -> None:
    one, other = hosts
    script = associations("translate", SAS)
    load(one, script)
    run_lines(other, to_ip(script))
    wanted, found = there(one)[0], there(other)[0]
    assert wanted == found
    assert len(wanted) >= SAS
    wanted = [state for state in wanted if state.is_keyed]  # not what the kernel adds for IPComp
    for options in ([], ["-s"]):
        dump = other.run(["ip", *options, "xfrm", "state"]).stdout
        states = list(reversed(objects_of(to_setkey(dump)).states))
        if options:
            assert states == wanted
        else:  # such a dump has no limits
            assert states == [state._replace(lifetime=LifetimeConfig()) for state in wanted]


@pytest.mark.dataplane
def test_policies_with_their_sas_are_the_same(hosts: tuple[Host, Host]) -> None:
    one, other = hosts
    for number in range(CASES):
        machine = whole(f"translate:{number}")
        script = text_of(machine)
        for host in hosts:
            for what in ("state", "policy"):
                host.run(["ip", "xfrm", what, "flush"])
        load(one, script)
        run_lines(other, to_ip(script))
        assert there(one) == there(other), script


def test_there_and_back_is_the_same_again() -> None:
    for number in range(40):
        machine = whole(f"back:{number}")
        script = text_of(machine)
        script += associations(f"back:{number}", 5).replace(" 41", " 91")
        first = objects_of(script)
        text = to_ip(script)
        read = ip_reading.read(text, "-")
        assert (read.states, read.policies) == (first.states, first.policies)
        remarks: list[Remark] = []
        again = "".join(f"{line}\n" for line in lines(read, remarks))
        assert again == text
        if any(is_trigger(each) for policy in first.policies for each in policy.templates):
            continue
        back = objects_of(to_setkey(text))
        assert back.states == first.states
        assert unnumbered(back.policies) == unnumbered(first.policies), script


def test_files_for_batch_are_read_as_they_run() -> None:
    text = """
# ip -batch
xfrm state add src 10.0.0.1 dst 10.0.0.2 proto esp spi 0x100 enc "cbc(aes)" \\
    0x000102030405060708090a0b0c0d0e0f
xfrm state flush
xfrm state add src 10.0.0.1 dst 10.0.0.2 proto esp spi 256 mode tunnel reqid 7 \\
    replay-window 32 aead 'rfc4106(gcm(aes))' 0x000102030405060708090a0b0c0d0e0f10111213 128
ip xfrm policy add dir out src 10.1.0.0/16 dst 10.2.0.0/16 priority 9 \\
    tmpl src 10.0.0.1 dst 10.0.0.2 proto esp reqid 7 mode tunnel
ip -4 xfrm policy add src 10.0.0.0/8 dst 10.0.0.0/8 dir out action block priority 1
ip xfrm policy delete src 10.0.0.0/8 dst 10.0.0.0/8 dir out
ip xfrm policy update src fd00::/64 dst fd01::1 proto tcp dport 80 dir out priority 3
"""
    assert to_setkey(text).splitlines() == [
        "add 10.0.0.1 10.0.0.2 esp 0x100 -m tunnel -u 7 -r 32 -E aes-gcm-16"
        " 0x000102030405060708090a0b0c0d0e0f10111213;",
        "spdadd fd00::/64 fd01::1[80] tcp -P out none;",
        "spdadd 10.1.0.0/16 10.2.0.0/16 any -P out ipsec esp/tunnel/10.0.0.1-10.0.0.2/unique:7;",
    ]


def test_what_newer_kernels_have_is_read_and_written() -> None:
    text = (
        "ip xfrm state add src 10.0.0.1 dst 10.0.0.2 proto esp spi 0x100 aead 'rfc4106(gcm(aes))'"
        " 0x000102030405060708090a0b0c0d0e0f10111213 128 mode transport encap espinudp 4500 4500"
        " 0.0.0.0 dir out nat-keepalive-interval 20 pcpu-num 0\n"
    )
    (line,) = to_setkey(text).splitlines()
    assert " dir out nat-keepalive-interval 20 pcpu-num 0 " in line
    assert text.rpartition(" dir ")[2] == to_ip(f"{line}\n").rpartition(" dir ")[2]


@pytest.mark.parametrize(
    ("text", "cure"),
    [
        ("flush;\n", "--from setkey"),
        ("ip xfrm state add src 10.0.0.1 dst 10.0.0.x proto esp\n", "no address"),
        ("ip xfrm policy add src 10.0.0.1 dst 10.0.0.2\n", "dir in, out or fwd"),
        ("ip xfrm policy add src 10.0.0.1 dst 10.0.0.2 dir owt\n", "in, out, fwd"),
        ("ip xfrm state add src 10.0.0.1 dst 10.0.0.2 proto esp spi\n", "missing after 'spi'"),
        ("src 1.1.1.1 dst 1.1.1.2\n\tproto ah spi 1\n\tauth hmac(md5) <<Keys hidden>>\n", "nokeys"),
    ],
)
def test_what_cannot_be_read_has_its_place_and_cure(text: str, cure: str) -> None:
    with pytest.raises(KamexfrmError) as caught:
        ip_reading.read(text, "file")
    assert str(caught.value).startswith("file:1: ")
    assert cure in str(caught.value)


def test_what_setkey_lacks_is_left_out_with_a_remark() -> None:
    text = (
        "src 10.0.0.1 dst 10.0.0.2\n\tproto 4 spi 1 reqid 0 mode tunnel\n\n"
        "src 0.0.0.0/0 dst 0.0.0.0/0\n\tsocket in priority 0 ptype main\n"
    )
    done = CliRunner().invoke(main, ["translate", "--from", "ip", "--to", "setkey"], input=text)
    assert (done.exit_code, done.stdout) == (0, "")
    assert "-:1: a state of another protocol" in done.stderr
    assert "socket" in done.stderr


def test_json_has_no_keys_unless_asked(tmp_path: Path) -> None:
    (tmp_path / "a").write_text(associations("json", 6) + policies("json", 3))
    documents = []
    for options in ([], ["--show-keys"]):
        done = CliRunner().invoke(
            main, ["translate", "--to", "json", *options, str(tmp_path / "a")]
        )
        assert done.exit_code == 0, done.output
        documents.append(valid(json.loads(done.stdout)))
    hidden, shown = documents
    assert not re.search("0x[0-9a-f]{16}", json.dumps(hidden))
    assert len(shown["sas"]) == 6
    assert any("key" in (sa["authentication"] or {}) for sa in shown["sas"])
    assert len(hidden["policies"]) == 11


def test_a_variable_decides_about_default(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("spdadd 10.0.0.1 10.0.0.2 any -P out ipsec esp/transport//default;")
    (tmp_path / "k").write_text("net.inet.ipsec.esp_trans_deflev=2")
    arguments = ["translate", "--to", "ip", str(tmp_path / "a")]
    assert "level use" in CliRunner().invoke(main, arguments).output
    arguments += ["--sysctl", str(tmp_path / "k")]
    assert "level use" not in CliRunner().invoke(main, arguments).output


def test_ports_that_ip_has_no_words_for_are_not_passed_over_in_silence(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text(
        "add 10.0.0.1 10.0.0.2 esp 0x100 sel 10.0.0.1[500] 10.0.0.2 any -E null;\n"
        "spdadd 10.0.0.1[80] 10.0.0.2 any -P out none;\n"
        "spdadd 10.0.0.1[80] 10.0.0.2 89 -P out none;\n"
        "spdadd 10.0.0.1[80] 10.0.0.2 sctp -P out none;\n"
    )
    done = CliRunner().invoke(main, ["translate", "--to", "ip", str(file)])
    assert [line.split()[3:5] for line in done.stdout.splitlines()] == [["add", "src"]]
    assert "proto sctp sport 80" in done.stdout
    assert done.stderr.count("no words for ports of this protocol: left out") == 3


def test_the_code_of_a_mobility_header_is_read_as_ip_prints_it() -> None:
    order = socket.htons(1)
    text = (
        f"src ::1/128 dst ::2/128 proto mobility-header type 3 (dport) 0x{order:04x} uid 0\n"
        "\tdir out action allow index 9 priority 0 share any flag (0x00000000)\n"
    )
    done = CliRunner().invoke(main, ["translate", "--from", "ip", "--to", "setkey"], input=text)
    assert done.stdout == "spdadd ::1 ::2 135 3,1 -P out none;\n"
