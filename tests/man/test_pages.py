"""The pages are clean, and setkey(8) says what setkey does: options, language, examples."""

import inspect
import re
import shutil
import socket
import string
import subprocess
import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest

from kamexfrm.algorithms import Kind, by_name, spellings
from kamexfrm.command_line import UsageError
from kamexfrm.model.policy import Level
from kamexfrm.rig import Gateways, Host, TwoHosts
from kamexfrm.setkey import arguments, statements
from kamexfrm.setkey.arguments import read_options
from kamexfrm.setkey.lexer import COMMANDS
from kamexfrm.setkey.parser import parse
from kamexfrm.setkey.sa_options import SA_OPTIONS
from tests.man.manual_source import FOLDER, SETKEY, configure, page, rows, section

PAGES = sorted(FOLDER.iterdir())


def options_of(text: str) -> set[str]:
    """Return what the items of a page's source call options."""
    found = re.findall(r"^\.It (Fl .*)", text, re.MULTILINE)
    words = {word.replace("\\&", "") for line in found for word in re.findall(r"Fl (\S+)", line)}
    return {f"-{word}" for word in words}


def refused(option: str) -> bool:
    try:
        read_options([option, "argument"])
    except UsageError:
        return True
    return False


SETKEY_PAGE = page("setkey.8")
OPTION_LIST = section(SETKEY_PAGE, "DESCRIPTION").partition("The options are as follows:")[2]
EXAMPLES = {
    title: literal.replace("\\-", "-")
    for title, literal in re.findall(
        r"^\.Ss ([^\n]*)\n(?:(?!\.Ss)[^\n]*\n)*?\.Bd -literal[^\n]*\n(.*?)^\.Ed",
        section(SETKEY_PAGE, "EXAMPLES"),
        re.MULTILINE | re.DOTALL,
    )
}
POLICIES_ONLY = {
    title: "".join(
        f"{command};\n" for command in text.split(";") if command.strip().startswith("spd")
    )
    for title, text in EXAMPLES.items()
}


def mirrored(script: str) -> str:
    """Return what the peer of an example needs: in and out exchanged."""
    other = {"in": "out", "out": "in"}
    return re.sub(r"-P (in|out)", lambda match: f"-P {other[match[1]]}", script)


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_every_page_is_clean(path: Path) -> None:
    lint = subprocess.run(
        ["mandoc", "-Tlint", "-Wwarning", path], capture_output=True, text=True, check=False
    )
    assert (lint.stdout, lint.returncode) == ("", 0)


@pytest.mark.parametrize(
    # a scenario's lines are long
    "path",
    [path for path in PAGES if path.name != "kame-rig.7"],
    ids=lambda path: path.name,
)
def test_a_page_fits_a_terminal_of_80_columns(path: Path) -> None:
    shown = subprocess.run(
        ["mandoc", "-Tascii", "-Owidth=80", path],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    lines = re.sub(".\b", "", shown).expandtabs().splitlines()
    assert [line for line in lines if len(line) > 80] == []


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_man_db_has_nothing_to_warn_of(path: Path) -> None:
    if shutil.which("groff") is None:
        pytest.skip("man-db's groff is not installed")
    command = ["groff", "-ww", "-mdoc", "-Tutf8", "-P-c", str(path)]
    shown = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (shown.returncode, shown.stderr) == (0, "")


def test_every_page_is_installed_in_its_section() -> None:
    project = tomllib.loads((FOLDER.parent / "pyproject.toml").read_text())
    installed = project["tool"]["hatch"]["build"]["targets"]["wheel"]["shared-data"]
    assert {name: to for name, to in installed.items() if name.startswith("man/")} == {
        f"man/{path.name}": f"share/man/man{path.suffix[1:]}/{path.name}" for path in PAGES
    }


# setkey(8): options and commands


def test_setkeys_page_has_the_options_that_setkey_reads() -> None:
    letters = string.ascii_letters + string.digits + "?"
    read = {f"-{letter}" for letter in letters if not refused(f"-{letter}")}
    read |= set(re.findall(r'"(--[a-z-]+)=?"', inspect.getsource(arguments)))
    assert options_of(OPTION_LIST) == read


def test_long_options_of_setkeys_page_are_read() -> None:
    for option in options_of(OPTION_LIST):
        assert not refused(option), option


def test_the_synopsis_uses_only_options_of_the_list() -> None:
    words = re.findall(r"Fl ([\w-]+(?: \| \w)?)", section(SETKEY_PAGE, "SYNOPSIS"))
    used: set[str] = set()
    for word in words:
        used |= {f"-{word}"} if word.startswith("-") else {f"-{x}" for x in word if x.isalpha()}
    assert used <= options_of(OPTION_LIST)


def test_setkeys_page_has_the_commands_of_the_language() -> None:
    text = section(SETKEY_PAGE, "Commands", "s")
    heads = re.findall(r"^\.It (?:Xo\n\.)?(Cm .*)", text, re.MULTILINE)
    named = {word for head in heads for word in re.findall(r"Cm ([a-z]+)", head)}
    assert named == set(COMMANDS)


def test_setkeys_page_has_the_options_of_an_sa() -> None:
    text = section(SETKEY_PAGE, "Options of an SA", "s")
    plain = set(re.findall(r"^\.It Cm ([a-z_-]+)", text, re.MULTILINE))
    assert options_of(text) | plain | {f"-{word}" for word in plain} == set(SA_OPTIONS)


def test_setkeys_page_has_the_protocols() -> None:
    text = section(SETKEY_PAGE, "Protocols and SPI", "s")
    items = re.findall(r"^\.It Cm (.*)", text, re.MULTILINE)
    named = {word for item in items for word in item.split(" , ")}
    assert named | {"tcp"} == set(filter(None, statements.PROTOCOL_WORDS))


def sizes(cell: str) -> tuple[int, ...]:
    """Return the key sizes of a table's cell, in bits."""
    if cell == "none":
        return (0,)
    low, to, high = cell.partition(" to ")
    return (
        tuple(range(int(low), int(high) + 1, 8)) if to else tuple(int(n) for n in cell.split(", "))
    )


@pytest.mark.parametrize(
    ("heading", "kinds"),
    [
        ("Authentication:", (Kind.AUTHENTICATION,)),
        ("Encryption, those with an ICV", (Kind.ENCRYPTION, Kind.AEAD)),
    ],
)
def test_setkeys_page_has_the_algorithms_with_their_sizes(
    heading: str, kinds: tuple[Kind, ...]
) -> None:
    text = section(SETKEY_PAGE, "Algorithms", "s").partition(heading)[2]
    table = rows(text[: text.index("\n.El") + 5], "Name")
    listed = set()
    for name, key, icv, also in table:
        for word in (name, *filter(None, also.split(", "))):
            row = next(filter(None, (by_name(kind, word) for kind in kinds)))
            assert (row.key_sizes, row.icv_bits) == (sizes(key), int(icv)), word
            listed.add(word)
    there = {
        word
        for kind in kinds
        for word in spellings(kind)
        if (found := by_name(kind, word)) and found.kernel
    }
    assert listed == there


# setkey(8): examples


def no_resolver(*_: object) -> list[tuple[object, ...]]:
    raise socket.gaierror(-2, "an example asks for a name")


def test_there_are_examples_of_all_kinds() -> None:
    together = "\n".join(EXAMPLES.values())
    assert len(EXAMPLES) == 6
    for word in ("esp/tunnel/fd00::1-fd00::2", " ah ", "ipcomp", "icmp6 135,0", "aes-gcm-16"):
        assert word in together


@pytest.mark.parametrize("title", EXAMPLES)
def test_an_example_is_setkeys_language(title: str) -> None:
    read = list(parse(EXAMPLES[title], title, resolve=no_resolver))
    assert len(read) == EXAMPLES[title].count(";")
    policies = [each.policy for each in read if isinstance(each, statements.SpdAdd)]
    levels = {request.level for policy in policies for request in policy.requests}
    assert Level.REQUIRE in levels


@pytest.mark.parametrize("title", POLICIES_ONLY)
def test_the_policies_of_an_example_install_in_a_fresh_namespace(
    namespace: Host, title: str
) -> None:
    done = namespace.run([*SETKEY, "--strict", "-f", "-"], input=POLICIES_ONLY[title])
    assert (done.status, done.stdout, done.stderr) == (0, "", "")
    shown = namespace.run([*SETKEY, "-DP"], check=True).stdout
    inbound = POLICIES_ONLY[title].count("-P in")
    added = POLICIES_ONLY[title].count("spdadd")
    assert len(re.findall(r"^\tspid=", shown, re.MULTILINE)) == added + inbound


def carried(text: str) -> Callable[[object], bool]:
    """Return whether a packet's summary has a text, as a predicate."""
    return lambda packet: text in str(packet)


@pytest.mark.dataplane
@pytest.mark.parametrize(
    ("title", "destination", "outermost"),
    [
        ("Transport mode between two hosts", "10.0.0.2", "ESP spi=0x10001"),
        ("AH around ESP", "10.0.0.2", "AH spi=0x30003 seq=1 ESP spi=0x30001"),
        ("Compression before encryption", "10.0.0.2", "ESP spi=0x40003"),
        ("All of IPv6 but neighbour discovery", "fd00::2", "ESP spi=0x50001"),
    ],
)
def test_an_example_for_two_hosts_protects_what_they_say(
    two_hosts: TwoHosts, title: str, destination: str, outermost: str
) -> None:
    a, b = two_hosts
    configure(a, EXAMPLES[title])
    configure(b, mirrored(EXAMPLES[title]))
    with a.capture("eth0") as capture:
        assert a.ping(destination, timeout=10, payload=b"x" * 100)
        capture.wait_for(carried(outermost))
        assert not [p for p in capture.packets if "echo" in str(p)]


@pytest.mark.dataplane
def test_the_example_for_gateways_protects_both_families(gateways: Gateways) -> None:
    script = EXAMPLES["Tunnels between two gateways"]
    configure(gateways.g1, script)
    configure(gateways.g2, mirrored(script))
    with gateways.g1.capture("eth1") as capture:
        assert gateways.h1.ping("10.2.0.2", timeout=10, payload=b"tell nobody")
        assert gateways.h1.ping("fd02::2", timeout=10, payload=b"tell nobody")
        capture.wait_for(carried("ESP spi=0x20001"))
        capture.wait_for(carried("ESP spi=0x20003"))
        assert not capture.contains(b"tell nobody")


@pytest.mark.dataplane
def test_the_example_for_one_service_protects_just_that(two_hosts: TwoHosts) -> None:
    a, b = two_hosts
    script = EXAMPLES["AES-GCM for one service"]
    configure(a, script)
    configure(b, mirrored(script))
    with (
        b.socket(socket.AF_INET, socket.SOCK_STREAM) as server,
        a.socket(socket.AF_INET, socket.SOCK_STREAM) as client,
        a.capture("eth0") as capture,
    ):
        server.bind(("10.0.0.2", 80))
        server.listen()
        client.settimeout(10)
        client.connect(("10.0.0.2", 80))
        capture.wait_for(carried("ESP spi=0x60001"))
        assert a.ping("10.0.0.2", timeout=10)
        capture.wait_for(carried("ICMP echo request"))
        assert not [p for p in capture.packets if "TCP" in str(p)]
