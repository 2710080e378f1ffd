"""Kernel objects as lines of ``ip xfrm``, which ``sh -e`` runs."""

import shlex
from collections.abc import Iterator

from kamexfrm.model.policy import ICMP_UPPERS
from kamexfrm.model.scope_text import device_name
from kamexfrm.net import (
    IPPROTO_GRE,
    IPPROTO_ICMP,
    IPPROTO_ICMPV6,
    IPPROTO_MH,
    IPPROTO_TCP,
    IPPROTO_UDP,
)
from kamexfrm.operator.translate.ip_words import (
    DIRECTIONS,
    ENCAPS,
    LIMITS,
    MODES,
    PROTOCOLS,
    STATE_FLAGS,
)
from kamexfrm.operator.translate.objects import Objects, Remark, is_narrow
from kamexfrm.xfrm import (
    XFRM_INF,
    XFRM_POLICY_BLOCK,
    LifetimeConfig,
    Mark,
    Policy,
    Selector,
    State,
)
from kamexfrm.xfrm import constants as c

_UPPERS = {
    IPPROTO_ICMP: "icmp",
    IPPROTO_TCP: "tcp",
    IPPROTO_UDP: "udp",
    33: "dccp",
    IPPROTO_ICMPV6: "ipv6-icmp",
    132: "sctp",
    IPPROTO_MH: "mobility-header",
    IPPROTO_GRE: "gre",
}
#: An SA's own direction, newer kernels have (linux/xfrm.h XFRM_SA_DIR_IN, XFRM_SA_DIR_OUT).
_SA_DIRECTIONS = {1: "in", 2: "out"}

#: Upper protocols for which ip(8) takes ports, or a type and a code, or a key in their place.
_WITH_PORTS = (IPPROTO_TCP, IPPROTO_UDP, 33, 132, *ICMP_UPPERS, IPPROTO_GRE)
_NO_PORTS = "ip(8) has no words for ports of this protocol: left out"


def lines(objects: Objects, remarks: list[Remark]) -> Iterator[str]:
    """Yield a line for each object; ``remarks`` gets what ip(8) has no words for."""
    for state in objects.states:
        if _lacks_words(state.selector):
            name = f"SA {state.spi:#x} to {state.destination}"
            remarks.append(Remark(None, f"{name}: {_NO_PORTS}"))
            continue
        words = ["ip", "xfrm", "state", "add", *_state(state, remarks)]
        yield " ".join(map(shlex.quote, words))
    for policy in objects.policies:
        if _lacks_words(policy.selector):
            name = " ".join((*_selector(policy.selector), "dir", DIRECTIONS[policy.direction]))
            remarks.append(Remark(None, f"policy {name}: {_NO_PORTS}"))
            continue
        words = ["ip", "xfrm", "policy", "add", *_policy(policy, remarks)]
        yield " ".join(map(shlex.quote, words))


def _state(state: State, remarks: list[Remark]) -> Iterator[str]:
    protocol = PROTOCOLS.get(state.protocol, str(state.protocol))
    yield from ("src", str(state.source), "dst", str(state.destination))
    yield from ("proto", protocol, "spi", f"{state.spi:#x}")
    yield from _algorithms(state)
    yield from _mark("mark", state.mark)
    yield from ("mode", MODES.get(state.mode, str(state.mode)))
    if state.reqid:
        yield from ("reqid", str(state.reqid))
    window = state.replay_esn.replay_window if state.replay_esn else state.replay_window
    if window:
        yield from ("replay-window", str(window))
    flags = [word for bit, word in STATE_FLAGS.items() if state.flags & bit]
    for flag in flags:
        yield from ("flag", flag)
    if state.extra_flags & c.XFRM_SA_XFLAG_DONT_ENCAP_DSCP:
        yield from ("extra-flag", "dont-encap-dscp")
    if is_narrow(state.selector):
        yield from ("sel", *_selector(state.selector))
    yield from _limits(state.lifetime)
    encap = state.encap
    if encap is not None:
        yield from ("encap", ENCAPS.get(encap.type, str(encap.type)))
        yield from (str(encap.source_port), str(encap.destination_port))
        yield str(encap.original_address)
    yield from _context(state, remarks)
    if state.offload is not None:
        inbound = state.offload.flags & c.XFRM_OFFLOAD_INBOUND
        device = device_name(state.offload.interface)
        yield from ("offload", "dev", device, "dir", "in" if inbound else "out")
    yield from _mark("output-mark", state.output_mark)
    if state.if_id:
        yield from ("if_id", str(state.if_id))
    if state.direction:
        yield from ("dir", _SA_DIRECTIONS[state.direction])
    if state.nat_keepalive_interval:
        yield from ("nat-keepalive-interval", str(state.nat_keepalive_interval))
    if state.pcpu is not None:
        yield from ("pcpu-num", str(state.pcpu))


def _mark(word: str, mark: Mark | None) -> Iterator[str]:
    if mark is not None:
        yield from (word, f"{mark.value:#x}", "mask", f"{mark.mask:#x}")


def _algorithms(state: State) -> Iterator[str]:
    if state.aead:
        aead = state.aead
        yield from ("aead", aead.name, _key(aead.key), str(aead.icv_bits))
    if state.authentication:
        name, key, _, bits = state.authentication
        if bits:
            yield from ("auth-trunc", name, _key(key), str(bits))
        else:
            yield from ("auth", name, _key(key))
    if state.encryption:
        yield from ("enc", state.encryption.name, _key(state.encryption.key))
    if state.compression:
        yield from ("comp", state.compression.name)


def _key(material: bytes) -> str:
    return f"0x{material.hex()}" if material else ""


def _limits(lifetime: LifetimeConfig) -> Iterator[str]:
    for word, field in LIMITS.items():
        value = getattr(lifetime, field)
        if value not in (0, XFRM_INF):
            yield from ("limit", word, str(value))


def _context(found: State | Policy, remarks: list[Remark]) -> Iterator[str]:
    context = found.security_context
    if context is None:
        return
    if (context.doi, context.algorithm) != (1, 1):
        text = "ip(8) has no words for a security context other than -ctx 1 1: left out"
        remarks.append(Remark(None, text))
        return
    yield from ("ctx", context.text.rstrip(b"\0").decode("utf-8", "surrogateescape"))


def _policy(policy: Policy, remarks: list[Remark]) -> Iterator[str]:
    yield from _selector(policy.selector)
    yield from ("dir", DIRECTIONS[policy.direction])
    yield from _context(policy, remarks)
    yield from _mark("mark", policy.mark)
    if policy.action == XFRM_POLICY_BLOCK:
        yield from ("action", "block")
    yield from ("priority", str(policy.priority))
    if policy.flags & c.XFRM_POLICY_LOCALOK:
        yield from ("flag", "localok")
    if policy.flags & c.XFRM_POLICY_ICMP:
        yield from ("flag", "icmp")
    if policy.if_id:
        yield from ("if_id", str(policy.if_id))
    yield from _limits(policy.lifetime)
    for template in policy.templates:
        yield from ("tmpl", "src", str(template.source), "dst", str(template.destination))
        yield from ("proto", PROTOCOLS.get(template.protocol, str(template.protocol)))
        yield from ("mode", MODES.get(template.mode, str(template.mode)))
        if template.reqid:
            yield from ("reqid", str(template.reqid))
        if template.optional:
            yield from ("level", "use")


def _lacks_words(selector: Selector) -> bool:
    """Whether a selector has ports of a protocol for which ip(8) takes none."""
    has_ports = selector.source_port_mask or selector.destination_port_mask
    return bool(has_ports) and selector.protocol not in _WITH_PORTS


def _selector(selector: Selector) -> Iterator[str]:
    yield from ("src", f"{selector.source}/{selector.source_prefix}")
    yield from ("dst", f"{selector.destination}/{selector.destination_prefix}")
    if selector.interface:
        yield from ("dev", device_name(selector.interface))
    if not selector.protocol:
        return
    yield from ("proto", _UPPERS.get(selector.protocol, str(selector.protocol)))
    if selector.protocol == IPPROTO_GRE:
        if selector.source_port_mask or selector.destination_port_mask:
            yield from ("key", str(selector.source_port << 16 | selector.destination_port))
        return
    words = ("type", "code") if selector.protocol in ICMP_UPPERS else ("sport", "dport")
    if selector.source_port_mask:
        yield from (words[0], str(selector.source_port))
    if selector.destination_port_mask:
        yield from (words[1], str(selector.destination_port))
