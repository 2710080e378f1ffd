"""How ``setkey -DP`` and ``spddump`` print a policy: in full and as plain data."""

from __future__ import annotations

from _socket import inet_ntop
from functools import lru_cache

from kamexfrm.model.policy import (
    ICMP_UPPERS,
    TYPED_UPPERS,
    ULPROTO_ANY,
    Direction,
    IpsecRequest,
    PolicyType,
    Scope,
    SecurityContext,
    Selector,
    SpdEntry,
)
from kamexfrm.model.policy_text import format_level, format_priority, format_request
from kamexfrm.net import (
    ADDRESS_BITS,
    AF_INET6,
    IPPROTO_GRE,
    Address,
    protocol_name,
)
from kamexfrm.setkey.dates import format_date

TYPE_CHECKING = False  # typing takes long to load
if TYPE_CHECKING:
    from typing import Any


def format_sp(
    entry: SpdEntry, *, sequence: int, pid: int, ports: bool = False, refcnt: int = 1
) -> str:
    """Return a policy as ipsec-tools prints it.

    ``sequence`` is the message's place in the dump, the last one's is 0. ``ports`` is ``-p``.
    """
    policy, id, created, last_used, _, _, _, _, socket, _ = entry
    head = "(per-socket policy) " if socket else format_selector(policy[0])
    before, after = policy_words(policy[1:], socket, ports)
    dates = date_words(created, last_used)
    return f"{head}\n{before}{dates}{after}{id} seq={sequence} pid={pid}\n\trefcnt={refcnt}\n"


def format_hidden_sockets(count: int) -> str:
    """Return the last line of ``-N``, which hides policies of sockets."""
    return f"{count} per-socket polic{'y' if count == 1 else 'ies'} not shown (filtered by -N)\n"


def format_selector(selector: Selector) -> str:
    """Return a selector as the first line of a policy has it, which spdadd reads again."""
    source, _, destination, *_ = selector
    family = source[0] if source[0] in ADDRESS_BITS else AF_INET6
    between, behind = selector_words(selector)
    return f"{inet_ntop(family, source[1])}{between}{inet_ntop(family, destination[1])}{behind}"


def selector_words(selector: Selector) -> tuple[str, str]:
    """Return what stands between the two addresses of a policy's first line, and behind them."""
    source, source_bits, _, destination_bits, upper, source_port, destination_port, scope = selector
    full = ADDRESS_BITS.get(source[0], 128)
    first = "" if source_bits == full else f"/{source_bits}"
    second = "" if destination_bits == full else f"/{destination_bits}"
    tail = ""
    if scope:
        from kamexfrm.model.scope_text import scope_words  # rarely needed

        tail = scope_words(scope)
    if upper in TYPED_UPPERS:
        return f"{first} ", f"{second} {protocol_name(upper)}{_misc(selector)}{tail}"
    return (
        f"{first}[{'any' if source_port is None else source_port}] ",
        f"{second}[{'any' if destination_port is None else destination_port}]"
        f" {_upper(upper)}{tail}",
    )


@lru_cache(maxsize=256)
def _upper(upper: int) -> str:
    return "255" if upper == ULPROTO_ANY else protocol_name(upper)


def _misc(selector: Selector) -> str:
    """Return type and code or a GRE key as setkey shows them, with 0 for any.

    Differs from ipsec-tools: type 0, which there is the same as any, is shown as a type alone.
    """
    first, second = selector.source_port, selector.destination_port
    if first is None and second is None:
        return ""
    if selector.upper == IPPROTO_GRE:
        return f" {(first or 0) << 16 | (second or 0)}"
    return " 0" if first == 0 and second is None else f" {first or 0},{second or 0}"


#: A policy without its selector: direction, type, requests, priority, lifetime, validtime, context.
_Rest = tuple[
    Direction, PolicyType, tuple[IpsecRequest, ...], int, int, int, SecurityContext | None
]


@lru_cache(maxsize=1024)
def policy_words(rest: _Rest, socket: bool, ports: bool) -> tuple[str, str]:
    """Return the text from the direction to the dates, and from there to the id.

    Many policies share it. ``rest`` is a policy without its selector.
    """
    direction, action, requests, priority, lifetime, validtime, context = rest
    words = [direction.name.lower() + ("(socket)" if socket else "")]
    if priority:
        words.append(format_priority(priority))
    if action is PolicyType.IPSEC and not requests:
        action = PolicyType.NONE  # its effect
    words.append(action.name.lower())
    lines = [" ".join(words), *(format_request(request, ports=ports) for request in requests)]
    after = [f"\tlifetime: {lifetime}(s) validtime: {validtime}(s)"]
    if context:
        from kamexfrm.setkey.dump_context import context_lines  # rarely needed

        after += context_lines(context)
    return (
        "".join(f"\t{line}\n" for line in lines),
        "".join(f"{line}\n" for line in after) + "\tspid=",
    )


def date_words(created: int, last_used: int) -> str:
    """Return the line of a policy's dates."""
    return f"\tcreated: {format_date(created)}  lastused: {format_date(last_used)}\n"


def sp_to_dict(entry: SpdEntry) -> dict[str, Any]:
    """Return a policy as plain data for JSON.

    Times are seconds since the epoch or None, limits in seconds are None where there is none, and
    so are ports that do not matter.
    """
    policy = entry.policy
    return {
        **selector_to_dict(policy.selector),
        "direction": policy.direction.name.lower(),
        "action": policy.type.name.lower(),
        "requests": [_request_to_dict(request) for request in policy.requests],
        "priority": policy.priority,
        "id": entry.id,
        "order": entry.order,
        "kernel_priority": entry.kernel_priority,
        "owner": entry.owner.name.lower(),
        "automatic_fwd": entry.twin,
        "per_socket": entry.socket,
        "created": entry.created or None,
        "last_used": entry.last_used or None,
        "lifetime": policy.lifetime or None,
        "validtime": policy.validtime or None,
        "context": _context_to_dict(policy.label) if policy.label else None,
    }


def selector_to_dict(selector: Selector) -> dict[str, Any]:
    """Return a selector as plain data; types, codes and GRE keys have keys of their own."""
    found: dict[str, Any] = {
        "source": f"{selector.source}/{selector.source_prefix}",
        "destination": f"{selector.destination}/{selector.destination_prefix}",
        "upper": "any" if selector.upper == ULPROTO_ANY else protocol_name(selector.upper),
    }
    first, second = selector.source_port, selector.destination_port
    if selector.upper in ICMP_UPPERS:
        found |= {"type": first, "code": second}
    elif selector.upper == IPPROTO_GRE:
        absent = first is None and second is None
        found["key"] = None if absent else (first or 0) << 16 | (second or 0)
    else:
        found |= {"source_port": first, "destination_port": second}
    if selector.scope:
        found |= scope_to_dict(selector.scope)
    return found


def scope_to_dict(scope: Scope) -> dict[str, Any]:
    """Return what narrows a selector on Linux as plain data."""
    from kamexfrm.model.scope_text import device_name, mark_to_dict

    return {
        "device": device_name(scope.interface) if scope.interface else None,
        "mark": mark_to_dict(scope.mark),
        "if_id": scope.if_id or None,
    }


def _request_to_dict(request: IpsecRequest) -> dict[str, Any]:
    return {
        "protocol": request.protocol.name.lower(),
        "mode": request.mode.name.lower(),
        "level": format_level(request.level, 0),
        "reqid": request.reqid or None,
        "source": _address(request.source),
        "destination": _address(request.destination),
    }


def _address(address: Address | None) -> str | None:
    return None if address is None else str(address)


def _context_to_dict(context: SecurityContext) -> dict[str, Any]:
    from kamexfrm.setkey.dump_context import context_to_dict  # rarely needed

    return context_to_dict(context)
