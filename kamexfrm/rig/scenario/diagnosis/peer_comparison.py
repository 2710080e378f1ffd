"""Comparison of the two ends of an SA: what differs, without showing keys."""

import itertools
from collections.abc import Iterator

from kamexfrm.model.association import SecurityAssociation
from kamexfrm.model.sa_comparison import differing
from kamexfrm.rig.scenario.diagnosis.snapshot import Snapshot, name_sa


def differences(snapshot: Snapshot) -> Iterator[tuple[bool, str]]:
    """Yield whether a difference between two ends of an SA breaks it by itself, and its text."""
    for left, right in itertools.combinations(snapshot.hosts, 2):
        for entry in snapshot.sads[left]:
            for other in snapshot.sads[right]:
                if _same(entry.association, other.association):
                    yield from _differences_of(left, right, entry.association, other.association)


def _same(left: SecurityAssociation, right: SecurityAssociation) -> bool:
    """Whether both are ends of one SA; behind a NAT their addresses differ."""
    if left.id == right.id:
        return True
    return bool(
        left.nat_traversal
        and right.nat_traversal
        and (left.protocol, left.spi) == (right.protocol, right.spi)
    )


def _differences_of(
    left: str, right: str, mine: SecurityAssociation, theirs: SecurityAssociation
) -> Iterator[tuple[bool, str]]:
    for what in differing(mine, theirs):
        yield True, f"{left} and {right} have different {what} for {name_sa(theirs)}"
    # A receiver checks the source of tunnels only, by its policy.
    if mine.source != theirs.source and not (mine.nat_traversal and theirs.nat_traversal):
        what = f"sources ({mine.source} and {theirs.source})"
        yield False, f"{left} and {right} have different {what} for {name_sa(theirs)}"
