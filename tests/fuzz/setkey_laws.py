"""What holds for every text given to setkey's reader, however broken."""

import re
import socket
import time
from pathlib import Path

from kamexfrm.errors import Place
from kamexfrm.model.language import parse_policy
from kamexfrm.model.policy import Owner, SpdEntry
from kamexfrm.model.policy_text import PolicyError, PolicyText, format_policy
from kamexfrm.setkey.dump_sp import format_sp
from kamexfrm.setkey.errors import ScriptError, format_interactive_error, format_script_error
from kamexfrm.setkey.fast_parser import plain_statement
from kamexfrm.setkey.lexer import complete_length
from kamexfrm.setkey.parser import Parser
from kamexfrm.setkey.statements import SpdAdd, SpdUpdate, Statement
from tests.fuzz.target import LawError, Target, hold

TESTS = Path(__file__).parent.parent

NOWHERE = Place("f", 1, 1)


def no_names(*_: object) -> list[tuple[object, ...]]:
    """Find nothing, at once."""
    raise socket.gaierror(-2, "Name or service not known")


def read(text: str | bytes, line: int = 1) -> tuple[list[Statement], list[ScriptError]]:
    """Read everything there is, past twenty errors."""
    parser = Parser(text, "f", line=line, resolve=no_names)
    statements: list[Statement] = []
    errors: list[ScriptError] = []
    while True:
        try:
            statements.extend(parser)
        except ScriptError as error:
            errors.append(error)
            if len(errors) == 20:
                return statements, errors
        else:
            return statements, errors


def check(data: bytes, slow: float = 1.0) -> str:
    """Check all laws for a text; return what it was to the reader, in a few words.

    Reading a text may take ``slow`` seconds of this process's time. Raises LawError, and whatever
    the reader raises that it should not.
    """
    text = data.decode("utf-8", "surrogateescape")
    started = time.process_time()
    statements, errors = read(data)
    seconds = time.process_time() - started
    if seconds >= slow:  # or was it the machine?
        seconds = min(_seconds_to_read(data) for _ in range(3))
    hold(seconds < slow, f"a text is read in time: {seconds:.1f} s for {len(data)} bytes")
    lines = data.count(b"\n") + 1
    for statement in statements:
        hold(1 <= statement.place.line <= statement.end_line <= lines, "a statement has its lines")
        hold(statement.place.column >= 1, "a statement has its column")
        if isinstance(statement, SpdAdd | SpdUpdate):
            _printed_policy_is_read_again(statement)
    for error in errors:
        _error_has_a_place(error, text)
        _message_is_printable(error)
        _no_key_is_told(error, text)
    hold(len(statements) + len(errors) <= text.count(";") + 1, "a semicolon ends a statement")
    _quick_reading_agrees(text)
    if not errors:
        _pieces_are_the_whole(text, statements)
    _policy_text(text)
    kinds = sorted({type(s).__name__ for s in statements})
    return " ".join((*kinds, *sorted({f"{e.reason}/{e.fatal}/{e.hints[:1]}" for e in errors})[:2]))


def _seconds_to_read(data: bytes) -> float:
    started = time.process_time()
    read(data)
    return time.process_time() - started


def _error_has_a_place(error: ScriptError, text: str) -> None:
    place = error.place
    if place is None:
        raise LawError("an error has a place")
    lines = text.split("\n")
    hold(1 <= place.line <= len(lines), "an error's line is in the text")
    hold(1 <= place.column <= len(lines[place.line - 1]) + 1, "an error's column is in its line")


def _message_is_printable(error: ScriptError) -> None:
    shown = format_script_error(error) + "".join(format_interactive_error(error))
    hold(shown.encode(), "a message is UTF-8")
    hold(all(c.isprintable() or c in "\n\t" for c in shown), "a message is printable")
    hold(len(shown) < 20_000, "a message is short")


_KEY = re.compile(
    r"-[EA][ \t]+[a-z0-9-]+[ \t]+(?:0[xX]([0-9A-Fa-f]{12,})|\"([a-z0-9]{8,})\")[ \t;]"
)


def _no_key_is_told(error: ScriptError, text: str) -> None:
    shown = format_script_error(error) + "".join(format_interactive_error(error))
    keys = _KEY.findall(text)
    whole = text.count('"') == 2 * sum(bool(quoted) for _, quoted in keys)  # else who knows
    for digits, quoted in keys:
        key = digits or (quoted if whole else "")
        # What stands there twice may be no key the second time.
        hold(not key or text.count(key[1:]) > 1 or key not in shown, "no key is in a message")


def _printed_policy_is_read_again(statement: SpdAdd | SpdUpdate) -> None:
    """Read the first line of a dump and the policy in setkey's words: the same policy."""
    policy = statement.policy._replace(label=None)
    head = format_sp(SpdEntry(policy, 1, 0, 0, Owner.OURS, 1, 1), sequence=0, pid=0).partition(
        "\n"
    )[0]
    text = PolicyText(policy.direction, policy.priority, policy.type, policy.requests)
    again = f"spdadd {head} -P {format_policy(text)};\n"
    statements, errors = read(again)
    hold(not errors, f"what is printed can be read: {again!r}")
    [same] = statements
    hold(isinstance(same, SpdAdd) and same.policy == policy, f"and means the same: {again!r}")


def _quick_reading_agrees(text: str) -> None:
    at = 0
    for line in text.split("\n")[:200]:
        quick = plain_statement(text, at, "f", 1, 0)
        if quick is not None:
            general = Parser(line + "\n", "f", resolve=no_names)._next()
            hold(
                quick == general and type(quick) is type(general), "quick and general reading agree"
            )
        at += len(line) + 1


def _pieces_are_the_whole(text: str, statements: list[Statement]) -> None:
    """Read line by line, as setkey -c does: the same statements."""
    found: list[Statement] = []
    pending, line = "", 1
    # Not splitlines(), to which a file separator or a next line of Unicode ends a line, too.
    for piece in re.findall(r"[^\n]*\n|[^\n]+$", text):
        pending += piece
        if len(found) > 200 or len(pending) > 20_000:
            return
        length = complete_length(pending)
        some, errors = read(pending[:length], line)
        hold(not errors, "a piece of a good text is good")
        found += some
        if some and type(some[-1]).__name__ == "Exit":
            break
        line += pending[:length].count("\n")
        pending = pending[length:]
    # The column is where a statement stands in its piece.
    bare = [s._replace(place=NOWHERE) for s in found]
    hold(bare == [s._replace(place=NOWHERE) for s in statements], "the pieces are the whole")


def _policy_text(text: str) -> None:
    """Check the policy language by itself, on each piece of the text that may be one."""
    for piece in (*re.findall(r"-P([^;]{0,400})", text)[:5], text[:400]):
        try:
            policy = parse_policy(piece)
        except PolicyError as error:
            hold(0 <= error.offset <= len(piece), "a policy's error has an offset in it")
            hold(error.text, "a policy's error has a reason")
            continue
        printed = format_policy(policy)
        hold(parse_policy(printed) == policy, f"a policy printed is the same: {printed!r}")


def seeds() -> list[bytes]:
    """Return the scripts of the tests, whole and line by line."""
    found = [path.read_bytes() for path in sorted((TESTS / "golden/samples").glob("*.conf"))]
    commands = re.compile(rb"^(?:add|getspi|get|delete|dump|flush|spd\w+) .*;.*\n", re.MULTILINE)
    for folder in ("setkey/samples", "golden/samples"):
        for path in sorted((TESTS / folder).glob("*.txt")):
            found += commands.findall(path.read_bytes())
    for path in sorted((TESTS / "setkey").glob("test_*.py")):
        quoted = re.findall(r'"((?:add|spd\w+|delete|getspi)\b[^"\n]*)"', path.read_text())
        found += [line.replace("\\n", "\n").encode() for line in quoted]
    return sorted({text if text.endswith(b"\n") else text + b"\n" for text in found})


#: What damaged texts are damaged with.
PIECES = (
    *(b"\0", b"\r\n", b"\n", b"\r", b";", b"#", b'"', b"\\\n", b"\\", b"$", b"\xff", b"\xc2\xb2"),
    *(b"-P", b"-E", b"-A", b"-C", b"-R", b'-ctx 1 1 "l"', b"-u", b"-r", b"-lh", b"-natt_mtu 9"),
    *(b"-m any", b"-m tunnel", b"-f", b"-n", b"-46n", b"-hwif e0", b"-esn", b"-natt", b"-5", b"-"),
    *(b"0", b"1", b"255", b"256", b"65535", b"65536", b"4294967295", b"4294967296", b"-1"),
    *(b"18446744073709551615", b"18446744073709551616", b"9" * 40, b"0x", b"0xffffffff", b"0x123"),
    *(b"mark 5/0xff", b"-mark 7", b"if_id 9", b"dev lo", b"sel ::1 ::2", b"dir in", b"beet"),
    *(b"output-mark 1", b"spid=9", b"spi=0x9", b"mode=tunnel", b"aes256", b"aes-ccm-8", b"a_b"),
    *(b"[", b"]", b"[any]", b"[80]", b"[domain]", b"/", b"/24", b"/128", b"//", b",", b"8,0"),
    *(b"::", b"::1", b"fe80::1%lo", b"0.0.0.0/0", b"10.1", b"2001:db8::/32", b"::ffff:1.2.3.4"),
    *(b"any", b"tcp", b"icmp", b"icmp6", b"gre", b"mh", b"esp", b"ah", b"ipcomp", b"50", b"ip4"),
    *(b"esp-udp", b"esp-old", b"ah-old", b'tagged "t"', b"none", b"discard", b"ipsec", b"entrust"),
    *(
        b"bypass",
        b"in",
        b"out",
        b"fwd",
        b"prio",
        b"priority",
        b"low",
        b"def",
        b"high",
        b"+",
        b"use",
    ),
    *(b"transport", b"tunnel", b"require", b"unique", b"unique:7", b"unique#70000", b"use#5"),
    *(b"default", b"me-any", b"any-me", b"encap", b"1.1.1.1-2.2.2.2", b"1.1.1.1[500]-2.2.2.2[500]"),
    *(
        b"spdadd ",
        b"add ",
        b"delete ",
        b"get ",
        b"getspi ",
        b"deleteall ",
        b"flush",
        b"dump",
        b"exit",
    ),
    *(b"spdupdate ", b"spddelete ", b"spdget ", b"spdflush", b"spddump", b"update ", b"bogus "),
    *(
        b"aes-cbc",
        b"null",
        b"aes-gcm-16",
        b"des-32iv",
        b"hmac-sha1",
        b"hmac-sha256-128",
        b"deflate",
    ),
)

TARGET = Target(check, seeds, PIECES)
