"""One door for whatever arrives on an XFRM socket: ``decode_event`` by message type."""

from typing import NamedTuple

from kamexfrm.xfrm.constants import XfrmMsg
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
)
from kamexfrm.xfrm.identities import PolicyId, StateId, decode_policy_id, decode_state_id
from kamexfrm.xfrm.info import SadInfo, SpdInfo, decode_sad_info, decode_spd_info
from kamexfrm.xfrm.migrate import Migrate, decode_migrate
from kamexfrm.xfrm.policy import Policy, decode_policy
from kamexfrm.xfrm.reports import (
    AsyncEvent,
    Mapping,
    Report,
    decode_async_event,
    decode_mapping,
    decode_report,
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
)
from kamexfrm.xfrm.state import State, decode_state
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
