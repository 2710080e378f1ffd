"""Laws that hold for every message, every dialect and any bytes at all."""

import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kamexfrm import pfkey
from kamexfrm.errors import WireError
from kamexfrm.pfkey.extension import FixedExtension
from tests.examples_of_laws import examples
from tests.pfkey.pfkey_messages import DIALECTS, extension, messages

RECORDED = [
    bytes.fromhex(row["request"])
    for line in Path(__file__).with_name("pfkey-linux.jsonl").read_text().splitlines()
    if len((row := json.loads(line)).get("request", "")) > 32
]

every_dialect = pytest.mark.parametrize(
    "dialect", DIALECTS, ids=lambda d: f"{d.name}-{d.byte_order}"
)
unhurried = settings(deadline=None, max_examples=examples(60))


def decodes_faithfully_or_is_refused(data: bytes, dialect: pfkey.Dialect) -> None:
    try:
        message, offset = pfkey.decode(data, dialect), 0
    except WireError as error:
        message, offset = None, error.offset
    assert offset is not None
    assert 0 <= offset <= len(data)
    if message is not None:
        assert pfkey.encode(message, dialect) == data
        again = pfkey.decode(data, dialect)
        assert again == message
        assert hash(again) == hash(message)


@every_dialect
@unhurried
@given(st.data())
def test_what_is_encoded_is_decoded_as_it_was(dialect: pfkey.Dialect, data: st.DataObject) -> None:
    message = data.draw(messages(dialect))
    assert pfkey.decode(pfkey.encode(message, dialect), dialect) == message


@every_dialect
@settings(deadline=None, max_examples=examples(20))
@given(st.data())
def test_each_extension_of_each_dialect_survives(
    dialect: pfkey.Dialect, data: st.DataObject
) -> None:
    for kind in dialect.extensions.values():
        one = data.draw(extension(kind, dialect))
        wire = pfkey.encode_extension(one, dialect)
        assert len(wire) % 8 == 0
        assert pfkey.decode_extension(wire, dialect) == one


@every_dialect
@unhurried
@given(st.binary(max_size=200))
def test_arbitrary_bytes_are_decoded_or_refused(dialect: pfkey.Dialect, data: bytes) -> None:
    decodes_faithfully_or_is_refused(data, dialect)


@every_dialect
@unhurried
@given(st.binary(max_size=200), st.integers(0, 255))
def test_arbitrary_bytes_behind_a_sound_header_are_decoded_or_refused(
    dialect: pfkey.Dialect, data: bytes, kind: int
) -> None:
    body = data[: len(data) // 8 * 8]
    base = pfkey.encode(pfkey.SadbMsg(pfkey.SadbType(kind)), dialect)
    words = (2 + len(body) // 8).to_bytes(2, dialect.byte_order)
    decodes_faithfully_or_is_refused(base[:4] + words + base[6:] + body, dialect)


@every_dialect
@unhurried
@given(st.data())
def test_arbitrary_bodies_of_known_extensions_are_decoded_or_refused(
    dialect: pfkey.Dialect, data: st.DataObject
) -> None:
    number = data.draw(st.sampled_from(sorted(dialect.extensions)))
    words = data.draw(st.integers(1, 16))
    body = data.draw(st.binary(min_size=8 * words - 4, max_size=8 * words - 4))
    order = dialect.byte_order
    wire = words.to_bytes(2, order) + number.to_bytes(2, order) + body
    base = pfkey.encode(pfkey.SadbMsg(pfkey.SadbType.SADB_ADD), dialect)
    length = (2 + words).to_bytes(2, order)
    decodes_faithfully_or_is_refused(base[:4] + length + base[6:] + wire, dialect)


@every_dialect
@unhurried
@given(st.data())
def test_mutated_messages_are_decoded_or_refused(
    dialect: pfkey.Dialect, data: st.DataObject
) -> None:
    wire = bytearray(pfkey.encode(data.draw(messages(dialect)), dialect))
    for _ in range(data.draw(st.integers(1, 4))):
        wire[data.draw(st.integers(0, len(wire) - 1))] = data.draw(st.integers(0, 255))
    decodes_faithfully_or_is_refused(bytes(wire), dialect)


@every_dialect
@unhurried
@given(st.data())
def test_mutated_recordings_are_decoded_or_refused_in_every_dialect(
    dialect: pfkey.Dialect, data: st.DataObject
) -> None:
    wire = bytearray(data.draw(st.sampled_from(RECORDED)))
    for _ in range(data.draw(st.integers(0, 4))):
        wire[data.draw(st.integers(0, len(wire) - 1))] = data.draw(st.integers(0, 255))
    decodes_faithfully_or_is_refused(bytes(wire), dialect)


@every_dialect
@unhurried
@given(st.data())
def test_a_truncated_message_is_refused_at_its_length(
    dialect: pfkey.Dialect, data: st.DataObject
) -> None:
    wire = pfkey.encode(data.draw(messages(dialect)), dialect)
    short = wire[: data.draw(st.integers(0, len(wire) - 1))]
    with pytest.raises(WireError) as error:
        pfkey.decode(short, dialect)
    assert error.value.offset == (4 if len(short) >= 16 else 0)


@every_dialect
@unhurried
@given(st.data())
def test_messages_in_one_buffer_are_split_where_they_were_joined(
    dialect: pfkey.Dialect, data: st.DataObject
) -> None:
    wires = [
        pfkey.encode(message, dialect)
        for message in data.draw(st.lists(messages(dialect), max_size=4))
    ]
    assert pfkey.split(b"".join(wires), dialect) == wires


@every_dialect
@unhurried
@given(st.data())
def test_a_promiscuous_copy_holds_the_message_it_copies(
    dialect: pfkey.Dialect, data: st.DataObject
) -> None:
    message = data.draw(messages(dialect))
    copy = pfkey.SadbMsg(pfkey.SadbType.SADB_X_PROMISC, inner=message)
    wire = pfkey.encode(copy, dialect)
    assert wire[16:] == pfkey.encode(message, dialect)
    assert pfkey.decode(wire, dialect).inner == message


@unhurried
@given(st.data())
def test_a_field_out_of_range_is_refused_where_the_extension_is_made(data: st.DataObject) -> None:
    """No struct.error: the constructor says no, for every numeric field of every fixed struct."""
    kind = data.draw(
        st.sampled_from(
            [k for d in DIALECTS for k in d.extensions.values() if issubclass(k, FixedExtension)]
        )
    )
    member = data.draw(st.sampled_from(kind.LAYOUT.members))
    sound = data.draw(extension(kind, DIALECTS[0]))
    assert isinstance(sound, kind)
    wrong = data.draw(st.sampled_from([-1, 1 << (8 * member.size), None, "1", 1.0]))
    fields = {other.name: getattr(sound, other.name) for other in kind.LAYOUT.members}
    fields[member.name] = b"x" * 99 if member.is_bytes else wrong
    with pytest.raises(pfkey.FieldError):
        kind(**fields)
