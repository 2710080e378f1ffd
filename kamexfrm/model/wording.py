"""The words of a decision: entries, knobs, requests and SAs in short pieces of English."""

import errno as _errno
from typing import assert_never

from kamexfrm.model.decision import (
    DefaultPolicy,
    EntryPolicy,
    Governing,
    NoPolicy,
    OwnPolicy,
    RequestResult,
    SaIndex,
)
from kamexfrm.model.packet import Packet, Protection
from kamexfrm.model.policy import (
    ULPROTO_ANY,
    IpsecProtocol,
    IpsecRequest,
    Level,
    PolicyType,
    SecurityPolicy,
    Selector,
)
from kamexfrm.model.policy_text import format_request
from kamexfrm.net import (
    IPPROTO_AH,
    IPPROTO_COMP,
    IPPROTO_ESP,
    IPPROTO_ICMP,
    IPPROTO_ICMPV6,
    IPPROTO_TCP,
    IPPROTO_UDP,
    Address,
)

#: Names that need no /etc/protocols, so that the words are the same on every system.
_UPPER = {
    ULPROTO_ANY: "any",
    IPPROTO_ICMP: "icmp",
    IPPROTO_TCP: "tcp",
    IPPROTO_UDP: "udp",
    IPPROTO_ESP: "esp",
    IPPROTO_AH: "ah",
    IPPROTO_ICMPV6: "icmp6",
    IPPROTO_COMP: "ipcomp",
}


def upper_text(number: int) -> str:
    """Return the name of an upper protocol, or its number."""
    return _UPPER.get(number, str(number))


def _side(address: Address, bits: int, port: int | None) -> str:
    prefix = f"/{bits}" if bits != address.bits else ""
    return f"{address}{prefix}" + ("" if port is None else f"[{port}]")


def selector_text(selector: Selector) -> str:
    """Return ``10.0.0.0/8 192.0.2.1[80] tcp``."""
    source = _side(selector.source, selector.source_prefix, selector.source_port)
    destination = _side(
        selector.destination, selector.destination_prefix, selector.destination_port
    )
    return f"{source} {destination} {upper_text(selector.upper)}"


def packet_text(packet: Packet) -> str:
    """Return ``10.0.0.1[1024] 10.0.0.2[80] tcp``."""
    source = _side(packet.source, packet.source.bits, packet.source_port)
    destination = _side(packet.destination, packet.destination.bits, packet.destination_port)
    return f"{source} {destination} {upper_text(packet.upper)}"


def policy_text(policy: SecurityPolicy) -> str:
    """Return selector, direction, action and requests in one line."""
    words = [selector_text(policy.selector), policy.direction.name.lower()]
    words.append(policy.type.name.lower())
    if policy.type is PolicyType.IPSEC:
        words += map(format_request, policy.requests)
    return " ".join(words)


def governing_text(governing: Governing) -> str:
    """Return which policy it is, in full."""
    match governing:
        case EntryPolicy(policy=policy):
            return f"{short_text(governing)}: {policy_text(policy)}"
        case OwnPolicy(rule=rule):
            words = [rule.action.name.lower(), *map(format_request, rule.requests)]
            return f"{short_text(governing)}: {' '.join(words)}"
        case DefaultPolicy():
            return f"no entry matches; {short_text(governing)}"
        case NoPolicy():
            return f"none: {short_text(governing)}"
        case _:
            assert_never(governing)


def short_text(governing: Governing) -> str:
    """Return which policy it is, as the subject of a sentence."""
    match governing:
        case EntryPolicy(position, policy, id_):
            name = f"entry {position} of {policy.direction.name.lower()}"
            return f"{name} (id {id_})" if id_ else name
        case OwnPolicy(privileged=privileged):
            return f"the {'privileged' if privileged else 'unprivileged'} socket's own policy"
        case DefaultPolicy(knob, value):
            return f"{knob.name}={value} ({knob.value_names[value - knob.low]})"
        case NoPolicy():
            return "no entry matches, and the socket that says bypass was not made by uid 0"
        case _:
            assert_never(governing)


def level_text(result: RequestResult) -> str:
    """Return a request with its level in force, and the knob if one gave it."""
    request, level = format_request(result.request), result.level.name.lower()
    if result.knob is not None:
        return f"{request} ({result.knob.name}={int(result.level)} makes it {level})"
    if result.request.level is Level.DEFAULT:
        return f"{request} (IPComp's default is always {level})"
    return request


def sought_text(sought: SaIndex) -> str:
    """Return which SA a request searches for."""
    name = f"{sought.protocol.name} {sought.mode.name.lower()}"
    reqid = f" with reqid {sought.reqid}" if sought.reqid else ""
    return f"{name} SA from {sought.source} to {sought.destination}{reqid}"


def protection_text(protection: Protection) -> str:
    """Return what was removed: ``ESP tunnel from A to B (spi 0x100)``."""
    spi = "" if protection.spi is None else f" (spi {protection.spi:#x})"
    name = f"{protection.protocol.name} {protection.mode.name.lower()}"
    return f"{name} from {protection.source} to {protection.destination}{spi}"


def says_text(governing: EntryPolicy | OwnPolicy | DefaultPolicy, kind: PolicyType) -> str:
    """Return the clause that a policy asks for no protection, or discards."""
    word = kind.name.lower()
    match governing:
        case EntryPolicy() | OwnPolicy():
            return f"{short_text(governing)} says {word}"
        case DefaultPolicy(knob, value):
            return f"no entry matches, and {knob.name}={value} means {word}"
        case _:
            assert_never(governing)


def lack_text(request: IpsecRequest) -> str:
    """Return what a packet lacks that an inbound request requires."""
    if request.protocol is IpsecProtocol.AH:
        return "the packet has no AH of its own (AH around a tunnel does not count)"
    return "nothing in the packet was decrypted"


def errno_text(number: int) -> str:
    """Return ``success`` or the name of an errno."""
    return _errno.errorcode.get(number, str(number)) if number else "success"
