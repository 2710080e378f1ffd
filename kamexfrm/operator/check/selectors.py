"""An index of policies by their prefixes: which of them cover a selector."""

from collections.abc import Iterator

from kamexfrm.model.policy import ULPROTO_ANY, Selector
from kamexfrm.net import Address
from kamexfrm.setkey import statements as s


def masked(address: Address, bits: int) -> int:
    """Return the bits of a prefix as a number."""
    return int.from_bytes(address.packed, "big") >> (address.bits - bits)


def covers(outer: Selector, inner: Selector) -> bool:
    """Whether each packet that matches the inner selector matches the outer one."""
    return (
        outer.family == inner.family
        and outer.source_prefix <= inner.source_prefix
        and outer.destination_prefix <= inner.destination_prefix
        and outer.covers(inner.source, inner.destination)
        and outer.upper in (ULPROTO_ANY, inner.upper)
        and outer.source_port in (None, inner.source_port)
        and outer.destination_port in (None, inner.destination_port)
    )


class Index:
    """Statements of one direction; looking one up takes a step for each pair of prefix lengths."""

    def __init__(self) -> None:
        self._rows: dict[tuple[int, int, int], dict[tuple[int, int], list[s.SpdAdd]]] = {}

    def add(self, statement: s.SpdAdd) -> None:
        """Add a policy's statement."""
        selector = statement.policy.selector
        lengths = (selector.family, selector.source_prefix, selector.destination_prefix)
        key = (
            masked(selector.source, selector.source_prefix),
            masked(selector.destination, selector.destination_prefix),
        )
        self._rows.setdefault(lengths, {}).setdefault(key, []).append(statement)

    def covering(self, selector: Selector) -> Iterator[s.SpdAdd]:
        """Yield the statements whose selectors cover one, in no order."""
        for (family, source, destination), rows in self._rows.items():
            if (
                family != selector.family
                or source > selector.source_prefix
                or destination > selector.destination_prefix
            ):
                continue
            key = (masked(selector.source, source), masked(selector.destination, destination))
            for statement in rows.get(key, ()):
                if covers(statement.policy.selector, selector):
                    yield statement


def reverse(selector: Selector) -> Selector:
    """Return the selector of the packets that answer; types and codes have no reverse."""
    return Selector(
        selector.destination,
        selector.destination_prefix,
        selector.source,
        selector.source_prefix,
        selector.upper,
        selector.destination_port,
        selector.source_port,
    )
