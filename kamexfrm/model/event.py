"""What happens to a namespace's IPsec, as data: changes, expiries, and SAs that are wanted.

``pid`` is the process that asked for a change, 0 where the kernel made it by itself. Netlink gives
it as the sender wrote it: it may be false.
"""

from enum import Enum
from typing import NamedTuple

from kamexfrm.model.association import SadEntry, SaId
from kamexfrm.model.policy import IpsecProtocol, SpdEntry
from kamexfrm.model.statement_text import shown_policy, shown_sa
from kamexfrm.net import Address


class Change(Enum):
    """What was done to an entry, or what became of it."""

    ADDED = "added"
    UPDATED = "updated"
    DELETED = "deleted"
    EXPIRING = "expiring"  # its soft limit is reached
    EXPIRED = "expired"  # its hard limit is reached: it is gone


class SaEvent(NamedTuple):
    """An SA was changed, or a limit of its lifetime is reached."""

    change: Change
    entry: SadEntry
    pid: int = 0

    def __str__(self) -> str:
        return f"SA {self.change.value}: {shown_sa(self.entry.association)}"


class PolicyEvent(NamedTuple):
    """A policy was changed, or a limit of its lifetime is reached."""

    change: Change
    entry: SpdEntry
    pid: int = 0

    def __str__(self) -> str:
        what = "automatic policy" if self.entry.twin else "policy"
        text = shown_policy(self.entry.policy)
        return f"{what} {self.change.value}: spid={self.entry.id} {text}"


class FlushEvent(NamedTuple):
    """All policies were deleted, or all SAs of a protocol; None is all protocols.

    ``policies`` is whether it was about policies.
    """

    policies: bool
    protocol: IpsecProtocol | None = None
    pid: int = 0

    def __str__(self) -> str:
        if self.policies:
            return "all policies deleted"
        kind = f"{self.protocol.name.lower()} " if self.protocol else ""
        return f"all {kind}SAs deleted"


class AcquireEvent(NamedTuple):
    """A packet met a policy and found no SA: an IKE daemon is asked for one.

    ``source`` and ``destination`` are of the SA that is wanted; ``sequence`` is the kernel's number
    of the question.
    """

    protocol: IpsecProtocol
    source: Address
    destination: Address
    policy: SpdEntry
    sequence: int = 0

    def __str__(self) -> str:
        wanted = f"{self.protocol.name.lower()} {self.source} {self.destination}"
        return f"SA wanted: {wanted} for policy spid={self.policy.id}"


class MappingEvent(NamedTuple):
    """The peer of an SA in UDP was heard from another address or port (RFC 3948)."""

    id: SaId
    old_source: Address
    old_port: int
    new_source: Address
    new_port: int

    def __str__(self) -> str:
        return (
            f"peer moved: {self.old_source}[{self.old_port}] to {self.new_source}[{self.new_port}]"
            f" of SA {self.id.destination} {self.id.protocol.name.lower()} 0x{self.id.spi:x}"
        )


class KnobEvent(NamedTuple):
    """A knob was written: its full name, and its value before and after."""

    name: str
    before: int
    value: int
    pid: int = 0

    def __str__(self) -> str:
        return f"{self.name}: {self.before} -> {self.value}"


class LostEvent(NamedTuple):
    """The kernel had more events than could be read: what happened meanwhile is not known."""

    def __str__(self) -> str:
        return "events were lost"


class OtherEvent(NamedTuple):
    """Something else, or a message that could not be read, in words."""

    text: str
    pid: int = 0

    def __str__(self) -> str:
        return self.text


Event = (
    SaEvent
    | PolicyEvent
    | FlushEvent
    | AcquireEvent
    | MappingEvent
    | KnobEvent
    | LostEvent
    | OtherEvent
)
