"""Linux's own AF_KEY as the oracle: messages recorded from a 6.1 kernel, little endian.

Each line of pfkey-linux.jsonl has a name and some of: ``request``, what was sent; ``said``, what
another decoder made of it; ``heard``, what sockets received; ``optval`` of IP_IPSEC_POLICY.
"""

import json
import re
from pathlib import Path

import pytest

from kamexfrm import pfkey
from kamexfrm.errors import WireError
from kamexfrm.net import Address

LINUX = pfkey.LINUX.with_byte_order("little")
LINES = [
    json.loads(line)
    for line in Path(__file__).with_name("pfkey-linux.jsonl").read_text().splitlines()
]
BY_NAME = {line["name"]: line for line in LINES}

#: The requests that were malformed on purpose, with the offset of what is wrong.
MALFORMED = {
    "hdr-short-8": 0,
    "hdr-empty": 0,
    "hdr-version-1": 0,
    "hdr-len-too-big": 4,
    "hdr-len-too-small": 4,
    "hdr-len-zero": 4,
    "ext-len-zero": 16,
    "ext-len-beyond": 16,
    "add-bad-key-bits-too-long": 100,
    "spdadd4-bad-reqlen": 80,
    "spdadd4-reqlen0": 80,
    "spdadd6-bad-reqlen": 112,
    "spdadd6-reqlen0": 112,
}

#: The other decoder's short names.
SHORT = {
    "SA": "SADB_EXT_SA",
    "SRC": "SADB_EXT_ADDRESS_SRC",
    "DST": "SADB_EXT_ADDRESS_DST",
    "PROXY": "SADB_EXT_ADDRESS_PROXY",
    "KEY_AUTH": "SADB_EXT_KEY_AUTH",
    "KEY_ENC": "SADB_EXT_KEY_ENCRYPT",
    "ID_SRC": "SADB_EXT_IDENTITY_SRC",
    "ID_DST": "SADB_EXT_IDENTITY_DST",
    "LT_CURRENT": "SADB_EXT_LIFETIME_CURRENT",
    "LT_HARD": "SADB_EXT_LIFETIME_HARD",
    "LT_SOFT": "SADB_EXT_LIFETIME_SOFT",
    "SPIRANGE": "SADB_EXT_SPIRANGE",
    "100": "unknown",
}


def request(name: str) -> pfkey.SadbMsg:
    return pfkey.decode(bytes.fromhex(BY_NAME[name]["request"]), LINUX)


def test_every_recorded_message_is_decoded_and_encoded_to_the_same_bytes() -> None:
    for line in LINES:
        sent = [line["request"]] if "request" in line and line["name"] not in MALFORMED else []
        for wire in map(bytes.fromhex, sent + line.get("heard", [])):
            message = pfkey.decode(wire, LINUX)
            assert pfkey.encode(message, LINUX) == wire, line["name"]
            assert not any(
                isinstance(e, pfkey.UnknownExtension) and e.number < 27 for e in message.extensions
            )


@pytest.mark.parametrize(("name", "offset"), MALFORMED.items())
def test_a_request_malformed_on_purpose_is_refused_at_the_culprit(name: str, offset: int) -> None:
    with pytest.raises(WireError) as error:
        request(name)
    assert error.value.offset == offset


def test_a_second_decoder_sees_the_same_messages() -> None:
    for line in LINES:
        if "request" not in line or line["name"] in MALFORMED:
            continue
        message = request(line["name"])
        said = re.fullmatch(
            r"(\S+) errno=\S+ satype=(\d+) len=\d+ seq=(\d+) pid=(\d+) \[(.*)\]", line["said"]
        )
        assert said is not None, line["name"]
        kind, satype, seq, pid, listed = said.groups()
        if message.inner is not None:
            continue
        assert message.type.name in (f"SADB_{kind}", "SADB_RESERVED"), line["name"]
        assert (message.satype, message.seq, message.pid) == (int(satype), int(seq), int(pid))
        theirs = [word.split(":") for word in listed.split()]
        ours = [(e.NAME, len(pfkey.encode_extension(e, LINUX))) for e in message.extensions]
        assert len(ours) == len(theirs), line["name"]
        for (name, size), (short, length) in zip(ours, theirs, strict=True):
            assert size == int(length)
            assert name == SHORT.get(short, f"SADB_{short.replace('X_', 'X_EXT_')}")


def test_policies_given_to_setsockopt_are_decoded() -> None:
    refused = []
    for line in LINES:
        if "optval" in line:
            wire = bytes.fromhex(line["optval"])
            try:
                policy = pfkey.decode_policy(wire, LINUX)
            except WireError:
                refused.append(line["name"])
            else:
                assert pfkey.encode_extension(policy, LINUX) == wire
    assert refused == ["sockopt-short", "sockopt-len-mismatch"]


def test_an_unknown_extension_beside_known_ones_is_kept() -> None:
    message = request("ext-type-100-with-valid")
    assert [e.number for e in message.extensions if type(e) is pfkey.UnknownExtension] == [100]
    assert message.require(pfkey.Sa).spi == 1


def test_a_get_request_has_the_fields_that_were_sent() -> None:
    message = request("get4-wrong-satype")
    assert message.type is pfkey.SadbType.SADB_GET
    assert message.satype is pfkey.SadbSatype.SADB_SATYPE_AH
    source, destination = message.require(pfkey.AddressSrc), message.require(pfkey.AddressDst)
    assert source.sockaddr == pfkey.Sockaddr(Address.parse("10.9.0.1"))
    assert destination.sockaddr == pfkey.Sockaddr(Address.parse("10.9.0.2"))
    assert source.prefixlen == 32


def test_an_address_of_unknown_family_stays_raw() -> None:
    source = request("add-bad-sockaddr-family").require(pfkey.AddressSrc).sockaddr
    assert source == pfkey.RawSockaddr(b"\x4d\0" + bytes(14))


def test_key_bits_that_fill_no_byte_are_kept_with_all_that_follows() -> None:
    key = request("add-bad-key-bits-7").require(pfkey.KeyAuth)
    assert (key.key.bits, len(key.key.data), len(key.padding)) == (7, 1, 23)


def test_the_registered_algorithms_are_read_with_their_sizes() -> None:
    message = pfkey.decode(bytes.fromhex(BY_NAME["register-unspec"]["heard"][0]), LINUX)
    sha1 = pfkey.Algorithm(pfkey.SadbAalg.SADB_AALG_SHA1HMAC, 0, 160, 160)
    assert sha1 in message.require(pfkey.SupportedAuth).algorithms
    aes = pfkey.Algorithm(pfkey.SadbEalg.SADB_X_EALG_AESCBC, 8, 128, 256)
    assert aes in message.require(pfkey.SupportedEncrypt).algorithms


def test_a_relayed_message_is_inside_the_promiscuous_one() -> None:
    message = request("promisc-relay")
    assert message.type is pfkey.SadbType.SADB_X_PROMISC
    assert message.inner == pfkey.SadbMsg(pfkey.SadbType.SADB_DUMP, seq=1, pid=0x4B41)


def test_a_recorded_request_list_is_read_in_order() -> None:
    policy = request("spdadd6-6-requests").require(pfkey.Policy)
    assert [r.proto for r in policy.requests] == [50] * 6
    assert {r.level for r in policy.requests} == {pfkey.IpsecLevel.IPSEC_LEVEL_REQUIRE}
    assert policy.direction is pfkey.IpsecDirection.IPSEC_DIR_OUTBOUND


def test_the_header_of_a_malformed_request_can_be_answered() -> None:
    wire = bytes.fromhex(BY_NAME["ext-len-zero"]["request"])
    base = pfkey.decode_base(wire, LINUX)
    assert (base.type, base.satype, base.seq) == (pfkey.SadbType.SADB_GET, 3, 1)
    assert base.extensions == ()
