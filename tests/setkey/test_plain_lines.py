"""Runs of plain lines: read and written at once, they are what they are one by one."""

import contextlib
import io
import random
import re
import socket
from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any
from unittest.mock import patch

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from kamexfrm.engine.engine import Engine
from kamexfrm.kernel.fake import FakeKernel
from kamexfrm.kernel.interface import Failure
from kamexfrm.setkey import plain_reading
from kamexfrm.setkey import script as setkey_script
from kamexfrm.setkey.arguments import read_options
from kamexfrm.setkey.errors import ScriptError
from kamexfrm.setkey.line_parser import LineParser, WholeScripts
from kamexfrm.setkey.parser import Parser
from kamexfrm.setkey.plain_lines import Lines
from kamexfrm.setkey.reporter import Reporter
from kamexfrm.setkey.script import make_executor, run_whole
from kamexfrm.setkey.script_file import Script
from kamexfrm.setkey.statements import Exit, Statement
from kamexfrm.translate.xfrm.tag import MARKER_IF_ID
from kamexfrm.xfrm import Operation, PackedOperations, XfrmMsg, decode_policy
from tests.examples_of_laws import examples

NOW = 1_700_000_000
NOTHING = re.compile("(?!)")

ADDRESSES = ("10.0.0.{}", "10.0.1.{}", "2001:db8::{}", "::ffff:1.2.3.{}", "10.{}")
RESTS = (
    *("any -P out ipsec esp/transport//require", "tcp -P in ipsec esp/transport//require"),
    *("any -P out ipsec esp/transport//use", "udp -P in discard", "50 -P out none"),
    *("any -P out prio high ipsec esp/transport//require", "any -P in prio low - 3 discard"),
    *("any -P out ipsec esp/tunnel/1.1.1.1-2.2.2.2/require", "any -P fwd none"),
    *("any -P out ipsec esp/transport//unique", "any -P out ipsec esp/transport//unique:7"),
    *("any -P in ipsec esp/tunnel/1.1.1.1-2.2.2.2/use", "icmp -P out none", "bogus -P in none"),
    *("any -P out ipsec ah/transport//default", "any -P out entrust", "any -P out ipsec"),
    "any -P out ipsec" + " esp/transport//use" * 6,
    "any -P out ipsec" + " esp/transport//use" * 7,
)
KEYS = {"aes-cbc": 16, "3des-cbc": 24, "aes-gcm-16": 20, "hmac-sha1": 20, "hmac-sha256": 32}
OPTIONS = ("", "", " -m transport", " -m tunnel", " -u 7", " -r 4 -lh 60", " -r 64", " -u 0")
BITS = ("", "", "", "/24", "/32", "/64", "/300")
PORTS = ("", "", "", "[{}]", "[{}]", "[80]", "[0]", "[70000]")
PLAIN = "spdadd 10.0.0.{} 10.0.0.9 any -P in none;\n"
BETWEEN = (
    *("", "", "\n", "# spdadd\n", ' \t# it\'s "so"\n', "spdflush;\n", "spdadd\n", "exit;\n"),
    "spdadd 10.0.0.1 10.0.0.2 any\n-P out none;\n",
    'spdadd 10.0.0.9 10.0.0.8 any -ctx 1 1 "a\n' + PLAIN * 6 + '" -P out none;\n',
    "spddelete 10.0.0.1 10.0.0.2 any -P out; spdadd 10.0.0.1 10.0.0.2 any -P out none;\n",
)


def make_script(seed: int) -> str:
    """Return a script of lines that mostly repeat a few spellings."""
    chance = random.Random(seed)
    choose, found = chance.choice, []
    spellings = [
        [choose(ADDRESSES[:4])] * 2 + [choose(RESTS)] + [choose(s) for s in (BITS, PORTS) * 2]
        for _ in range(chance.randint(1, 3))
    ]
    if chance.random() < 0.5:  # an error ends it otherwise
        spellings = [row[:3] + [choose(BITS[:5]), choose(PORTS[:6])] * 2 for row in spellings]
    for _ in range(chance.randint(1, 3)):
        found.append(choose(BETWEEN) if chance.random() < 0.4 else "")
        for count in range(chance.randint(0, 12)):
            row = choose(spellings) if count % 3 == 0 else spellings[0]
            one, other, rest, bits, port, other_bits, other_port = row
            found.append(
                f"spdadd {one.format(chance.randint(1, 60))}{bits}{port.format(count + 1)} "
                f"{other.format(count + 1)}{other_bits}{other_port.format(500 - count)} {rest};"
                f"{choose(('', '', '', ' # c', ' '))}\n"
            )
            if chance.random() < 0.02:
                found.append(choose(BETWEEN))
    return "".join(found)


def make_adds(seed: int) -> str:
    """Return a script of SAs that mostly differ in addresses, SPI and keys."""
    chance = random.Random(seed)
    choose, found = chance.choice, []
    for _ in range(chance.randint(1, 4)):
        address, other = [choose(ADDRESSES[:3])] * 2
        options, spi = choose(OPTIONS), choose(("0x{:x}", "{}"))
        protocol, cipher, hash_ = choose(
            (
                *(
                    ("esp", "aes-cbc", "hmac-sha1"),
                    ("esp", "aes-gcm-16", ""),
                    ("ah", "", "hmac-sha1"),
                ),
                *(
                    ("esp", "3des-cbc", "hmac-sha256"),
                    ("ah", "aes-cbc", "hmac-sha1"),
                    ("esp", "", ""),
                ),
            )
        )
        for count in range(chance.randint(0, 9)):
            keys = ""
            for option, name in (("-E", cipher), ("-A", hash_)):
                size = KEYS.get(name, 0) - (chance.random() < 0.005)
                keys += f" {option} {name} 0x{chance.randbytes(size).hex()}" if name else ""
            number = chance.randint(0 if chance.random() < 0.02 else 1, 300)
            found.append(
                f"add {address.format(count + 1)} {other.format(chance.randint(1, 9))} {protocol} "
                f"{spi.format(number)}{options}{keys};\n"
            )
        found.append(choose(("", "", "flush;\n", "# c\n", PLAIN * 5)))
    return "".join(found)


SCRIPTS = st.integers(0, 2**32).map(make_script) | st.integers(0, 2**32).map(make_adds)


def no_names(*_: object) -> list[tuple[object, ...]]:
    raise socket.gaierror(-2, "Name or service not known")


def expanded(found: Iterator[Statement | Lines]) -> Iterator[Statement]:
    for item in found:
        if isinstance(item, Lines):
            assert [item.statement(at) for at in range(item.run.total)] == list(item.statements())
            yield from item.statements()
        else:
            yield item


def outcome(found: Iterator[Statement]) -> tuple[list[Statement], tuple[object, ...]]:
    statements: list[Statement] = []
    try:
        statements.extend(found)
    except ScriptError as error:
        return statements, (str(error), error.place, error.source, error.caret, error.hints)
    return statements, ()


@settings(max_examples=examples(400), deadline=None)
@given(SCRIPTS)
@example(PLAIN * 5 + "spdadd 10.0.0.1\n" * 5)
@example(PLAIN * 5 + BETWEEN[-2] + PLAIN * 3)
@example(PLAIN * 5 + PLAIN[:-1])
def test_lines_read_at_once_are_those_read_one_by_one(text: str) -> None:
    wanted = outcome(iter(Parser(text, "f", resolve=no_names)))
    assert outcome(expanded(LineParser(text, "f", resolve=no_names).runs())) == wanted
    script = WholeScripts([Script([text], "f")], no_names)
    left = outcome(s for s in Parser(text, "f", resolve=no_names) if not isinstance(s, Exit))
    assert outcome(expanded(script.check())) == left
    if not wanted[1]:
        assert outcome(expanded(script.statements())) == left


class Recorder:
    """A kernel that writes down what it is asked to do, but for the marker and routes."""

    def __init__(self) -> None:
        self._kernel = FakeKernel(lambda: NOW)
        self.operations: list[Operation] = []
        self.packed = 0

    def apply(self, operations: Sequence[Operation], ends: Sequence[int] = ()) -> list[Failure]:
        self.packed += len(operations) * isinstance(operations, PackedOperations)
        self.operations += [o for o in operations if not _is_internal(o)]
        return self._kernel.apply(operations, ends)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._kernel, name)


def _is_internal(operation: Operation) -> bool:
    if operation.type == XfrmMsg.SETDEFAULT:  # drops cached routes
        return True
    if operation.type not in (XfrmMsg.NEWPOLICY, XfrmMsg.UPDPOLICY):
        return False
    return decode_policy(operation.payload).if_id == MARKER_IF_ID


def run(text: str, before: str = "") -> tuple[Recorder, str]:
    kernel, out, err = Recorder(), io.StringIO(), io.StringIO()
    options = read_options(["-f", "x"])
    reporter = Reporter(out, err)
    stopped = partial(Engine, clock=lambda: NOW)
    with patch.object(setkey_script, "Engine", stopped), contextlib.redirect_stderr(err):
        for script in (before, text):
            executor = make_executor(options, kernel, reporter, out)  # type: ignore[arg-type]  # it stands for one
            run_whole([Script([script], "x")], options, reporter, executor)
    return kernel, err.getvalue()


@settings(max_examples=examples(100), deadline=None)
@given(SCRIPTS, SCRIPTS)
def test_lines_written_at_once_are_those_written_one_by_one(before: str, text: str) -> None:
    at_once, said = run(text, before)
    with (
        patch.object(plain_reading, "_BLOCK", NOTHING),
        patch.object(plain_reading, "_ADD_BLOCK", NOTHING),
    ):
        one_by_one, wanted = run(text, before)
    assert not one_by_one.packed
    assert said == wanted
    assert at_once.operations == one_by_one.operations
    assert sorted(at_once.raw_states()) == sorted(one_by_one.raw_states())
    assert sorted(at_once.raw_policies()) == sorted(one_by_one.raw_policies())


@pytest.mark.parametrize(
    ("lines", "messages"),
    [
        ("spdadd 10.0.0.{0} 10.0.1.1 any -P out ipsec esp/transport//require;\n", 9),
        ("spdadd 10.0.0.{0}/32[80] 10.0.1.1[{0}] tcp -P in ipsec esp/transport//require;\n", 18),
        (
            f"add 10.0.0.{{0}} ::1 esp {{0}} -E aes-cbc 0x{'0{0}' * 16};\n".replace(
                "::1", "1.1.1.1"
            ),
            9,
        ),
        ("spdadd ::{0} ::1 any -P out none; # c\n\n# d\n", 9),
        ("spdadd ::{0} ::1 any -P in none;\nspdadd 1.1.1.1 1.1.1.{0} 6 -P out discard;\n", 27),
    ],
)
def test_plain_lines_are_written_at_once(lines: str, messages: int) -> None:
    kernel, said = run("".join(lines.format(number) for number in range(1, 10)))
    assert not said
    assert kernel.packed == messages
