"""Netlink XFRM, Linux's own IPsec interface, as a codec without I/O: bytes to tuples and back.

``encode_...`` returns a message's payload, ``message`` puts the netlink header before it;
``split_messages`` and ``decode_event`` undo that. Numbers are host order, addresses are
``kamexfrm.net.Address``. What cannot be decoded raises ``kamexfrm.errors.WireError``, what
cannot be encoded ``kamexfrm.errors.KamexfrmError``.

    >>> from kamexfrm.net import AF_INET, Address
    >>> here, there = Address.parse("192.0.2.1"), Address.parse("192.0.2.2")
    >>> between = Selector(there, here, family=AF_INET, destination_prefix=32, source_prefix=32)
    >>> esp = Template(there, here, protocol=50, mode=XFRM_MODE_TUNNEL, family=AF_INET)
    >>> policy = Policy(between, XFRM_POLICY_OUT, templates=(esp,))
    >>> request = message(XfrmMsg.NEWPOLICY, NLM_F_REQUEST | NLM_F_ACK, 1, encode_policy(policy))
    >>> len(request)
    252
    >>> [received] = split_messages(request)
    >>> decode_event(received.type, received.payload) == policy
    True

A module is loaded when a name of it is first asked for: a program that only writes policies
starts without the rest. Read on in this order: ``constants`` (every number under its C name) and
``structs`` (every layout), ``netlink`` and ``attributes`` (framing), ``selector``, ``policy``,
``state``, ``identities`` (what requests name), ``requests``, ``events`` and ``reports``, and at
last ``decoding``.
"""

from kamexfrm.lazy import exports
from kamexfrm.xfrm.constants import *  # noqa: F403  # every number, under its C name

TYPE_CHECKING = False  # typing takes long to load
if TYPE_CHECKING:
    from kamexfrm.xfrm.algorithms import AeadAlgorithm, Algorithm, AuthAlgorithm
    from kamexfrm.xfrm.attributes import (
        Attribute,
        attribute_name,
        attribute_name_at,
        encode_attribute,
        encode_attributes,
        iter_attributes,
    )
    from kamexfrm.xfrm.decoding import Event, Unknown, decode_event, encode_event
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
        EMPTY_SELECTOR,
        PolicyId,
        StateId,
        decode_policy_id,
        decode_state_id,
        direction_of_index,
        encode_policy_id,
        encode_state_id,
    )
    from kamexfrm.xfrm.info import (
        SadInfo,
        SpdInfo,
        decode_sad_info,
        decode_spd_info,
        encode_info_request,
        encode_sad_info,
        encode_spd_info,
    )
    from kamexfrm.xfrm.message_types import XfrmMsg
    from kamexfrm.xfrm.migrate import KmAddress, Migrate, Move, decode_migrate, encode_migrate
    from kamexfrm.xfrm.netlink import (
        ErrorReply,
        Message,
        Operation,
        PackedOperations,
        decode_done,
        decode_error,
        message,
        split_messages,
    )
    from kamexfrm.xfrm.packed import Column, RequestGroup, pack_requests, select
    from kamexfrm.xfrm.policy import (
        ANY_ALGORITHM,
        POLICY_INFO_BYTES,
        TEMPLATE_BYTES,
        Policy,
        Template,
        brief_policy,
        decode_policy,
        encode_policy,
        encode_socket_policy,
        pack_policy_info,
        pack_template,
        pack_templates,
    )
    from kamexfrm.xfrm.raw import (
        has_keys,
        lasting_policy,
        lasting_state,
        policy_index,
        policy_user,
        state_name,
    )
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
        AddressFilter,
        AllocSpi,
        Default,
        PolicyFlush,
        StateDump,
        StateFlush,
        decode_alloc_spi,
        decode_default,
        decode_policy_flush,
        decode_state_dump,
        decode_state_flush,
        encode_alloc_spi,
        encode_default,
        encode_policy_flush,
        encode_state_dump,
        encode_state_flush,
    )
    from kamexfrm.xfrm.runs import Run, make_run, read_run
    from kamexfrm.xfrm.selector import (
        UNLIMITED,
        UNUSED,
        LifetimeConfig,
        LifetimeCurrent,
        Mark,
        SecurityContext,
        Selector,
    )
    from kamexfrm.xfrm.state import State, brief_state, decode_state, encode_state
    from kamexfrm.xfrm.state_parts import (
        Encap,
        OffloadDevice,
        ReplayState,
        ReplayStateEsn,
        Statistics,
    )
    from kamexfrm.xfrm.structs import PORTS, USER_TMPL, USERPOLICY_INFO
else:
    __getattr__, __dir__ = exports(
        __name__,
        {
            "algorithms": "AeadAlgorithm Algorithm AuthAlgorithm",
            "attributes": (
                "Attribute attribute_name attribute_name_at encode_attribute encode_attributes "
                "iter_attributes"
            ),
            "decoding": "Event Unknown decode_event encode_event",
            "events": (
                "Acquire DeletedPolicy DeletedState Expire PolicyExpire decode_acquire "
                "decode_deleted_policy decode_deleted_state decode_expire decode_policy_expire "
                "encode_acquire encode_deleted_policy encode_deleted_state encode_expire "
                "encode_policy_expire"
            ),
            "identities": (
                "EMPTY_SELECTOR PolicyId StateId decode_policy_id decode_state_id "
                "direction_of_index encode_policy_id encode_state_id"
            ),
            "info": (
                "SadInfo SpdInfo decode_sad_info decode_spd_info encode_info_request "
                "encode_sad_info encode_spd_info"
            ),
            "message_types": "XfrmMsg",
            "migrate": "KmAddress Migrate Move decode_migrate encode_migrate",
            "netlink": (
                "ErrorReply Message Operation PackedOperations decode_done decode_error message "
                "split_messages"
            ),
            "packed": "Column RequestGroup pack_requests select",
            "policy": (
                "ANY_ALGORITHM POLICY_INFO_BYTES TEMPLATE_BYTES Policy Template brief_policy "
                "decode_policy encode_policy encode_socket_policy pack_policy_info pack_template "
                "pack_templates"
            ),
            "raw": "has_keys lasting_policy lasting_state policy_index policy_user state_name",
            "reports": (
                "AsyncEvent Mapping Report decode_async_event decode_mapping decode_report "
                "encode_async_event encode_mapping encode_report"
            ),
            "requests": (
                "AddressFilter AllocSpi Default PolicyFlush StateDump StateFlush decode_alloc_spi "
                "decode_default decode_policy_flush decode_state_dump decode_state_flush "
                "encode_alloc_spi encode_default encode_policy_flush encode_state_dump "
                "encode_state_flush"
            ),
            "runs": "Run make_run read_run",
            "selector": (
                "UNLIMITED UNUSED LifetimeConfig LifetimeCurrent Mark SecurityContext Selector"
            ),
            "state": "State brief_state decode_state encode_state",
            "state_parts": "Encap OffloadDevice ReplayState ReplayStateEsn Statistics",
            "structs": "PORTS USER_TMPL USERPOLICY_INFO",
        },
    )

__all__ = [
    "ANY_ALGORITHM",
    "EMPTY_SELECTOR",
    "POLICY_INFO_BYTES",
    "PORTS",
    "TEMPLATE_BYTES",
    "UNLIMITED",
    "UNUSED",
    "USERPOLICY_INFO",
    "USER_TMPL",
    "Acquire",
    "AddressFilter",
    "AeadAlgorithm",
    "Algorithm",
    "AllocSpi",
    "AsyncEvent",
    "Attribute",
    "AuthAlgorithm",
    "Column",
    "Default",
    "DeletedPolicy",
    "DeletedState",
    "Encap",
    "ErrorReply",
    "Event",
    "Expire",
    "KmAddress",
    "LifetimeConfig",
    "LifetimeCurrent",
    "Mapping",
    "Mark",
    "Message",
    "Migrate",
    "Move",
    "OffloadDevice",
    "Operation",
    "PackedOperations",
    "Policy",
    "PolicyExpire",
    "PolicyFlush",
    "PolicyId",
    "ReplayState",
    "ReplayStateEsn",
    "Report",
    "RequestGroup",
    "Run",
    "SadInfo",
    "SecurityContext",
    "Selector",
    "SpdInfo",
    "State",
    "StateDump",
    "StateFlush",
    "StateId",
    "Statistics",
    "Template",
    "Unknown",
    "XfrmMsg",
    "attribute_name",
    "attribute_name_at",
    "brief_policy",
    "brief_state",
    "decode_acquire",
    "decode_alloc_spi",
    "decode_async_event",
    "decode_default",
    "decode_deleted_policy",
    "decode_deleted_state",
    "decode_done",
    "decode_error",
    "decode_event",
    "decode_expire",
    "decode_mapping",
    "decode_migrate",
    "decode_policy",
    "decode_policy_expire",
    "decode_policy_flush",
    "decode_policy_id",
    "decode_report",
    "decode_sad_info",
    "decode_spd_info",
    "decode_state",
    "decode_state_dump",
    "decode_state_flush",
    "decode_state_id",
    "direction_of_index",
    "encode_acquire",
    "encode_alloc_spi",
    "encode_async_event",
    "encode_attribute",
    "encode_attributes",
    "encode_default",
    "encode_deleted_policy",
    "encode_deleted_state",
    "encode_event",
    "encode_expire",
    "encode_info_request",
    "encode_mapping",
    "encode_migrate",
    "encode_policy",
    "encode_policy_expire",
    "encode_policy_flush",
    "encode_policy_id",
    "encode_report",
    "encode_sad_info",
    "encode_socket_policy",
    "encode_spd_info",
    "encode_state",
    "encode_state_dump",
    "encode_state_flush",
    "encode_state_id",
    "has_keys",
    "iter_attributes",
    "lasting_policy",
    "lasting_state",
    "make_run",
    "message",
    "pack_policy_info",
    "pack_requests",
    "pack_template",
    "pack_templates",
    "policy_index",
    "policy_user",
    "read_run",
    "select",
    "split_messages",
    "state_name",
]
