"""What policies and security associations have in common: selector, lifetimes, mark, context."""

from __future__ import annotations

import struct

from kamexfrm.net import Address
from kamexfrm.records import NamedTuple
from kamexfrm.xfrm.attributes import Span, read
from kamexfrm.xfrm.constants import XFRM_INF, XFRMA_SEC_CTX
from kamexfrm.xfrm.structs import (
    MARK,
    PORTS,
    SELECTOR,
    USER_SEC_CTX,
    Buffer,
    check_address,
    misfit,
    read_address,
    short,
)

TYPE_CHECKING = False  # typing takes long to load
if TYPE_CHECKING:
    from typing import Any


class Selector(NamedTuple):
    """Struct xfrm_selector: which packets are meant.

    A port counts where its mask has bits; for ICMP the source port is the type, the destination
    port the code. ``family`` is that of both addresses; family 0 has 16-byte addresses of family
    0. Protocol 0 is any. Prefixes in bits; ``interface`` and ``user`` are 0 for any.
    """

    destination: Address
    source: Address
    destination_port: int = 0
    destination_port_mask: int = 0
    source_port: int = 0
    source_port_mask: int = 0
    family: int = 0
    destination_prefix: int = 0
    source_prefix: int = 0
    protocol: int = 0
    interface: int = 0
    user: int = 0


class LifetimeConfig(NamedTuple):
    """Struct xfrm_lifetime_cfg: bytes and packets (XFRM_INF is no limit), seconds (0 is none)."""

    soft_bytes: int = XFRM_INF
    hard_bytes: int = XFRM_INF
    soft_packets: int = XFRM_INF
    hard_packets: int = XFRM_INF
    soft_add: int = 0
    hard_add: int = 0
    soft_use: int = 0
    hard_use: int = 0


class LifetimeCurrent(NamedTuple):
    """Struct xfrm_lifetime_cur: counts, and times in seconds of the epoch (0 is never)."""

    bytes: int = 0
    packets: int = 0
    add_time: int = 0
    use_time: int = 0


class Mark(NamedTuple):
    """Struct xfrm_mark: a packet matches when its mark under ``mask`` is ``value``."""

    value: int
    mask: int = 0xFFFFFFFF


class SecurityContext(NamedTuple):
    """Struct xfrm_user_sec_ctx: ``text`` as on the wire, with its NUL if it has one."""

    doi: int
    algorithm: int
    text: bytes


UNLIMITED = LifetimeConfig()
UNUSED = LifetimeCurrent()


def selector_fields(selector: Selector) -> tuple[Any, ...]:
    """Return a selector's fields as its struct packs them, alone or in another one.

    Raises KamexfrmError, or struct.error for a port over 65535.
    """
    destination, source, dport, dmask, sport, smask, family, *rest = selector
    return (
        check_address(destination, family, "selector destination"),
        check_address(source, family, "selector source"),
        PORTS.pack(dport, dmask, sport, smask),
        family,
        *rest,
    )


def pack_selector(selector: Selector) -> bytes:
    """Return an xfrm_selector; raises KamexfrmError."""
    try:
        return SELECTOR.pack(*selector_fields(selector))
    except struct.error as error:
        raise misfit("selector", error) from None


def unpack_selector(payload: Buffer, offset: int = 0) -> Selector:
    """Read an xfrm_selector; raises WireError where it is cut short."""
    if len(payload) - offset < SELECTOR.size:
        short("selector", len(payload) - offset, SELECTOR.size, offset)
    return make_selector(*SELECTOR.unpack_from(payload, offset))


def make_selector(
    destination: bytes, source: bytes, ports: bytes, family: int, *rest: int
) -> Selector:
    """Return a selector from the fields of its struct."""
    addresses = read_address(family, destination), read_address(family, source)
    return Selector._make((*addresses, *PORTS.unpack(ports), family, *rest))


def pack_mark(mark: Mark) -> bytes:
    """Return the 8 bytes of a mark; raises KamexfrmError."""
    try:
        return MARK.pack(*mark)
    except struct.error as error:
        raise misfit("mark", error) from None


def read_mark(payload: Buffer, span: Span | None) -> Mark | None:
    """Read a mark where there is one; raises WireError."""
    return None if span is None else Mark(*read(MARK, payload, span, "mark"))


def pack_context(context: SecurityContext) -> bytes:
    """Return a security context with its header; raises KamexfrmError."""
    doi, algorithm, text = context
    try:
        length = USER_SEC_CTX.size + len(text)
        return USER_SEC_CTX.pack(length, XFRMA_SEC_CTX, algorithm, doi, len(text)) + text
    except struct.error as error:
        raise misfit("security context", error) from None


def read_context(payload: Buffer, span: Span | None) -> SecurityContext | None:
    """Read a security context where there is one; raises WireError."""
    if span is None:
        return None
    _, _, algorithm, doi, length = read(USER_SEC_CTX, payload, span, "security context")
    start = span.start + USER_SEC_CTX.size
    if start + length > span.end:
        short("security context text", span.end - start, length, start)
    return SecurityContext(doi, algorithm, bytes(payload[start : start + length]))
