"""How errors are worded: setkey's lines first, then the place and a hint, never a key."""

import pytest

from kamexfrm.errors import Place
from kamexfrm.setkey.errors import (
    format_interactive_error,
    format_rejection,
    format_script_error,
)
from tests.setkey.setkey_reading import script_error


def test_error_message_is_setkeys_with_the_place_and_a_hint() -> None:
    error = script_error("flush;\nadd 10.0.0.1 10.0.0.2 esp 5\n  -E aes_cbc 0x00;\n")
    assert format_script_error(error) == (
        "setkey: f,3: syntax error at `aes'\n"
        "setkey: f,3: parse failed\n"
        "      -E aes_cbc ****;\n"
        "         ^\n"
        "    did you mean aes-cbc?\n"
    )


def test_bad_key_length_is_told_with_the_lengths_and_without_the_key() -> None:
    error = script_error("add 10.0.0.1 10.0.0.2 esp 5 -E aes-cbc 0x00112233;")
    assert format_script_error(error) == (
        "32 128 256\n"
        "setkey: f,1: Invalid key length at `0x********'\n"
        "setkey: f,1: parse failed\n"
        "    add 10.0.0.1 10.0.0.2 esp 5 -E aes-cbc **********;\n"
        "                                           ^\n"
        "    aes-cbc takes a key of 128, 192 or 256 bits; this one has 32\n"
    )


@pytest.mark.parametrize(
    "text",
    [
        'add 10.0.0.1 10.0.0.2 esp 5 -E aes-cbc "topsecret;',
        'add 10.0.0.1 10.0.0.2 esp 5 -E aes-cbc "topsecret";',
        'add 10.0.0.1 10.0.0.2 esp 5 -E aes_cbc "top\nsecret";',
        'add 10.0.0.1 10.0.0.2 esp -E aes-cbc "topsecret";',
        'bogus -E aes-cbc "topsecret" -A;',
        "add 10.0.0.1 10.0.0.2 -E aes-cbc 0x746f70736563726574;",
        "add 10.0.0.1 10.0.0.2 esp 5 -E aes-cbc 0x746f70736563726574;",
    ],
)
def test_no_message_shows_a_key(text: str) -> None:
    error = script_error(text)
    shown = format_script_error(error) + "".join(format_interactive_error(error)) + str(error)
    shown += repr(error)
    assert "secret" not in shown
    assert "736563726574" not in shown


def test_fatal_lexer_error_is_not_followed_by_parse_failed() -> None:
    error = script_error("flush $;")
    assert format_script_error(error).splitlines()[:2] == [
        "setkey: f,1: Syntax error at `$'",
        "    flush $;",
    ]


def test_mixed_families_fail_without_a_reason_as_ever() -> None:
    error = script_error("add 10.0.0.1 ::1 esp 5 -E null;")
    assert format_script_error(error).splitlines()[0] == "setkey: f,1: parse failed"


def test_policy_errors_point_into_the_text() -> None:
    error = script_error("spdadd 10.0.0.1 10.0.0.2 any -P out ipsec\n  esp/transport//reqire;")
    assert error.place == Place("f", 2, 18)
    assert format_script_error(error).splitlines()[0] == (
        'libipsec: syntax error while parsing "reqire"'
    )
    assert "    did you mean require?" in format_script_error(error).splitlines()


def test_interactive_message_ends_its_line() -> None:
    text, before = format_interactive_error(script_error("bogus thing;"))
    assert text.splitlines()[0] == "syntax error at `bogus'"
    assert before == ""


def test_messages_show_no_control_characters() -> None:
    error = script_error("flush \x1b[31m;")
    assert "\x1b" not in format_script_error(error)


def test_unfinished_statement_is_reported_where_it_ends() -> None:
    error = script_error("flush;\nadd 10.0.0.1 10.0.0.2\n\n\n")
    assert (error.place, error.token) == (Place("f", 2, 22), "")


def test_missing_semicolon_is_guessed() -> None:
    error = script_error("flush\nspdflush;")
    assert error.place == Place("f", 2, 1)
    assert "is there a `;' missing before it?" in error.hints


def test_refusal_names_the_line_of_the_semicolon() -> None:
    text = format_rejection(Place("f", 3, 1), 5, "File exists", ["by this entry"])
    assert text == "setkey: f,5: File exists\n    by this entry\n"
