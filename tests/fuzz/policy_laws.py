"""What holds for every text given to the policy language."""

import re
from pathlib import Path

from kamexfrm.model.grammar import Parser
from kamexfrm.model.language import parse_policy
from kamexfrm.model.policy_text import PolicyError, PolicyText, format_policy
from tests.fuzz.target import Target, hold

TESTS = Path(__file__).parent.parent


def check(data: bytes) -> str:
    """Check all laws for a text: it is refused at a place, or printed and read again."""
    text = data.decode("utf-8", "surrogateescape")
    quick, slow = _read(text, quick=True), _read(text, quick=False)
    hold(quick == slow, "quick and general reading agree")
    if isinstance(quick, str):
        return quick
    printed = format_policy(quick)
    hold(parse_policy(printed) == quick, f"a policy printed is the same: {printed!r}")
    kinds = {f"{r.protocol.name}{r.mode.name}{r.level.name}" for r in quick.requests}
    type_ = quick.type.name if quick.type else "no type"
    return " ".join((quick.direction.name, type_, *sorted(kinds)))


def _read(text: str, *, quick: bool) -> PolicyText | str:
    try:
        return parse_policy(text) if quick else Parser(text).policy()
    except PolicyError as error:
        hold(0 <= error.offset <= len(text), "an error's offset is in the text")
        hold(error.text, "an error has a reason")
        hold(error.text.isprintable(), "a reason is printable")
        return error.text


def seeds() -> list[bytes]:
    """Return the policies of the tests and of recorded scripts."""
    found = set()
    for path in sorted((TESTS / "golden/samples").glob("*.conf")):
        found.update(re.findall(rb"-P\s+([^;#]+);", path.read_bytes()))
    quoted = re.compile(r'"((?:in|out|fwd) [^"\n{}]*)"')
    for path in sorted((TESTS / "model").glob("test_*.py")):
        found.update(line.encode() for line in quoted.findall(path.read_text()))
    return sorted(found)


TARGET = Target(
    check,
    seeds,
    (
        *(b"in ", b"out ", b"fwd ", b"ipsec ", b"none", b"discard", b"entrust", b"bypass"),
        *(b"prio ", b"priority ", b"low", b"def", b"high", b" + ", b" - ", b"0", b"-1", b"9" * 30),
        *(b"esp/", b"ah/", b"ipcomp/", b"transport/", b"tunnel/", b"any/", b"use", b"require"),
        *(b"unique", b"unique:7", b"unique#70000", b"default", b"2147483647", b"4294967296"),
        *(b"10.0.0.1-10.0.0.2/", b"::1-::2/", b"1.1.1.1[500]-2.2.2.2[500]/", b"me-any", b"any-me"),
        *(b"fe80::1%lo", b"[", b"]", b"/", b"//", b"\n", b"\t", b"\0", b"\xff", b"\xc2\xb2", b" "),
    ),
)
