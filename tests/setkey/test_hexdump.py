"""setkey -H: the bytes of messages, in the form of ipsec-tools 0.9.1, with keys covered."""

import os
import re

import pytest

from kamexfrm import pfkey
from kamexfrm.pfkey import SadbMsg, SadbSatype, SadbType
from kamexfrm.setkey.command import main
from kamexfrm.setkey.hexdump import format_hexdump

LITTLE = pfkey.LINUX.with_byte_order("little")


def test_a_message_is_shown_as_setkey_shows_it() -> None:
    dump = SadbMsg(SadbType.SADB_DUMP, pid=2811)
    row = "00000000: 02 0a 00 00 02 00 00 00 00 00 00 00 fb 0a 00 00 \n"
    assert format_hexdump(dump, LITTLE) == row


def test_all_bytes_are_shown_but_those_of_keys() -> None:
    secret = bytes(range(0x40, 0x54))
    add = SadbMsg(
        SadbType.SADB_ADD,
        SadbSatype.SADB_SATYPE_ESP,
        extensions=(
            pfkey.Sa(0x1001),
            pfkey.KeyAuth(pfkey.Key(secret)),
            pfkey.KeyEncrypt(pfkey.Key(secret[:7])),
            pfkey.Sa2(reqid=9),
        ),
    )
    rows = format_hexdump(add, LITTLE).splitlines()
    assert [row[:10] for row in rows] == [f"{16 * n:08x}: " for n in range(len(rows))]
    shown = " ".join(row[10:].strip() for row in rows).split()
    hidden = range(16 + 16 + 8, 16 + 16 + 8 + 20), range(16 + 16 + 32 + 8, 16 + 16 + 32 + 8 + 7)
    for at, octet in enumerate(pfkey.encode(add, LITTLE)):
        covered = any(at in part for part in hidden)
        assert shown[at] == (".." if covered else f"{octet:02x}")
    assert len(shown) == len(pfkey.encode(add, LITTLE))


def test_a_key_within_a_relayed_message_is_covered_too() -> None:
    inner = SadbMsg(SadbType.SADB_ADD, extensions=(pfkey.KeyAuth(pfkey.Key(b"tell nobody")),))
    text = format_hexdump(SadbMsg(SadbType.SADB_X_PROMISC, inner=inner))
    assert b"tell".hex(" ") not in text
    assert text.count("..") == len(b"tell nobody")


ROW = r"([0-9a-f]{8}: ([0-9a-f]{2} )+\n)+"


@pytest.mark.usefixtures("namespace")
def test_what_is_sent_is_shown_and_what_is_received_is_not(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["-H", "-DP"]) == 0
    rows = format_hexdump(SadbMsg(SadbType.SADB_X_SPDDUMP, pid=os.getpid()))
    assert capsys.readouterr().out == f"{rows}No SPD entries.\n"
    assert main(["-HFP"]) == 0
    assert capsys.readouterr().out[10:15] == "02 13"


@pytest.mark.usefixtures("namespace")
def test_with_v_the_bytes_follow_the_text_of_what_is_sent(
    capsys: pytest.CaptureFixture[str],
) -> None:
    script = "spdadd 10.0.0.1 10.0.0.2 any -P out none; spddelete 10.0.0.1 10.0.0.2 any -P out;"
    assert main(["-Hv", "-e", script]) == 0
    out = capsys.readouterr().out
    text = r"sadb_msg\{ version=2 type=%d (?:.+\n)+\n"
    sent_and_received = "".join(f"{text % type}{ROW}{text % type}" for type in (14, 15))
    assert re.fullmatch(sent_and_received, out)
