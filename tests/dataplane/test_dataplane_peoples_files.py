"""Files of the kinds that people have, loaded by setkey: their packets leave as the files say."""

import re
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from kamexfrm.model.packet import Packet
from kamexfrm.net import (
    IPPROTO_AH,
    IPPROTO_COMP,
    IPPROTO_ESP,
    IPPROTO_ICMP,
    IPPROTO_ICMPV6,
    IPPROTO_TCP,
    IPPROTO_UDP,
)
from kamexfrm.rig import Host, Rig
from kamexfrm.setkey.command import main
from tests.dataplane.dataplane_proof import setkey
from tests.setkey.peoples_files import FILES, Wire, wires

pytestmark = pytest.mark.dataplane

#: Some of them, as all take long.
SOME = [path for path in FILES if list(wires(path))][::3]

_NUMBERS = {"esp": IPPROTO_ESP, "ah": IPPROTO_AH, "ipcomp": IPPROTO_COMP}
_ECHO = {IPPROTO_ICMP: b"\x08\0\xf7\xff\0\0\0\0", IPPROTO_ICMPV6: b"\x80" + bytes(7)}


@pytest.fixture(scope="module")
def host() -> Iterator[Host]:
    """Give a host from whose one device nothing comes back."""
    with Rig() as rig:
        host = rig.host("h")
        rig.link(host, rig.host("sink"), mtu=9000)
        for words in (
            "link set eth0 arp off",
            "route add default dev eth0",
            "-6 route add default dev eth0",
        ):
            host.run(["ip", *words.split()], check=True)
        yield host


def _own_addresses(path: Path, sent: list[Wire]) -> set[str]:
    tunnels = re.findall(r"-P out[^;]*?tunnel/([0-9a-f.:]+)-", path.read_text())
    return {str(packet.source) for packet, _ in sent} | set(tunnels)


def _send(host: Host, packet: Packet) -> None:
    kind, protocol, content = socket.SOCK_RAW, packet.upper, bytes(40)
    if packet.upper in (IPPROTO_UDP, IPPROTO_TCP):
        kind = socket.SOCK_DGRAM if packet.upper == IPPROTO_UDP else socket.SOCK_STREAM
        protocol, content = 0, bytes(1200)  # long enough to be worth compressing
    content = _ECHO.get(packet.upper, content)
    with host.socket(socket.AddressFamily(packet.family), kind, protocol) as sender:
        sender.bind((str(packet.source), packet.source_port or 0 if not protocol else 0))
        target = (str(packet.destination), packet.destination_port or 0 if not protocol else 0)
        if kind is socket.SOCK_STREAM:
            sender.setblocking(False)
            sender.connect_ex(target)
        else:
            sender.sendto(content, target)


@pytest.mark.parametrize("path", SOME, ids=lambda path: path.stem)
def test_packets_are_on_the_wire_as_a_file_says(host: Host, path: Path) -> None:
    sent = list(wires(path))
    for address in _own_addresses(path, sent):
        words = f"address replace {address} dev eth0" + (" nodad" if ":" in address else "")
        host.run(["ip", *words.split()], check=True)
    setkey(host, "-F")
    setkey(host, "-FP")
    assert host.call(main, ["-f", str(path)]) == 0
    for packet, layers in sent:
        if layers != "nothing":
            _assert_on_wire(host, packet, layers)


def _assert_on_wire(host: Host, packet: Packet, layers: str) -> None:
    outermost = re.search(r"(\w+) \w+ (0x[0-9a-f]+)$", layers)
    number = _NUMBERS[outermost[1]] if outermost else packet.upper
    with host.capture("eth0") as capture:
        _send(host, packet)
        found = capture.wait_for(lambda seen: seen.has(number))
    if outermost and outermost[1] != "ipcomp":
        assert found.spi == int(outermost[2], 16)
