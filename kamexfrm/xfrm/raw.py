"""Names and lasting parts of payloads of NEWPOLICY and NEWSA, without decoding them.

Decoded, a policy takes four times the memory and fifty times the time: too much for a program that
compares a large database with an earlier copy.
"""

from kamexfrm.xfrm import constants as c
from kamexfrm.xfrm.attributes import iter_attributes
from kamexfrm.xfrm.structs import U32, USERPOLICY_INFO, USERSA_INFO, Buffer, short

# Where in the structs the kernel's counters begin and end, and the padding at the end begins.
_POLICY_CURRENT = USERPOLICY_INFO.offset("current")
_POLICY_PRIORITY = USERPOLICY_INFO.offset("priority")
_POLICY_INDEX = USERPOLICY_INFO.offset("index")
_POLICY_USER = USERPOLICY_INFO.offset("selector.user")
_POLICY_END = USERPOLICY_INFO.offset("share") + 1
_STATE_CURRENT = USERSA_INFO.offset("current")
_STATE_REQID = USERSA_INFO.offset("reqid")
_STATE_END = USERSA_INFO.offset("flags") + 1

#: What names a state: destination, SPI, protocol.
_STATE_NAME = slice(USERSA_INFO.offset("destination"), USERSA_INFO.offset("protocol") + 1)

#: Attributes of a state that change by themselves.
_COUNTERS = frozenset(
    (c.XFRMA_LASTUSED, c.XFRMA_REPLAY_VAL, c.XFRMA_REPLAY_ESN_VAL, c.XFRMA_LTIME_VAL, c.XFRMA_PAD)
)

_ALGORITHMS = frozenset(
    (
        c.XFRMA_ALG_AUTH,
        c.XFRMA_ALG_AUTH_TRUNC,
        c.XFRMA_ALG_CRYPT,
        c.XFRMA_ALG_AEAD,
        c.XFRMA_ALG_COMP,
    )
)


def policy_index(payload: Buffer) -> int:
    """Return a policy's index; raises WireError."""
    if len(payload) < USERPOLICY_INFO.size:
        short("policy", len(payload), USERPOLICY_INFO.size, 0)
    index: int = U32.unpack_from(payload, _POLICY_INDEX)[0]
    return index


def policy_user(payload: Buffer) -> int:
    """Return the user id in a policy's selector; raises WireError."""
    if len(payload) < USERPOLICY_INFO.size:
        short("policy", len(payload), USERPOLICY_INFO.size, 0)
    user: int = U32.unpack_from(payload, _POLICY_USER)[0]
    return user


def lasting_policy(payload: bytes) -> bytes:
    """Return what of a policy does not change by itself."""
    attributes = payload[USERPOLICY_INFO.size :]
    return payload[:_POLICY_CURRENT] + payload[_POLICY_PRIORITY:_POLICY_END] + attributes


def state_name(payload: Buffer) -> bytes:
    """Return what names a state: destination, SPI, protocol; raises WireError."""
    if len(payload) < USERSA_INFO.size:
        short("state", len(payload), USERSA_INFO.size, 0)
    return bytes(payload[_STATE_NAME])


def lasting_state(payload: bytes) -> tuple[object, ...]:
    """Return what of a state does not change by itself; raises WireError."""
    others = [
        (type_, payload[start:end])
        for type_, start, end in iter_attributes(payload, USERSA_INFO.size)
        if type_ & c.NLA_TYPE_MASK not in _COUNTERS
    ]
    return payload[:_STATE_CURRENT], payload[_STATE_REQID:_STATE_END], *others


def has_keys(payload: Buffer) -> bool:
    """Whether a state has an algorithm: a larval one has none. Raises WireError."""
    return any(
        type_ & c.NLA_TYPE_MASK in _ALGORITHMS
        for type_, _, _ in iter_attributes(payload, USERSA_INFO.size)
    )
