"""Keys in the texts of reports are covered, in whatever way they are written."""

import pytest

from kamexfrm.rig.scenario.covering import cover_keys


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("-A hmac-sha1 0x000102030405060708090a", "-A hmac-sha1 KEY"),
        ('-E aes-cbc "sixteen letters!" -A null', "-E aes-cbc KEY -A null"),
        ("\tE: aes-cbc  00010203 04050607 08\n\tA: x", "\tE: aes-cbc  KEY\n\tA: x"),
        (
            "E: aes-cbc 00010203 04050607 A: hmac-md5 00010203 seq",
            "E: aes-cbc KEY A: hmac-md5 KEY seq",
        ),
        (
            "spi=0x00001001 reqid=7 E: aes-cbc (128 bits)",
            "spi=0x00001001 reqid=7 E: aes-cbc (128 bits)",
        ),
    ],
)
def test_a_key_is_covered_and_nothing_else(text: str, shown: str) -> None:
    assert cover_keys(text) == shown
