"""Events of policies and states: wanted, expired, deleted."""

import struct
from typing import NamedTuple

from kamexfrm.net import Address
from kamexfrm.xfrm import constants as c
from kamexfrm.xfrm.attributes import Span, collect, encode_attribute
from kamexfrm.xfrm.identities import (
    PolicyId,
    StateId,
    decode_policy_id,
    decode_state_id,
    encode_policy_id,
    encode_state_id,
    unpack_state_id,
)
from kamexfrm.xfrm.policy import (
    Policy,
    decode_policy_parts,
    pack_policy_info,
    pack_templates,
    policy_attributes,
)
from kamexfrm.xfrm.selector import (
    Selector,
    make_selector,
    selector_fields,
)
from kamexfrm.xfrm.state import State, decode_state_parts, pack_state_info, state_attributes
from kamexfrm.xfrm.structs import (
    ACQUIRE_HEAD,
    ACQUIRE_TAIL,
    HARD,
    SPI,
    USERPOLICY_ID,
    USERPOLICY_INFO,
    USERSA_ID,
    USERSA_INFO,
    Buffer,
    Layout,
    check_address,
    misfit,
    read_address,
    short,
)


class Acquire(NamedTuple):
    """Struct xfrm_user_acquire: a state is wanted for ``policy``, whose templates come along.

    ``protocol`` says which template it is for. ``selector`` is the packet's. The message does not
    say the family of its two addresses: ``family`` is read from that template (see
    ``decode_acquire``).
    """

    destination: Address
    source: Address
    spi: int
    protocol: int
    family: int
    selector: Selector
    policy: Policy
    aalgos: int = 0xFFFFFFFF
    ealgos: int = 0xFFFFFFFF
    calgos: int = 0xFFFFFFFF
    sequence: int = 0


class Expire(NamedTuple):
    """Struct xfrm_user_expire: a state's lifetime is over; ``hard`` 1 says that it is gone."""

    state: State
    hard: int


class PolicyExpire(NamedTuple):
    """Struct xfrm_user_polexpire: a policy's lifetime is over; ``hard`` 1 says it is gone."""

    policy: Policy
    hard: int


class DeletedState(NamedTuple):
    """The DELSA event: the state's identity and the state as it was."""

    id: StateId
    state: State


class DeletedPolicy(NamedTuple):
    """The DELPOLICY event: the identity that was asked for and the policy as it was."""

    id: PolicyId
    policy: Policy


#: Where ACQUIRE_TAIL begins, after the policy, and where it ends.
_ACQUIRE_TAIL = ACQUIRE_HEAD.size + USERPOLICY_INFO.size
_ACQUIRE_END = _ACQUIRE_TAIL + ACQUIRE_TAIL.size


def encode_acquire(acquire: Acquire) -> bytes:
    """Return the payload of ACQUIRE; raises KamexfrmError."""
    destination, source, spi, protocol, family, selector, policy, *tail = acquire
    try:
        head = ACQUIRE_HEAD.pack(
            check_address(destination, family, "acquire destination"),
            SPI.pack(spi),
            protocol,
            check_address(source, family, "acquire source"),
            *selector_fields(selector),
        )
        info = head + pack_policy_info(policy) + ACQUIRE_TAIL.pack(*tail)
    except struct.error as error:
        raise misfit("acquire", error) from None
    return info + pack_templates(policy.templates) + policy_attributes(policy)


def decode_acquire(payload: Buffer) -> Acquire:
    """Read the payload of ACQUIRE; raises WireError.

    The addresses' family is that of the template with the same protocol, among several the one
    with the same destination, as Linux xfrm_state.c xfrm_init_tempstate() makes the state; the
    packet's where no template has the protocol or a family.
    """
    if len(payload) < _ACQUIRE_END:
        short("acquire", len(payload), _ACQUIRE_END, 0)
    destination, spi, protocol, source, *fields = ACQUIRE_HEAD.unpack_from(payload)
    selector = make_selector(*fields)
    policy = decode_policy_parts(payload, ACQUIRE_HEAD.size, _ACQUIRE_END)
    family = 0
    for template in policy.templates:
        if template.protocol == protocol:
            family = family or template.family
            if template.destination == read_address(template.family, destination):
                family = template.family
                break
    family = family or selector.family
    return Acquire(
        read_address(family, destination),
        read_address(family, source),
        SPI.unpack(spi)[0],
        protocol,
        family,
        selector,
        policy,
        *ACQUIRE_TAIL.unpack_from(payload, _ACQUIRE_TAIL),
    )


def encode_expire(expire: Expire) -> bytes:
    """Return the payload of EXPIRE; raises KamexfrmError."""
    state, hard = expire
    return pack_state_info(state) + _hard(hard) + state_attributes(state)


def decode_expire(payload: Buffer) -> Expire:
    """Read the payload of EXPIRE; raises WireError."""
    hard, end = _read_hard(payload, USERSA_INFO.size, "expire")
    return Expire(decode_state_parts(payload, 0, end), hard)


def encode_policy_expire(expire: PolicyExpire) -> bytes:
    """Return the payload of POLEXPIRE; raises KamexfrmError."""
    policy, hard = expire
    info = pack_policy_info(policy) + _hard(hard)
    return info + pack_templates(policy.templates) + policy_attributes(policy)


def decode_policy_expire(payload: Buffer) -> PolicyExpire:
    """Read the payload of POLEXPIRE; raises WireError."""
    hard, end = _read_hard(payload, USERPOLICY_INFO.size, "policy expire")
    return PolicyExpire(decode_policy_parts(payload, 0, end), hard)


def _hard(hard: int) -> bytes:
    try:
        return HARD.pack(hard)
    except struct.error as error:
        raise misfit("hard flag", error) from None


def _read_hard(payload: Buffer, offset: int, what: str) -> tuple[int, int]:
    """Return the hard flag and where its struct ends; raises WireError."""
    end = offset + HARD.size
    if len(payload) < end:
        short(what, len(payload), end, 0)
    return HARD.unpack_from(payload, offset)[0], end


def encode_deleted_state(deleted: DeletedState) -> bytes:
    """Return the payload of the DELSA event; raises KamexfrmError."""
    identity, state = deleted
    info = encode_attribute(c.XFRMA_SA, pack_state_info(state))
    return encode_state_id(identity) + info + state_attributes(state)


def decode_deleted_state(payload: Buffer) -> DeletedState | StateId:
    """Read the payload of DELSA: an event, or without XFRMA_SA a request; raises WireError."""
    identity = decode_state_id(payload)
    span = _inner(payload, USERSA_ID, c.XFRMA_SA, USERSA_INFO, "deleted state")
    if span is None:
        return identity
    state = decode_state_parts(payload, span.start, USERSA_ID.size)
    state = state._replace(attributes=_without(state.attributes, c.XFRMA_SA))
    return DeletedState(unpack_state_id(payload, 0), state)


def encode_deleted_policy(deleted: DeletedPolicy) -> bytes:
    """Return the payload of the DELPOLICY event; raises KamexfrmError."""
    identity, policy = deleted
    info = encode_attribute(c.XFRMA_POLICY, pack_policy_info(policy))
    templates = pack_templates(policy.templates)
    return encode_policy_id(identity) + info + templates + policy_attributes(policy)


def decode_deleted_policy(payload: Buffer) -> DeletedPolicy | PolicyId:
    """Read the payload of DELPOLICY: an event, or without XFRMA_POLICY a request."""
    identity = decode_policy_id(payload)
    span = _inner(payload, USERPOLICY_ID, c.XFRMA_POLICY, USERPOLICY_INFO, "deleted policy")
    if span is None:
        return identity
    policy = decode_policy_parts(payload, span.start, USERPOLICY_ID.size)
    policy = policy._replace(attributes=_without(policy.attributes, c.XFRMA_POLICY))
    return DeletedPolicy(PolicyId(identity.selector, identity.index, identity.direction), policy)


def _inner(payload: Buffer, head: Layout, type_: int, inner: Layout, what: str) -> Span | None:
    """Return where the struct in an attribute after a head stands; raises WireError if short."""
    span = collect(payload, head.size, frozenset({type_}))[0].get(type_)
    if span is not None and span.end - span.start < inner.size:
        short(what, span.end - span.start, inner.size, span.start)
    return span


def _without(others: tuple[tuple[int, bytes], ...], type_: int) -> tuple[tuple[int, bytes], ...]:
    return tuple(pair for pair in others if pair[0] & c.NLA_TYPE_MASK != type_)
