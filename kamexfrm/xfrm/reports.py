"""Events of states in use: a peer's new address, counters, Mobile IPv6 misses."""

import struct

from kamexfrm.net import Address
from kamexfrm.records import NamedTuple
from kamexfrm.xfrm import constants as c
from kamexfrm.xfrm.attributes import (
    collect,
    encode_attribute,
    encode_attributes,
    pack_address,
    read_address_attribute,
    read_number,
)
from kamexfrm.xfrm.identities import StateId, unpack_state_id
from kamexfrm.xfrm.selector import (
    LifetimeCurrent,
    Selector,
    make_selector,
    pack_mark,
    read_mark,
    selector_fields,
)
from kamexfrm.xfrm.state_parts import (
    ReplayState,
    ReplayStateEsn,
    pack_replay,
    pack_replay_esn,
    read_lifetime,
    read_replay,
    read_replay_esn,
)
from kamexfrm.xfrm.structs import (
    AEVENT_ID,
    LIFETIME_CURRENT,
    PORT,
    SPI,
    U32,
    USER_MAPPING,
    USER_REPORT,
    Buffer,
    check_address,
    misfit,
    read_address,
    short,
)


class Mapping(NamedTuple):
    """Struct xfrm_user_mapping: the peer behind a NAT has a new address or port."""

    id: StateId
    reqid: int
    old_source: Address
    new_source: Address
    old_port: int
    new_port: int
    attributes: tuple[tuple[int, bytes], ...] = ()


class Report(NamedTuple):
    """Struct xfrm_user_report: a packet of Mobile IPv6 met no state; address of the care-of."""

    protocol: int
    selector: Selector
    care_of_address: Address | None = None
    attributes: tuple[tuple[int, bytes], ...] = ()


class AsyncEvent(NamedTuple):
    """Struct xfrm_aevent_id: counters of a state, in NEWAE; ``flags`` are XFRM_AE_ numbers.

    ``event_timer`` is in tenths of a second.
    """

    id: StateId
    source: Address
    flags: int = 0
    reqid: int = 0
    replay: ReplayState | None = None
    replay_esn: ReplayStateEsn | None = None
    lifetime: LifetimeCurrent | None = None
    replay_threshold: int | None = None
    event_timer: int | None = None
    if_id: int = 0
    attributes: tuple[tuple[int, bytes], ...] = ()


def encode_mapping(mapping: Mapping) -> bytes:
    """Return the payload of MAPPING; raises KamexfrmError."""
    identity, reqid, old, new, old_port, new_port, others = mapping
    family = identity.family
    try:
        head = USER_MAPPING.pack(
            check_address(identity.destination, family, "mapping destination"),
            SPI.pack(identity.spi),
            family,
            identity.protocol,
            reqid,
            check_address(old, family, "old source"),
            check_address(new, family, "new source"),
            PORT.pack(old_port),
            PORT.pack(new_port),
        )
    except struct.error as error:
        raise misfit("mapping", error) from None
    return head + encode_attributes(others)


def decode_mapping(payload: Buffer) -> Mapping:
    """Read the payload of MAPPING; raises WireError."""
    if len(payload) < USER_MAPPING.size:
        short("mapping", len(payload), USER_MAPPING.size, 0)
    *_, reqid, old, new, old_port, new_port = USER_MAPPING.unpack_from(payload)
    identity = unpack_state_id(payload, 0)
    return Mapping(
        identity,
        reqid,
        read_address(identity.family, old),
        read_address(identity.family, new),
        PORT.unpack(old_port)[0],
        PORT.unpack(new_port)[0],
        collect(payload, USER_MAPPING.size, frozenset({c.XFRMA_PAD}))[1],
    )


def encode_report(report: Report) -> bytes:
    """Return the payload of REPORT; raises KamexfrmError."""
    protocol, selector, care_of, others = report
    try:
        payload = USER_REPORT.pack(protocol, *selector_fields(selector))
    except struct.error as error:
        raise misfit("report", error) from None
    if care_of is not None:
        packed = pack_address(care_of, selector.family, "care-of address")
        payload += encode_attribute(c.XFRMA_COADDR, packed)
    return payload + encode_attributes(others)


def decode_report(payload: Buffer) -> Report:
    """Read the payload of REPORT; raises WireError."""
    if len(payload) < USER_REPORT.size:
        short("report", len(payload), USER_REPORT.size, 0)
    protocol, *fields = USER_REPORT.unpack_from(payload)
    selector = make_selector(*fields)
    spans, others = collect(payload, USER_REPORT.size, frozenset({c.XFRMA_COADDR, c.XFRMA_PAD}))
    care_of = read_address_attribute(payload, spans.get(c.XFRMA_COADDR), selector.family)
    return Report(protocol, selector, care_of, others)


def encode_async_event(event: AsyncEvent) -> bytes:
    """Return the payload of NEWAE or GETAE; raises KamexfrmError."""
    identity = event.id
    family = identity.family
    parts: list[tuple[int, bytes]] = []
    try:
        payload = AEVENT_ID.pack(
            check_address(identity.destination, family, "event destination"),
            SPI.pack(identity.spi),
            family,
            identity.protocol,
            check_address(event.source, family, "event source"),
            event.flags,
            event.reqid,
        )
        if event.replay is not None:
            parts.append((c.XFRMA_REPLAY_VAL, pack_replay(event.replay)))
        if event.replay_esn is not None:
            parts.append((c.XFRMA_REPLAY_ESN_VAL, pack_replay_esn(event.replay_esn)))
        if event.lifetime is not None:
            parts.append((c.XFRMA_LTIME_VAL, LIFETIME_CURRENT.pack(*event.lifetime)))
        if event.replay_threshold is not None:
            parts.append((c.XFRMA_REPLAY_THRESH, U32.pack(event.replay_threshold)))
        if event.event_timer is not None:
            parts.append((c.XFRMA_ETIMER_THRESH, U32.pack(event.event_timer)))
        if identity.mark is not None:
            parts.append((c.XFRMA_MARK, pack_mark(identity.mark)))
        if event.if_id:
            parts.append((c.XFRMA_IF_ID, U32.pack(event.if_id)))
    except struct.error as error:
        raise misfit("event", error) from None
    return payload + encode_attributes(parts) + encode_attributes(event.attributes)


_ASYNC_KNOWN = frozenset(
    {
        c.XFRMA_REPLAY_VAL,
        c.XFRMA_REPLAY_ESN_VAL,
        c.XFRMA_LTIME_VAL,
        c.XFRMA_REPLAY_THRESH,
        c.XFRMA_ETIMER_THRESH,
        c.XFRMA_MARK,
        c.XFRMA_IF_ID,
        c.XFRMA_PAD,
    }
)


def decode_async_event(payload: Buffer) -> AsyncEvent:
    """Read the payload of NEWAE or GETAE; raises WireError."""
    if len(payload) < AEVENT_ID.size:
        short("event", len(payload), AEVENT_ID.size, 0)
    *_, source, flags, reqid = AEVENT_ID.unpack_from(payload)
    identity = unpack_state_id(payload, 0)
    spans, others = collect(payload, AEVENT_ID.size, _ASYNC_KNOWN)
    get = spans.get
    return AsyncEvent(
        identity._replace(mark=read_mark(payload, get(c.XFRMA_MARK))),
        read_address(identity.family, source),
        flags,
        reqid,
        read_replay(payload, get(c.XFRMA_REPLAY_VAL)),
        read_replay_esn(payload, get(c.XFRMA_REPLAY_ESN_VAL)),
        read_lifetime(payload, get(c.XFRMA_LTIME_VAL)),
        read_number(U32, payload, get(c.XFRMA_REPLAY_THRESH), None),
        read_number(U32, payload, get(c.XFRMA_ETIMER_THRESH), None),
        read_number(U32, payload, get(c.XFRMA_IF_ID), 0),
        others,
    )
