"""Many SAs that differ in addresses, SPI and keys only, as columns of bytes."""

from collections.abc import Iterator

from kamexfrm.model.association import Key, SecurityAssociation
from kamexfrm.net import ADDRESS_BYTES, Address
from kamexfrm.records import NamedTuple


class AssociationRun(NamedTuple):
    """SAs in the order in which they are to be added.

    ``first`` is the first of them. The columns hold packed addresses, SPIs of 32 bits in network
    order, and the keys of its algorithms, empty where it has none.
    """

    first: SecurityAssociation
    total: int
    sources: bytes
    destinations: bytes
    spis: bytes
    ciphers: bytes = b""
    authenticators: bytes = b""

    def association(self, at: int) -> SecurityAssociation:
        """Return the SA of a place in the run."""
        size = ADDRESS_BYTES[self.first.destination.family]
        return self.first._replace(
            source=Address(self.first.source.family, _at(self.sources, size, at)),
            destination=Address(self.first.destination.family, _at(self.destinations, size, at)),
            spi=int.from_bytes(_at(self.spis, 4, at), "big"),
            encryption=_key(self.first.encryption, self.ciphers, at),
            authentication=_key(self.first.authentication, self.authenticators, at),
        )

    def associations(self) -> Iterator[SecurityAssociation]:
        """Yield all SAs."""
        return map(self.association, range(self.total))


def _at(column: bytes, size: int, at: int) -> bytes:
    return column[at * size : (at + 1) * size]


def _key(key: Key | None, column: bytes, at: int) -> Key | None:
    return key and key._replace(material=_at(column, len(key.material), at))
