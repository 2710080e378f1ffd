"""What exists can be encoded, what is secret is not shown, and what is wrong is said where."""

import copy
import doctest
import errno
import pickle
from collections.abc import Callable
from enum import IntEnum
from functools import partial

import pytest

from kamexfrm import pfkey
from kamexfrm.errors import KamexfrmError, WireError
from kamexfrm.net import Address
from kamexfrm.pfkey.extension import FixedExtension

LINUX = pfkey.LINUX.with_byte_order("little")
SECRET = bytes(range(0x41, 0x51))
HERE = pfkey.Sockaddr(Address.parse("192.0.2.1"))
GETSPI, ADD = pfkey.SadbType.SADB_GETSPI, pfkey.SadbType.SADB_ADD
PROMISC = pfkey.SadbType.SADB_X_PROMISC


def call(kind: Callable[..., object], *values: object, **named: object) -> Callable[[], object]:
    """Return a call with values whose types nobody checks, as a caller without types makes it."""
    return partial(kind, *values, **named)


def message(*extensions: pfkey.Extension) -> pfkey.SadbMsg:
    return pfkey.SadbMsg(ADD, pfkey.SadbSatype.SADB_SATYPE_ESP, extensions=extensions)


def wire(*extensions: tuple[int, bytes]) -> bytes:
    """Return a message of raw extensions, each a number and a body."""
    body = b"".join(
        ((4 + len(data)) // 8).to_bytes(2, "little") + number.to_bytes(2, "little") + data
        for number, data in extensions
    )
    return bytes((2, 3, 0, 3)) + (2 + len(body) // 8).to_bytes(2, "little") + bytes(10) + body


def refused_at(data: bytes) -> int | None:
    with pytest.raises(WireError) as error:
        pfkey.decode(data, LINUX)
    return error.value.offset


@pytest.mark.parametrize(
    "holder",
    [
        pfkey.Key(SECRET),
        pfkey.KeyEncrypt(pfkey.Key(SECRET)),
        pfkey.KeyAuth(pfkey.Key(SECRET[:1], 7), padding=SECRET[:7]),
        message(pfkey.KeyAuth(pfkey.Key(SECRET)), pfkey.UnknownExtension(999, SECRET)),
        pfkey.SadbMsg(PROMISC, inner=message(pfkey.KeyAuth(pfkey.Key(SECRET)))),
        message(pfkey.KmPrivate(0, SECRET)),
    ],
)
def test_no_repr_shows_key_material(holder: object) -> None:
    shown = f"{holder!r}{holder}"
    assert "ABC" not in shown
    assert "A" + "'" not in shown
    assert "41" not in shown


def test_a_key_shows_its_bits() -> None:
    assert repr(pfkey.Key(SECRET)) == "Key(bits=128)"


@pytest.mark.parametrize(
    "enumeration",
    [
        pfkey.SadbType,
        pfkey.SadbSatype,
        pfkey.SadbSastate,
        pfkey.SadbExt,
        pfkey.SadbAalg,
        pfkey.SadbEalg,
        pfkey.SadbCalg,
        pfkey.SadbIdenttype,
        pfkey.IpsecPolicy,
        pfkey.IpsecDirection,
        pfkey.IpsecMode,
        pfkey.IpsecLevel,
    ],
)
def test_a_number_nobody_named_is_a_member_all_the_same(enumeration: type[IntEnum]) -> None:
    stranger = enumeration(201)
    assert isinstance(stranger, enumeration)
    assert (stranger.name, stranger.value, int(stranger)) == ("UNKNOWN_201", 201, 201)
    assert stranger == enumeration(201)
    assert hash(stranger) == hash(enumeration(201))
    assert pickle.loads(pickle.dumps(stranger)) == stranger  # noqa: S301
    with pytest.raises(ValueError, match="not a valid"):
        enumeration(-1)


@pytest.mark.parametrize(
    "make",
    [
        call(pfkey.Sa, 1 << 32),
        call(pfkey.Sa, -1),
        call(pfkey.Sa, 1, replay=256),
        call(pfkey.NatTSport, 65536),
        call(pfkey.Sa2, mode=256),
        call(pfkey.LifetimeHard, bytes=1 << 64),
        call(pfkey.LifetimeHard, allocations=1 << 32),
        call(pfkey.Key, SECRET, 121 - 8),
        call(pfkey.Key, SECRET, 129),
        call(pfkey.Key, bytes(8192)),
        call(pfkey.Key, "secret"),
        call(pfkey.KeyAuth, SECRET),
        call(pfkey.KeyAuth, pfkey.Key(SECRET), padding=b"x"),
        call(pfkey.Sockaddr, Address(10, bytes(4))),
        call(pfkey.Sockaddr, Address(99, bytes(4))),
        call(pfkey.Sockaddr, Address.parse("::"), 65536),
        call(pfkey.Sockaddr, Address.parse("192.0.2.1"), scope_id=1),
        call(pfkey.Sockaddr, "192.0.2.1"),
        call(pfkey.RawSockaddr, b"x"),
        call(pfkey.AddressSrc, None),
        call(pfkey.AddressSrc, HERE, 256),
        call(pfkey.AddressSrc, HERE, padding=bytes(8)),
        call(pfkey.IpsecRequest, 1 << 16),
        call(pfkey.IpsecRequest, 50, reqid=1 << 32),
        call(pfkey.IpsecRequest, 50, source=HERE),
        call(pfkey.IpsecRequest, 50, destination=HERE),
        call(pfkey.IpsecRequest, 50, trailing=b"x"),
        call(pfkey.Policy, 1, 1, requests=(pfkey.IpsecRequest(50),)),
        call(pfkey.Policy, 2, 1, requests=(None,)),
        call(pfkey.Policy, 2, 256),
        call(pfkey.Tag, bytes(17)),
        call(pfkey.IfHwOffl, bytes(33)),
        call(pfkey.Sensitivity, 0, sens_bitmap=(0,) * 256),
        call(pfkey.Sensitivity, 0, sens_bitmap=(1 << 64,)),
        call(pfkey.SecCtx, 1, 1, bytes(65536)),
        call(pfkey.UnknownExtension, 0),
        call(pfkey.UnknownExtension, 65536),
        call(pfkey.Supported, ("x",)),
        call(pfkey.Proposal, combs=("x",)),
        call(pfkey.SadbMsg, 256),
        call(pfkey.SadbMsg, 1, seq=1 << 32),
        call(pfkey.SadbMsg, 1, errno=-1),
        call(pfkey.SadbMsg, 1, extensions=("x",)),
        call(pfkey.SadbMsg, 1, extensions=(pfkey.Sa(1), pfkey.Sa(2))),
        call(pfkey.SadbMsg, 11, extensions=(pfkey.Sa(1),)),
        call(pfkey.SadbMsg, 1, inner=pfkey.SadbMsg(GETSPI)),
    ],
)
def test_what_could_not_be_encoded_cannot_be_made(make: Callable[[], object]) -> None:
    with pytest.raises(pfkey.FieldError) as error:
        make()
    assert isinstance(error.value, KamexfrmError)
    assert error.value.errno == errno.EINVAL


@pytest.mark.parametrize(
    "too_long",
    [
        lambda: message(pfkey.UnknownExtension(999, bytes(8 * 65536))),
        lambda: message(*(pfkey.UnknownExtension(900 + i, bytes(300000)) for i in range(2))),
        lambda: message(
            pfkey.Policy(
                pfkey.IpsecPolicy.IPSEC_POLICY_IPSEC,
                pfkey.IpsecDirection.IPSEC_DIR_INBOUND,
                requests=(
                    pfkey.IpsecRequest(50, source=HERE, destination=HERE, trailing=bytes(65536)),
                ),
            )
        ),
    ],
)
def test_what_is_too_long_for_its_length_field_is_refused(
    too_long: Callable[[], pfkey.SadbMsg],
) -> None:
    with pytest.raises(pfkey.FieldError):
        pfkey.encode(too_long(), LINUX)


def test_a_second_extension_of_a_kind_is_refused_where_it_begins() -> None:
    sa = pfkey.encode_extension(pfkey.Sa(1), LINUX)[4:]
    assert refused_at(wire((1, sa), (16, bytes(12)), (1, sa))) == 48
    assert refused_at(wire((99, bytes(4)), (99, bytes(4)))) == 24


def test_extension_type_zero_is_refused() -> None:
    assert refused_at(wire((0, bytes(4)))) == 16


@pytest.mark.parametrize("number", [1, 2, 3, 4, 16, 19, 20, 21, 22, 26])
def test_a_struct_with_room_to_spare_or_too_little_is_refused(number: int) -> None:
    kind = LINUX.extensions[number]
    assert issubclass(kind, FixedExtension)
    size = kind.LAYOUT.size
    assert refused_at(wire((number, bytes(size - 4 + 8)))) == 16 + size
    if size > 8:
        assert refused_at(wire((number, bytes(size - 4 - 8)))) == 20


def test_an_address_longer_than_its_sockaddr_is_refused_behind_it() -> None:
    sound = pfkey.encode_extension(pfkey.AddressSrc(HERE), LINUX)[4:]
    assert refused_at(wire((5, sound + bytes(8)))) == 40
    assert refused_at(wire((5, sound[:-8]))) == 24
    assert refused_at(wire((5, sound[:4]))) == 24


def test_a_bsd_sockaddr_with_another_familys_length_is_refused() -> None:
    data = pfkey.encode(message(pfkey.AddressSrc(HERE)), pfkey.KAME)
    with pytest.raises(WireError) as error:
        pfkey.decode(data[:24] + b"\x1c" + data[25:], pfkey.KAME)
    assert error.value.offset == 24


def test_a_request_with_one_address_only_is_refused() -> None:
    request = bytes((32, 0, 50, 0, 2, 2)) + bytes(10) + b"\x02\0" + bytes(14)
    policy = bytes((2, 0, 1, 0)) + bytes(8) + request
    assert refused_at(wire((18, policy))) == 64


def test_bitmaps_must_fill_their_extension() -> None:
    assert refused_at(wire((12, bytes(4) + bytes((0, 1, 0, 0)) + bytes(4)))) == 32
    assert refused_at(wire((12, bytes(12) + bytes(8)))) == 32


def test_a_cut_off_combination_is_refused() -> None:
    assert refused_at(wire((13, bytes(4 + 72 + 64)))) == 24 + 72


def test_an_offset_inside_a_promiscuous_copy_counts_from_the_outer_start() -> None:
    inner = wire((1, bytes(4)))
    outer = bytes((2, 11, 0, 0)) + (2 + len(inner) // 8).to_bytes(2, "little") + bytes(10)
    assert refused_at(outer + inner) == 16 + 20


def test_promiscuous_copies_cannot_be_nested_without_end() -> None:
    data = b""
    for depth in range(1, 4000):
        data = bytes((2, 11, 0, 0)) + (2 * depth).to_bytes(2, "little") + bytes(10) + data
    assert refused_at(data) == 64
    nested = pfkey.SadbMsg(ADD)
    for _ in range(4):
        nested = pfkey.SadbMsg(PROMISC, inner=nested)
    assert pfkey.decode(pfkey.encode(nested)) == nested
    with pytest.raises(pfkey.FieldError):
        pfkey.SadbMsg(PROMISC, inner=nested)


def test_reserved_fields_and_padding_survive() -> None:
    sound = pfkey.encode_extension(pfkey.KeyAuth(pfkey.Key(SECRET[:10])), LINUX)[4:]
    odd = sound[:2] + b"\x99\x88" + sound[4:-6] + b"padded"
    sockaddr = b"\x02\0\x01\xf4\xc0\0\2\1" + b"not zero"
    data = wire((8, odd), (5, b"\x11\x20\x77\x66" + sockaddr))
    decoded = pfkey.decode(data[:6] + b"\x55\x44" + data[8:], LINUX)
    assert decoded.reserved == 0x4455
    assert decoded.require(pfkey.KeyAuth).reserved == 0x8899
    assert decoded.require(pfkey.KeyAuth).padding == b"padded"
    source = decoded.require(pfkey.AddressSrc).sockaddr
    assert isinstance(source, pfkey.Sockaddr)
    assert source.zero == b"not zero"
    assert pfkey.encode(decoded, LINUX) == data[:6] + b"\x55\x44" + data[8:]


def test_a_buffer_of_several_messages_is_split_or_refused_where_it_breaks() -> None:
    one, two = (
        pfkey.encode(pfkey.SadbMsg(kind), LINUX)
        for kind in (pfkey.SadbType.SADB_FLUSH, pfkey.SadbType.SADB_DUMP)
    )
    assert pfkey.split(one + two, LINUX) == [one, two]
    assert pfkey.split(b"", LINUX) == []
    for broken in (one[:15], one[:4], b"\x02" * 16, bytes(16)):
        with pytest.raises(WireError) as error:
            pfkey.split(one + broken, LINUX)
        assert error.value.offset == 16


def test_a_missing_extension_is_named() -> None:
    with pytest.raises(pfkey.FieldError, match="SADB_ADD without SADB_EXT_SA"):
        message().require(pfkey.Sa)
    assert message().get(pfkey.Sa) is None


def test_an_identity_is_text_with_a_zero_byte_behind() -> None:
    kind = pfkey.SadbIdenttype.SADB_IDENTTYPE_USERFQDN
    identity = pfkey.IdentitySrc.named(kind, "user@example")
    assert identity.data == b"user@example\0\0\0\0"
    assert identity.text == "user@example"


def test_a_filter_speaks_in_addresses() -> None:
    ends = Address.parse("10.0.0.0"), Address.parse("10.1.0.0")
    chosen = pfkey.Filter.between(ends[0], 16, ends[1], 24)
    assert chosen.addresses == ends
    assert pfkey.decode_extension(pfkey.encode_extension(chosen)) == chosen


def test_messages_are_values() -> None:
    made = message(pfkey.Sa(1), pfkey.AddressSrc(HERE), pfkey.LifetimeHard(bytes=7))
    assert copy.deepcopy(made) == made
    assert pickle.loads(pickle.dumps(made)) == made  # noqa: S301
    hard: pfkey.Extension = pfkey.LifetimeHard()
    assert hard != pfkey.LifetimeSoft()
    with pytest.raises(AttributeError):
        setattr(made, "seq", 2)  # noqa: B010  a plain assignment is refused by type checkers


def test_bytes_of_any_kind_are_decoded() -> None:
    data = pfkey.encode(message(pfkey.Sa(1)))
    assert pfkey.decode(bytearray(data)) == pfkey.decode(memoryview(data)) == pfkey.decode(data)


def test_the_example_in_the_docstring_works() -> None:
    assert doctest.testmod(pfkey).failed == 0
