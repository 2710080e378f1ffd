"""``kamexfrm mirror`` and ``kamexfrm keygen`` as commands."""

from pathlib import Path

import pytest
from click.testing import CliRunner

from kamexfrm.algorithms import TABLE, Kind
from kamexfrm.cli.command import main
from kamexfrm.model.decide_spd import Spd
from kamexfrm.model.decider import decide
from kamexfrm.model.packet import Packet
from kamexfrm.model.packet import Path as Way
from kamexfrm.model.policy import Direction
from kamexfrm.net import Address
from kamexfrm.operator.file_state import FileState
from kamexfrm.setkey.parser import parse


def run(*arguments: str, status: int = 0, given: str = "") -> str:
    done = CliRunner().invoke(main, list(arguments), input=given)
    assert done.exit_code == status, done.output
    return done.output


def test_mirror_reads_a_file_or_the_standard_input(tmp_path: Path) -> None:
    script = "# wörds\nspdadd host.invalid 10.0.0.2 any -P in none;\n"
    (tmp_path / "a").write_text(script)
    wanted = script.replace("-P in", "-P out")
    assert run("mirror", str(tmp_path / "a")) == wanted
    assert run("mirror", given=script) == wanted


def test_mirror_swaps_what_is_of_a_device() -> None:
    script = "spdadd 10.0.0.1 10.0.0.2 any dev lo -P out none;\n"
    assert run("mirror", given=script) == script.replace("-P out", "-P in")


def test_mirror_does_not_print_half_a_file() -> None:
    output = run("mirror", given="flush;\nspdadd 10.0.0.1 10.0.0.2 any -P owt none;\n", status=1)
    assert "-:2:" in output
    assert "did you mean out?" in output
    assert "flush" not in output


@pytest.mark.parametrize(
    "name",
    [
        row.name
        for row in TABLE
        if row.takes_key and row.kernel and row.kind is not Kind.COMPRESSION
    ],
)
def test_a_key_is_one_that_setkey_reads(name: str) -> None:
    row = next(row for row in TABLE if row.name == name)
    first, second = run("keygen", name), run("keygen", name)
    assert first != second
    option = "-A" if row.kind is Kind.AUTHENTICATION else "-E"
    protocol = "ah" if option == "-A" else "esp"
    list(parse(f"add 10.0.0.1 10.0.0.2 {protocol} 300 {option} {name} {first};"))


def test_bits_are_counted_with_or_without_the_salt() -> None:
    assert len(run("keygen", "aes-cbc", "128").strip()) == 2 + 32
    for bits in ("128", "160"):
        assert len(run("keygen", "aes-gcm-16", bits).strip()) == 2 + 40


@pytest.mark.parametrize(
    ("arguments", "status", "cure"),
    [
        (("aes-cbd",), 1, "did you mean aes-cbc"),
        (("null",), 1, "takes no key"),
        (("aes-cbc", "100"), 1, "keys of 128 or 192 or 256 bits"),
        ((), 2, "such as kamexfrm keygen"),
        (("--tunnel", "10.0.0.0/8", "10.0.0.0/8", "null"), 2, "--pair SRC DST"),
        (("--pair", "10.0.0.1", "fd00::1"), 2, "of one family"),
    ],
)
def test_a_wrong_word_has_its_cure(arguments: tuple[str, ...], status: int, cure: str) -> None:
    assert cure in run("keygen", *arguments, status=status)


@pytest.mark.parametrize("arguments", [(), ("aes-cbc",), ("hmac-sha512",), ("chacha20-poly1305",)])
@pytest.mark.parametrize("tunnel", [None, ("10.1.0.0/16", "10.2.0.0/16")])
def test_a_pair_protects_both_ways_at_both_ends(
    arguments: tuple[str, ...], tunnel: tuple[str, str] | None
) -> None:
    networks = ("--tunnel", *tunnel) if tunnel else ()
    here = run("keygen", "--pair", "192.0.2.1", "192.0.2.2", *networks, *arguments)
    there = run("mirror", given=here)
    inside = ("10.1.0.1", "10.2.0.1") if tunnel else ("192.0.2.1", "192.0.2.2")
    for script, ends in ((here, inside), (there, inside[::-1])):
        state = FileState()
        for statement in parse(script):
            state.take(statement)
        source, destination = map(Address.parse, ends)
        packet = Packet(Way.OUT, source, destination, 17, 1, 2)
        decision = decide(packet, Spd.of(state.policies), state.sad)
        assert decision.verdict.name == "PROTECTED"
        assert {policy.direction for policy in state.policies} == {Direction.IN, Direction.OUT}
    keys = [sa.association.authentication or sa.association.encryption for sa in state.sad]
    assert keys[0] != keys[1]
