"""Captures and keys as Wireshark reads them."""

import stat
import struct
from pathlib import Path

import pytest

from kamexfrm.rig.packet import ETH_P_IP, read_packet
from kamexfrm.rig.scenario.reading.document import read_text
from kamexfrm.rig.scenario.run.runner import Runner
from kamexfrm.rig.scenario.stage.pcap import copy_files, file_header, packet_record

TEXT = """
links = "alice 10.0.0.1/24 -- 10.0.0.2/24 bob"
[hosts.alice]
setkey = '''
add ${alice} ${bob} esp 0x1001 -E aes-cbc ${key:128} -A hmac-sha256-128 ${key:256};
add ${bob} ${alice} esp 0x1002 -E aes-gcm-16 ${key:160};
add ${bob} ${alice} esp 0x1003 -E 3des-cbc ${key:192} -A aes-xcbc-mac ${key:128};
add ${bob} ${alice} ah 0x1004 -A hmac-sha1 ${key:160};
add ${bob} ${alice} esp 0x1005 -E serpent-cbc ${key:128};
add ${bob} ${alice} esp 0x1006 -E chacha20-poly1305 ${key:288};
add ${bob} ${alice} esp 0x1007 -E blowfish-cbc ${key:448};
spdadd ${alice} ${bob} any -P out ipsec esp/transport//require;
'''
[hosts.bob]
mirror = "alice"
[[steps]]
ping = "alice -> bob"
"""


def test_a_packet_is_written_with_its_time_and_all_its_bytes() -> None:
    packet = read_packet(1_700_000_000.25, "out", ETH_P_IP, b"\x45" + bytes(27))
    record = packet_record(packet)
    assert struct.unpack("=IIII", record[:16]) == (1_700_000_000, 250_000_000, 28, 28)
    assert record[16:] == packet.data
    assert struct.unpack("=IHHiIII", file_header()) == (0xA1B23C4D, 2, 4, 0, 0, 1 << 18, 101)


@pytest.mark.dataplane
def test_the_keys_of_each_esp_sa_stand_in_wiresharks_words(tmp_path: Path) -> None:
    (case,) = read_text(TEXT, "keys.rig.toml")
    Runner(pcap=tmp_path).run(case)
    keys = tmp_path / "keys.esp_sa"
    assert stat.S_IMODE(keys.stat().st_mode) == 0o600
    lines = keys.read_text().splitlines()
    key = bytes(range(32)).hex()
    assert sorted(lines) == sorted(
        [
            f'"IPv4","10.0.0.1","10.0.0.2","0x00001001","AES-CBC [RFC3602]","0x{key[:32]}",'
            f'"HMAC-SHA-256-128 [RFC4868]","0x{key}"',
            f'"IPv4","10.0.0.2","10.0.0.1","0x00001002","AES-GCM with 16 octet ICV '
            f'[RFC4106]","0x{key[:40]}","NULL",""',
            f'"IPv4","10.0.0.2","10.0.0.1","0x00001003","TripleDES-CBC [RFC2451]","0x{key[:48]}",'
            f'"ANY 96 bit authentication [no checking]","0x{key[:32]}"',
        ]
    )
    assert (tmp_path / "keys.alice----bob.pcap").stat().st_size > 24


def test_files_of_keys_are_copied_for_their_owner_alone_and_links_are_not(tmp_path: Path) -> None:
    source, target = tmp_path / "source", tmp_path / "target"
    for each in (source, target):
        each.mkdir()
        (each / "case.esp_sa").write_text(f"{each.name}\n")
    (source / "case.link.pcap").write_bytes(file_header())
    (source / "leads.pcap").symlink_to("/etc/passwd")
    copy_files(source, target)
    assert sorted(path.name for path in target.iterdir()) == ["case.esp_sa", "case.link.pcap"]
    assert (target / "case.esp_sa").read_text() == "source\n"
    assert stat.S_IMODE((target / "case.esp_sa").stat().st_mode) == 0o600
