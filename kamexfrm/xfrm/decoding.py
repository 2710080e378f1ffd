"""Any message of an XFRM socket: ``decode_event`` and ``encode_event``."""

from collections.abc import Callable
from typing import Any, NamedTuple

from kamexfrm.xfrm.events import (
    Acquire,
    DeletedPolicy,
    DeletedState,
    Expire,
    PolicyExpire,
    decode_acquire,
    decode_deleted_policy,
    decode_deleted_state,
    decode_expire,
    decode_policy_expire,
    encode_acquire,
    encode_deleted_policy,
    encode_deleted_state,
    encode_expire,
    encode_policy_expire,
)
from kamexfrm.xfrm.identities import (
    PolicyId,
    StateId,
    decode_policy_id,
    decode_state_id,
    encode_policy_id,
    encode_state_id,
)
from kamexfrm.xfrm.info import (
    SadInfo,
    SpdInfo,
    decode_sad_info,
    decode_spd_info,
    encode_sad_info,
    encode_spd_info,
)
from kamexfrm.xfrm.message_types import XfrmMsg
from kamexfrm.xfrm.migrate import Migrate, decode_migrate, encode_migrate
from kamexfrm.xfrm.policy import Policy, decode_policy, encode_policy
from kamexfrm.xfrm.reports import (
    AsyncEvent,
    Mapping,
    Report,
    decode_async_event,
    decode_mapping,
    decode_report,
    encode_async_event,
    encode_mapping,
    encode_report,
)
from kamexfrm.xfrm.requests import (
    AllocSpi,
    Default,
    PolicyFlush,
    StateFlush,
    decode_alloc_spi,
    decode_default,
    decode_policy_flush,
    decode_state_flush,
    encode_alloc_spi,
    encode_default,
    encode_policy_flush,
    encode_state_flush,
)
from kamexfrm.xfrm.state import State, decode_state, encode_state
from kamexfrm.xfrm.structs import Buffer


class Unknown(NamedTuple):
    """A message of a type that has no decoder here."""

    type: int
    payload: bytes

    def __repr__(self) -> str:
        # The content may hold keys.
        return f"Unknown(type={self.type}, payload=<{len(self.payload)} bytes>)"


Event = (
    Policy
    | State
    | PolicyId
    | StateId
    | Acquire
    | Expire
    | PolicyExpire
    | DeletedPolicy
    | DeletedState
    | Mapping
    | Report
    | AsyncEvent
    | Migrate
    | Default
    | SpdInfo
    | SadInfo
    | StateFlush
    | PolicyFlush
    | AllocSpi
    | Unknown
)

_DECODERS = {
    XfrmMsg.NEWSA: decode_state,
    XfrmMsg.UPDSA: decode_state,
    XfrmMsg.DELSA: decode_deleted_state,
    XfrmMsg.GETSA: decode_state_id,
    XfrmMsg.NEWPOLICY: decode_policy,
    XfrmMsg.UPDPOLICY: decode_policy,
    XfrmMsg.DELPOLICY: decode_deleted_policy,
    XfrmMsg.GETPOLICY: decode_policy_id,
    XfrmMsg.ALLOCSPI: decode_alloc_spi,
    XfrmMsg.ACQUIRE: decode_acquire,
    XfrmMsg.EXPIRE: decode_expire,
    XfrmMsg.POLEXPIRE: decode_policy_expire,
    XfrmMsg.FLUSHSA: decode_state_flush,
    XfrmMsg.FLUSHPOLICY: decode_policy_flush,
    XfrmMsg.NEWAE: decode_async_event,
    XfrmMsg.GETAE: decode_async_event,
    XfrmMsg.REPORT: decode_report,
    XfrmMsg.MIGRATE: decode_migrate,
    XfrmMsg.NEWSADINFO: decode_sad_info,
    XfrmMsg.NEWSPDINFO: decode_spd_info,
    XfrmMsg.MAPPING: decode_mapping,
    XfrmMsg.SETDEFAULT: decode_default,
    XfrmMsg.GETDEFAULT: decode_default,
}


def decode_event(type: int, payload: Buffer) -> Event:
    """Read the payload of any XFRM message; raises WireError.

    DELSA and DELPOLICY are DeletedState and DeletedPolicy from the kernel, StateId and PolicyId
    in a request. A type without a decoder becomes Unknown.
    """
    decoder = _DECODERS.get(type)  # type: ignore[call-overload]  # an int equals its XfrmMsg
    if decoder is None:
        return Unknown(type, bytes(payload))
    event: Event = decoder(payload)
    return event


_ENCODERS: dict[type, Callable[[Any], bytes]] = {
    Policy: encode_policy,
    State: encode_state,
    PolicyId: encode_policy_id,
    StateId: encode_state_id,
    Acquire: encode_acquire,
    Expire: encode_expire,
    PolicyExpire: encode_policy_expire,
    DeletedPolicy: encode_deleted_policy,
    DeletedState: encode_deleted_state,
    Mapping: encode_mapping,
    Report: encode_report,
    AsyncEvent: encode_async_event,
    Migrate: encode_migrate,
    Default: encode_default,
    SpdInfo: encode_spd_info,
    SadInfo: encode_sad_info,
    StateFlush: lambda flush: encode_state_flush(flush.protocol),
    PolicyFlush: lambda flush: encode_policy_flush(flush.policy_type),
    AllocSpi: encode_alloc_spi,
    Unknown: lambda unknown: unknown.payload,
}


def encode_event(event: Event) -> bytes:
    """Return the payload of any request or event; raises KamexfrmError."""
    return _ENCODERS[type(event)](event)
