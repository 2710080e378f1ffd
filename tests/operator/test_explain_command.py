"""``kamexfrm explain`` as a command: what it reads, prints and asks the kernel."""

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from kamexfrm.cli.command import main
from kamexfrm.model.linux.differences import DIFFERENCES
from kamexfrm.rig import Host, Rig
from kamexfrm.rig.python import module
from tests.man.manual_source import configure, page
from tests.operator.schemas import valid

FILE = """
add 10.0.0.1 10.0.0.2 esp 0x1001 -m transport -E null -A hmac-sha1 "12345678901234567890";
add 192.0.2.2 192.0.2.1 esp 0x2001 -m tunnel -E null -A hmac-sha1 "12345678901234567890";
spdadd 10.0.0.1 10.0.0.2[443] tcp -P out none;
spdadd 10.0.0.1 10.0.0.0/24 udp -P out discard;
spdadd 10.0.0.1 10.0.0.2 any -P out ipsec esp/transport//default ah/transport//default;
spdadd 10.2.0.0/16 10.1.0.0/16 any -P in ipsec esp/tunnel/192.0.2.2-192.0.2.1/require;
"""


def run(*arguments: str, status: int = 0) -> str:
    done = CliRunner().invoke(main, ["explain", *arguments])
    assert done.exit_code == status, done.output
    return done.output


@pytest.fixture
def file(tmp_path: Path) -> str:
    (tmp_path / "a.conf").write_text(FILE)
    return str(tmp_path / "a.conf")


def found(*arguments: str) -> dict[str, Any]:
    return valid(json.loads(run("--json", *arguments)))


def test_entries_that_nearly_match_say_what_differs_first(file: str) -> None:
    document = found("--from", file, "10.0.0.1", "10.0.0.2", "tcp", "1024", "80")
    assert document["governing"]["position"] == 3
    assert [
        (near["position"], near["differs"], near["wants"]) for near in document["passed_over"]
    ] == [(1, "destination port", "443"), (2, "protocol", "udp")]


def test_a_default_is_shown_with_its_knob_and_what_is_missing(file: str, tmp_path: Path) -> None:
    document = found("--from", file, "10.0.0.1", "10.0.0.2", "tcp", "1024", "80")
    first, second = document["requests"]
    assert (first["outcome"], first["spi"]) == ("applied", 0x1001)
    assert (second["level"], second["knob"]) == ("use", "net.inet.ipsec.ah_trans_deflev")
    assert [layer["spi"] for layer in document["bundle"]] == [0x1001]
    assert [sa["protocol"] for sa in document["acquires"]] == ["ah"]
    (tmp_path / "knobs").write_text("net.inet.ipsec.ah_trans_deflev = 2\n")
    knobs = str(tmp_path / "knobs")
    document = found("--from", file, "--sysctl", knobs, "10.0.0.1", "10.0.0.2", "tcp", "1", "80")
    assert (document["verdict"], document["rule"]) == ("dropped", "SA_MISSING")


def test_what_linux_does_otherwise_has_the_names_of_the_caveats(file: str) -> None:
    document = found("--from", file, "10.0.0.1", "10.0.0.9", "udp", "1", "2")
    assert (document["verdict"], document["errno"]) == ("dropped", None)
    assert document["kernel"] == {
        "verdict": "dropped",
        "differences": ["discard is told to the sender"],
        "errno": "EPERM",
        "counters": ["XfrmOutPolBlock"],
    }
    caveats = page("ipsec.4").partition(".Sh CAVEATS")[2]
    assert all(f"\n.It {difference.title}\n" in caveats for difference in DIFFERENCES)


def test_via_says_how_a_packet_came(file: str) -> None:
    ends = ("10.2.0.1", "10.1.0.1", "udp", "1", "2")
    assert found("--from", file, "fwd", *ends)["verdict"] == "rejected"
    for via in (
        ("--via", "esp:0x2001"),
        ("--via", "esp"),
        ("--via", "esp/tunnel/192.0.2.2-192.0.2.1"),
    ):
        document = found("--from", file, "fwd", *ends, *via)
        assert document["verdict"] == document["kernel"]["verdict"] == "clear", via
        assert document["arrival"]["governing"]["position"] == 1
    document = found("--from", file, "fwd", *ends, "--via", "esp:0x2002")
    assert (document["verdict"], document["rule"]) == ("rejected", "NO_SUCH_SA")
    twice = found("--from", file, "in", "10.0.0.2", "10.0.0.1", "--via", "ah", "esp")
    assert [layer["protocol"] for layer in twice["via"]] == ["ah", "esp"]


def test_a_sockets_own_policy_goes_before_the_spd(file: str) -> None:
    arguments = ("--from", file, "10.0.0.1", "10.0.0.9", "udp", "1", "2")
    document = found(*arguments, "--socket", "out bypass")
    assert (document["verdict"], document["governing"]["kind"]) == ("clear", "socket")
    document = found(*arguments, "--socket", "out bypass", "--unprivileged")
    assert (document["verdict"], document["governing"]["kind"]) == ("dropped", "entry")


def test_a_mark_and_an_xfrm_interface_narrow_a_policy(tmp_path: Path) -> None:
    (tmp_path / "a").write_text(
        "spdadd 10.0.0.1 10.0.0.2 any mark 5/0xff -P out none;\n"
        "spdadd 10.0.0.1 10.0.0.2 any if_id 7 -P out discard;\n"
    )
    arguments = ("--from", str(tmp_path / "a"), "10.0.0.1", "10.0.0.2")
    near = found(*arguments)["passed_over"]
    assert [(each["differs"], each["wants"]) for each in near] == [
        ("mark", "0x5/0xff"),
        ("if_id", "7"),
    ]
    assert found(*arguments, "--mark", "0x105")["governing"]["position"] == 1
    assert found(*arguments, "--if-id", "7")["governing"]["position"] == 2


def test_the_text_is_plain_and_short(file: str) -> None:
    text = run("--from", file, "10.0.0.1", "10.0.0.2", "tcp", "1024", "80")
    first, *rest = text.splitlines()
    assert first == "out 10.0.0.1[1024] 10.0.0.2[80] tcp: protected"
    assert all(line.startswith("  ") for line in rest)
    assert "\x1b" not in text
    assert run("-q", "--from", file, "10.0.0.1", "10.0.0.2", "tcp", "1", "80") == "protected\n"


@pytest.mark.parametrize(
    ("arguments", "cure"),
    [
        (("10.0.0.1",), "such as kamexfrm explain out"),
        (("10.0.0.1", "fd00::1"), "one is IPv4 and the other one IPv6"),
        (("10.0.0.1", "10.0.0.2", "tpc"), "did you mean tcp?"),
        (("10.0.0.1", "10.0.0.2", "udp", "1", "70000"), "port: 0 to 65535"),
        (("10.0.0.1", "10.0.0.2", "--via", "esp"), "write in or fwd"),
        (("fwd", "10.0.0.1", "10.0.0.2", "--socket", "out bypass"), "has no socket"),
        (("10.0.0.1", "10.0.0.2", "--probe", "--from", "-"), "not with --from"),
    ],
)
def test_a_wrong_command_line_is_status_2_with_its_cure(
    arguments: tuple[str, ...], cure: str
) -> None:
    assert cure in run(*arguments, status=2)


def test_a_file_that_is_wrong_is_status_1_with_place_and_cure(tmp_path: Path) -> None:
    (tmp_path / "bad").write_text("\nspdadd 10.0.0.1 10.0.0.2 any -P owt none;\n")
    bad = str(tmp_path / "bad")
    assert f"{bad}:2:" in run("--from", bad, "10.0.0.1", "10.0.0.2", status=1)
    missing = str(tmp_path / "missing")
    assert "No such file" in run("--from", missing, "10.0.0.1", "10.0.0.2", status=1)
    assert "esp:0x100/transport" in run(
        "--from", "/dev/null", "in", "10.0.0.1", "10.0.0.2", "--via", "gre", status=1
    )


# A live system


@pytest.fixture(scope="module")
def host() -> Iterator[Host]:
    with Rig() as rig:
        one, other = rig.host("one"), rig.host("other")
        rig.link(one, other)
        one.address("eth0", "10.0.0.1/24")
        other.address("eth0", "10.0.0.2/24")
        policies = "".join(FILE.partition("spdadd")[1:]).replace("//default", "//use")
        configure(one, policies)
        yield one


def live(host: Host, *arguments: str) -> dict[str, Any]:
    command = [*module("kamexfrm.cli"), "explain", "--json", *arguments]
    done = host.run(command, timeout=60)
    assert done.status == 0, done.stderr
    return valid(json.loads(done.stdout))


def test_a_probe_says_what_became_of_a_packet(host: Host) -> None:
    document = live(host, "10.0.0.1", "10.0.0.2", "udp", "0", "9", "--probe")
    assert document["governing"]["id"]
    assert document["route"]["interface"] == "eth0"
    probe = document["probe"]
    assert probe["verdict"] == document["kernel"]["verdict"] == "dropped"
    assert probe["errno"] == document["kernel"]["errno"] == "EPERM"
    assert probe["counters"] == {"XfrmOutPolBlock": 1}
    document = live(host, "10.0.0.1", "10.0.0.2", "tcp", "0", "443", "--probe")
    assert document["probe"]["verdict"] == document["verdict"] == "clear"
    document = live(host, "10.9.9.9", "10.0.0.2", "tcp")
    assert "is no address of this host" in document["hints"][0]


@pytest.mark.dataplane
def test_a_probe_names_the_sa_that_took_the_packet(host: Host) -> None:
    configure(host, FILE.splitlines()[1])
    document = live(host, "10.0.0.1", "10.0.0.2", "tcp", "0", "80", "--probe")
    assert document["bundle"][0]["spi"] == 0x1001
    probe = document["probe"]
    assert probe["verdict"] == document["verdict"] == document["kernel"]["verdict"] == "protected"
    assert [sa["spi"] for sa in probe["sas"]] == [0x1001]
    assert probe["counters"] == {}


def test_files_need_no_privileges() -> None:
    nobody = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "--"]
    asked = ["explain", "-q", "--from", "-", "10.0.0.1", "10.0.0.2"]
    done = subprocess.run(
        [*nobody, *module("kamexfrm.cli"), *asked],
        input=FILE,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.stdout, done.stderr) == ("protected\n", "")
