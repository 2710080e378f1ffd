"""No message tells a key, however badly it is written: messages end up in logs."""

import random

import pytest

from kamexfrm.setkey.errors import format_interactive_error, format_script_error
from tests.fuzz.setkey_laws import read

DIGITS = "00112233445566778899aabbccddeeff"
PHRASE = "CorrectHorse1234"
ADD = "add 10.0.0.1 10.0.0.2 esp 0x1000"


@pytest.mark.parametrize(
    "script",
    [
        f"{ADD} -E 3des-cbc 0x{DIGITS};",
        f"{ADD} -E aes-cbc 0x{DIGITS}zz;",
        f"{ADD} -E aes-cbc {DIGITS};",
        f"{ADD} -E aes_cbc 0x{DIGITS};",
        f"{ADD} -E 0x{DIGITS};",
        f"{ADD} aes-cbc 0x{DIGITS};",
        f"{ADD} -E aes-cbc {PHRASE};",
        f"{ADD} -E aes-cbc '{PHRASE}';",
        f"{ADD} -E aes-cbc ${PHRASE};",
        f'{ADD} -E 3des-cbc "{PHRASE}";',
        f'{ADD} -E aes-cbc "{PHRASE};',
        f'{ADD} -E aes-cbc "{PHRASE}" -m tunnel;',
        f'{ADD} -m bogus # -E aes-cbc "{PHRASE}" 0x{DIGITS}\n -E null;',
        f"spdadd 10.0.0.1 10.0.0.2 any -P out none\n{ADD} -E aes-cbc 0x{DIGITS};",
    ],
)
def test_a_key_is_not_in_a_message(script: str) -> None:
    _, errors = read(script)
    assert errors
    for error in errors:
        shown = format_script_error(error) + "".join(format_interactive_error(error))
        assert PHRASE not in shown
        assert DIGITS not in shown
        assert "*" in shown


def test_a_misspelt_algorithm_is_shown_as_it_is() -> None:
    _, [error] = read(f"{ADD} -E aes_cbc 0x{DIGITS};")
    assert "-E aes_cbc *" in format_script_error(error)


PAIRS = (
    "9f",
    "8e",
    "7d",
    "6c",
    "5b",
    "4a",
    "f9",
    "e8",
    "d7",
    "c6",
    "b5",
    "a4",
    "9e",
    "8d",
    "7c",
    "6b",
)
SEPARATORS = (
    "",
    " ",
    "+",
    ":",
    "-",
    "_",
    ".",
    ",",
    "'",
    "/",
    "\t",
    "\n  ",
    "\\\n",
    " + ",
    '" "',
    "$",
    "#",
)
BEGINNINGS = ("", "0x", "0X", "x", '"', "'", "$", "-", "=", '0x"', "\\", "(", "hex:", "0", "+")
ALGORITHMS = (
    "-E aes-cbc", "-A hmac-sha1", "-E aes_cbc", "-E null -A hmac-sha256", "-Eaes-cbc", "aes-cbc",
    "-m tunnel -u 5 -E aes-gcm-16", "-E 3des-cbc -A", "-E", "-A", "-E aes-cbc 0x00 -A hmac-md5",
    "-E AES-CBC", "-C deflate -E aes-cbc", "-m bogus -E aes-cbc", "-E\n aes-cbc",
)  # fmt: skip
BEFORE = (
    "",
    "add 10.0.0.1 10.0.0.2 esp 0x1000",
    "update 10.0.0.1 10.0.0.2 ah 4096",
    "ad 10.0.0.1 10.0.0.2 esp 0x1000",
    "add 10.0.0.1 10.0.0.2 esp",
    "add 10.0.0.1 esp 0x1000",
    "spdadd 10.0.0.1 10.0.0.2 any -P out none\nadd 10.0.0.1 10.0.0.2 esp 0x1000",
    "flush\nadd 10.0.0.1 10.0.0.2 esp 0x1000",
)
BEHIND = ("", '"', "'", " -A hmac-sha1 0x00", " -m tunnel", " # why", "zz", ")", " -lh 3600")


@pytest.mark.parametrize("seed", range(20))
def test_no_part_of_a_key_is_in_a_message_however_it_is_written(seed: int) -> None:
    chance = random.Random(seed)
    for _ in range(100):
        before, algorithm = chance.choice(BEFORE), chance.choice(ALGORITHMS)
        key = chance.choice(BEGINNINGS) + chance.choice(SEPARATORS).join(PAIRS)
        end = chance.choice((";", "", ";\nflush;"))
        script = f"{before} {algorithm} {key}{chance.choice(BEHIND)}{end}"
        _, errors = read(script)
        for error in errors[:1]:  # what comes behind the first is a new statement to -c
            shown = format_script_error(error) + "".join(format_interactive_error(error))
            assert not [pair for pair in PAIRS if pair in shown], (script, shown)
