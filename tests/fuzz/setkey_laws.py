"""What holds for every text given to setkey's reader, however broken."""

import re
import socket
import time

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

NOWHERE = Place("f", 1, 1)


class LawError(AssertionError):
    """A law does not hold; the first argument names it."""


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
    _hold(seconds < slow, f"a text is read in time: {seconds:.1f} s for {len(data)} bytes")
    lines = data.count(b"\n") + 1
    for statement in statements:
        _hold(1 <= statement.place.line <= statement.end_line <= lines, "a statement has its lines")
        _hold(statement.place.column >= 1, "a statement has its column")
        if isinstance(statement, SpdAdd | SpdUpdate):
            _printed_policy_is_read_again(statement)
    for error in errors:
        _error_has_a_place(error, text)
        _message_is_printable(error)
        _no_key_is_told(error, text)
    _hold(len(statements) + len(errors) <= text.count(";") + 1, "a semicolon ends a statement")
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


def _hold(true: object, law: str) -> None:
    if not true:
        raise LawError(law)


def _error_has_a_place(error: ScriptError, text: str) -> None:
    place = error.place
    if place is None:
        raise LawError("an error has a place")
    lines = text.split("\n")
    _hold(1 <= place.line <= len(lines), "an error's line is in the text")
    _hold(1 <= place.column <= len(lines[place.line - 1]) + 1, "an error's column is in its line")


def _message_is_printable(error: ScriptError) -> None:
    shown = format_script_error(error) + "".join(format_interactive_error(error))
    _hold(shown.encode(), "a message is UTF-8")
    _hold(all(c.isprintable() or c in "\n\t" for c in shown), "a message is printable")
    _hold(len(shown) < 20_000, "a message is short")


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
        _hold(not key or text.count(key[1:]) > 1 or key not in shown, "no key is in a message")


def _printed_policy_is_read_again(statement: SpdAdd | SpdUpdate) -> None:
    """Read the first line of a dump and the policy in setkey's words: the same policy."""
    policy = statement.policy._replace(label=None)
    head = format_sp(SpdEntry(policy, 1, 0, 0, Owner.OURS, 1, 1), sequence=0, pid=0).partition(
        "\n"
    )[0]
    text = PolicyText(policy.direction, policy.priority, policy.type, policy.requests)
    again = f"spdadd {head} -P {format_policy(text)};\n"
    statements, errors = read(again)
    _hold(not errors, f"what is printed can be read: {again!r}")
    [same] = statements
    _hold(isinstance(same, SpdAdd) and same.policy == policy, f"and means the same: {again!r}")


def _quick_reading_agrees(text: str) -> None:
    at = 0
    for line in text.split("\n")[:200]:
        quick = plain_statement(text, at, "f", 1, 0)
        if quick is not None:
            general = Parser(line + "\n", "f", resolve=no_names)._next()
            _hold(
                quick == general and type(quick) is type(general), "quick and general reading agree"
            )
        at += len(line) + 1


def _pieces_are_the_whole(text: str, statements: list[Statement]) -> None:
    """Read line by line, as setkey -c does: the same statements."""
    found: list[Statement] = []
    pending, line = "", 1
    for piece in text.splitlines(keepends=True) if "\n" in text else [text]:
        pending += piece
        if len(found) > 200 or len(pending) > 20_000:
            return
        length = complete_length(pending)
        some, errors = read(pending[:length], line)
        _hold(not errors, "a piece of a good text is good")
        found += some
        if some and type(some[-1]).__name__ == "Exit":
            break
        line += pending[:length].count("\n")
        pending = pending[length:]
    # The column is where a statement stands in its piece.
    bare = [s._replace(place=NOWHERE) for s in found]
    _hold(bare == [s._replace(place=NOWHERE) for s in statements], "the pieces are the whole")


def _policy_text(text: str) -> None:
    """Check the policy language by itself, on each piece of the text that may be one."""
    for piece in (*re.findall(r"-P([^;]{0,400})", text)[:5], text[:400]):
        try:
            policy = parse_policy(piece)
        except PolicyError as error:
            _hold(0 <= error.offset <= len(piece), "a policy's error has an offset in it")
            _hold(error.text, "a policy's error has a reason")
            continue
        printed = format_policy(policy)
        _hold(parse_policy(printed) == policy, f"a policy printed is the same: {printed!r}")
