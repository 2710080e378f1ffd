"""``kamexfrm check``: each code by the example of its page, comments that silence, good files."""

import json
import re
import socket
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from kamexfrm.cli.command import main
from kamexfrm.model.knobs import Knobs
from kamexfrm.operator.check.checking import check
from kamexfrm.operator.check.codes import CODES, Finding
from kamexfrm.operator.check.reading import Configuration, read_configuration
from kamexfrm.operator.knob_files import with_settings
from tests.man.manual_source import page, section
from tests.operator.schemas import valid

_ITEM = re.compile(
    r"^\.It Sy (KX\d+) Pq (\w+)\n([^\n]*).*?^\.Bd -literal\n(.*?)^\.Ed", re.MULTILINE | re.DOTALL
)
EXAMPLES = {
    code: (severity, title, text)
    for code, severity, title, text in _ITEM.findall(
        section(page("kamexfrm-check.8"), "Codes", "s")
    )
}
DUAL = ["192.0.2.7", "2001:db8::7"]


def resolve(
    host: str, port: str | None, family: int, kind: int, protocol: int, flags: int
) -> Sequence[tuple[Any, ...]]:
    """Resolve as a system does that knows one name."""
    if host != "dual.example":
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
    found = [(socket.AF_INET6 if ":" in text else socket.AF_INET, text) for text in DUAL]
    return [(f, kind, protocol, "", (text, 0)) for f, text in found if family in (0, f)]


def findings(folder: Path, text: str, peer: str = "", variables: str = "") -> list[Finding]:
    """Return what is found in a text."""
    (folder / "knobs").write_text(variables)
    knobs = with_settings(Knobs(), [str(folder / "knobs")])

    def configuration(name: str, content: str) -> Configuration:
        (folder / name).write_text(content)
        return read_configuration(
            [str(folder / name)], knobs, has_variables=bool(variables), resolve=resolve
        )

    here = configuration("here.conf", text)
    return check(here, configuration("peer.conf", peer) if peer else None)


def codes(found: Sequence[Finding]) -> set[str]:
    return {finding.code for finding in found}


def test_the_page_has_all_codes_with_their_severities() -> None:
    assert {code: severity for code, (severity, _, _) in EXAMPLES.items()} == {
        code: severity.name.lower() for code, (severity, _) in CODES.items()
    }
    for code, (_, title, _) in EXAMPLES.items():
        assert title.lower().rstrip(".") == CODES[code][1].lower()


@pytest.mark.parametrize("code", CODES)
def test_the_example_of_a_code_causes_it(code: str, tmp_path: Path) -> None:
    text, _, peer = EXAMPLES[code][2].partition("# peer:\n")
    variables = "\n".join(re.findall(r"^# variables: (.*)$", text, re.MULTILINE))
    found = findings(tmp_path, text, peer, variables)
    (first, *_) = [finding for finding in found if finding.code == code]
    assert first.cure
    statement = re.search(r"\b0x[0-9a-f]{16,}", first.message + first.cure)
    assert not statement, "a key is shown"
    last = first.end_line
    lines = text.splitlines()
    if first.place.file.endswith("here.conf") and code not in ("KX001", "KX026"):
        lines[last - 1] += f" # kamexfrm: ignore {code}"
        silenced = findings(tmp_path, "\n".join(lines) + "\n", peer, variables)
        same = [f for f in silenced if f.code == code and f.place == first.place]
        assert not same or code == "KX024"


GOOD = """
# Two gateways, each way with keys of its own.
add 192.0.2.1 192.0.2.2 esp 0x1001 -m tunnel -r 64
    -E aes-gcm-16 0x8f3a91c2d4e5b60718293a4b5c6d7e8f9ab0c1d2;
add 192.0.2.2 192.0.2.1 esp 0x1002 -m tunnel -r 64
    -E aes-gcm-16 0x1b7cd9e0a3f42586b1c8d7e6f50413229fe8d7c6;
spdadd 10.1.0.0/16 10.2.0.0/16 any -P out ipsec esp/tunnel/192.0.2.1-192.0.2.2/require;
spdadd 10.2.0.0/16 10.1.0.0/16 any -P in ipsec esp/tunnel/192.0.2.2-192.0.2.1/require;
"""


@pytest.mark.parametrize(
    "text",
    [
        GOOD,
        "",
        "flush;\nspdflush;\n" + GOOD,
        # An IKE daemon's policies, and what it lets pass.
        "spdadd 0.0.0.0/0[500] 0.0.0.0/0[500] udp -P in prio high none;\n"
        "spdadd 192.0.2.1 192.0.2.2 any -P out ipsec esp/transport//require;\n"
        "spdadd 192.0.2.2 192.0.2.1 any -P in ipsec esp/transport//require;\n",
        # IPv6 with neighbour discovery let pass first, and between two hosts.
        "spdadd ::/0 ::/0 icmp6 135,0 -P out none; spdadd ::/0 ::/0 icmp6 136,0 -P out none;\n"
        "spdadd ::/0 ::/0 icmp6 135,0 -P in none; spdadd ::/0 ::/0 icmp6 136,0 -P in none;\n"
        "spdadd ::/0 ::/0 any -P out ipsec esp/transport//require;\n"
        "spdadd ::/0 ::/0 any -P in ipsec esp/transport//require;\n",
        "spdadd 2001:db8::1 2001:db8::2 any -P out ipsec esp/transport//require;\n"
        "spdadd 2001:db8::2 2001:db8::1 any -P in ipsec esp/transport//require;\n",
        # The narrower policy first; and one that is deleted again.
        "spdadd 10.1.0.0/16 10.2.0.0/16 tcp -P out none;\n"
        "spdadd 10.0.0.0/8 10.0.0.0/8 any -P out discard;\n",
        "spdadd 10.0.0.1/8 10.0.0.0/8 any -P out none;\n"
        "spddelete 10.0.0.1/8 10.0.0.0/8 any -P out;\n",
        "# add 10.0.0.1 10.0.0.2 esp 1; once\nspdadd 10.0.0.1 10.0.0.2 any -P out none; # add;\n",
        "spddelete 10.0.0.1 10.0.0.2 any -P out;\ndelete 10.0.0.1 10.0.0.2 esp 0x1001;\n",
    ],
)
def test_a_good_file_has_no_error_and_no_warning(text: str, tmp_path: Path) -> None:
    found = findings(tmp_path, text)
    assert [f for f in found if f.severity.name != "NOTE"] == []


def test_the_two_ends_of_a_good_link_agree(tmp_path: Path) -> None:
    peer = GOOD.replace("-P in", "-P xx").replace("-P out", "-P in").replace("-P xx", "-P out")
    assert findings(tmp_path, GOOD, peer) == []
    other = peer.replace("0x8f3a", "0x8f3b")
    assert codes(findings(tmp_path, GOOD, other)) == {"KX027"}


def test_further_kinds_are_found(tmp_path: Path) -> None:
    for text, code in (
        ("spdadd 2001:db8::1/64 2001:db8::/64 any -P in none;\n", "KX003"),
        ("spdadd 10.0.0.1 10.0.0.2 any -P in ipsec ah/transport//require;\n", "KX005"),
        ("spdadd fe80::/64 fe80::/64 any -P in ipsec ah/transport//require;\n", "KX009"),
        ("spdadd ::/0 ff02::/16 icmp6 -P out discard;\n", "KX009"),
        ('add 10.0.0.1 10.0.0.2 esp 300 -E aes-cbc "aaaaaaaaaaaaaaaa";\n', "KX016"),
        ("add 10.0.0.1 10.0.0.2 esp 300 -E aes-cbc 0x" + "deadbeef" * 4 + ";\n", "KX016"),
        ("add 10.0.0.1 10.0.0.2 esp 300 -E simple;\n", "KX012"),
        ("add 10.0.0.1 10.0.0.2 esp 300 -E null;\n", "KX013"),
        ("add 10.0.0.1 10.0.0.2 esp 300 -bs 5 -bh 4 -E null;\n", "KX022"),
        ("add 10.0.0.1 10.0.0.2 esp 300 -E null;\n" * 2, "KX002"),
        (f"spdadd 10.0.0.1 10.0.0.2 any -P in ipsec {'esp/transport//use ' * 7};", "KX002"),
        ('spdadd 10.0.0.1 10.0.0.2 any -ctx 1 1 "x;\nadd 10.0.0.1 " -P in none;\n', "KX024"),
        ("spdadd 10.0.0.1 10.0.0.2 any -P in prio high none;\n" * 2, "KX002"),
    ):
        assert code in codes(findings(tmp_path, text)), text


def test_all_statements_that_cannot_be_read_are_found(tmp_path: Path) -> None:
    found = findings(
        tmp_path, "flsh;\nspdadd 10.0.0.1 10.0.0.2 any -P in nune;\nspdflush;\nadd x;\n"
    )
    assert [(f.place.line, f.code) for f in found if f.code == "KX001"] == [
        (1, "KX001"),
        (2, "KX001"),
        (4, "KX001"),
    ]
    assert "did you mean flush" in found[0].cure


# The command


def run(*arguments: str) -> Result:
    return CliRunner().invoke(main, ["check", *arguments])


def test_the_status_follows_the_severity(tmp_path: Path) -> None:
    file = tmp_path / "a.conf"
    file.write_text("spdadd 10.0.0.1/8 10.0.0.0/8 any -P out none;\n")
    assert run(str(file)).exit_code == 0
    assert run("--fail-on", "warning", str(file)).exit_code == 1
    assert run("--fail-on", "note", "--ignore", "KX003,kx004", str(file)).exit_code == 0
    assert "KX003?" in run("--ignore", "KX0003", str(file)).output
    assert run(str(tmp_path / "missing")).exit_code == 1
    assert run().exit_code == 2


def test_findings_are_lines_with_place_severity_code_and_cure(tmp_path: Path) -> None:
    file = tmp_path / "a.conf"
    file.write_text("\n  spdadd 10.0.0.1/8 10.0.0.0/8 any -P out none;\n")
    first, second = run(str(file)).output.splitlines()
    assert first.startswith(f"{file}:2:3: warning: 10.0.0.1/8 has bits beyond its prefix")
    assert first.endswith("[KX003]")
    assert second.startswith("    write 10.0.0.0/8")
    (row,) = valid(json.loads(run("--json", str(file)).output))["findings"]
    assert (row["line"], row["column"], row["code"]) == (2, 3, "KX003")


def test_peer_takes_all_files_that_follow(tmp_path: Path) -> None:
    names = []
    for name, text in (("a", GOOD), ("b", ""), ("c", GOOD.replace("0x1001", "0x1009"))):
        (tmp_path / name).write_text(text)
        names.append(str(tmp_path / name))
    rows = json.loads(run("--json", names[0], "--peer", names[1], names[2]).output)["findings"]
    assert {row["code"] for row in rows} == {"KX027", "KX028"}
