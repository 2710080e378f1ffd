"""What follows from an event: mostly nothing, which has to cost nothing.

Somebody may write fifty thousand policies beside us. So an event is read no further than it takes
to see that it cannot matter; what there is that could follow, the marker's flags say.
"""

from enum import IntEnum

from kamexfrm.errors import WireError
from kamexfrm.kernel.interface import Event
from kamexfrm.translate.xfrm.marker import (
    HAS_ANY_REQID,
    HAS_MODE_ANY,
    HAS_REQID_SA,
    HAS_TUNNEL_USE,
    follows_sas,
)
from kamexfrm.translate.xfrm.tag import CATCH_ALL_PRIORITY, MARKER_IF_ID
from kamexfrm.xfrm import (
    POLICY_INFO_BYTES,
    XFRM_MODE_TRANSPORT,
    XFRM_MODE_TUNNEL,
    XFRM_POLICY_FWD,
    Policy,
    XfrmMsg,
    brief_policy,
    brief_state,
    decode_policy,
)

#: Where the policy is in the event of a deletion: behind its name and an attribute's header.
_DELETED_POLICY_OFFSET = 68

#: Where the hard flag is in the event of an end.
_STATE_BYTES = 224


class Consequence(IntEnum):
    """What an event asks for, the greater one including the less."""

    NOTHING = 0
    FORGET_ROUTES = 1  # connected flows have to look again
    RESYNC = 2  # something may have to be rewritten


def consequence(event: Event, flags: int) -> Consequence:
    """Tell what follows from an event, with the marker's flags as they are."""
    try:
        return _consequence(event, flags)
    except WireError:
        return Consequence.RESYNC


def _consequence(event: Event, flags: int) -> Consequence:
    payload = event.payload
    match event.type:
        case XfrmMsg.NEWSA | XfrmMsg.UPDSA:
            return Consequence.RESYNC if _may_serve(event, flags) else Consequence.FORGET_ROUTES
        case XfrmMsg.DELSA | XfrmMsg.FLUSHSA:
            return Consequence.RESYNC if follows_sas(flags) else Consequence.NOTHING
        case XfrmMsg.EXPIRE:
            ends = payload[_STATE_BYTES : _STATE_BYTES + 1] != b"\0"
            return Consequence.RESYNC if ends and _may_serve(event, flags) else Consequence.NOTHING
        case XfrmMsg.NEWPOLICY | XfrmMsg.UPDPOLICY:
            tunnels = flags & HAS_MODE_ANY and _has_tunnels(decode_policy(payload))
            return Consequence.RESYNC if tunnels else Consequence.NOTHING
        case XfrmMsg.DELPOLICY:
            priority, _ = brief_policy(payload, _DELETED_POLICY_OFFSET)
            ours = priority == CATCH_ALL_PRIORITY  # a marker or a catch-all
            looks = ours or flags & HAS_MODE_ANY
            return Consequence.RESYNC if looks else Consequence.FORGET_ROUTES
        case XfrmMsg.POLEXPIRE:
            if payload[POLICY_INFO_BYTES : POLICY_INFO_BYTES + 1] == b"\0":
                return Consequence.NOTHING
            return Consequence.RESYNC if flags & HAS_MODE_ANY else Consequence.FORGET_ROUTES
        case XfrmMsg.FLUSHPOLICY:
            return Consequence.RESYNC
        case _:
            return Consequence.NOTHING


def _may_serve(event: Event, flags: int) -> bool:
    """Whether an SA may serve, or have served, what follows SAs.

    One of mode any is ours, and who writes or deletes it with our commands has seen to it.
    """
    reqid, mode = brief_state(event.payload)
    if flags & HAS_ANY_REQID and (reqid or flags & HAS_REQID_SA):
        return True
    return flags & HAS_TUNNEL_USE != 0 and mode == XFRM_MODE_TUNNEL


def _has_tunnels(policy: Policy) -> bool:
    return any(template.mode != XFRM_MODE_TRANSPORT for template in policy.templates)


def written_marker(event: Event) -> Policy | None:
    """Return the marker, if an event says that it was written."""
    if event.type not in (XfrmMsg.NEWPOLICY, XfrmMsg.UPDPOLICY):
        return None
    if brief_policy(event.payload) != (CATCH_ALL_PRIORITY, XFRM_POLICY_FWD):
        return None
    policy = decode_policy(event.payload)
    return policy if policy.if_id == MARKER_IF_ID else None
