"""What ``kamexfrm interface list`` prints of route-based IPsec's interfaces."""

from typing import Any

from kamexfrm.engine.route_based import Interface
from kamexfrm.operator.document import document


def problem_of(interface: Interface) -> str:
    """Return what is wrong with an interface and its cure, empty for nothing."""
    link, tunnel = interface.link, interface.tunnel
    if link is None:
        return (
            "it has policies but no link here:"
            f" kamexfrm interface delete --reqid {interface.number}, or add it again"
        )
    if tunnel is None:
        return (
            "it has no policies of kamexfrm, so nothing is sent:"
            f" kamexfrm interface add {link.name} --replace makes them"
        )
    if not link.is_up:
        return f"it is down: ip link set {link.name} up"
    if not (interface.inbound and interface.outbound):
        return f"there are no SAs of reqid {interface.number} for both ways yet"
    return ""


def text_of(interface: Interface) -> str:
    """Return an interface as text: a line, what it counted, and what is wrong."""
    link, tunnel = interface.link, interface.tunnel
    words = [f"{link.name if link else '-'}: reqid {interface.number}"]
    if tunnel is not None:
        words.append(f"tunnel {tunnel.local} -> {tunnel.remote}")
    if link is not None:
        words += [f"dev {link.device}"] if link.device else []
        words += [f"mtu {link.mtu}", "up" if link.is_up else "down"]
    lines = [" ".join(words)]
    lines.append(f"    SAs: {interface.inbound} in, {interface.outbound} out")
    if link is not None:
        lines.append(
            f"    received {link.received_packets} packets, {link.received_bytes} bytes;"
            f" sent {link.sent_packets} packets, {link.sent_bytes} bytes; {link.errors} errors"
        )
    if problem := problem_of(interface):
        lines.append(f"    {problem}")
    return "\n".join(lines)


def interfaces_document(interfaces: list[Interface]) -> dict[str, Any]:
    """Return the document ``kamexfrm/interface/1``."""
    return document("interface", interfaces=[_as_json(each) for each in interfaces])


def _as_json(interface: Interface) -> dict[str, Any]:
    link, tunnel = interface.link, interface.tunnel
    return {
        "name": link.name if link else None,
        "reqid": interface.number,
        "local": str(tunnel.local) if tunnel else None,
        "remote": str(tunnel.remote) if tunnel else None,
        "device": (link.device or None) if link else None,
        "mtu": link.mtu if link else None,
        "up": link.is_up if link else False,
        "associations": {"in": interface.inbound, "out": interface.outbound},
        "received": {
            "packets": link.received_packets if link else 0,
            "bytes": link.received_bytes if link else 0,
        },
        "sent": {
            "packets": link.sent_packets if link else 0,
            "bytes": link.sent_bytes if link else 0,
        },
        "errors": link.errors if link else 0,
        "problem": problem_of(interface) or None,
    }
