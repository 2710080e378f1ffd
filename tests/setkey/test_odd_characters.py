"""Characters in the place of plain ones, and semicolons that are not there: what the hint says."""

from itertools import product

import pytest

from tests.setkey.setkey_reading import script_error

SPDADD = "spdadd 10.0.0.1 10.0.0.2 any -P out ipsec esp/transport//require;"
ADD = f"add 10.0.0.1 10.0.0.2 esp 0x1000 -E aes-cbc 0x{'00' * 16};"


@pytest.mark.parametrize(
    ("plain", "odd", "hint"),
    [
        ("spdadd", "\ufeffspdadd", "byte order mark"),
        (" ", "\u00a0", "blank"),
        (" any", "\u2009any", "U+2009"),
        (" any", "\u3000any", "U+3000"),
        (" any", " \u200bany", "U+200B: take it out"),
        ("any", "an\u00ady", "U+00AD: take it out"),
        ("any", "any\x1a", "U+001A: take it out"),
        ("-P", "\u2014P", "write -"),
        ("/", "\u2044", "write /"),
        ("/", "\uff0f", "write /"),
        (";", "\uff1b", "write ;"),
        (";", "\u037e", "write ;"),
        ("10.", "10\uff0e", "write ."),
        ("esp", "\u0435sp", "cyrillic small letter ie"),
        ("any", "any\udca0", "0xa0 here is no UTF-8"),
    ],
)
def test_a_character_that_only_looks_plain_is_named(plain: str, odd: str, hint: str) -> None:
    [said] = script_error(SPDADD.replace(plain, odd)).hints
    assert hint in said


@pytest.mark.parametrize("marks", ["\u201c\u201d", "\u300c\u300d", "\u201e\u201c"])
def test_marks_around_a_key_are_named_and_the_key_is_not(marks: str) -> None:
    text = ADD.replace(f"0x{'00' * 16}", f"{marks[0]}sechs\u00e9hn okay!!!{marks[1]}")
    error = script_error(text)
    assert error.hints == ('this is no plain quotation mark: write "',)
    assert "\u00e9" not in f"{error}{error.source}"


def test_a_letter_of_a_key_is_not_told() -> None:
    error = script_error(ADD.replace(f"0x{'00' * 16}", "s\u00e9cret"))
    assert error.hints == ("a key without quotation marks is 0x and hexadecimal digits",)


def test_quoted_texts_and_comments_may_have_any_character() -> None:
    text = ADD.replace(f"0x{'00' * 16}", '"\u00e9-vierzehn okay"') + " # \u2014\n"
    assert script_error(text + "bogus;").hints == ()


COMMANDS = (
    ADD[:-1],
    SPDADD[:-1],
    "spdadd 10.0.0.1 10.0.0.2 any -P out none",
    "spddelete 10.0.0.1 10.0.0.2 any -P out",
    "add 10.0.0.1 10.0.0.2 ipcomp 0x1000 -C deflate",
    "delete 10.0.0.1 10.0.0.2 esp 0x1000",
    "deleteall 10.0.0.1 10.0.0.2 esp",
    "getspi 10.0.0.1 10.0.0.2 esp 0x1000",
    "flush",
    "flush esp",
    "dump esp",
    "spdflush",
    "spddump",
)


@pytest.mark.parametrize(("first", "second"), [*product(COMMANDS, repeat=2)])
def test_a_semicolon_that_is_missing_between_two_statements_is_missed(
    first: str, second: str
) -> None:
    assert script_error(f"{first}\n{second};").hints == ("is there a `;' missing before it?",)
