"""What differs between systems, against structs that C's own rules lay out (by ctypes)."""

import ctypes
import socket

import pytest

from kamexfrm import pfkey
from kamexfrm.errors import WireError
from kamexfrm.net import Address

LITTLE = [
    dialect.with_byte_order("little")
    for dialect in (pfkey.LINUX, pfkey.KAME, pfkey.FREEBSD, pfkey.NETBSD)
]
BSD = {"KAME": (pfkey.KAME, 24), "FreeBSD": (pfkey.FREEBSD, 28), "NetBSD": (pfkey.NETBSD, 24)}
HERE, THERE = Address.parse("192.0.2.1"), Address.parse("192.0.2.2")
HERE6 = Address.parse("2001:db8::1")
IPSEC, OUT = pfkey.IpsecPolicy.IPSEC_POLICY_IPSEC, pfkey.IpsecDirection.IPSEC_DIR_OUTBOUND
TUNNEL, UNIQUE = pfkey.IpsecMode.IPSEC_MODE_TUNNEL, pfkey.IpsecLevel.IPSEC_LEVEL_UNIQUE

#: A member of a C struct: its type and its value.
Field = tuple["type[ctypes._SimpleCData[int]] | type[ctypes.Array[ctypes.c_uint8]]", object]


def struct(*fields: Field) -> ctypes.Structure:
    """Return an instance of a C struct with the given (type, value) members."""
    kinds = [(f"m{i}", kind) for i, (kind, _) in enumerate(fields)]
    made: ctypes.Structure = type("S", (ctypes.Structure,), {"_fields_": kinds})(
        *(value for _, value in fields)
    )
    return made


B, H, I = ctypes.c_uint8, ctypes.c_uint16, ctypes.c_uint32  # noqa: E741


def sockaddr(
    address: Address, family: int, has_length: bool, port: int = 0, scope: int = 0
) -> bytes:
    raw = (B * len(address.packed))(*address.packed)
    size = 16 if len(address.packed) == 4 else 28
    head: list[Field] = [(B, size), (B, family)] if has_length else [(H, family)]
    tail: list[Field] = [(H, socket.htons(port))]
    if size == 16:
        tail += [(type(raw), raw), (B * 8, (B * 8)())]
    else:
        tail += [(I, 0), (type(raw), raw), (I, scope)]
    return bytes(struct(*head, *tail))


@pytest.mark.parametrize("name", BSD)
def test_a_bsd_address_begins_with_its_length(name: str) -> None:
    dialect, inet6 = BSD[name]
    wire = bytes(struct((H, 3), (H, 5), (B, 17), (B, 24), (H, 0)))
    wire += sockaddr(HERE, 2, has_length=True, port=500)
    v4 = pfkey.AddressSrc(pfkey.Sockaddr(HERE, 500), 24, 17)
    assert pfkey.encode_extension(v4, dialect) == wire
    assert pfkey.decode_extension(wire, dialect) == v4
    wire = bytes(struct((H, 5), (H, 6), (B, 255), (B, 128), (H, 0)))
    wire += sockaddr(HERE6, inet6, has_length=True, scope=3) + bytes(4)
    v6 = pfkey.AddressDst(pfkey.Sockaddr(HERE6, scope_id=3), 128, 255)
    assert pfkey.encode_extension(v6, dialect) == wire
    assert pfkey.decode_extension(wire, dialect) == v6


def test_a_linux_address_begins_with_its_family() -> None:
    wire = bytes(struct((H, 5), (H, 6), (B, 255), (B, 128), (H, 0)))
    wire += sockaddr(HERE6, 10, has_length=False, port=4500) + bytes(4)
    v6 = pfkey.AddressDst(pfkey.Sockaddr(HERE6, 4500), 128, 255)
    assert pfkey.encode_extension(v6) == wire


@pytest.mark.parametrize("name", BSD)
def test_a_bsd_request_has_a_head_of_eight_bytes(name: str) -> None:
    dialect, _ = BSD[name]
    pair = sockaddr(HERE, 2, has_length=True) + sockaddr(THERE, 2, has_length=True)
    wire = bytes(struct((H, 7), (H, 18), (H, 2), (B, 2), (B, 0), (I, 9), (I, 0)))
    wire += bytes(struct((H, 40), (H, 50), (B, 2), (B, 3), (H, 77))) + pair
    request = pfkey.IpsecRequest(
        50,
        TUNNEL,
        UNIQUE,
        77,
        pfkey.Sockaddr(HERE),
        pfkey.Sockaddr(THERE),
    )
    policy = pfkey.Policy(
        IPSEC,
        OUT,
        9,
        requests=(request,),
    )
    assert pfkey.encode_extension(policy, dialect) == wire
    assert pfkey.decode_extension(wire, dialect) == policy


def test_a_linux_request_has_a_head_of_sixteen_bytes() -> None:
    head = struct((H, 48), (H, 50), (B, 2), (B, 3), (H, 0), (I, 70000), (I, 0))
    pair = sockaddr(HERE, 2, has_length=False) + sockaddr(THERE, 2, has_length=False)
    request = pfkey.IpsecRequest(
        50, TUNNEL, UNIQUE, 70000, pfkey.Sockaddr(HERE), pfkey.Sockaddr(THERE)
    )
    policy = pfkey.Policy(IPSEC, OUT, requests=(request,))
    assert pfkey.encode_extension(policy)[16:] == bytes(head) + pair


def test_a_wide_reqid_is_refused_where_the_wire_has_sixteen_bits() -> None:
    policy = pfkey.Policy(IPSEC, OUT, requests=(pfkey.IpsecRequest(50, reqid=70000),))
    assert pfkey.decode_extension(pfkey.encode_extension(policy)) == policy
    with pytest.raises(pfkey.FieldError):
        pfkey.encode_extension(policy, pfkey.KAME)


def test_an_association_reads_the_same_in_every_dialect() -> None:
    spi = int.from_bytes((0x12345678).to_bytes(4, "big"), "little")
    wire = bytes(struct((H, 2), (H, 1), (I, spi), (B, 4), (B, 1), (B, 3), (B, 12), (I, 0x40)))
    sa = pfkey.Sa(0x12345678, 4, pfkey.SadbSastate.SADB_SASTATE_MATURE, 3, 12, 0x40)
    for dialect in (pfkey.LINUX, pfkey.KAME, pfkey.FREEBSD, pfkey.NETBSD):
        assert pfkey.decode_extension(wire, dialect.with_byte_order("little")) == sa


@pytest.mark.parametrize(
    ("number", "body", "names"),
    [
        (25, 20, ("KMADDRESS", "TAG", None, None)),
        (25, 4, ("KMADDRESS", None, "NAT_T_FRAG", "NAT_T_FRAG")),
        (26, 4, (None, "UNKNOWN", "SA_REPLAY", "UNKNOWN")),
        (26, 36, ("FILTER", "UNKNOWN", None, "UNKNOWN")),
        (27, 4, ("UNKNOWN", "PACKET", None, "UNKNOWN")),
        (31, 36, ("UNKNOWN", "UNKNOWN", "IF_HW_OFFL", "UNKNOWN")),
        (20, 4, ("NAT_T_TYPE", "UNKNOWN", "NAT_T_TYPE", "NAT_T_TYPE")),
    ],
)
def test_one_number_means_different_things(
    number: int, body: int, names: tuple[str | None, ...]
) -> None:
    words = (4 + body) // 8
    wire = words.to_bytes(2, "little") + number.to_bytes(2, "little") + bytes(body)
    for dialect, name in zip(LITTLE, names, strict=True):
        if name is None:
            with pytest.raises(WireError):
                pfkey.decode_extension(wire, dialect)
            continue
        extension = pfkey.decode_extension(wire, dialect)
        assert pfkey.encode_extension(extension, dialect) == wire
        if name == "UNKNOWN":
            assert isinstance(extension, pfkey.UnknownExtension)
        else:
            assert f"SADB_X_EXT_{name}" == extension.NAME


def test_the_enumeration_of_extensions_agrees_with_every_dialect() -> None:
    for dialect in (pfkey.LINUX, pfkey.KAME, pfkey.FREEBSD, pfkey.NETBSD):
        for number, kind in dialect.extensions.items():
            assert pfkey.SadbExt[kind.NAME] == number
            assert dialect.extension_name(number) == kind.NAME
        assert dialect.extension_name(999) == "UNKNOWN_999"


def test_the_message_types_of_a_dialect_are_its_own() -> None:
    assert pfkey.KAME.message_name(24) == "SADB_X_MIGRATE"
    assert pfkey.KAME.message_name(23) == "UNKNOWN_23"
    assert pfkey.NETBSD.message_name(23) == "SADB_X_NAT_T_NEW_MAPPING"
    assert pfkey.FREEBSD.message_name(22) == "SADB_X_SPDDELETE2"
    assert pfkey.FREEBSD.message_name(23) == "UNKNOWN_23"
    assert len(pfkey.LINUX.message_types) == 25


def test_freebsd_names_scope_and_priority_of_a_policy() -> None:
    assert "sadb_x_policy_scope" in pfkey.FREEBSD.policy_members
    assert pfkey.KAME.policy_members[-1] == "sadb_x_policy_reserved2"


def test_the_other_byte_order_turns_all_but_network_fields() -> None:
    message = pfkey.SadbMsg(
        pfkey.SadbType.SADB_ADD,
        seq=1,
        extensions=(pfkey.Sa(0x01020304, flags=0x40), pfkey.NatTSport(4500)),
    )
    big = pfkey.encode(message, pfkey.LINUX.with_byte_order("big"))
    little = pfkey.encode(message, pfkey.LINUX.with_byte_order("little"))
    assert big.hex() == (
        "02030000000500000000000100000000000200010102030400000000000000400001001511940000"
    )
    assert little.hex() == (
        "02030000050000000100000000000000020001000102030400000000400000000100150011940000"
    )


def test_a_foreign_extension_is_refused_by_name() -> None:
    with pytest.raises(pfkey.FieldError, match="KAME has no extension SADB_X_EXT_SEC_CTX"):
        pfkey.encode_extension(pfkey.SecCtx(1, 1, b"context"), pfkey.KAME)


def test_an_unknown_extension_may_not_pose_as_a_known_one() -> None:
    with pytest.raises(pfkey.FieldError, match="SADB_EXT_SA"):
        pfkey.encode_extension(pfkey.UnknownExtension(1, bytes(12)))


def test_a_raw_sockaddr_may_not_pose_as_a_known_one() -> None:
    raw = pfkey.RawSockaddr(b"\x10\x02" + bytes(14))
    with pytest.raises(pfkey.FieldError):
        pfkey.encode_extension(pfkey.AddressSrc(raw), pfkey.KAME)
