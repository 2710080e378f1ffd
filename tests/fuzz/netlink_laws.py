"""What holds for all bytes that a netlink socket could give, and for all that they may say."""

import contextlib
import json
from collections.abc import Callable
from pathlib import Path

from kamexfrm import xfrm
from kamexfrm.errors import KamexfrmError, WireError
from kamexfrm.kamexfrmd.consequences import consequence, written_marker
from kamexfrm.kernel.interface import Event
from kamexfrm.setkey.dump_sa import format_sa, sa_to_dict
from kamexfrm.setkey.dump_sp import format_sp, sp_to_dict
from kamexfrm.setkey.message_text import format_message
from kamexfrm.translate.event import broadcast
from kamexfrm.translate.xfrm.marker import MarkerFlag, read_marker
from kamexfrm.translate.xfrm.policy_from_kernel import placed_tag, spd_entry_from_kernel
from kamexfrm.translate.xfrm.sa_from_kernel import sad_entry_from_kernel
from kamexfrm.xfrm import raw
from tests.fuzz.target import Target, hold

RECORDED = Path(__file__).parent.parent / "xfrm/recorded"

_BRIEF: tuple[Callable[[bytes], object], ...] = (
    xfrm.brief_policy,
    xfrm.brief_state,
    raw.policy_index,
    raw.lasting_policy,
    raw.state_name,
    raw.lasting_state,
    raw.has_keys,
    xfrm.decode_state_dump,
)

_EVERY_FLAG = MarkerFlag(0xFF)


def check(data: bytes) -> str:
    """Check all laws for a datagram, and for its first byte as a type with the rest as payload."""
    found = []
    try:
        for message in xfrm.split_messages(data):
            _reply(bytes(message.payload), message.flags)
            found.append(_message(message.type, bytes(message.payload)))
    except WireError as error:
        hold(0 <= error.offset <= len(data), "an error's offset is in the datagram")
    if data:
        found.append(_message(data[0], data[1:]))
        _reply(data[1:], data[0] << 8)
    return " ".join(found)


def _reply(payload: bytes, flags: int) -> None:
    for decode in (xfrm.decode_error, xfrm.decode_done):
        try:
            reply = decode(payload, flags)
        except WireError as error:
            hold(0 <= error.offset <= len(payload), "an error's offset is in the reply")
        else:
            xfrm.attribute_name_at(payload, reply.offset)


def _message(type_: int, payload: bytes) -> str:
    event = Event(type_, payload, 1, 1)
    with contextlib.suppress(WireError):
        consequence(event, _EVERY_FLAG)
    with contextlib.suppress(WireError):
        written_marker(event)
    for reader in _BRIEF:
        with contextlib.suppress(WireError):
            reader(payload)
    try:
        decoded = xfrm.decode_event(type_, payload)
    except WireError as error:
        hold(0 <= error.offset <= len(payload), "an error's offset is in the payload")
        return f"{type_:#x} refused"
    wire = xfrm.encode_event(decoded)
    hold(xfrm.decode_event(type_, wire) == decoded, "what was decoded is encoded and decoded")
    repr(decoded)
    return f"{type_:#x} {type(decoded).__name__} {_broadcast(type_, decoded)} {_entry(decoded)}"


def _broadcast(type_: int, decoded: xfrm.Event) -> str:
    """Translate to the message that PF_KEY sockets receive."""
    try:
        message = broadcast(type_, decoded, now=1.0, wanted=True)
    except KamexfrmError:
        return "no message can hold it"
    if message is None:
        return "nobody is told"
    format_message(message)
    return message.type.name


def _entry(decoded: xfrm.Event) -> str:
    """Read a policy or an SA as a dump does: a forged tag is a foreign entry, never a crash."""
    match decoded:
        case xfrm.Policy():
            placed_tag(decoded)
            with contextlib.suppress(KamexfrmError):
                read_marker(decoded)
            entry = spd_entry_from_kernel(decoded)
            hold(format_sp(entry, sequence=0, pid=0).encode(), "a policy can be printed")
            json.dumps(sp_to_dict(entry))
            return f"{entry.owner.name} {entry.policy.type.name}"
        case xfrm.State():
            sa = sad_entry_from_kernel(decoded, 1.0)
            hold(format_sa(sa, sequence=0, pid=0).encode(), "an SA can be printed")
            json.dumps(sa_to_dict(sa))
            return "SA"
        case _:
            return ""


def seeds() -> list[bytes]:
    """Return recorded datagrams, and each of their messages as a type and a payload."""
    found = set()
    for path in RECORDED.glob("*.jsonl"):
        for line in path.read_text().splitlines():
            row = json.loads(line)
            for text in (*row["sent"], *row["received"], *row["events"]):
                buffer = bytes.fromhex(text)
                for message in xfrm.split_messages(buffer):
                    found.add(bytes([message.type & 0xFF]) + bytes(message.payload))
                if len(buffer) < 2000:
                    found.add(buffer)
    return sorted(found)


TARGET = Target(
    check,
    seeds,
    (
        *(bytes([size, 0, number, 0]) for size in (4, 5, 8, 12, 16, 64) for number in range(33)),
        *(bytes([number]) for number in range(0x10, 0x29)),
        *(b"\xff" * size for size in (1, 2, 4, 8)),
        *(b"\0" * size for size in (1, 2, 4, 8, 16)),
        *(bytes([number, 0, 0, 0]) for number in (1, 2, 3, 10, 50, 51, 108, 255)),
    ),
)
