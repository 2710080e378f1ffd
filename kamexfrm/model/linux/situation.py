"""What a fate is decided about: databases as the administrator wrote them, a packet, its socket."""

from collections.abc import Iterable
from typing import NamedTuple

from kamexfrm.model.association import SadEntry, SecurityAssociation
from kamexfrm.model.knobs import Knobs
from kamexfrm.model.packet import Packet, Protection, SocketPolicies
from kamexfrm.model.policy import Direction, SecurityPolicy


class Situation(NamedTuple):
    """Policies in the order of matching for each direction, SAs in the order of creation.

    ``forward`` are the entries of direction fwd where they are not the twins of those of direction
    in; None where they are. ``loops`` is whether the packet goes over the loopback interface.
    """

    packet: Packet
    spd: tuple[SecurityPolicy, ...] = ()
    sad: tuple[SadEntry, ...] = ()
    knobs: Knobs = Knobs()
    socket: SocketPolicies | None = None
    forward: tuple[SecurityPolicy, ...] | None = None
    loops: bool = False

    def sa_of(self, protection: Protection) -> SecurityAssociation | None:
        """Return the SA of a protection of the packet."""
        name = (protection.destination, protection.protocol, protection.spi)
        return next(
            (sa for sa, *_ in self.sad if (sa.destination, sa.protocol, sa.spi) == name),
            None,
        )


def forward_entries(policies: Iterable[SecurityPolicy]) -> tuple[SecurityPolicy, ...] | None:
    """Return what Linux holds against forwarded packets; None where it is what is inbound.

    Each inbound entry has a twin of direction fwd, but where one of the same selector is written.
    """
    policies = tuple(policies)
    written = {(p.selector, p.label): p for p in policies if p.direction is Direction.FWD}
    if not written:
        return None
    forward = []
    for policy in policies:
        taken = policy.direction is Direction.IN and (policy.selector, policy.label) in written
        if policy.direction is not Direction.OUT and not taken:
            forward.append(policy._replace(direction=Direction.FWD))
    return tuple(forward)
