"""What the two ends of an SA differ in, in words that show no key."""

from collections.abc import Iterator

from kamexfrm.model.association import Key, SecurityAssociation
from kamexfrm.model.policy import Mode


def differing(left: SecurityAssociation, right: SecurityAssociation) -> Iterator[str]:
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
