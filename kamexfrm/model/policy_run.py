"""Many policies that differ in little: their addresses and ports as columns of bytes.

A file of fifty thousand policies mostly repeats a few policy texts. Held as columns, a policy takes
some ten bytes and no object of its own until somebody asks for it.
"""

from array import array
from collections.abc import Iterator, Sequence
from itertools import chain
from operator import itemgetter

from kamexfrm.model.policy import SecurityPolicy
from kamexfrm.net import ADDRESS_BYTES, Address
from kamexfrm.records import NamedTuple


class PolicyGroup(NamedTuple):
    """Policies that differ in their addresses and ports only.

    ``first`` is one of them, ``at`` are their places in the run, rising. ``sources`` and
    ``destinations`` are the packed addresses one after the other, the ports 16 bits each in network
    order, empty where ``first`` has no such port. No port is 0.
    """

    first: SecurityPolicy
    at: Sequence[int]
    sources: bytes
    destinations: bytes
    source_ports: bytes = b""
    destination_ports: bytes = b""

    def policy(self, index: int) -> SecurityPolicy:
        """Return one of the policies, by its place in the group."""
        selector = self.first.selector
        family = selector.family
        size = ADDRESS_BYTES[family]
        start = index * size
        return self.first._replace(
            selector=selector._replace(
                source=Address(family, self.sources[start : start + size]),
                destination=Address(family, self.destinations[start : start + size]),
                source_port=_port(self.source_ports, index),
                destination_port=_port(self.destination_ports, index),
            )
        )


def _port(ports: bytes, index: int) -> int | None:
    return int.from_bytes(ports[2 * index : 2 * index + 2], "big") if ports else None


class PolicyRun(NamedTuple):
    """Policies in the order in which they are to be added; each is in one of the groups."""

    groups: tuple[PolicyGroup, ...]
    total: int

    def policy(self, at: int) -> SecurityPolicy:
        """Return the policy of a place in the run; raises LookupError."""
        for group in self.groups:
            if at in group.at:
                return group.policy(group.at.index(at))
        raise LookupError(at)

    def policies(self) -> Iterator[SecurityPolicy]:
        """Yield all policies in order."""
        places = [(at, group, index) for group in self.groups for index, at in enumerate(group.at)]
        if len(self.groups) > 1:
            places.sort(key=itemgetter(0))
        return (group.policy(index) for _, group, index in places)

    def priorities(self) -> list[int]:
        """Return the priorities as written, in order."""
        found = [self.groups[0].first.priority] * self.total
        for group in self.groups[1:]:
            for at in group.at:
                found[at] = group.first.priority
        return found

    def by_priority(self) -> Iterator[tuple[int, Sequence[int], "PolicyRun"]]:
        """Yield the runs of one priority each, with the places of their policies in this one."""
        priorities = {group.first.priority for group in self.groups}
        for priority in sorted(priorities):
            groups = [group for group in self.groups if group.first.priority == priority]
            places = array("I", sorted(chain.from_iterable(group.at for group in groups)))
            index = {place: at for at, place in enumerate(places)}
            moved = (
                group._replace(at=array("I", map(index.__getitem__, group.at))) for group in groups
            )
            yield priority, places, PolicyRun(tuple(moved), len(places))
