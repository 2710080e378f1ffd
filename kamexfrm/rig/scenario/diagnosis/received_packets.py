"""Received packets against the receiver's SAs: what does not match."""

from collections.abc import Iterator

from kamexfrm.model.association import SadEntry
from kamexfrm.model.policy import IpsecProtocol, IpsecRequest, Mode
from kamexfrm.net import IPPROTO_AH
from kamexfrm.rig.packet import Packet
from kamexfrm.rig.scenario.diagnosis.snapshot import Snapshot, name_sa, names_of
from kamexfrm.rig.scenario.stage import wire


def wrong_encap_ports(snapshot: Snapshot, host: str) -> Iterator[str]:
    """Yield SAs that send ESP in UDP to a port where the peer has no encap socket."""
    for entry in snapshot.sads[host]:
        sa = entry.association
        owner = snapshot.owner(str(sa.destination))
        encap_sockets = snapshot.scene.case.hosts[owner].encapsulation if owner else ()
        if owner in (None, host) or not sa.nat_traversal or not encap_sockets:
            continue  # without sockets of the scenario, a program may have one
        port = sa.nat_traversal.destination_port
        if f"{sa.destination} {port}" not in encap_sockets:
            yield (
                f"{host} sends {name_sa(sa)} to UDP port {port}, and {owner} takes ESP in UDP "
                f"at {', '.join(encap_sockets)}"
            )


def unknown_sas(snapshot: Snapshot, host: str) -> Iterator[str]:
    """Yield received SPIs that are not in the SAD; else the SAs of others that send to the host."""
    found = False
    known = snapshot.sads[host]
    for packet in _received(snapshot, host):
        protocol = _protocol(packet)
        same = [entry for entry in known if entry.association.spi == packet.spi]
        if not any(
            entry.association.protocol is protocol
            and str(entry.association.destination) == packet.destination
            for entry in same
        ):
            found = True
            name = f"spi {packet.spi:#x} of {protocol.name.lower()} to {packet.destination}"
            yield f"{host} has no SA for {name}; it has {names_of(same or known)}"
    if not found:  # the header is inside one that only the receiver can decrypt
        here = {entry.association.id for entry in known}
        for other in snapshot.hosts:
            for entry in snapshot.sads[other]:
                sa = entry.association
                if sa.id not in here and snapshot.owner(str(sa.destination)) == host:
                    yield f"{other} has the SA {name_sa(sa)}, {host} has not"


def unreadable(snapshot: Snapshot, host: str) -> Iterator[str]:
    """Yield the received packets that a host failed to authenticate or decrypt."""
    for packet in _received(snapshot, host):
        yield (
            f"{host} could not authenticate or decrypt {_protocol(packet).name.lower()} "
            f"{packet.spi:#x} from {packet.source}: other keys or algorithms?"
        )


def encapsulations(snapshot: Snapshot, host: str) -> Iterator[str]:
    """Yield SAs with UDP encapsulation whose packets came without, or the reverse."""
    for packet in _received(snapshot, host):
        for entry in snapshot.sads[host]:
            sa = entry.association
            if sa.spi == packet.spi and bool(sa.nat_traversal) != (wire.is_encapsulated(packet)):
                here, there = ("in UDP", "in IP") if sa.nat_traversal else ("in IP", "in UDP")
                yield f"{host}'s SA {name_sa(sa)} is {here}, what came was {there}"


def unmet(snapshot: Snapshot, host: str, request: IpsecRequest) -> str:
    """Return how an SA of the received packets differs from a request; empty if it does not."""
    seen = {packet.spi for packet in _received(snapshot, host)}
    for entry in snapshot.sads[host]:
        sa = entry.association
        if sa.spi not in seen or sa.protocol is not request.protocol:
            continue
        mode = _mode(entry)
        wanted = request.mode.name.lower()
        if mode is not request.mode:
            return f"{host} wants {wanted} mode, {name_sa(sa)} is in {mode.name.lower()} mode"
        if request.source and sa.source != request.source:
            here = f"{host} wants a tunnel from {request.source}"
            return f"{here}, {name_sa(sa)} is from {sa.source}"
    return ""


def _received(snapshot: Snapshot, host: str) -> Iterator[Packet]:
    """Yield protected packets for an address of the host."""
    for packets in snapshot.links.values():
        for packet in packets:
            if packet.spi is not None and snapshot.owner(packet.destination) == host:
                yield packet


def _protocol(packet: Packet) -> IpsecProtocol:
    """Return the protocol of a packet's SPI: that of its first IPsec header."""
    first = next((p for p in packet.protocols if p in set(IpsecProtocol)), IPPROTO_AH)
    return IpsecProtocol(first)


def _mode(entry: SadEntry) -> Mode:
    mode = entry.association.mode
    return entry.kernel_mode if mode is Mode.ANY else mode
