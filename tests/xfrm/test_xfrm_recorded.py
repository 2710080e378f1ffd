"""The codec against bytes that it did not write: iproute2's requests, two kernels' answers.

``recorded/*.jsonl`` were made by capture_iproute2.py on Linux 6.1 and 6.18. The walker here
reads netlink one byte at a time and knows nothing of the package.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from kamexfrm import xfrm
from kamexfrm.net import Address

RECORDED = Path(__file__).parent / "recorded"
KERNELS = ("linux-6.1", "linux-6.18")
HEAD_BYTES = {  # bytes before the attributes, by message type
    0x10: 224, 0x1A: 224, 0x11: 24, 0x12: 24, 0x13: 168, 0x19: 168, 0x14: 64, 0x15: 64,
    0x16: 232, 0x17: 280, 0x18: 232, 0x1B: 176, 0x1C: 1, 0x1D: 0, 0x1E: 48, 0x1F: 48,
    0x20: 60, 0x21: 64, 0x22: 4, 0x24: 4, 0x26: 64, 0x27: 3, 0x28: 3,
}  # fmt: skip


class Recorded(NamedTuple):
    """One message: what was done, who sent it, its type, its flags and its payload."""

    command: str
    side: str
    type: int
    flags: int
    payload: bytes


def slow_messages(data: bytes) -> Iterator[tuple[int, int, bytes]]:
    while data:
        length = int.from_bytes(data[0:4], "little")
        yield (
            int.from_bytes(data[4:6], "little"),
            int.from_bytes(data[6:8], "little"),
            data[16:length],
        )
        data = data[(length + 3) // 4 * 4 :]


def slow_attributes(data: bytes) -> list[tuple[int, bytes]]:
    found = []
    while data:
        length = int.from_bytes(data[0:2], "little")
        found.append((int.from_bytes(data[2:4], "little"), data[4:length]))
        data = data[(length + 3) // 4 * 4 :]
    return found


def recorded(kernel: str) -> list[Recorded]:
    found = []
    for line in (RECORDED / f"{kernel}.jsonl").read_text().splitlines():
        row = json.loads(line)
        for side in ("sent", "received", "events"):
            for text in row[side]:
                for type_, flags, payload in slow_messages(bytes.fromhex(text)):
                    found.append(Recorded(row["command"], side, type_, flags, payload))
    return found


def is_dump_request(message: Recorded) -> bool:
    return message.side == "sent" and message.flags & xfrm.NLM_F_DUMP == xfrm.NLM_F_DUMP


def events(kernel: str) -> list[Recorded]:
    return [
        message
        for message in recorded(kernel)
        if message.type in HEAD_BYTES and not is_dump_request(message)
    ]


def normal(type_: int, payload: bytes) -> tuple[bytes, list[tuple[int, bytes]]]:
    """Return a message without what says nothing: an order, a default, a duplicate, padding."""
    head = HEAD_BYTES[type_]
    attributes = dict(slow_attributes(payload[(head + 3) // 4 * 4 :]))
    if type_ not in (0x22, 0x24):
        attributes.pop(xfrm.XFRMA_PAD, None)
        if xfrm.XFRMA_ALG_AUTH_TRUNC in attributes:  # the kernel repeats it as ALG_AUTH
            attributes.pop(xfrm.XFRMA_ALG_AUTH, None)
            authentication = attributes[xfrm.XFRMA_ALG_AUTH_TRUNC]
            if authentication[68:72] == bytes(4):  # not truncated: both say the same
                del attributes[xfrm.XFRMA_ALG_AUTH_TRUNC]
                plain = authentication[:68] + authentication[72:]
                attributes[xfrm.XFRMA_ALG_AUTH] = plain
        if attributes.get(xfrm.XFRMA_POLICY_TYPE) == bytes(6) and type_ != 0x1D:
            del attributes[xfrm.XFRMA_POLICY_TYPE]
        esn = attributes.get(xfrm.XFRMA_REPLAY_ESN_VAL)
        if esn is not None and len(esn) == 24:  # a bitmap announced, but left out
            attributes[xfrm.XFRMA_REPLAY_ESN_VAL] = esn + bytes(4 * esn[0])
        if xfrm.XFRMA_SET_MARK in attributes:
            attributes.setdefault(xfrm.XFRMA_SET_MARK_MASK, b"\xff" * 4)
    if type_ == 0x26:  # 6.1 leaves what was in memory behind the 4 bytes of the new address
        payload = payload[:48] + bytes(12) + payload[60:]
    return payload[:head], sorted(attributes.items())


@pytest.mark.parametrize("kernel", KERNELS)
def test_each_recorded_message_decodes_and_encodes_to_the_same_bytes(kernel: str) -> None:
    for message in events(kernel):
        event = xfrm.decode_event(message.type, message.payload)
        again = xfrm.encode_event(event)
        assert normal(message.type, again) == normal(message.type, message.payload), message.command


@pytest.mark.parametrize("kernel", KERNELS)
def test_no_recorded_message_has_an_attribute_without_a_name(kernel: str) -> None:
    for message in events(kernel):
        event = xfrm.decode_event(message.type, message.payload)
        assert getattr(event, "attributes", ()) == (), message.command


def test_the_recordings_hold_every_kind_of_event() -> None:
    kinds = {xfrm.XfrmMsg(message.type).name for message in events("linux-6.1")}
    wanted = (
        "NEWSA DELSA GETSA NEWPOLICY DELPOLICY GETPOLICY ALLOCSPI ACQUIRE EXPIRE UPDPOLICY UPDSA "
        "POLEXPIRE FLUSHSA FLUSHPOLICY NEWAE GETAE MIGRATE NEWSADINFO NEWSPDINFO MAPPING "
        "SETDEFAULT GETDEFAULT"
    )
    assert kinds == set(wanted.split())


@pytest.mark.parametrize("kernel", KERNELS)
def test_splitting_agrees_with_the_slow_walker(kernel: str) -> None:
    for line in (RECORDED / f"{kernel}.jsonl").read_text().splitlines():
        row = json.loads(line)
        for text in row["sent"] + row["received"] + row["events"]:
            data = bytes.fromhex(text)
            fast = [(m.type, m.flags, bytes(m.payload)) for m in xfrm.split_messages(data)]
            assert fast == list(slow_messages(data))
            framed = b"".join(
                xfrm.message(m.type, m.flags, m.sequence, bytes(m.payload), m.pid)
                for m in xfrm.split_messages(data)
            )
            assert framed == data + bytes(-len(data) % 4)


def answers(kernel: str, command: str) -> list[Recorded]:
    """Return what the kernel said to the commands that start so, errors and all."""
    found = [m for m in recorded(kernel) if m.command.startswith(command)]
    return [m for m in found if m.side == "received"]


def test_the_kernel_s_reason_is_read_from_an_error_that_repeats_the_request() -> None:
    command = "ip xfrm policy add src 10.9.0.0/16"
    for kernel in KERNELS:
        (answer,) = answers(kernel, command)
        error = xfrm.decode_error(answer.payload, answer.flags)
        assert error.errno == 22
        assert error.reason == "Mode in optional template not allowed in outbound policy"


def test_the_end_of_a_dump_is_read() -> None:
    last = answers("linux-6.1", "ip xfrm policy list")[-1]
    assert last.type == xfrm.NLMSG_DONE
    assert xfrm.decode_done(last.payload, last.flags) == (0, 0, "", -1)


def test_the_existing_policy_is_an_error_without_a_reason() -> None:
    command = "ip xfrm policy add src 10.0.0.1/32 dst 10.0.0.2/32 proto tcp dport 80 dir out"
    errors = [xfrm.decode_error(m.payload, m.flags) for m in answers("linux-6.18", command)]
    assert [(error.errno, error.reason) for error in errors] == [(0, ""), (17, "")]


@pytest.mark.parametrize("kernel", KERNELS)
def test_a_dump_request_of_states_carries_protocol_and_filter(kernel: str) -> None:
    message = next(m for m in recorded(kernel) if m.command.endswith("proto ah"))
    first, second = Address.parse("10.0.0.1"), Address.parse("10.0.0.2")
    dump = xfrm.StateDump(51, xfrm.AddressFilter(first, second, 2, 32, 32))
    assert xfrm.decode_state_dump(message.payload) == dump
    again = slow_attributes(xfrm.encode_state_dump(dump))
    assert sorted(again) == sorted(slow_attributes(message.payload))


def one(kernel: str, side: str, type_: xfrm.XfrmMsg, start: str) -> Any:
    """Return the decoded event of one type that belongs to the command that starts so."""
    return next(
        xfrm.decode_event(m.type, m.payload)
        for m in recorded(kernel)
        if (m.side, m.type) == (side, type_) and m.command.startswith(start)
    )


def test_an_acquire_s_addresses_have_the_template_s_family_not_the_packet_s() -> None:
    for kernel in KERNELS:
        acquire = one(kernel, "events", xfrm.XfrmMsg.ACQUIRE, "send 10.0.0.2 8")
        assert str(acquire.destination) == "fd00::2"
        assert str(acquire.source) == "fd00::1"
        assert str(acquire.selector.destination) == "10.0.0.2"
        assert acquire.selector.destination_port == 8
        assert acquire.policy.priority == 8


def test_an_acquire_brings_all_templates_and_names_one_protocol() -> None:
    for kernel in KERNELS:
        acquire = one(kernel, "events", xfrm.XfrmMsg.ACQUIRE, "send 10.0.0.2 9")
        assert acquire.protocol == 50
        assert str(acquire.destination) == "10.0.0.3"
        assert [template.protocol for template in acquire.policy.templates] == [50, 51]


def test_a_deleted_state_brings_its_replay_counters_and_keys() -> None:
    command = "ip xfrm state delete src 10.0.0.1 dst 10.0.0.2 proto esp spi 0x1003"
    deleted = one("linux-6.1", "events", xfrm.XfrmMsg.DELSA, command)
    assert deleted.id.spi == deleted.state.spi == 0x1003
    assert deleted.state.replay_esn[1:] == (6, 5, 2, 1, 128)
    assert deleted.state.aead.key == bytes(range(20))


def test_a_policy_deleted_by_index_is_named_by_index_alone_but_comes_whole() -> None:
    for kernel in KERNELS:
        start = "ip xfrm policy delete index 801"
        deleted = one(kernel, "events", xfrm.XfrmMsg.DELPOLICY, start)
        assert deleted.id.index == 801
        assert deleted.id.selector == xfrm.EMPTY_SELECTOR
        assert str(deleted.policy.selector.destination) == "10.0.0.0"
        assert deleted.policy.flags == xfrm.XFRM_POLICY_LOCALOK | xfrm.XFRM_POLICY_ICMP


def test_a_state_expires_softly_and_then_hard() -> None:
    found = [
        xfrm.decode_event(m.type, m.payload)
        for m in recorded("linux-6.1")
        if m.type == xfrm.XfrmMsg.EXPIRE
    ]
    assert [(e.state.spi, e.hard) for e in found] == [(0x3001, 0), (0x3001, 1)]  # type: ignore[union-attr]


def test_a_mapping_names_the_port_before_and_after() -> None:
    mapping = one("linux-6.1", "events", xfrm.XfrmMsg.MAPPING, "encapsulated")
    assert (mapping.id.spi, mapping.old_port, mapping.new_port) == (0x3003, 4500, 5555)
    assert str(mapping.new_source) == "127.0.0.1"


def test_setdefault_is_announced_as_getdefault() -> None:
    for kernel in KERNELS:
        event = one(kernel, "events", xfrm.XfrmMsg.GETDEFAULT, "ip xfrm policy setdefault in block")
        assert event == xfrm.Default(1, 2, 2)


def test_the_counts_of_both_databases_are_read() -> None:
    spd = one("linux-6.1", "received", xfrm.XfrmMsg.NEWSPDINFO, "ip -s xfrm policy count")
    assert (spd.in_count, spd.out_count, spd.fwd_count) == (3, 8, 1)
    assert (spd.threshold_ipv4, spd.threshold_ipv6) == ((24, 32), (64, 128))
    sad = one("linux-6.1", "received", xfrm.XfrmMsg.NEWSADINFO, "ip -s xfrm state count")
    assert sad.states == 16
