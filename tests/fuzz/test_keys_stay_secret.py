"""No message tells a key, however badly it is written: messages end up in logs."""

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
