"""How a request names a policy or a state: xfrm_userpolicy_id and xfrm_usersa_id."""

import struct

from kamexfrm.net import Address
from kamexfrm.records import NamedTuple
from kamexfrm.xfrm import constants as c
from kamexfrm.xfrm.attributes import (
    collect,
    encode_attribute,
    encode_attributes,
    pack_address,
    read,
    read_address_attribute,
    read_number,
)
from kamexfrm.xfrm.policy import tail_attributes
from kamexfrm.xfrm.selector import (
    Mark,
    SecurityContext,
    Selector,
    make_selector,
    pack_mark,
    read_context,
    read_mark,
    selector_fields,
)
from kamexfrm.xfrm.structs import (
    SPI,
    U32,
    USERPOLICY_ID,
    USERPOLICY_TYPE,
    USERSA_ID,
    Buffer,
    check_address,
    misfit,
    read_address,
    short,
)

EMPTY_SELECTOR = Selector(Address(0, bytes(16)), Address(0, bytes(16)))


class PolicyId(NamedTuple):
    """Struct xfrm_userpolicy_id: a policy by its index, or with index 0 by selector and mark."""

    selector: Selector
    index: int  # type: ignore[assignment]  # the kernel's word hides tuple.index
    direction: int
    if_id: int = 0
    mark: Mark | None = None
    policy_type: int = c.XFRM_POLICY_TYPE_MAIN
    security_context: SecurityContext | None = None
    attributes: tuple[tuple[int, bytes], ...] = ()


def direction_of_index(index: int) -> int:
    """Return the direction in a policy's index (Linux xfrm_policy_id2dir()), from 0 to 7."""
    return index & 7


class StateId(NamedTuple):
    """Struct xfrm_usersa_id: a state by destination, SPI, protocol; ``source`` where SPI is 0."""

    destination: Address
    spi: int
    protocol: int
    family: int
    source: Address | None = None
    mark: Mark | None = None
    attributes: tuple[tuple[int, bytes], ...] = ()


def encode_policy_id(policy: PolicyId) -> bytes:
    """Return the payload of GETPOLICY or DELPOLICY; raises KamexfrmError."""
    selector, index, direction, if_id, mark, policy_type, context, others = policy
    try:
        info = USERPOLICY_ID.pack(*selector_fields(selector), index, direction)
    except struct.error as error:
        raise misfit("policy id", error) from None
    return info + tail_attributes(if_id, mark, policy_type, context, others, "policy id")


_POLICY_ID_KNOWN = frozenset(
    {c.XFRMA_IF_ID, c.XFRMA_MARK, c.XFRMA_POLICY_TYPE, c.XFRMA_SEC_CTX, c.XFRMA_PAD}
)


def decode_policy_id(payload: Buffer, offset: int = 0) -> PolicyId:
    """Read the payload of GETPOLICY or DELPOLICY; raises WireError."""
    if len(payload) - offset < USERPOLICY_ID.size:
        short("policy id", len(payload) - offset, USERPOLICY_ID.size, offset)
    *selector, index, direction = USERPOLICY_ID.unpack_from(payload, offset)
    spans, others = collect(payload, offset + USERPOLICY_ID.size, _POLICY_ID_KNOWN)
    kind = spans.get(c.XFRMA_POLICY_TYPE)
    return PolicyId(
        make_selector(*selector),
        index,
        direction,
        read_number(U32, payload, spans.get(c.XFRMA_IF_ID), 0),
        read_mark(payload, spans.get(c.XFRMA_MARK)),
        0 if kind is None else read(USERPOLICY_TYPE, payload, kind, "policy type")[0],
        read_context(payload, spans.get(c.XFRMA_SEC_CTX)),
        others,
    )


def pack_state_id(state: StateId) -> bytes:
    """Return an xfrm_usersa_id; raises KamexfrmError."""
    family = state.family
    try:
        return USERSA_ID.pack(
            check_address(state.destination, family, "state destination"),
            SPI.pack(state.spi),
            family,
            state.protocol,
        )
    except struct.error as error:
        raise misfit("state id", error) from None


def encode_state_id(state: StateId) -> bytes:
    """Return the payload of GETSA or DELSA; raises KamexfrmError."""
    payload = pack_state_id(state)
    if state.source is not None:
        packed = pack_address(state.source, state.family, "state source")
        payload += encode_attribute(c.XFRMA_SRCADDR, packed)
    if state.mark is not None:
        payload += encode_attribute(c.XFRMA_MARK, pack_mark(state.mark))
    return payload + encode_attributes(state.attributes)


_STATE_ID_KNOWN = frozenset({c.XFRMA_SRCADDR, c.XFRMA_MARK, c.XFRMA_PAD})


def unpack_state_id(payload: Buffer, offset: int) -> StateId:
    """Read xfrm_usersa_id, for whose size the caller has checked."""
    destination, spi, family, protocol = USERSA_ID.unpack_from(payload, offset)
    return StateId(read_address(family, destination), SPI.unpack(spi)[0], protocol, family)


def decode_state_id(payload: Buffer, offset: int = 0) -> StateId:
    """Read the payload of GETSA or DELSA; raises WireError."""
    if len(payload) - offset < USERSA_ID.size:
        short("state id", len(payload) - offset, USERSA_ID.size, offset)
    state = unpack_state_id(payload, offset)
    spans, others = collect(payload, offset + USERSA_ID.size, _STATE_ID_KNOWN)
    return state._replace(
        source=read_address_attribute(payload, spans.get(c.XFRMA_SRCADDR), state.family),
        mark=read_mark(payload, spans.get(c.XFRMA_MARK)),
        attributes=others,
    )
