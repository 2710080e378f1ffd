"""What follows from an event: mostly nothing, which must cost nothing.

Another program may write fifty thousand policies while we run. So an event is read only as far as
it takes to see that it cannot matter; the marker's flags say what could follow.
"""

from enum import IntEnum

from kamexfrm.kernel.interface import Event
from kamexfrm.translate.xfrm.catch_all import is_catch_all
from kamexfrm.translate.xfrm.interface_policies import may_belong
from kamexfrm.translate.xfrm.marker import MarkerFlag, depends_on_sas
from kamexfrm.translate.xfrm.tag import (
    CATCH_ALL_PRIORITY,
    CATCH_ALL_USER,
    MARKER_IF_ID,
    ROUTES_IF_ID,
    ROUTES_PRIORITY,
)
from kamexfrm.xfrm import (
    XFRM_MODE_TRANSPORT,
    XFRM_MODE_TUNNEL,
    XFRM_POLICY_FWD,
    DeletedPolicy,
    Policy,
    XfrmMsg,
    brief_policy,
    brief_state,
    decode_deleted_policy,
    decode_policy,
    decode_state,
    policy_user,
)
from kamexfrm.xfrm.attributes import HEADER as ATTRIBUTE_HEADER
from kamexfrm.xfrm.structs import USERPOLICY_ID, USERPOLICY_INFO, USERSA_INFO

#: Where the policy is in the event of a deletion: after its id and an attribute's header.
_DELETED_POLICY_OFFSET = USERPOLICY_ID.size + ATTRIBUTE_HEADER.size


class Consequence(IntEnum):
    """What an event asks for, the greater one including the less."""

    NOTHING = 0
    INVALIDATE_ROUTES = 1  # connected flows must look up policies and SAs again
    RESYNC = 2  # something may have to be rewritten


def consequence(event: Event, flags: MarkerFlag) -> Consequence:
    """Return what follows from an event, given the marker's flags; raises WireError."""
    payload = event.payload
    match event.type:
        case XfrmMsg.NEWSA | XfrmMsg.UPDSA:
            serves = _may_serve(event, flags) or _may_be_claimed(event, flags)
            return Consequence.RESYNC if serves else Consequence.INVALIDATE_ROUTES
        case XfrmMsg.DELSA | XfrmMsg.FLUSHSA:
            return Consequence.RESYNC if depends_on_sas(flags) else Consequence.NOTHING
        case XfrmMsg.EXPIRE:
            hard = _is_hard(payload, USERSA_INFO.size)
            return Consequence.RESYNC if hard and _may_serve(event, flags) else Consequence.NOTHING
        case XfrmMsg.NEWPOLICY | XfrmMsg.UPDPOLICY:
            if policy_user(payload) == CATCH_ALL_USER and not is_catch_all(decode_policy(payload)):
                return Consequence.RESYNC
            tunnels = flags & MarkerFlag.HAS_MODE_ANY and _has_tunnels(decode_policy(payload))
            return Consequence.RESYNC if tunnels else Consequence.NOTHING
        case XfrmMsg.DELPOLICY:
            priority, _ = brief_policy(payload, _DELETED_POLICY_OFFSET)
            if priority == ROUTES_PRIORITY and _is_of_routes(payload):
                return Consequence.NOTHING
            ours = priority == CATCH_ALL_PRIORITY  # a marker or a catch-all
            resync = ours or flags & MarkerFlag.HAS_MODE_ANY
            return Consequence.RESYNC if resync else Consequence.INVALIDATE_ROUTES
        case XfrmMsg.POLEXPIRE:
            if not _is_hard(payload, USERPOLICY_INFO.size):
                return Consequence.NOTHING
            return (
                Consequence.RESYNC
                if flags & MarkerFlag.HAS_MODE_ANY
                else Consequence.INVALIDATE_ROUTES
            )
        case XfrmMsg.FLUSHPOLICY:
            return Consequence.RESYNC
        case _:
            return Consequence.NOTHING


def _is_hard(payload: bytes, offset: int) -> bool:
    """Whether a lifetime's hard limit is reached: the flag is after the entry."""
    return payload[offset : offset + 1] != b"\0"


def _may_serve(event: Event, flags: MarkerFlag) -> bool:
    """Whether a policy that depends on SAs may use, or have used, an SA.

    One of mode any is ours, and the command that wrote or deleted it has reconciled.
    """
    if flags & MarkerFlag.HAS_OLDEST_SA:
        return True
    reqid, mode = brief_state(event.payload)
    if flags & MarkerFlag.HAS_ANY_REQID and (reqid or flags & MarkerFlag.HAS_REQID_SA):
        return True
    return flags & MarkerFlag.HAS_TUNNEL_USE != 0 and mode == XFRM_MODE_TUNNEL


def _is_of_routes(payload: bytes) -> bool:
    """Whether a deletion is part of dropping routes, which must not be followed by another."""
    event = decode_deleted_policy(payload)
    return isinstance(event, DeletedPolicy) and event.policy.if_id == ROUTES_IF_ID


def _may_be_claimed(event: Event, flags: MarkerFlag) -> bool:
    """Whether an SA may belong to an XFRM interface, and was added without its id."""
    if not flags & MarkerFlag.HAS_INTERFACE or not brief_state(event.payload)[0]:
        return False
    state = decode_state(event.payload)
    return not state.if_id and may_belong(state)


def _has_tunnels(policy: Policy) -> bool:
    return any(template.mode != XFRM_MODE_TRANSPORT for template in policy.templates)


def written_marker(event: Event) -> Policy | None:
    """Return the marker, if an event says that it was written; raises WireError."""
    if event.type not in (XfrmMsg.NEWPOLICY, XfrmMsg.UPDPOLICY):
        return None
    if brief_policy(event.payload) != (CATCH_ALL_PRIORITY, XFRM_POLICY_FWD):
        return None
    policy = decode_policy(event.payload)
    return policy if policy.if_id == MARKER_IF_ID else None
