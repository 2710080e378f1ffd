"""Capture files for Wireshark, and its table of keys, so that it decrypts ESP.

One file a link and case, of raw IP packets (LINKTYPE_RAW; libpcap's savefile format), and one
``esp_sa`` for Wireshark's profile folder or ``-o uat:esp_sa:...``. It holds the test keys.
"""

import os
import re
import shutil
import struct
from pathlib import Path
from typing import BinaryIO

from kamexfrm.model.association import Key, SecurityAssociation
from kamexfrm.model.knobs import SHA256_ICV_BITS
from kamexfrm.model.policy import IpsecProtocol
from kamexfrm.rig.packet import ETH_P_IP, ETH_P_IPV6, Packet
from kamexfrm.rig.scenario.plan import Case
from kamexfrm.rig.scenario.stage.scene import Scene

_FILE_HEADER = struct.Struct("=IHHiIII")
_RECORD_HEADER = struct.Struct("=IIII")
MAGIC_NANOSECONDS = 0xA1B23C4D
LINKTYPE_RAW = 101

#: Wireshark's words for algorithms (its preference "ESP SAs"), tried with 4.0. One word that a
#: version does not know makes it read none of the table, so there is no ChaCha20 here.
_ENCRYPTION = {
    "null": "NULL",
    "des-cbc": "DES-CBC [RFC2405]",
    "3des-cbc": "TripleDES-CBC [RFC2451]",
    "aes-cbc": "AES-CBC [RFC3602]",
    "aes-ctr": "AES-CTR [RFC3686]",
    "cast128-cbc": "CAST5-CBC [RFC2144]",
    "blowfish-cbc": "BLOWFISH-CBC [RFC2451]",
    "twofish-cbc": "TWOFISH-CBC",
    "aes-gcm-16": "AES-GCM with 16 octet ICV [RFC4106]",
}

#: Of these Wireshark takes no other key size, in bytes.
_ONE_SIZE = {"cast128-cbc": 16, "blowfish-cbc": 16}
_AUTHENTICATION = {
    ("hmac-md5", 96): "HMAC-MD5-96 [RFC2403]",
    ("hmac-sha1", 96): "HMAC-SHA-1-96 [RFC2404]",
    ("hmac-sha256", SHA256_ICV_BITS[0]): "HMAC-SHA-256-96 [draft-ietf-ipsec-ciph-sha-256-00]",
    ("hmac-sha256", SHA256_ICV_BITS[1]): "HMAC-SHA-256-128 [RFC4868]",
    ("hmac-sha384", 192): "HMAC-SHA-384-192 [RFC4868]",
    ("hmac-sha512", 256): "HMAC-SHA-512-256 [RFC4868]",
    ("hmac-ripemd160", 96): "MAC-RIPEMD-160-96 [RFC2857]",
}


#: How the names of files of keys end.
_KEYS = ".esp_sa"


class Record:
    """Writes a case's captures and keys into a folder."""

    def __init__(self, folder: Path, case: Case) -> None:
        self._folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self._prefix = _file_word(f"{Path(case.file).name.removesuffix('.rig.toml')} {case.name}")
        self._files: dict[str, BinaryIO] = {}
        self._keys: dict[str, None] = {}

    def packets(self, scene: Scene) -> None:
        """Write the packets of the step just taken."""
        for link, packets in scene.packets():
            if link not in self._files:
                path = self._folder / f"{self._prefix}.{_file_word(link)}.pcap"
                self._files[link] = path.open("wb")
                self._files[link].write(file_header())
            for packet in packets:
                if packet.ethertype in (ETH_P_IP, ETH_P_IPV6):
                    self._files[link].write(packet_record(packet))

    def keys(self, scene: Scene) -> None:
        """Collect the keys of all hosts' ESP SAs."""
        for name in scene.hosts:
            for entry in scene.sad(name):
                if line := esp_line(entry.association):
                    self._keys.setdefault(line)

    def close(self) -> None:
        """Write the keys, and close all files."""
        for file in self._files.values():
            file.close()
        path = self._folder / f"{self._prefix}{_KEYS}"
        _write_keys(path, "".join(f"{line}\n" for line in self._keys))


def copy_files(source: Path, target: Path) -> None:
    """Copy a folder of captures and keys, with their modes; links are left out.

    The guest wrote them, and a link of its making may point anywhere on this machine.
    """
    if source.is_symlink():
        return
    target.mkdir(parents=True, exist_ok=True)
    for path in source.iterdir():
        if path.is_symlink() or not path.is_file():
            continue
        if path.suffix == _KEYS:
            _write_keys(target / path.name, path.read_text())
        else:
            shutil.copyfile(path, target / path.name)


def _write_keys(path: Path, text: str) -> None:
    """Write a file of keys that nobody else can read, at no time; one that is there is replaced."""
    path.unlink(missing_ok=True)
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL
    with open(os.open(path, flags, 0o600), "w", encoding="ascii") as file:
        file.write(text)


def file_header() -> bytes:
    """Return the header of a capture file of raw IP packets."""
    return _FILE_HEADER.pack(MAGIC_NANOSECONDS, 2, 4, 0, 0, 1 << 18, LINKTYPE_RAW)


def packet_record(packet: Packet) -> bytes:
    """Return a packet's record in a capture file."""
    seconds, fraction = divmod(packet.time, 1)
    size = len(packet.data)
    return _RECORD_HEADER.pack(int(seconds), int(fraction * 1e9), size, size) + packet.data


def esp_line(association: SecurityAssociation) -> str:
    """Return an SA's line of Wireshark's table; empty for what it cannot decrypt."""
    if association.protocol is not IpsecProtocol.ESP:
        return ""
    encryption, authentication = association.encryption, association.authentication
    name = _ENCRYPTION.get(_name(encryption))
    size = len(encryption.material) if encryption else 0
    if name is None or size != _ONE_SIZE.get(_name(encryption), size):
        return ""
    word = _AUTHENTICATION.get(
        (_name(authentication), authentication.icv_bits if authentication else 0), ""
    )
    if not word and authentication and authentication.icv_bits:
        word = f"ANY {authentication.icv_bits} bit authentication [no checking]"
    fields = (
        "IPv6" if ":" in str(association.source) else "IPv4",
        str(association.source),
        str(association.destination),
        f"0x{association.spi:08x}",
        name,
        _hexadecimal(encryption),
        word or "NULL",
        _hexadecimal(authentication),
    )
    return ",".join(f'"{field}"' for field in fields)


def _name(key: Key | None) -> str:
    return key.algorithm.name if key and key.algorithm else "null"


def _hexadecimal(key: Key | None) -> str:
    return f"0x{key.material.hex()}" if key and key.material else ""


def _file_word(text: str) -> str:
    return re.sub(r"[^A-Za-z0-9.,_-]+", "-", text.strip()).strip("-")
