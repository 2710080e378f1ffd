"""The counts of both databases: NEWSPDINFO and NEWSADINFO, whose attributes are their own."""

from __future__ import annotations

import struct

from kamexfrm.records import NamedTuple
from kamexfrm.xfrm import constants as c
from kamexfrm.xfrm.attributes import collect, encode_attribute, encode_attributes, read, read_number
from kamexfrm.xfrm.structs import (
    HASH_INFO,
    HASH_THRESHOLD,
    SPDINFO,
    U32,
    Buffer,
    Layout,
    misfit,
    short,
)

TYPE_CHECKING = False  # typing takes long to load
if TYPE_CHECKING:
    from typing import Any


class SpdInfo(NamedTuple):
    """Struct xfrmu_spdinfo and hash numbers: policies by direction, those of sockets apart.

    A threshold is (local bits, remote bits): prefixes as long as that are hashed.
    """

    in_count: int = 0
    out_count: int = 0
    fwd_count: int = 0
    socket_in_count: int = 0
    socket_out_count: int = 0
    socket_fwd_count: int = 0
    buckets: int = 0
    buckets_maximum: int = 0
    threshold_ipv4: tuple[int, int] | None = None
    threshold_ipv6: tuple[int, int] | None = None
    flags: int = 0
    attributes: tuple[tuple[int, bytes], ...] = ()

    @property
    def counts(self) -> tuple[int, ...]:
        """The counts of policies, in the order of struct xfrmu_spdinfo."""
        return (
            self.in_count,
            self.out_count,
            self.fwd_count,
            self.socket_in_count,
            self.socket_out_count,
            self.socket_fwd_count,
        )


class SadInfo(NamedTuple):
    """Struct xfrmu_sadhinfo and the number of states."""

    states: int = 0
    buckets: int = 0
    buckets_maximum: int = 0
    flags: int = 0
    attributes: tuple[tuple[int, bytes], ...] = ()


def encode_info_request(flags: int = 0xFFFFFFFF) -> bytes:
    """Return the payload of GETSPDINFO or GETSADINFO; raises KamexfrmError."""
    try:
        return U32.pack(flags)
    except struct.error as error:
        raise misfit("information request", error) from None


def encode_spd_info(info: SpdInfo) -> bytes:
    """Return the payload of NEWSPDINFO, by which thresholds are set; raises KamexfrmError.

    Counts that are all zero are left out: the kernel does not take them.
    """
    try:
        parts = [U32.pack(info.flags)]
        if any(info.counts):
            parts.append(encode_attribute(c.XFRMA_SPD_INFO, SPDINFO.pack(*info.counts)))
        if info.buckets or info.buckets_maximum:
            packed = HASH_INFO.pack(info.buckets, info.buckets_maximum)
            parts.append(encode_attribute(c.XFRMA_SPD_HINFO, packed))
        if info.threshold_ipv4 is not None:
            packed = HASH_THRESHOLD.pack(*info.threshold_ipv4)
            parts.append(encode_attribute(c.XFRMA_SPD_IPV4_HTHRESH, packed))
        if info.threshold_ipv6 is not None:
            packed = HASH_THRESHOLD.pack(*info.threshold_ipv6)
            parts.append(encode_attribute(c.XFRMA_SPD_IPV6_HTHRESH, packed))
    except struct.error as error:
        raise misfit("SPD information", error) from None
    return b"".join(parts) + encode_attributes(info.attributes)


_SPD_KNOWN = frozenset(
    {
        c.XFRMA_SPD_INFO,
        c.XFRMA_SPD_HINFO,
        c.XFRMA_SPD_IPV4_HTHRESH,
        c.XFRMA_SPD_IPV6_HTHRESH,
    }
)
_SAD_KNOWN = frozenset({c.XFRMA_SAD_CNT, c.XFRMA_SAD_HINFO})


def decode_spd_info(payload: Buffer) -> SpdInfo:
    """Read the payload of NEWSPDINFO; raises WireError."""
    if len(payload) < U32.size:
        short("SPD information", len(payload), U32.size, 0)
    spans, others = collect(payload, U32.size, _SPD_KNOWN)

    def fields(layout: Layout, type_: int) -> tuple[Any, ...] | None:
        span = spans.get(type_)
        return None if span is None else read(layout, payload, span, "SPD information")

    counts = fields(SPDINFO, c.XFRMA_SPD_INFO) or (0, 0, 0, 0, 0, 0)
    buckets = fields(HASH_INFO, c.XFRMA_SPD_HINFO) or (0, 0)
    thresholds = (
        fields(HASH_THRESHOLD, c.XFRMA_SPD_IPV4_HTHRESH),
        fields(HASH_THRESHOLD, c.XFRMA_SPD_IPV6_HTHRESH),
    )
    flags = U32.unpack_from(payload)[0]
    return SpdInfo._make((*counts, *buckets, *thresholds, flags, others))


def encode_sad_info(info: SadInfo) -> bytes:
    """Return the payload of NEWSADINFO; raises KamexfrmError."""
    try:
        return (
            U32.pack(info.flags)
            + encode_attribute(c.XFRMA_SAD_CNT, U32.pack(info.states))
            + encode_attribute(
                c.XFRMA_SAD_HINFO, HASH_INFO.pack(info.buckets, info.buckets_maximum)
            )
            + encode_attributes(info.attributes)
        )
    except struct.error as error:
        raise misfit("SAD information", error) from None


def decode_sad_info(payload: Buffer) -> SadInfo:
    """Read the payload of NEWSADINFO; raises WireError."""
    if len(payload) < U32.size:
        short("SAD information", len(payload), U32.size, 0)
    spans, others = collect(payload, U32.size, _SAD_KNOWN)
    buckets = spans.get(c.XFRMA_SAD_HINFO)
    now, maximum = (0, 0) if buckets is None else read(HASH_INFO, payload, buckets, "buckets")
    return SadInfo(
        read_number(U32, payload, spans.get(c.XFRMA_SAD_CNT), 0),
        now,
        maximum,
        U32.unpack_from(payload)[0],
        others,
    )
