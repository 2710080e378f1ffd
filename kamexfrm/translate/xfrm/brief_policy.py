"""What replacing an SPD needs to know of a dumped policy, read without decoding it: 1 us each."""

from functools import lru_cache

from kamexfrm.records import NamedTuple
from kamexfrm.translate.xfrm import tag as tags
from kamexfrm.translate.xfrm.catch_all import stands_for_one
from kamexfrm.xfrm import (
    NLA_TYPE_MASK,
    XFRM_POLICY_FWD,
    XFRM_POLICY_TYPE_MAIN,
    XFRMA_IF_ID,
    XFRMA_MARK,
    XFRMA_POLICY_TYPE,
    XFRMA_SEC_CTX,
    XFRMA_TMPL,
    Mark,
    SecurityContext,
    decode_policy,
    encode_attribute,
    iter_attributes,
)
from kamexfrm.xfrm.attributes import Span
from kamexfrm.xfrm.selector import pack_context, pack_mark, read_context, read_mark
from kamexfrm.xfrm.structs import SELECTOR, U32, USERPOLICY_INFO

TYPE_CHECKING = False  # typing takes long to load
if TYPE_CHECKING:
    from kamexfrm.translate.xfrm.fast_path import FastPathTemplate

NAME_END = SELECTOR.size
_INFO_END = USERPOLICY_INFO.size
_BRIEF = USERPOLICY_INFO.only(
    "lifetime.soft_bytes",
    "lifetime.hard_bytes",
    "lifetime.hard_packets",
    "priority",
    "index",
    "direction",
    "action",
)
_unpack = _BRIEF.unpack_from

CATCH_ALL_NAME_END = U32.pack(tags.CATCH_ALL_USER)
USER = SELECTOR.offset("user")
HEAD = (tags.MAGIC << 8 | tags.VERSION) << 32
_FLAGS = 0xFFFF


class BriefPolicy(NamedTuple):
    """A policy of the SPD: ``name`` is its selector as bytes, with whatever else tells it apart.

    ``content`` is a hash of what it says: 0 where it is not ours, or has a lifetime.
    """

    name: bytes
    direction: int
    number: int
    index: int  # type: ignore[assignment]  # the kernel's word hides tuple.index
    content: int


class _Tail(NamedTuple):
    """What the attributes of a policy say: templates as an attribute, and what tells it apart."""

    templates: bytes
    others: bytes
    if_id: int


@lru_cache(maxsize=4096)
def read_tail(tail: bytes) -> _Tail:
    """Read the attributes of a policy; raises WireError."""
    templates = context = b""
    if_id, mark = 0, None
    for number, start, end in iter_attributes(tail, 0):
        kind = number & NLA_TYPE_MASK
        value = tail[start:end]
        if kind == XFRMA_TMPL:
            templates = encode_attribute(XFRMA_TMPL, value)
        elif kind == XFRMA_IF_ID:
            if_id = U32.unpack_from(value)[0]
        elif kind == XFRMA_POLICY_TYPE and value[0] == XFRM_POLICY_TYPE_MAIN:
            continue
        if kind == XFRMA_SEC_CTX:
            found = read_context(tail, Span(start, end))
            context += encode_context(found) if found else b""
        elif kind == XFRMA_MARK:
            mark = read_mark(tail, Span(start, end))
        elif kind == XFRMA_POLICY_TYPE:
            context += encode_attribute(kind, value)
    return _Tail(templates, context + encode_scope(mark, if_id), if_id)


def encode_context(context: SecurityContext) -> bytes:
    """Return what tells policies of one selector with different LSM's labels apart."""
    return encode_attribute(XFRMA_SEC_CTX, pack_context(context))


def encode_scope(mark: Mark | None, if_id: int) -> bytes:
    """Return what tells policies of one selector with different marks or interfaces apart."""
    name = encode_attribute(XFRMA_MARK, pack_mark(mark)) if mark and any(mark) else b""
    return name + encode_attribute(XFRMA_IF_ID, U32.pack(if_id)) if if_id else name


def brief_policy(payload: bytes) -> BriefPolicy | None:
    """Read a payload of NEWPOLICY; None for what is no entry of the SPD. Raises WireError.

    No entries are the policies of sockets and XFRM interfaces, our marker and sidecars, and
    def_policy's catch-alls and what has the name of one.
    """
    first, second, fourth, number, index, direction, action = _unpack(payload)
    if direction > XFRM_POLICY_FWD:
        return None
    _, others, if_id = read_tail(payload[_INFO_END:])
    if if_id:
        if if_id in tags.OUR_IF_IDS and direction == XFRM_POLICY_FWD:
            return None
        if first & ~0xFFFFFFFF == HEAD and second & tags.INTERFACE:
            return None
    name = payload[:NAME_END]
    if name[USER:] == CATCH_ALL_NAME_END and stands_for_one(decode_policy(payload)):
        return None
    if others:
        name += others
    content = 0
    if first & ~0xFFFFFFFF == HEAD and not fourth:
        content = content_of(first, second & _FLAGS, action, payload[_INFO_END:])
    return BriefPolicy(name, direction, number, index, content)


@lru_cache(maxsize=4096)
def content_of(first: int, flags: int, action: int, tail: bytes) -> int:
    """Return the content of an entry by its tag's first word and flags, action and attributes."""
    return hash((first, flags, action, read_tail(tail).templates)) or 1


def plain_content(template: "FastPathTemplate", priority: int, *, twin: bool = False) -> int:
    """Return the content of an entry with a plain template and no lifetime, or of its twin."""
    flags, templates = 0, template.templates
    if twin:
        flags, templates = tags.TWIN, template.twin_templates
    return hash((HEAD | priority, flags, template.action, templates)) or 1
