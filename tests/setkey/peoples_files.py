"""The files of ``files``, and what their first lines say of packets.

A line ``# wire: SOURCE > DESTINATION UPPER [PORT] : LAYERS`` is a packet that leaves and what it is
in on the wire, the innermost first; ``clear`` and ``nothing`` are the other fates. A line
``# says: TEXT`` is what setkey warns of; it says nothing else.
"""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from kamexfrm.model.packet import Packet
from kamexfrm.model.packet import Path as Way
from kamexfrm.net import IPPROTO_ICMP, IPPROTO_ICMPV6, IPPROTO_TCP, IPPROTO_UDP, Address

FILES = sorted((Path(__file__).parent / "files").glob("*.conf"))
UPPERS = {
    "udp": IPPROTO_UDP,
    "tcp": IPPROTO_TCP,
    "icmp": IPPROTO_ICMP,
    "icmp6": IPPROTO_ICMPV6,
}
_PORT = 5000


class Wire(NamedTuple):
    """A packet and the layers that it leaves in."""

    packet: Packet
    layers: str


def lines(path: Path, word: str) -> Iterator[str]:
    text = path.read_bytes().decode()
    return (found[1].strip() for found in re.finditer(rf"(?m)^# {word}: (.*)$", text))


def wires(path: Path) -> Iterator[Wire]:
    for line in lines(path, "wire"):
        sent, _, layers = line.rpartition(" : ")
        yield Wire(_packet(sent), layers)


def _packet(text: str) -> Packet:
    source, _, destination, upper, *port = text.split()
    number = UPPERS.get(upper) or int(upper)
    ports: tuple[int | None, int | None] = (None, None)
    if upper.startswith("icmp"):
        ports = (int(port[0]) if port else 8, 0)
    elif port:
        ports = (1701 if port[0] == "1701" else _PORT, int(port[0]))
    return Packet(Way.OUT, Address.parse(source), Address.parse(destination), number, *ports)
