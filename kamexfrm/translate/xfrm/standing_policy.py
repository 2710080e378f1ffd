"""What the difference from a wanted SPD needs of a dumped policy, read without decoding it."""

from functools import lru_cache
from typing import NamedTuple

from kamexfrm.translate.xfrm import tag as tags
from kamexfrm.translate.xfrm.brief_policy import BriefPolicy, brief_policy
from kamexfrm.translate.xfrm.policy_from_kernel import read_tag
from kamexfrm.xfrm import (
    NLA_TYPE_MASK,
    XFRMA_IF_ID,
    XFRMA_MARK,
    XFRMA_POLICY_TYPE,
    XFRMA_SEC_CTX,
    decode_policy,
    iter_attributes,
)
from kamexfrm.xfrm.structs import SELECTOR, USERPOLICY_INFO

_SELECTOR_END = SELECTOR.size
_INFO_END = USERPOLICY_INFO.size
_DIRECTION = USERPOLICY_INFO.offset("direction")

#: Bytes of an attribute before its value.
_HEADER = 4

#: Attributes that tell policies of one selector apart.
_APART = frozenset((XFRMA_IF_ID, XFRMA_MARK, XFRMA_POLICY_TYPE, XFRMA_SEC_CTX))
_WORDS = USERPOLICY_INFO.only(
    "lifetime.soft_bytes",
    "lifetime.hard_bytes",
    "lifetime.soft_packets",
    "lifetime.hard_packets",
)
_unpack = _WORDS.unpack_from


class StandingPolicy(NamedTuple):
    """An entry of ours that is in the SPD, as its message.

    ``name`` is a hash of its name, ``content`` one of what it says, 0 for one with a lifetime; see
    brief_policy(). The others are of its tag.
    """

    name: int
    direction: int
    number: int
    content: int
    priority: int
    order: int
    is_twin: bool
    payload: bytes


def standing_policy(payload: bytes) -> StandingPolicy | BriefPolicy | None:
    """Read a payload of NEWPOLICY: an entry of ours or, in brief, a foreign one.

    None for what is no entry of the SPD: the policies of sockets and XFRM interfaces, our marker,
    sidecars and catch-alls. Raises WireError.
    """
    brief = brief_policy(payload)
    if brief is None:
        return None
    tag = tags.policy_tag(_unpack(payload))
    if tag is None or not _has_our_templates(payload[_INFO_END:]) or _is_odd(payload):
        return brief
    if tag.flags & tags.INTERFACE:
        return None
    name, direction, number, _, content = brief
    return StandingPolicy(
        hash(name),
        direction,
        number,
        content,
        tag.priority,
        tag.order,
        tag.flags & tags.TWIN != 0,
        payload,
    )


def full_name(payload: bytes) -> tuple[bytes, int]:
    """Return what tells a policy from all others, sidecars and the marker too; raises WireError."""
    return payload[:_SELECTOR_END] + _apart(payload[_INFO_END:]), payload[_DIRECTION]


@lru_cache(maxsize=4096)
def _apart(attributes: bytes) -> bytes:
    return b"".join(
        attributes[start - _HEADER : end]
        for kind, start, end in iter_attributes(attributes, 0)
        if kind & NLA_TYPE_MASK in _APART
    )


def is_tagged(payload: bytes) -> bool:
    """Whether a policy has words of ours, whatever they say."""
    first: int = _unpack(payload)[0]
    return first >> 40 == tags.MAGIC


def _is_odd(payload: bytes) -> bool:
    """Whether an entry has a mark of ours in its selector without being one of its kind."""
    return payload[_USER] != _NO_USER and read_tag(decode_policy(payload)).tag is None


_USER = slice(USERPOLICY_INFO.offset("selector.user"), USERPOLICY_INFO.offset("selector.user") + 4)
_NO_USER = bytes(4)


@lru_cache(maxsize=4096)
def _has_our_templates(attributes: bytes) -> bool:
    """Whether all templates among a policy's attributes have our tag."""
    policy = decode_policy(_PLAIN + attributes)
    return all(tags.read_share(template.share) is not None for template in policy.templates)


#: A policy's struct without content, to decode attributes with.
_PLAIN = bytes(_INFO_END)
