"""Comparison of the two ends of an SA: what differs, without showing keys."""

import itertools
from collections.abc import Iterator

from kamexfrm.model.association import Key, SecurityAssociation
from kamexfrm.model.policy import Mode
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
    for what in _differing(mine, theirs):
        yield True, f"{left} and {right} have different {what} for {name_sa(theirs)}"
    # A receiver checks the source of tunnels only, by its policy.
    if mine.source != theirs.source and not (mine.nat_traversal and theirs.nat_traversal):
        what = f"sources ({mine.source} and {theirs.source})"
        yield False, f"{left} and {right} have different {what} for {name_sa(theirs)}"


def _differing(left: SecurityAssociation, right: SecurityAssociation) -> Iterator[str]:
    """Yield what the two ends of an SA differ in."""
    pairs: tuple[tuple[str, Key | None, Key | None], ...] = (
        ("encryption", left.encryption, right.encryption),
        ("authentication", left.authentication, right.authentication),
        ("compression", left.compression, right.compression),
    )
    for what, one, other in pairs:
        names = [key.algorithm.name if key and key.algorithm else "none" for key in (one, other)]
        if names[0] != names[1]:
            yield f"{what} algorithms ({names[0]} and {names[1]})"
        elif one and other and one.material != other.material:
            sizes = [len(key.material) * 8 for key in (one, other)]
            yield f"{what} keys" + (
                f" ({sizes[0]} and {sizes[1]} bits)" if sizes[0] != sizes[1] else ""
            )
        elif one and other and one.icv_bits != other.icv_bits:
            yield f"{what} lengths ({one.icv_bits} and {other.icv_bits} bits)"
    if left.mode != right.mode and Mode.ANY not in (left.mode, right.mode):
        yield f"modes ({left.mode.name.lower()} and {right.mode.name.lower()})"
    if left.esn != right.esn:
        yield "sequence numbers (-esn on one side)"
    if bool(left.nat_traversal) != bool(right.nat_traversal):
        yield "encapsulations (in UDP on one side)"
