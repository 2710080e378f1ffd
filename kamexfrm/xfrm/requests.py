"""Requests of other kinds: flushes, SPI allocation, the default verdicts, narrowed dumps."""

from __future__ import annotations

import struct

from kamexfrm.net import Address
from kamexfrm.records import NamedTuple
from kamexfrm.xfrm import constants as c
from kamexfrm.xfrm.attributes import collect, encode_attribute, read, read_number
from kamexfrm.xfrm.structs import (
    ADDRESS_FILTER,
    U8,
    USERPOLICY_DEFAULT,
    USERPOLICY_TYPE,
    USERSA_INFO,
    USERSPI_RANGE,
    Buffer,
    check_address,
    misfit,
    read_address,
    short,
)

TYPE_CHECKING = False  # most commands have nothing to do with states
if TYPE_CHECKING:
    from kamexfrm.xfrm.state import State


class AllocSpi(NamedTuple):
    """Struct xfrm_userspi_info: a state wanted, with an SPI from ``minimum`` to ``maximum``."""

    state: State
    minimum: int
    maximum: int


class StateFlush(NamedTuple):
    """Struct xfrm_usersa_flush: all states of a protocol; 0 is all."""

    protocol: int = 0


class PolicyFlush(NamedTuple):
    """FLUSHPOLICY: all policies of a type; None leaves it to the kernel, which takes MAIN."""

    policy_type: int | None = None


class Default(NamedTuple):
    """Struct xfrm_userpolicy_default: XFRM_USERPOLICY_BLOCK, ACCEPT, or 0 to leave it alone."""

    in_: int = 0
    fwd: int = 0
    out: int = 0


class AddressFilter(NamedTuple):
    """Struct xfrm_address_filter: states of a dump by address prefixes, in bits."""

    source: Address
    destination: Address
    family: int
    source_prefix: int
    destination_prefix: int


class StateDump(NamedTuple):
    """What a dump of states is narrowed to: a protocol (0 is any) and addresses."""

    protocol: int = 0
    address_filter: AddressFilter | None = None


def encode_state_flush(protocol: int = 0) -> bytes:
    """Return the payload of FLUSHSA; raises KamexfrmError."""
    try:
        return U8.pack(protocol)
    except struct.error as error:
        raise misfit("state flush", error) from None


def decode_state_flush(payload: Buffer) -> StateFlush:
    """Read the payload of FLUSHSA; raises WireError."""
    if len(payload) < U8.size:
        short("state flush", len(payload), U8.size, 0)
    return StateFlush(*U8.unpack_from(payload))


def encode_policy_flush(policy_type: int | None = None) -> bytes:
    """Return the payload of FLUSHPOLICY; raises KamexfrmError."""
    if policy_type is None:
        return b""
    try:
        return encode_attribute(c.XFRMA_POLICY_TYPE, USERPOLICY_TYPE.pack(policy_type, 0, 0))
    except struct.error as error:
        raise misfit("policy flush", error) from None


def decode_policy_flush(payload: Buffer) -> PolicyFlush:
    """Read the payload of FLUSHPOLICY; raises WireError."""
    spans, _ = collect(payload, 0, frozenset({c.XFRMA_POLICY_TYPE}))
    kind = spans.get(c.XFRMA_POLICY_TYPE)
    if kind is None:
        return PolicyFlush()
    return PolicyFlush(read(USERPOLICY_TYPE, payload, kind, "policy type")[0])


def encode_default(default: Default) -> bytes:
    """Return the payload of SETDEFAULT or GETDEFAULT; raises KamexfrmError."""
    try:
        return USERPOLICY_DEFAULT.pack(*default)
    except struct.error as error:
        raise misfit("default", error) from None


def decode_default(payload: Buffer) -> Default:
    """Read the payload of SETDEFAULT or GETDEFAULT; raises WireError."""
    if len(payload) < USERPOLICY_DEFAULT.size:
        short("default", len(payload), USERPOLICY_DEFAULT.size, 0)
    return Default(*USERPOLICY_DEFAULT.unpack_from(payload))


def encode_alloc_spi(request: AllocSpi) -> bytes:
    """Return the payload of ALLOCSPI; raises KamexfrmError."""
    from kamexfrm.xfrm.state import pack_state_info, state_attributes

    state, minimum, maximum = request
    try:
        return (
            pack_state_info(state) + USERSPI_RANGE.pack(minimum, maximum) + state_attributes(state)
        )
    except struct.error as error:
        raise misfit("SPI range", error) from None


def decode_alloc_spi(payload: Buffer) -> AllocSpi:
    """Read the payload of ALLOCSPI; raises WireError."""
    from kamexfrm.xfrm.state import decode_state_parts

    end = USERSA_INFO.size + USERSPI_RANGE.size
    if len(payload) < end:
        short("SPI allocation", len(payload), end, 0)
    minimum, maximum = USERSPI_RANGE.unpack_from(payload, USERSA_INFO.size)
    return AllocSpi(decode_state_parts(payload, 0, end), minimum, maximum)


def encode_state_dump(dump: StateDump) -> bytes:
    """Return the payload of a GETSA with NLM_F_DUMP; raises KamexfrmError."""
    parts = []
    try:
        if dump.address_filter is not None:
            source, destination, family, *prefixes = dump.address_filter
            packed = ADDRESS_FILTER.pack(
                check_address(source, family, "filter source"),
                check_address(destination, family, "filter destination"),
                family,
                *prefixes,
            )
            parts.append(encode_attribute(c.XFRMA_ADDRESS_FILTER, packed))
        if dump.protocol:
            parts.append(encode_attribute(c.XFRMA_PROTO, U8.pack(dump.protocol)))
    except struct.error as error:
        raise misfit("state dump", error) from None
    return b"".join(parts)


def decode_state_dump(payload: Buffer) -> StateDump:
    """Read the payload of a GETSA with NLM_F_DUMP; raises WireError."""
    spans, _ = collect(payload, 0, frozenset({c.XFRMA_ADDRESS_FILTER, c.XFRMA_PROTO}))
    wanted = None
    span = spans.get(c.XFRMA_ADDRESS_FILTER)
    if span is not None:
        source, destination, family, *prefixes = read(ADDRESS_FILTER, payload, span, "filter")
        wanted = AddressFilter(
            read_address(family, source), read_address(family, destination), family, *prefixes
        )
    return StateDump(read_number(U8, payload, spans.get(c.XFRMA_PROTO), 0), wanted)
