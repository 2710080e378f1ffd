"""SAs and policies that print as the statements of setkey that make them, without keys.

They are the model's tuples and equal them; only ``str()`` differs.
"""

from kamexfrm.model.association import SadEntry, SecurityAssociation
from kamexfrm.model.policy import SecurityPolicy, SpdEntry
from kamexfrm.model.statement_text import shown_policy, shown_sa


class Sa(SecurityAssociation):
    """An SA as it is written."""

    __slots__ = ()

    def __str__(self) -> str:
        return shown_sa(self)


class Policy(SecurityPolicy):
    """A policy as it is written."""

    __slots__ = ()

    def __str__(self) -> str:
        return shown_policy(self)


class SaEntry(SadEntry):
    """An SA as the kernel holds it."""

    __slots__ = ()

    def __str__(self) -> str:
        return shown_sa(self.association)


class PolicyEntry(SpdEntry):
    """A policy as the kernel holds it."""

    __slots__ = ()

    def __str__(self) -> str:
        return shown_policy(self.policy)


def sa_entry(entry: SadEntry) -> SaEntry:
    """Return an entry of the SAD that prints well, its association too."""
    return SaEntry(Sa(*entry.association), *entry[1:])


def policy_entry(entry: SpdEntry) -> PolicyEntry:
    """Return an entry of the SPD that prints well, its policy too."""
    return PolicyEntry(Policy(*entry.policy), *entry[1:])
