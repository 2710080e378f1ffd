"""Security associations on the wire: xfrm_usersa_info with its attributes.

All addresses of a state but the selector's are of the state's ``family``.
"""

from __future__ import annotations

import struct

from kamexfrm.net import Address
from kamexfrm.records import NamedTuple
from kamexfrm.xfrm import constants as c
from kamexfrm.xfrm.algorithms import (
    AeadAlgorithm,
    Algorithm,
    AuthAlgorithm,
    pack_algorithm,
    pack_algorithm_with_icv,
    read_aead,
    read_algorithm,
    read_authentication,
)
from kamexfrm.xfrm.attributes import (
    Span,
    collect,
    encode_attributes,
    pack_address,
    read,
    read_address_attribute,
    read_number,
)
from kamexfrm.xfrm.selector import (
    UNLIMITED,
    UNUSED,
    LifetimeConfig,
    LifetimeCurrent,
    Mark,
    SecurityContext,
    Selector,
    make_selector,
    pack_context,
    pack_mark,
    read_context,
    read_mark,
    selector_fields,
)
from kamexfrm.xfrm.state_parts import (
    Encap,
    OffloadDevice,
    ReplayState,
    ReplayStateEsn,
    Statistics,
    pack_encap,
    pack_replay,
    pack_replay_esn,
    read_encap,
    read_offload,
    read_replay,
    read_replay_esn,
)
from kamexfrm.xfrm.structs import (
    SPI,
    U8,
    U32,
    U64,
    USER_OFFLOAD,
    USERSA_BRIEF,
    USERSA_INFO,
    Buffer,
    check_address,
    misfit,
    read_address,
    short,
)

TYPE_CHECKING = False  # typing takes long to load
if TYPE_CHECKING:
    from typing import Any


class State(NamedTuple):
    """A security association: struct xfrm_usersa_info and its attributes.

    Zero is not sent, and None is not sent, for what comes as an attribute. ``last_used`` and
    ``current`` are seconds of the epoch; ``event_timer`` is in tenths of a second,
    ``nat_keepalive_interval`` and ``mapping_timer`` in seconds, ``tfc_pad`` in bytes.
    """

    selector: Selector
    destination: Address
    spi: int
    protocol: int
    source: Address
    lifetime: LifetimeConfig = UNLIMITED
    current: LifetimeCurrent = UNUSED
    statistics: Statistics = Statistics()
    sequence: int = 0
    reqid: int = 0
    family: int = 0
    mode: int = c.XFRM_MODE_TRANSPORT
    replay_window: int = 0
    flags: int = 0
    authentication: AuthAlgorithm | None = None
    encryption: Algorithm | None = None
    compression: Algorithm | None = None
    aead: AeadAlgorithm | None = None
    encap: Encap | None = None
    replay: ReplayState | None = None
    replay_esn: ReplayStateEsn | None = None
    mark: Mark | None = None
    output_mark: Mark | None = None
    care_of_address: Address | None = None
    security_context: SecurityContext | None = None
    offload: OffloadDevice | None = None
    last_used: int = 0
    if_id: int = 0
    extra_flags: int = 0
    tfc_pad: int = 0
    event_timer: int | None = None
    replay_threshold: int | None = None
    mapping_timer: int = 0
    direction: int = 0
    nat_keepalive_interval: int = 0
    pcpu: int | None = None
    attributes: tuple[tuple[int, bytes], ...] = ()

    @property
    def is_keyed(self) -> bool:
        """Whether the state has an algorithm: a larval one has none."""
        return bool(self.authentication or self.encryption or self.aead or self.compression)


#: Attributes that are one number: type, struct, field.
_NUMBERS = (
    (c.XFRMA_LASTUSED, U64, "last_used"),
    (c.XFRMA_IF_ID, U32, "if_id"),
    (c.XFRMA_SA_EXTRA_FLAGS, U32, "extra_flags"),
    (c.XFRMA_TFCPAD, U32, "tfc_pad"),
    (c.XFRMA_ETIMER_THRESH, U32, "event_timer"),
    (c.XFRMA_REPLAY_THRESH, U32, "replay_threshold"),
    (c.XFRMA_MTIMER_THRESH, U32, "mapping_timer"),
    (c.XFRMA_SA_DIR, U8, "direction"),
    (c.XFRMA_NAT_KEEPALIVE_INTERVAL, U32, "nat_keepalive_interval"),
    (c.XFRMA_SA_PCPU, U32, "pcpu"),
)
_KNOWN = frozenset(type_ for type_, _, _ in _NUMBERS) | {
    c.XFRMA_ALG_AUTH,
    c.XFRMA_ALG_AUTH_TRUNC,
    c.XFRMA_ALG_CRYPT,
    c.XFRMA_ALG_COMP,
    c.XFRMA_ALG_AEAD,
    c.XFRMA_ENCAP,
    c.XFRMA_REPLAY_VAL,
    c.XFRMA_REPLAY_ESN_VAL,
    c.XFRMA_MARK,
    c.XFRMA_SET_MARK,
    c.XFRMA_SET_MARK_MASK,
    c.XFRMA_COADDR,
    c.XFRMA_SEC_CTX,
    c.XFRMA_OFFLOAD_DEV,
    c.XFRMA_PAD,
}


_NUMBERS_READ = tuple(
    (type_, layout, State._field_defaults[name]) for type_, layout, name in _NUMBERS
)


def pack_state_info(state: State) -> bytes:
    """Return an xfrm_usersa_info; raises KamexfrmError."""
    family = state.family
    try:
        return USERSA_INFO.pack(
            *selector_fields(state.selector),
            check_address(state.destination, family, "state destination"),
            SPI.pack(state.spi),
            state.protocol,
            check_address(state.source, family, "state source"),
            *state.lifetime,
            *state.current,
            *state.statistics,
            state.sequence,
            state.reqid,
            family,
            state.mode,
            state.replay_window,
            state.flags,
        )
    except struct.error as error:
        raise misfit("state", error) from None


def encode_state(state: State) -> bytes:
    """Return the payload of NEWSA or UPDSA; raises KamexfrmError.

    An authentication algorithm goes out as ALG_AUTH_TRUNC where it names its truncation.
    """
    try:
        return pack_state_info(state) + state_attributes(state)
    except struct.error as error:
        raise misfit("state", error) from None


def state_attributes(state: State) -> bytes:
    """Return the attributes of a state; raises KamexfrmError or struct.error."""
    parts: list[tuple[int, bytes]] = []
    if state.aead is not None:
        parts.append((c.XFRMA_ALG_AEAD, pack_algorithm_with_icv(state.aead)))
    if state.authentication is not None:
        parts.append(_authentication(state.authentication))
    if state.encryption is not None:
        parts.append((c.XFRMA_ALG_CRYPT, pack_algorithm(state.encryption)))
    if state.compression is not None:
        parts.append((c.XFRMA_ALG_COMP, pack_algorithm(state.compression)))
    if state.encap is not None:
        parts.append((c.XFRMA_ENCAP, pack_encap(state.encap, state.family)))
    if state.replay is not None:
        parts.append((c.XFRMA_REPLAY_VAL, pack_replay(state.replay)))
    if state.replay_esn is not None:
        parts.append((c.XFRMA_REPLAY_ESN_VAL, pack_replay_esn(state.replay_esn)))
    if state.mark is not None:
        parts.append((c.XFRMA_MARK, pack_mark(state.mark)))
    if state.output_mark is not None:
        parts.append((c.XFRMA_SET_MARK, U32.pack(state.output_mark.value)))
        parts.append((c.XFRMA_SET_MARK_MASK, U32.pack(state.output_mark.mask)))
    if state.care_of_address is not None:
        packed = pack_address(state.care_of_address, state.family, "care-of address")
        parts.append((c.XFRMA_COADDR, packed))
    if state.security_context is not None:
        parts.append((c.XFRMA_SEC_CTX, pack_context(state.security_context)))
    if state.offload is not None:
        parts.append((c.XFRMA_OFFLOAD_DEV, USER_OFFLOAD.pack(*state.offload)))
    for type_, layout, name in _NUMBERS:
        value = getattr(state, name)
        if value != State._field_defaults[name]:
            parts.append((type_, layout.pack(value)))
    return encode_attributes(parts) + encode_attributes(state.attributes)


def _authentication(algorithm: AuthAlgorithm) -> tuple[int, bytes]:
    if algorithm.truncation_bits:
        return c.XFRMA_ALG_AUTH_TRUNC, pack_algorithm_with_icv(algorithm)
    name, key, bits, _ = algorithm
    return c.XFRMA_ALG_AUTH, pack_algorithm(Algorithm(name, key, bits))


def decode_state(payload: Buffer, offset: int = 0) -> State:
    """Read the payload of NEWSA or UPDSA from ``offset`` to its end; raises WireError."""
    if len(payload) - offset < USERSA_INFO.size:
        short("state", len(payload) - offset, USERSA_INFO.size, offset)
    return decode_state_parts(payload, offset, offset + USERSA_INFO.size)


def brief_state(payload: Buffer) -> tuple[int, int]:
    """Read reqid and mode alone, a fiftieth of the work of decode_state(); raises WireError."""
    if len(payload) < USERSA_BRIEF.size:
        short("state", len(payload), USERSA_BRIEF.size, 0)
    reqid, mode = USERSA_BRIEF.unpack_from(payload)
    return reqid, mode


def decode_state_parts(payload: Buffer, offset: int, attributes_offset: int) -> State:
    """Read a state whose struct and attributes stand apart, as in EXPIRE; raises WireError.

    The caller has checked that the struct is there.
    """
    # fmt: off
    (
        selector_destination, selector_source, ports, selector_family,
        destination_prefix, source_prefix, selector_protocol, interface, user,
        destination, spi, protocol, source,
        soft_bytes, hard_bytes, soft_packets, hard_packets,
        soft_add, hard_add, soft_use, hard_use,
        bytes_, packets, add_time, use_time,
        window_errors, replay_errors, integrity_errors,
        sequence, reqid, family, mode, replay_window, flags,
    ) = USERSA_INFO.unpack_from(payload, offset)
    return State(
        make_selector(
            selector_destination, selector_source, ports, selector_family,
            destination_prefix, source_prefix, selector_protocol, interface, user,
        ),
        read_address(family, destination),
        SPI.unpack(spi)[0],
        protocol,
        read_address(family, source),
        LifetimeConfig(
            soft_bytes, hard_bytes, soft_packets, hard_packets,
            soft_add, hard_add, soft_use, hard_use,
        ),
        LifetimeCurrent(bytes_, packets, add_time, use_time),
        Statistics(window_errors, replay_errors, integrity_errors),
        sequence, reqid, family, mode, replay_window, flags,
        *_read_attributes(payload, attributes_offset, family),
    )
    # fmt: on


def _read_attributes(payload: Buffer, offset: int, family: int) -> tuple[Any, ...]:
    """Return the fields of a state from ``authentication`` on; raises WireError."""
    spans, others = collect(payload, offset, _KNOWN)
    get = spans.get
    return (
        read_authentication(payload, get(c.XFRMA_ALG_AUTH_TRUNC), get(c.XFRMA_ALG_AUTH)),
        read_algorithm(payload, get(c.XFRMA_ALG_CRYPT)),
        read_algorithm(payload, get(c.XFRMA_ALG_COMP)),
        read_aead(payload, get(c.XFRMA_ALG_AEAD)),
        read_encap(payload, get(c.XFRMA_ENCAP), family),
        read_replay(payload, get(c.XFRMA_REPLAY_VAL)),
        read_replay_esn(payload, get(c.XFRMA_REPLAY_ESN_VAL)),
        read_mark(payload, get(c.XFRMA_MARK)),
        _read_output_mark(payload, get(c.XFRMA_SET_MARK), get(c.XFRMA_SET_MARK_MASK)),
        read_address_attribute(payload, get(c.XFRMA_COADDR), family),
        read_context(payload, get(c.XFRMA_SEC_CTX)),
        read_offload(payload, get(c.XFRMA_OFFLOAD_DEV)),
        *[
            read_number(layout, payload, get(type_), default)
            for type_, layout, default in _NUMBERS_READ
        ],
        others,
    )


def _read_output_mark(payload: Buffer, value: Span | None, mask: Span | None) -> Mark | None:
    """Read the mark set on output; without a mask all bits are set, without a value none."""
    if value is None:
        return None
    return Mark(
        read(U32, payload, value, "output mark")[0],
        read_number(U32, payload, mask, 0xFFFFFFFF),
    )
