"""The smaller things a state carries: encapsulation, replay counters, offload device, address."""

import struct

from kamexfrm.net import Address
from kamexfrm.records import NamedTuple
from kamexfrm.xfrm.attributes import Span, read
from kamexfrm.xfrm.selector import LifetimeCurrent
from kamexfrm.xfrm.structs import (
    ENCAP_TMPL,
    LIFETIME_CURRENT,
    PORT,
    REPLAY_STATE,
    REPLAY_STATE_ESN,
    USER_OFFLOAD,
    Buffer,
    check_address,
    misfit,
    read_address,
    short,
)

#: The kernel takes bitmaps of so many 32-bit words at most (XFRMA_REPLAY_ESN_MAX bits).
ESN_BITMAP_WORDS = 128


class Statistics(NamedTuple):
    """Struct xfrm_stats: packets outside the replay window, replayed, and with a wrong ICV."""

    replay_window: int = 0
    replay: int = 0
    integrity_failed: int = 0


class Encap(NamedTuple):
    """Struct xfrm_encap_tmpl: UDP or TCP encapsulation; ``type`` is UDP_ENCAP_ESPINUDP mostly."""

    type: int
    source_port: int
    destination_port: int
    original_address: Address


class ReplayState(NamedTuple):
    """Struct xfrm_replay_state: last sequence numbers out and in, a bitmap of 32 packets."""

    oseq: int = 0
    seq: int = 0
    bitmap: int = 0


class ReplayStateEsn(NamedTuple):
    """Struct xfrm_replay_state_esn: the bitmap in 32-bit words, the window in packets."""

    bitmap: tuple[int, ...]
    oseq: int = 0
    seq: int = 0
    oseq_hi: int = 0
    seq_hi: int = 0
    replay_window: int = 0


class OffloadDevice(NamedTuple):
    """Struct xfrm_user_offload: the device that does the cryptography, XFRM_OFFLOAD_ flags."""

    interface: int
    flags: int = 0


def pack_encap(encap: Encap, family: int) -> bytes:
    """Return an xfrm_encap_tmpl; raises KamexfrmError."""
    type_, source, destination, original = encap
    try:
        return ENCAP_TMPL.pack(
            type_,
            PORT.pack(source),
            PORT.pack(destination),
            check_address(original, family, "encapsulation's original address"),
        )
    except struct.error as error:
        raise misfit("encapsulation", error) from None


def pack_replay(replay: ReplayState) -> bytes:
    """Return an xfrm_replay_state; raises KamexfrmError."""
    try:
        return REPLAY_STATE.pack(*replay)
    except struct.error as error:
        raise misfit("replay state", error) from None


def pack_replay_esn(replay: ReplayStateEsn) -> bytes:
    """Return an ESN replay state with its bitmap; raises KamexfrmError."""
    bitmap, *numbers = replay
    try:
        head = REPLAY_STATE_ESN.pack(len(bitmap), *numbers)
        return head + struct.pack(f"={len(bitmap)}I", *bitmap)
    except struct.error as error:
        raise misfit("ESN replay state", error) from None


def read_encap(payload: Buffer, span: Span | None, family: int) -> Encap | None:
    """Read an encapsulation where there is one; raises WireError."""
    if span is None:
        return None
    type_, source, destination, original = read(ENCAP_TMPL, payload, span, "encapsulation")
    return Encap(
        type_,
        PORT.unpack(source)[0],
        PORT.unpack(destination)[0],
        read_address(family, original),
    )


def read_replay(payload: Buffer, span: Span | None) -> ReplayState | None:
    """Read a replay state where there is one; raises WireError."""
    return None if span is None else ReplayState(*read(REPLAY_STATE, payload, span, "replay state"))


def read_replay_esn(payload: Buffer, span: Span | None) -> ReplayStateEsn | None:
    """Read an ESN replay state where there is one; raises WireError.

    A bitmap that is announced but not there at all is one of zeros, as the kernel reads it.
    """
    if span is None:
        return None
    words, *numbers = read(REPLAY_STATE_ESN, payload, span, "ESN replay state")
    start = span.start + REPLAY_STATE_ESN.size
    if start == span.end and words <= ESN_BITMAP_WORDS:
        return ReplayStateEsn((0,) * words, *numbers)
    if span.end - start < 4 * words:
        short("ESN bitmap", span.end - start, 4 * words, start)
    return ReplayStateEsn(struct.unpack_from(f"={words}I", payload, start), *numbers)


def read_offload(payload: Buffer, span: Span | None) -> OffloadDevice | None:
    """Read an offload device where there is one; raises WireError."""
    return None if span is None else OffloadDevice(*read(USER_OFFLOAD, payload, span, "offload"))


def read_lifetime(payload: Buffer, span: Span | None) -> LifetimeCurrent | None:
    """Read the counters of LTIME_VAL where they are; raises WireError."""
    if span is None:
        return None
    return LifetimeCurrent(*read(LIFETIME_CURRENT, payload, span, "lifetime"))
