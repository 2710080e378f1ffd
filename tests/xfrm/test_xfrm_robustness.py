"""Whatever the bytes are, the codec reads them or raises its one error, with the place."""

import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kamexfrm import xfrm
from kamexfrm.errors import WireError
from tests.examples_of_laws import examples

u8 = st.integers(0, 0xFF)
u16 = st.integers(0, 0xFFFF)


def survives(type_: int, payload: bytes) -> None:
    """Decode, and where that succeeds encode and decode again: nothing else may be raised."""
    try:
        event = xfrm.decode_event(type_, payload)
    except WireError as error:
        assert 0 <= error.offset <= len(payload)  # noqa: PT017  # there is nothing to match
        return
    assert xfrm.decode_event(type_, xfrm.encode_event(event)) == event


def recorded_messages() -> list[tuple[int, bytes]]:
    found = set()
    for line in (Path(__file__).parent / "recorded" / "linux-6.1.jsonl").read_text().splitlines():
        row = json.loads(line)
        for text in row["sent"] + row["received"] + row["events"]:
            for message in xfrm.split_messages(bytes.fromhex(text)):
                if message.type >= 0x10:
                    found.add((message.type, bytes(message.payload)))
    return sorted(found)


RECORDED = recorded_messages()


@given(st.integers(0x0E, 0x2A), st.binary(max_size=400))
@settings(max_examples=examples(500), deadline=None)
def test_arbitrary_bytes_decode_or_raise_the_wire_error(type_: int, payload: bytes) -> None:
    survives(type_, payload)


@given(st.integers(0x10, 0x28), st.integers(0, 300), st.binary(max_size=120))
@settings(max_examples=examples(500), deadline=None)
def test_arbitrary_attributes_decode_or_raise_the_wire_error(
    type_: int, size: int, attributes: bytes
) -> None:
    survives(type_, bytes(size) + attributes)


@given(st.sampled_from(RECORDED), st.data())
@settings(max_examples=examples(800), deadline=None)
def test_a_damaged_message_decodes_or_raises_the_wire_error(
    message: tuple[int, bytes], data: st.DataObject
) -> None:
    type_, payload = message
    damaged = bytearray(payload)
    for _ in range(data.draw(st.integers(0, 4))):
        if damaged:
            damaged[data.draw(st.integers(0, len(damaged) - 1))] = data.draw(u8)
    survives(type_, bytes(damaged[: data.draw(st.integers(0, len(damaged)))]))


@pytest.mark.parametrize("cut", range(8))
def test_a_truncated_message_never_decodes_into_nonsense(cut: int) -> None:
    for type_, payload in RECORDED:
        for end in range(cut, len(payload), 8):
            survives(type_, payload[:end])


@given(st.binary(max_size=200))
@settings(max_examples=examples(300), deadline=None)
def test_arbitrary_bytes_split_into_messages_or_raise_the_wire_error(buffer: bytes) -> None:
    try:
        messages = list(xfrm.split_messages(buffer))
    except WireError as error:
        assert 0 <= error.offset <= len(buffer)  # noqa: PT017
        return
    assert sum(16 + len(message.payload) for message in messages) <= len(buffer)


@given(st.binary(max_size=80), u16)
@settings(max_examples=examples(300), deadline=None)
def test_arbitrary_bytes_are_an_error_reply_or_raise_the_wire_error(
    payload: bytes, flags: int
) -> None:
    for decode in (xfrm.decode_error, xfrm.decode_done):
        try:
            decode(payload, flags)
        except WireError as error:
            assert 0 <= error.offset <= len(payload)  # noqa: PT017
