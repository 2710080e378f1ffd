"""The tag: what KAME knows and XFRM has no field for, written where the kernel keeps it untouched.

A policy carries four 64-bit words in ``lft`` (soft and hard limits of bytes and packets), which the
kernel stores for a policy and never acts on (Linux xfrm_policy.c xfrm_policy_timer() reads only the
four times). Their layout, highest bits first:

========  ====================================================================
word 0    magic (24), version (8), priority as written (32)
word 1    insertion order (48), flags (16)
word 2    creation time, seconds since the epoch (40), zero (24)
word 3    lifetime (32), validtime (32): seconds as written
========  ====================================================================

A template's ``share`` carries the level as written, an SA's ``sel.user`` the mode ``any`` and
whether a program made it over PF_KEY, which then deletes it itself. An SA of mode any that was
recreated has the time of its creation in the care-of address, which the kernel keeps for every SA
and uses for Mobile IPv6 only (xfrm_user.c xfrm_state_construct()). Anyone with CAP_NET_ADMIN can
forge all this: a word out of range makes an entry foreign, never a crash.
"""

from kamexfrm.net import ADDRESS_BYTES, Address
from kamexfrm.records import NamedTuple

MAGIC = 0x4B584D  # "KXM"
VERSION = 1

#: XFRMA_IF_ID of the marker, of sidecars, and of what is added and deleted at once to drop cached
#: routes: policies with one meet no ordinary packet.
MARKER_IF_ID = 0x4B584D01
SIDECAR_IF_ID = 0x4B584D02
ROUTES_IF_ID = 0x4B584D04

#: All of these.
OUR_IF_IDS = frozenset((MARKER_IF_ID, SIDECAR_IF_ID, ROUTES_IF_ID))

#: ``sel.user`` of the catch-all block policies behind def_policy 0.
CATCH_ALL_USER = 0x4B584D03

#: Kernel priority of the catch-alls; no other entry of ours has it.
CATCH_ALL_PRIORITY = 0xFFFFFFFF

#: That of what is added and deleted to drop cached routes.
ROUTES_PRIORITY = 0xFFFFFFFE

#: Kernel priority of an XFRM interface's policies, of which each direction and family has one.
INTERFACE_PRIORITY = 0xFFFFFFFD

#: Flags in word 1.
TWIN = 0x0001  # the automatic fwd twin of an in entry
IN_CLEAR = 0x0002  # an outbound tunnel `use` request is swapped out: it has no SA now
HAS_SIDECAR = 0x0004  # the requests as written are in the sidecar
SIDECAR = 0x0008  # this is one
CATCH_ALL = 0x0010  # def_policy 0
INTERFACE = 0x0020  # an XFRM interface's: no flush of policies takes it
COMPANION = 0x0040  # the fwd entry of a program that writes one for its in entry itself
_KNOWN_FLAGS = 0x007F

_SHARE_TAG = 0x80
_SHARE_ENDPOINTS = 0x04
_SHARE_TRIGGER = 0x08
_SHARE_TRANSPARENT = 0x10
_SHARE_KNOWN = _SHARE_TAG | _SHARE_ENDPOINTS | _SHARE_TRIGGER | _SHARE_TRANSPARENT | 0x03

_SA_MAGIC = 0x4B580000
_SA_MODE_ANY = 0x0001
_SA_BY_PROGRAM = 0x0004

_U32 = 0xFFFFFFFF

#: The greatest insertion order that the tag has room for.
ORDER_MAX = (1 << 48) - 1

Words = tuple[int, int, int, int]


class PolicyTag(NamedTuple):
    """A policy's four words; see the module's table for widths."""

    priority: int
    order: int
    flags: int = 0
    created: int = 0
    lifetime: int = 0
    validtime: int = 0


class TagReading(NamedTuple):
    """The result of reading four words: a tag, or why there is none.

    ``newer`` is set for the tag of a later version, ``broken`` for our magic over words that no
    version writes.
    """

    tag: PolicyTag | None
    newer: bool = False
    broken: bool = False


_FOREIGN = TagReading(None)
_NEWER = TagReading(None, newer=True)
_BROKEN = TagReading(None, broken=True)
_MAGIC_AND_VERSION = MAGIC << 8 | VERSION
_HEAD = _MAGIC_AND_VERSION << 32
_new = tuple.__new__  # half the time of calling a NamedTuple: a dump reads fifty thousand tags


def policy_words(tag: PolicyTag) -> Words:
    """Return the four words of a tag, in the order of ``struct xfrm_lifetime_cfg``."""
    priority, order, flags, created, lifetime, validtime = tag
    return (
        _HEAD | priority,
        order << 16 | flags,
        created << 24,
        lifetime << 32 | validtime,
    )


def policy_tag(words: Words) -> PolicyTag | None:
    """Return the tag in four words, None where there is none; never raises."""
    first, second, third, fourth = words
    if first >> 32 != _MAGIC_AND_VERSION:
        return None
    flags = second & 0xFFFF
    if flags & ~_KNOWN_FLAGS or third & 0xFFFFFF:
        return None
    return _new(
        PolicyTag,
        (first & _U32, second >> 16, flags, third >> 24, fourth >> 32, fourth & _U32),
    )


def read_policy_words(words: Words) -> TagReading:
    """Return the tag in four words, or why there is none; never raises."""
    tag = policy_tag(words)
    return why_untagged(words[0]) if tag is None else TagReading(tag)


def is_marked(first: int) -> bool:
    """Whether the first of four words is that of a tag of this version, be the others or not."""
    return first >> 32 == _MAGIC_AND_VERSION


def why_untagged(first: int) -> TagReading:
    """Return why four words, of which this is the first, are no tag."""
    head = first >> 32
    if head >> 8 != MAGIC:
        return _FOREIGN
    return _NEWER if head & 0xFF > VERSION else _BROKEN


class ShareTag(NamedTuple):
    """What a template's ``share`` says about its request.

    ``endpoints``: the transport request was written with endpoints, which are in the template.
    ``trigger``: the template stands for a swapped-out request and only provokes ACQUIRE.
    ``transparent``: with this template tunnelled packets pass an entry without requests.
    """

    level: int
    endpoints: bool = False
    trigger: bool = False
    transparent: bool = False


def share_of(tag: ShareTag) -> int:
    """Return the share byte of a tag."""
    return (
        _SHARE_TAG
        | tag.level
        | (_SHARE_ENDPOINTS if tag.endpoints else 0)
        | (_SHARE_TRIGGER if tag.trigger else 0)
        | (_SHARE_TRANSPARENT if tag.transparent else 0)
    )


def read_share(share: int) -> ShareTag | None:
    """Read a share byte; None where it is not one of ours."""
    if not share & _SHARE_TAG or share & ~_SHARE_KNOWN:
        return None
    return ShareTag(
        share & 3,
        bool(share & _SHARE_ENDPOINTS),
        bool(share & _SHARE_TRIGGER),
        bool(share & _SHARE_TRANSPARENT),
    )


def sa_user(mode_any: bool, *, by_program: bool = False) -> int:
    """Return ``sel.user`` for an SA; 0 for one of a program that declared its mode."""
    mode = _SA_MODE_ANY if mode_any else 0
    if not by_program:
        return _SA_MAGIC | mode
    return _SA_MAGIC | _SA_BY_PROGRAM | mode if mode_any else 0


def is_mode_any(user: int) -> bool:
    """Whether an SA with this ``sel.user`` was declared with mode any."""
    return user & ~_SA_BY_PROGRAM == _SA_MAGIC | _SA_MODE_ANY


def is_of_statement(user: int) -> bool:
    """Whether an SA with this ``sel.user`` was made by a statement, as setkey has them.

    Others are foreign: those of IKE daemons, of ``ip xfrm`` and of programs that use PF_KEY.
    """
    return user & ~_SA_MODE_ANY == _SA_MAGIC


def created_tag(created: int, family: int) -> Address:
    """Return the care-of address that carries the time when an SA was first added."""
    return Address(family, (created & _U32).to_bytes(ADDRESS_BYTES[family], "big"))


def read_created_tag(tag: Address | None, added: int) -> int:
    """Return when an SA was first added; ``added`` is when it was last added, 0 for never."""
    created = int.from_bytes(tag.packed, "big") if tag else 0
    return created if 0 < created <= added else added
