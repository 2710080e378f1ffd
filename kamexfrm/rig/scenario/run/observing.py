"""Observing a step: what crossed each link, which SAs and counters moved, and who heard it."""

from collections.abc import Iterator
from typing import NamedTuple

from kamexfrm.model.association import SadEntry
from kamexfrm.rig.packet import Packet
from kamexfrm.rig.scenario.diagnosis.snapshot import name_sa
from kamexfrm.rig.scenario.plan import LinkPlan
from kamexfrm.rig.scenario.result import HOUSEKEEPING, Crossing, Observation, Rise
from kamexfrm.rig.scenario.run.steps import Taken
from kamexfrm.rig.scenario.stage import wire


class _Heard(NamedTuple):
    """A counter of /proc/net/snmp that counts what passed all policies on its way in."""

    table: str
    name: str
    words: str


_HEARD = (
    _Heard("Icmp", "InEchos", "ICMP echo requests"),
    _Heard("Icmp", "InEchoReps", "ICMP echo replies"),
    _Heard("Icmp6", "InEchos", "ICMPv6 echo requests"),
    _Heard("Icmp6", "InEchoReplies", "ICMPv6 echo replies"),
    _Heard("Udp", "InDatagrams", "UDP datagrams"),
    _Heard("Udp6", "InDatagrams", "UDP datagrams over IPv6"),
    _Heard("Tcp", "PassiveOpens", "TCP connections"),
)


class Watch:
    """Compares the hosts after a step with what they were when it began."""

    def __init__(self, taken: Taken) -> None:
        self._taken = taken
        self._heard = self._count_heard()

    def observation(self) -> Observation:
        """Return what the step did so far."""
        return Observation(
            crossings=self._crossings(),
            sas=self._moved_sas(),
            counters=tuple(Rise(*moved) for moved in self._taken.moved()),
            heard=tuple(self._rises_of_heard()),
        )

    def _rises_of_heard(self) -> Iterator[Rise]:
        for host, now in self._count_heard().items():
            for one in _HEARD:
                by = now[one] - self._heard[host][one]
                if one.table.startswith("Udp"):  # the kernel counts what it decapsulates, too
                    by -= self._encapsulated(host, ":" if one.table == "Udp6" else ".")
                if by > 0:
                    yield Rise(host, one.words, by)

    def _encapsulated(self, host: str, mark: str) -> int:
        """Return how many packets of ESP in UDP came for a host, of the family with a mark."""
        owner = self._taken.scene.case.owner
        return sum(
            wire.is_encapsulated(packet) and mark in packet.destination
            for _, packets in self._taken.scene.packets()
            for packet in packets
            if packet.destination and owner(packet.destination) == host
        )

    def _count_heard(self) -> dict[str, dict[_Heard, int]]:
        return {
            name: _heard(*(host.snmp(table) for table in ("snmp", "snmp6")))
            for name, host in self._taken.scene.hosts.items()
        }

    def _moved_sas(self) -> tuple[Rise, ...]:
        sads = self._taken.before.sads
        before = {(host, e.association.id): e for host, sad in sads.items() for e in sad}
        rises = []
        for host in self._taken.scene.hosts:
            for entry in self._taken.scene.sad(host):
                old = before.get((host, entry.association.id))
                by = entry.packets - (old.packets if old and _same(old, entry) else 0)
                if by > 0:
                    rises.append(Rise(host, name_sa(entry.association), by))
        return tuple(rises)

    def _crossings(self) -> tuple[Crossing, ...]:
        links = {link.name: link for link in self._taken.scene.case.links}
        found = [(name, p) for name, packets in self._taken.scene.packets() for p in packets]
        found.sort(key=lambda each: each[1].time)
        readable = wire.readable_spis(packet for _, packet in found)
        first = found[0][1].time if found else 0.0
        return tuple(
            _crossing(links[name], packet, packet.time - first, readable) for name, packet in found
        )


def _same(old: SadEntry, new: SadEntry) -> bool:
    """Whether an SA is the one that was there, and not a later one of the same identity."""
    return old.created == new.created and old.packets <= new.packets


def _crossing(link: LinkPlan, packet: Packet, at: float, readable: set[int | None]) -> Crossing:
    ends = link.left.host, link.right.host
    sender, receiver = ends if packet.direction == "out" else ends[::-1]
    kind = HOUSEKEEPING if wire.is_housekeeping(packet) else wire.kind_of(packet, readable)
    addresses = f"{packet.source} > {packet.destination}" if packet.source else ""
    text = packet.summary.removeprefix(addresses).lstrip()
    return Crossing(link.name, sender, receiver, at, kind, addresses, text)


def _heard(snmp: str, snmp6: str) -> dict[_Heard, int]:
    """Return the counters in the texts of /proc/net/snmp and /proc/net/snmp6."""
    values = dict(line.split() for line in snmp6.splitlines())
    rows = [line.split() for line in snmp.splitlines()]
    for names, numbers in zip(rows[::2], rows[1::2], strict=False):
        table = names[0].rstrip(":")
        values |= {table + name: n for name, n in zip(names[1:], numbers[1:], strict=False)}
    return {one: int(values.get(one.table + one.name, 0)) for one in _HEARD}
