"""The manual pages say what the code does: options, commands, examples, tables."""

import inspect
import re
import socket
import string
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from kamexfrm.algorithms import Kind, by_name, spellings
from kamexfrm.model.knobs import KNOBS, Knobs
from kamexfrm.model.policy import Level
from kamexfrm.rig import Gateways, Host, TwoHosts
from kamexfrm.setkey import command, statements
from kamexfrm.setkey.command import UsageError, read_options
from kamexfrm.setkey.lexer import COMMANDS
from kamexfrm.setkey.options import OPTIONS
from kamexfrm.setkey.parser import parse
from kamexfrm.translate import marker, tag

FOLDER = Path(__file__).parents[2] / "man"
PAGES = sorted(FOLDER.iterdir())
SETKEY = [
    sys.executable,
    "-c",
    "from kamexfrm.setkey.command import main; raise SystemExit(main())",
]


def page(name: str) -> str:
    return (FOLDER / name).read_text(encoding="utf-8")


def section(text: str, heading: str, level: str = "h") -> str:
    """Return a section (``h``) or subsection (``s``) of a page's source."""
    _, _, rest = text.partition(f"\n.S{level} {heading}\n")
    assert rest, f"no section {heading}"
    return re.split(r"\n\.Sh " if level == "h" else r"\n\.S[hs] ", rest)[0]


def rows(text: str, first: str) -> list[list[str]]:
    """Return the rows of the column list whose head begins with a word, without the head."""
    lists = re.findall(r"^\.Bl -column.*?\n(.*?)^\.El", text, re.MULTILINE | re.DOTALL)
    [found] = [one for one in lists if one.startswith(f".It Sy {first} ")]
    lines = found.splitlines()[1:]
    assert all(line.startswith(".It ") for line in lines)
    return [[cell.strip() for cell in re.split(r" Ta(?: |$)", line[4:])] for line in lines]


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


SETKEY_PAGE, IPSEC_PAGE = page("setkey.8"), page("ipsec.4")
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


@pytest.mark.parametrize("name", ["setkey.8", "ipsec.4"])
def test_a_page_fits_a_terminal_of_80_columns(name: str) -> None:
    shown = subprocess.run(
        ["mandoc", "-Tascii", "-Owidth=80", FOLDER / name],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    lines = re.sub(".\b", "", shown).expandtabs().splitlines()
    assert [line for line in lines if len(line) > 80] == []


# setkey(8): options and commands


def test_setkeys_page_has_the_options_that_setkey_reads() -> None:
    letters = string.ascii_letters + string.digits + "?"
    read = {f"-{letter}" for letter in letters if not refused(f"-{letter}")}
    read |= set(re.findall(r'"(--[a-z]+)"', inspect.getsource(command)))
    assert options_of(OPTION_LIST) == read


def test_long_options_of_setkeys_page_are_read() -> None:
    for option in options_of(OPTION_LIST):
        assert not refused(option), option


def test_options_that_setkeys_page_calls_missing_are_refused() -> None:
    missing = section(SETKEY_PAGE, "BUGS").partition("of other versions")[0]
    found = re.findall(r"^\.Fl (\w)", missing, re.MULTILINE)
    assert found == ["l", "H", "x"]
    for letter in found:
        assert refused(f"-{letter}")


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
    listed = options_of(section(SETKEY_PAGE, "Options of an SA", "s"))
    refused_ones = {"-hwif"}
    assert ".Fl hwif\n" in section(SETKEY_PAGE, "BUGS")
    assert listed | refused_ones == set(OPTIONS)


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
        ("Encryption, the last two", (Kind.ENCRYPTION, Kind.AEAD)),
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
            found = next(filter(None, (by_name(kind, word) for kind in kinds)))
            assert (found.key_sizes, found.icv_bits) == (sizes(key), int(icv)), word
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


def configure(host: Host, script: str) -> None:
    done = host.run([*SETKEY, "--strict", "-f", "-"], input=script, timeout=120)
    assert (done.status, done.stdout, done.stderr) == (0, "", "")


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


# ipsec(4)


def test_the_variables_of_ipsecs_page_are_the_knobs_with_their_values() -> None:
    table = rows(section(IPSEC_PAGE, "Variables", "s"), "Name")
    start = Knobs()
    assert [(name, values, int(first)) for name, values, first, _ in table] == [
        (
            knob.name,
            ", ".join(str(number) for number in range(knob.low, knob.high + 1)),
            start.value(knob),
        )
        for knob in KNOBS
    ]
    for name, _, _, concerns in table:
        mode = {"trans": "transport", "net": "tunnel"}
        protocol, _, rest = name.rpartition(".")[2].partition("_")
        wanted = f"{protocol.upper()}, {mode[rest.partition('_')[0]]}" if rest != "policy" else ""
        assert concerns == (wanted or "no match")


#: How ipsec(4) calls the four words, in the order of ``struct xfrm_lifetime_cfg``.
LIMITS = ("soft bytes", "hard bytes", "soft packets", "hard packets")


def bits(cell: str) -> int:
    """Return the mask of ``39-32``."""
    high, low = (int(number) for number in cell.split("-"))
    return (1 << high + 1) - (1 << low)


def layout(table: list[list[str]]) -> Iterator[tuple[int, int, list[str]]]:
    """Yield word, mask and the other cells of the rows of a layout."""
    return ((LIMITS.index(limit), bits(cell), rest) for limit, cell, *rest in table)


def test_the_tags_layout_in_ipsecs_page_is_the_tags() -> None:
    table = rows(section(IPSEC_PAGE, "The tag", "s"), "Limit")
    empty = tag.policy_words(tag.PolicyTag(0, 0))
    seen = [0, 0, 0, 0]
    fields = []
    for word, mask, (field, content) in layout(table):
        assert not seen[word] & mask, field
        seen[word] |= mask
        shift = (mask & -mask).bit_length() - 1
        if field in ("magic", "version"):
            assert empty[word] & mask == int(content, 0) << shift
        elif field == "zero":
            forged = tuple(w | (mask & -mask if at == word else 0) for at, w in enumerate(empty))
            assert tag.read_policy_words(forged).broken
        else:
            full = tag.PolicyTag(0, 0)._replace(**{field: mask >> shift})
            words = tag.policy_words(full)
            assert [a ^ b for a, b in zip(words, empty, strict=True)] == [
                mask if at == word else 0 for at in range(4)
            ]
            fields.append(field)
    assert seen == [(1 << 64) - 1] * 4
    assert sorted(fields) == sorted(tag.PolicyTag._fields)
    assert f"a tag of {len(LIMITS) * 64} bits" in IPSEC_PAGE


def test_the_flags_in_ipsecs_page_are_those_that_a_tag_may_have() -> None:
    table = rows(section(IPSEC_PAGE, "The tag", "s"), "Flag")
    known = 0
    for value, name, _ in table:
        assert getattr(tag, name) == int(value, 0)
        known |= int(value, 0)
    for shift in range(16):
        words = tag.policy_words(tag.PolicyTag(0, 0, 1 << shift))
        assert bool(tag.read_policy_words(words).tag) == bool(known & 1 << shift)


def test_the_share_byte_in_ipsecs_page_is_that_of_templates() -> None:
    text = section(IPSEC_PAGE, "The tag", "s").partition("Each template says")[2]
    table = {name: (int(value, 0), says) for value, name, says in rows(text, "Bit")}
    assert tag.share_of(tag.ShareTag(0)) == table["tag"][0]
    for name in ("endpoints", "trigger", "transparent"):
        flag = tag.share_of(tag.ShareTag(0)._replace(**{name: True}))
        assert flag == table["tag"][0] | table[name][0]
    assert set(tag.ShareTag._fields) | {"tag"} == set(table)
    mask, says = table["level"]
    assert tag.share_of(tag.ShareTag(mask)) == table["tag"][0] | mask
    assert says == ", ".join(f"{level.value} {level.name.lower()}" for level in Level)


def test_the_markers_layout_in_ipsecs_page_is_the_markers() -> None:
    text = section(IPSEC_PAGE, "Marker, sidecars and catch-alls", "s")
    masks = {says: (word, mask) for word, mask, (says,) in layout(rows(text, "Limit"))}
    empty = marker.marker_words(marker.Marker(reqid=0))
    full = (1 << 32) - 1

    def touched(**fields: object) -> list[int]:
        words = marker.marker_words(marker.Marker(reqid=0)._replace(**fields))
        return [a ^ b for a, b in zip(words, empty, strict=True)]

    def said(beginning: str) -> list[int]:
        [(word, mask)] = [masks[says] for says in masks if says.startswith(beginning)]
        return [mask if at == word else 0 for at in range(4)]

    assert touched(last_priority=full) == said("priority of")
    assert touched(order=(1 << 48) - 1) == said("last insertion number")
    assert touched(flags=0xFFFF) == said("flags")
    assert touched(reqid=full) == said("last generated reqid")
    assert touched(last_kernel_priority=full) == said("kernel priority of")
    for family, name in (("inet6", "variables of IPv6"), ("inet", "variables of IPv4")):
        ups = Knobs()._replace(**{family: getattr(Knobs(), family)._replace(def_policy=0)})
        changed = touched(knobs=ups)
        mask = next(filter(None, said(name)))
        assert mask.bit_count() == 9
        assert changed == [0, 0, 1 << mask.bit_length() - 1, 0]
    flags = next(says for says in masks if says.startswith("flags"))
    for value, word in (
        (marker.HAS_TUNNEL_USE, "tunnels"),
        (marker.HAS_MODE_ANY, "SAs"),
        (marker.UNFINISHED, "unfinished"),
    ):
        assert f" {value} {word}" in flags


def test_the_numbers_in_ipsecs_page_are_those_of_the_code() -> None:
    text = section(IPSEC_PAGE, "STATE IN THE KERNEL")
    for number in (
        tag.MARKER_IF_ID,
        tag.SIDECAR_IF_ID,
        tag.CATCH_ALL_USER,
        tag.sa_user(True),
        0xFFFFFFFF,
    ):
        assert f"0x{number:08x}" in text


def test_the_dump_in_ipsecs_page_is_what_ip_prints(namespace: Host) -> None:
    sample = section(IPSEC_PAGE, "As seen by ip-xfrm(8)", "s")
    sample = sample.partition(".Bd -literal -offset 2n\n")[2].partition(".Ed")[0]
    configure(namespace, "spdadd 10.0.0.1 10.0.0.2 any -P out ipsec esp/transport//require;")
    created = re.compile(r"limit: soft \d+\(packets\)")
    shown = created.sub("limit", namespace.run(["ip", "-s", "xfrm", "policy"], check=True).stdout)
    for line in sample.splitlines():
        kept = created.sub("limit", line.strip()).removesuffix("...").strip()
        assert kept in shown
