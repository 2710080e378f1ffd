"""Classifying packets in the words of expectations: esp, ah+esp, udp-encap, clear, nothing."""

from collections.abc import Container, Iterable

from kamexfrm.net import (
    IPPROTO_AH,
    IPPROTO_COMP,
    IPPROTO_ESP,
    IPPROTO_ICMPV6,
    IPPROTO_UDP,
)
from kamexfrm.rig.packet import Packet

_NAMES = {IPPROTO_AH: "ah", IPPROTO_ESP: "esp", IPPROTO_COMP: "ipcomp"}
_IGMP = 2

#: In the data of every packet of ours; repetitive, so that IPComp has something to compress.
MARKER = b"in the clear for all to read; "


def payload(size: int) -> bytes:
    """Return so many bytes of the marker."""
    return (MARKER * (size // len(MARKER) + 1))[:size]


def is_housekeeping(packet: Packet) -> bool:
    """Whether it is ARP, neighbour or router discovery, or group membership (IGMP, MLD)."""
    if not packet.protocols or packet.destination.startswith("ff02:"):
        return True
    if packet.protocol == IPPROTO_ICMPV6:
        return len(packet.data) > 40 and packet.data[40] in range(130, 138)
    return packet.protocol == _IGMP


def is_encapsulated(packet: Packet) -> bool:
    """Whether it is ESP in UDP (RFC 3948)."""
    return packet.protocol == IPPROTO_UDP and packet.has(IPPROTO_ESP)


def kind_of(packet: Packet, readable: Container[int | None] = ()) -> str:
    """Return a packet's kind; ``esp-null`` is ESP whose contents can be read.

    ``readable`` are SPIs with a readable packet: their packets without data count as readable.
    """
    if is_encapsulated(packet):
        return "udp-encap"
    names = [_NAMES[number] for number in packet.protocols if number in _NAMES]
    if not names:
        return "clear"
    if "esp" in names and (MARKER in packet.data or packet.spi in readable):
        names[names.index("esp")] = "esp-null"
    return "+".join(names)


def readable_spis(packets: Iterable[Packet]) -> set[int | None]:
    """Return the SPIs of packets whose contents can be read."""
    return {one.spi for one in packets if one.spi is not None and MARKER in one.data}


def kinds(packets: Iterable[Packet]) -> tuple[str, ...]:
    """Return the kinds of packets in order of appearance; ``nothing`` alone for none."""
    seen = [one for one in packets if not is_housekeeping(one)]
    readable = readable_spis(seen)
    return tuple(dict.fromkeys(kind_of(one, readable) for one in seen)) or ("nothing",)


def spell(found: Iterable[str]) -> str:
    """Return kinds as text."""
    return " and ".join(found)
