"""Laws of the parser: the quick and the general reading agree, and nothing ever crashes it."""

import random
import re
import socket
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from kamexfrm.setkey.errors import ScriptError, format_interactive_error, format_script_error
from kamexfrm.setkey.fast_parser import plain_statement
from kamexfrm.setkey.lexer import STATEMENT, WORD, complete_length
from kamexfrm.setkey.parser import Parser
from kamexfrm.setkey.statements import Statement
from tests.examples_of_laws import examples

SAMPLES = sorted((Path(__file__).parent / "samples").glob("*.txt"))


def _no_names(*_: object) -> list[tuple[object, ...]]:
    raise socket.gaierror(-2, "Name or service not known")


def _read(text: str | bytes) -> tuple[list[Statement], list[ScriptError]]:
    """Read everything there is, past all errors."""
    parser = Parser(text, "f", resolve=_no_names)
    statements: list[Statement] = []
    errors: list[ScriptError] = []
    while True:
        try:
            for statement in parser:
                statements.append(statement)
        except ScriptError as error:
            errors.append(error)
            continue
        return statements, errors


def _general(text: str) -> Statement | str | None:
    try:
        return Parser(text, "f", resolve=_no_names)._next()
    except ScriptError as error:
        return f"{error}"


ADDRESSES = st.sampled_from(
    (
        *(
            "10.0.0.1",
            "10.0.0.0",
            "::1",
            "2001:db8::",
            "::ffff:1.2.3.4",
            "10.1",
            "1.2.3.256",
            "dead",
        ),
        *("::", ":", ".", "1:2", "010.0.0.1", "fe80::1%lo", "any", "add.b"),
    )
)
PREFIXES = st.sampled_from(("", "", "/24", "/128", "/255", "/256", "/0", "/", "/08"))
PORTS = st.sampled_from(("", "", "[80]", "[0]", "[any]", "[65536]", "[00443]", "[]", "[ 80 ]"))
UPPERS = st.sampled_from(
    (
        *("any", "tcp", "udp", "50", "0", "255", "256", "esp", "icmp", "58", "gre", "ip", "flush"),
        *("icmp6 135,0", "nosuch", "0x32", "sctp", "01"),
    )
)
POLICIES = st.sampled_from(
    (
        *(
            "out ipsec esp/transport//require",
            " in none",
            "out",
            "fwd discard",
            "bogus",
            "out none esp",
        ),
        *("out prio high + 5 ipsec esp/tunnel/1.1.1.1-2.2.2.2/unique:7 ah/transport//use", ""),
        *("out prio def - 9 none", "out prio low -5 none", "out ipsec esp / transport / / use "),
        *(
            "out prio high + 1073741824 none",
            "out ipsec esp/tunnel/::1-1.1.1.1/use",
            "out none # x",
        ),
        *("in ipsec esp/transport//require -hwif eth0", "out ipsec esp/transport//unique#5"),
    )
)
SPACE = st.sampled_from((" ", "  ", "\t", " \t"))
ENDS = st.sampled_from((";\n", " ; \n", ";\r\n", "; # c\n", ";", ";;\n", "\n", ";\tflush;\n"))


@st.composite
def spdadd_lines(draw: st.DrawFn) -> str:
    ranges = [draw(ADDRESSES) + draw(PREFIXES) + draw(PORTS) for _ in range(2)]
    words = ["spdadd", *ranges, draw(UPPERS), f"-P {draw(POLICIES)}"]
    return draw(st.sampled_from(("", " ", "\t"))) + draw(SPACE).join(words) + draw(ENDS)


KEYS = st.sampled_from(
    ("0x" + "00" * 16, "0x" + "11" * 20, "0x123", '"' + "k" * 16 + '"', "0x", "")
)
OPTIONS = st.lists(
    st.sampled_from(
        (
            *("-m tunnel", "-m any", "-m", "-u 5", "-u 9999999999", "-r 4", "-lh 10", "-ls 5"),
            *("-bh 7", "-bs 2", "-f zero-pad", "-esn", "-u 5 -u 6", "-u 0x5"),
        )
    ),
    max_size=4,
).map(" ".join)


@st.composite
def add_lines(draw: st.DrawFn) -> str:
    words = ["add", draw(ADDRESSES), draw(ADDRESSES)]
    words.append(draw(st.sampled_from(("esp", "ah", "esp-old", "ipcomp", ""))))
    words.append(draw(st.sampled_from(("0x1001", "5", "4294967295", "0x100000000", "0X5", "x"))))
    words.append(draw(OPTIONS))
    if draw(st.booleans()):
        cipher = ("aes-cbc", "null", "aes-gcm-16", "des-32iv", "bogus", "hmac-md5")
        words += ["-E", draw(st.sampled_from(cipher)), draw(KEYS)]
    if draw(st.booleans()):
        words += ["-A", draw(st.sampled_from(("hmac-sha1", "hmac-md5", "sha", "null"))), draw(KEYS)]
    return draw(SPACE).join(word for word in words if word) + draw(ENDS)


@settings(max_examples=examples(1500), deadline=None)
@given(spdadd_lines() | add_lines())
@example("spdadd 10.0.0.1[80] 10.0.0.2[443] tcp -P out ipsec esp/transport//require;\n")
@example("add 10.0.0.1 10.0.0.2 esp 5 -u 7 -E aes-cbc 0x" + "00" * 16 + ";\n")
def test_quick_reading_agrees_with_the_general_one(line: str) -> None:
    quick = plain_statement(line, 0, "f", 1, 0)
    if quick is not None:
        general = _general(line)
        assert quick == general
        assert type(quick) is type(general)


@pytest.mark.parametrize(
    "line",
    [
        "spdadd 10.0.3.7/32 10.1.3.7/32 any -P out ipsec esp/transport//require;\n",
        "  spdadd 10.0.3.7[80] 10.1.3.7 tcp -P in prio low - 3 ipsec ah/transport//default;\r\n",
        "spdadd ::/0 ::1 udp -P out ipsec esp/tunnel/192.0.2.1-192.0.2.2/unique:7; # note\n",
        f"add 10.0.0.1 10.0.0.2 esp 0x5 -m tunnel -u 7 -E aes-cbc 0x{'00' * 16};\n",
        f"add ::1 ::2 ah 500 -r 4 -A hmac-sha1 0x{'00' * 20};\n",
    ],
)
def test_plain_lines_are_read_quickly(line: str) -> None:
    assert plain_statement(line, 0, "f", 1, 0) == _general(line)


def _scripts() -> list[str]:
    found = []
    for path in SAMPLES:
        lines = re.findall(r"^(?:add|getspi|get|dump|spd\w+) .*\n", path.read_text(), re.MULTILINE)
        found.append("# " + path.stem + "\n" + "".join(lines))
    found.append(
        'spdadd -46n ::/0[domain] ::/0 icmp6 135,0 -ctx 1 1 "l" -P in\n prio high + 5 ipsec # c;\n'
        " esp / tunnel / 1.1.1.1[4500]-2.2.2.2[4500] / unique#70000 -hwif e0;\\\n"
        "add 10.0.0.1[4500] 10.0.0.2 esp-udp 10.0.0.3 0x5 -natt 1.1.1.1 [4500] 2.2.2.2[1]\r\n"
        ' -f zero-pad -esn -E null -A hmac-md5 "0123456789\n12345";deleteall ::1 ::1 ah;exit;'
    )
    return found


SCRIPTS = _scripts()
_BITS = (
    *(b"", b";", b'"', b"#", b"\n", b"\\", b"\0", b"\xff", b"-P", b"[", b"/", b"0x", b"-", b"9"),
    *(b"\r", b"\xc2\xb2", b"any", b"spdadd ", b"unique#", b"9" * 30, b",", b"%", b"\x1b"),
)


def _check(text: bytes) -> None:
    """Read a text to its end; it may complain of nothing but places that are in the text."""
    statements, errors = _read(text)
    lines = text.count(b"\n") + 1
    for statement in statements:
        assert 1 <= statement.place.line <= statement.end_line <= lines
        assert statement.place.column >= 1
    for error in errors:
        assert error.place
        assert 1 <= error.place.line <= lines
        assert error.place.column >= 1
        shown = format_script_error(error) + "".join(format_interactive_error(error))
        assert "\x1b" not in shown
        assert shown.encode()
    assert len(statements) + len(errors) <= text.count(b";") + 1
    assert 0 <= complete_length(text.decode("utf-8", "surrogateescape")) <= len(text)


@settings(max_examples=examples(400), deadline=None)
@given(st.integers(0, 2**32), st.sampled_from(SCRIPTS), st.integers(1, 8))
def test_damaged_scripts_raise_nothing_but_script_errors(
    seed: int, script: str, times: int
) -> None:
    chance = random.Random(seed)
    text = bytearray(script.encode())
    for _ in range(times):
        at = chance.randrange(len(text) + 1)
        end = at + chance.choice((0, 0, 1, 1, 3, 20))
        text[at:end] = chance.choice(_BITS)
    _check(bytes(text))


@settings(max_examples=examples(200), deadline=None)
@given(st.binary(max_size=300))
def test_noise_raises_nothing_but_script_errors(noise: bytes) -> None:
    _check(noise)


@settings(max_examples=examples(200), deadline=None)
@given(st.text(max_size=100))
def test_text_raises_nothing_but_script_errors(noise: str) -> None:
    _read(noise)
    _read(f'add 10.0.0.1 10.0.0.2 esp 5 -E blowfish-cbc "{noise}";')


@pytest.mark.parametrize(
    "text",
    [
        b"a" * 1_000_000,
        b"flush " + b"a" * 1_000_000 + b";",
        b'"' * 999_999,
        b"spdadd " + b"1" * 1_000_000,
        b"spdadd 10.0.0.1 10.0.0.2 any -P out ipsec " + b"esp/transport " * 70_000 + b"$;",
        b"add 10.0.0.1 10.0.0.2 esp 5 -E aes-cbc 0x" + b"0" * 1_000_000 + b";",
        b'add 10.0.0.1 10.0.0.2 esp 5 -E aes-cbc "' + b"0" * 1_000_000,
        b"\0" * 1_000_000,
        b"flush;" * 150_000 + b"x",
        b"#" * 1_000_000,
        b"\\" * 1_000_000,
        "add 10.0.0.1 10.0.0.2 esp \ud800;",
        'add 10.0.0.1 10.0.0.2 esp 5 -ctx 1 1 "\ud800" -E null;',
    ],
    ids=range(13),
)
@pytest.mark.not_unit("takes seconds")
def test_enormous_and_broken_texts_are_read_in_one_breath(text: bytes | str) -> None:
    statements, errors = _read(text)
    assert len(errors) == (0 if statements == [] and text[:1] == b"#" else 1)


@pytest.mark.parametrize("script", SCRIPTS)
def test_a_statement_ends_for_the_words_where_it_ends_for_the_whole(script: str) -> None:
    at = 0
    while match := STATEMENT.match(script, at):
        words = WORD.findall(match[0])
        assert words.index(";") == len(words) - 2
        assert words[-1] == ""
        at = match.end()
