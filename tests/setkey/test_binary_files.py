"""setkey FILE...: saved PF_KEY messages are printed as the dumps they came from."""

import io
import json
import re
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kamexfrm import pfkey
from kamexfrm.pfkey import SadbMsg, SadbSatype, SadbType
from kamexfrm.setkey.arguments import Options
from kamexfrm.setkey.binary_files import show_files
from tests.setkey.setkey_process import setkey

LINUX = pfkey.LINUX

#: What Linux's AF_KEY said to sockets, in this machine's byte order.
RECORDED = [
    pfkey.encode(pfkey.decode(bytes.fromhex(wire), LINUX.with_byte_order("little")))
    for line in (Path(__file__).parents[1] / "pfkey" / "pfkey-linux.jsonl").read_text().splitlines()
    for wire in json.loads(line).get("heard", ())
]


def recorded(*types: SadbType) -> list[bytes]:
    found = [(pfkey.decode(wire, LINUX), wire) for wire in RECORDED]
    return [wire for m, wire in found if m.type in types and m.extensions and not m.errno]


def shown(folder: Path, *parts: bytes, options: Options | None = None) -> tuple[int, str, str]:
    path = folder / "saved"
    path.write_bytes(b"".join(parts))
    out, err = io.StringIO(), io.StringIO()
    status = show_files((str(path),), out, err, options or Options())
    return status, out.getvalue(), err.getvalue().replace(f"setkey: {path}: ", "")


def test_a_dump_of_sas_is_printed_as_d_prints_it(tmp_path: Path) -> None:
    [wire, *_] = [w for w in recorded(SadbType.SADB_DUMP) if w[3] == SadbSatype.SADB_SATYPE_ESP]
    (tmp_path / "sad").write_bytes(wire)
    status, out, err = setkey(str(tmp_path / "sad"))
    assert (status, err) == (0, "")
    assert re.fullmatch(
        r"10\.9\.0\.1 10\.9\.0\.2 \n"
        r"\tesp mode=\w+ spi=\d+\(0x[0-9a-f]{8}\) reqid=\d+\(0x[0-9a-f]{8}\)\n"
        r"\tE: aes-cbc  [0-9a-f ]{35}\n"
        r"\tA: hmac-sha1  [0-9a-f ]{44}\n"
        r"\tseq=0x00000000 replay=\d+ flags=0x00000000 state=mature \n"
        r"(\t.*\n){5}"
        r"\tsadb_seq=\d+ pid=19265 refcnt=0\n",
        out,
    )


def test_every_recorded_dump_is_printed_one_entry_for_each_message(tmp_path: Path) -> None:
    states = recorded(SadbType.SADB_DUMP, SadbType.SADB_GET)
    policies = recorded(SadbType.SADB_X_SPDDUMP, SadbType.SADB_X_SPDGET)
    status, out, err = shown(tmp_path, *states, *policies)
    assert (status, err) == (0, "")
    assert out.count("\tsadb_seq=") == len(states) > 20
    assert out.count("\tspid=") == len(policies) > 20


def test_a_policy_is_printed_with_the_users_that_the_kernel_counted(tmp_path: Path) -> None:
    wire = recorded(SadbType.SADB_X_SPDDUMP)[0]
    message = pfkey.decode(wire, LINUX)
    out = shown(tmp_path, wire)[1]
    assert out.endswith(f"seq={message.seq} pid={message.pid}\n\trefcnt={message.reserved}\n")


def test_requests_and_messages_of_other_types_are_passed_over(tmp_path: Path) -> None:
    others = recorded(SadbType.SADB_ADD, SadbType.SADB_X_SPDADD, SadbType.SADB_EXPIRE)
    dump = pfkey.encode(SadbMsg(SadbType.SADB_DUMP, pid=1))
    assert len(others) > 100
    assert shown(tmp_path, dump, *others) == (0, "", "")


def test_an_empty_dump_and_an_error_are_printed(tmp_path: Path) -> None:
    empty = [
        pfkey.encode(SadbMsg(type, errno=2))
        for type in (SadbType.SADB_DUMP, SadbType.SADB_X_SPDDUMP)
    ]
    missing = pfkey.encode(SadbMsg(SadbType.SADB_GET, errno=3))
    text = "No SAD entries.\nNo SPD entries.\nNo such process.\n"
    assert shown(tmp_path, *empty, missing) == (0, text, "")


def test_options_of_dumps_hold_for_files(tmp_path: Path) -> None:
    [wire, *_] = [w for w in recorded(SadbType.SADB_DUMP) if w[3] == SadbSatype.SADB_SATYPE_ESP]
    assert "10.9.0.1[0] 10.9.0.2[0] " in shown(tmp_path, wire, options=Options(ports=True))[1]
    assert "E: aes-cbc  (128 bits)" in shown(tmp_path, wire, options=Options(keys=False))[1]
    assert "key= ........" in shown(tmp_path, wire, options=Options(verbose=True))[1]
    [row] = json.loads(shown(tmp_path, wire, options=Options(json=True))[1])
    assert row["source"] == "10.9.0.1"


def test_policies_of_sockets_can_be_counted_instead(tmp_path: Path) -> None:
    message = pfkey.decode(recorded(SadbType.SADB_X_SPDDUMP)[0], LINUX)
    changed = [
        pfkey.Policy(e.type, pfkey.IpsecDirection(5), e.id) if type(e) is pfkey.Policy else e
        for e in message.extensions
    ]
    wire = pfkey.encode(SadbMsg(message.type, extensions=tuple(changed)), LINUX)
    assert shown(tmp_path, wire)[1].startswith("(per-socket policy) \n\tout(socket)")
    hidden = shown(tmp_path, wire, wire, options=Options(hide_sockets=True))[1]
    assert hidden == "2 per-socket policies not shown (filtered by -N)\n"


@pytest.mark.parametrize("size", [0, 1, 15])
def test_a_file_shorter_than_a_message_is_invalid(tmp_path: Path, size: int) -> None:
    (tmp_path / "short.bin").write_bytes(b"\2" * size)
    path = str(tmp_path / "short.bin")
    assert setkey(path) == (1, "", f"setkey: {path}: Invalid argument\n")


def test_a_missing_or_invalid_file_is_reported_and_the_next_is_printed(tmp_path: Path) -> None:
    (tmp_path / "saved").write_bytes(pfkey.encode(SadbMsg(SadbType.SADB_DUMP, errno=2)))
    status, out, err = setkey("/no/such", str(tmp_path), str(tmp_path / "saved"))
    assert (status, out) == (1, "No SAD entries.\n")
    assert err == (
        f"setkey: /no/such: No such file or directory\nsetkey: {tmp_path}: Is a directory\n"
    )


def test_files_come_before_every_mode_and_need_no_kernel(tmp_path: Path) -> None:
    (tmp_path / "saved").write_bytes(pfkey.encode(SadbMsg(SadbType.SADB_DUMP, errno=2)))
    dropped = ("setpriv", "--bounding-set=-net_admin", "--inh-caps=-net_admin")
    done = setkey("-F", str(tmp_path / "saved"), before=dropped)
    assert done == (0, "No SAD entries.\n", "")


def test_messages_before_invalid_bytes_are_printed(tmp_path: Path) -> None:
    empty = pfkey.encode(SadbMsg(SadbType.SADB_DUMP, errno=2))
    status, out, err = shown(tmp_path, empty, empty[:12])
    assert (status, out) == (1, "No SAD entries.\n")
    assert re.fullmatch(r"Invalid argument \(.* at byte 16\)\n", err)


def test_an_invalid_message_is_reported_with_its_place_and_the_next_is_printed(
    tmp_path: Path,
) -> None:
    empty = pfkey.encode(SadbMsg(SadbType.SADB_DUMP, errno=2))
    other = bytes([9]) + empty[1:]
    status, out, err = shown(tmp_path, empty, other, empty)
    assert (status, out) == (1, "No SAD entries.\n" * 2)
    assert err == "Invalid argument (version 9 is not PF_KEY_V2 at byte 16)\n"


def test_a_file_larger_than_32_kib_is_read_to_its_end(tmp_path: Path) -> None:
    [wire, *_] = recorded(SadbType.SADB_DUMP)
    assert shown(tmp_path, wire * 1000)[1].count("\tsadb_seq=") == 1000


SAVED = recorded(SadbType.SADB_DUMP, SadbType.SADB_X_SPDDUMP, SadbType.SADB_GET)


@settings(deadline=None)
@given(st.data())
def test_no_bytes_raise_another_exception(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    wire = bytearray(data.draw(st.sampled_from(SAVED) | st.binary(max_size=200)))
    for _ in range(data.draw(st.integers(0, 4))):
        if wire:
            wire[data.draw(st.integers(0, len(wire) - 1))] = data.draw(st.integers(0, 255))
    options = Options(json=data.draw(st.booleans()), verbose=data.draw(st.booleans()), ports=True)
    folder = tmp_path_factory.getbasetemp()
    status, out, err = shown(folder, bytes(wire), options=options)
    assert status == int(bool(err))
    assert "Traceback" not in out + err


def test_a_file_without_an_end_is_refused() -> None:
    done = setkey("/dev/zero")
    assert done.err == "setkey: /dev/zero: longer than 64 MiB\n"
    assert done.status == 1
