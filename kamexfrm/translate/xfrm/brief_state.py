"""What choosing among SAs needs to know of dumped states, read without decoding them: 2 us each."""

from collections.abc import Iterable, Iterator

from kamexfrm.net import AF_INET, Address
from kamexfrm.records import NamedTuple
from kamexfrm.xfrm import (
    NLA_TYPE_MASK,
    XFRMA_IF_ID,
    XFRMA_MARK,
    Run,
    encode_attribute,
    has_keys,
    iter_attributes,
)
from kamexfrm.xfrm.structs import U32, USERSA_INFO, short

_FIELDS = USERSA_INFO.only(
    "selector.ports",
    "selector.destination_prefix",
    "selector.source_prefix",
    "selector.protocol",
    "selector.interface",
    "selector.user",
    "destination",
    "spi",
    "protocol",
    "source",
    "reqid",
    "family",
    "mode",
)
_unpack = _FIELDS.unpack_from
_NO_PORTS = bytes(8)

#: How attributes with an interface id and with a mark begin.
_IF_ID = encode_attribute(XFRMA_IF_ID, bytes(4))[:4]
_MARK = encode_attribute(XFRMA_MARK, bytes(8))[:4]

#: What the kernel finds an SA by: protocol, destination and SPI.
SaName = tuple[int, Address, int]

#: Makes a NamedTuple from its fields in half the time of the class's own constructor.
_make = tuple.__new__


class BriefState(NamedTuple):
    """A state: ``user`` is that of its selector, which says if it was declared with mode any.

    ``is_usable`` is whether it has an SPI and keys: a larval one only holds an SPI, or stands for
    an ACQUIRE. ``is_narrow`` is whether it may serve some packets only, by a selector or a mark.
    """

    user: int
    destination: Address
    protocol: int
    source: Address
    reqid: int
    mode: int
    spi: int
    is_usable: bool
    if_id: int
    is_narrow: bool

    @property
    def name(self) -> SaName:
        """What the kernel finds it by."""
        return self.protocol, self.destination, self.spi


def brief_states(runs: Iterable[Run]) -> Iterator[tuple[BriefState, bytes]]:
    """Yield the states of a dump with their payloads; raises WireError."""
    for run in runs:
        for payload in run.payloads():
            if len(payload) < USERSA_INFO.size:
                short("state", len(payload), USERSA_INFO.size, 0)
            (
                ports,
                *prefixes_and_upper,
                interface,
                user,
                destination,
                spi_bytes,
                protocol,
                source,
                reqid,
                family,
                mode,
            ) = _unpack(payload)
            if family == AF_INET:
                destination, source = destination[:4], source[:4]
            spi = int.from_bytes(spi_bytes, "big")
            narrow = any(prefixes_and_upper) or ports != _NO_PORTS or interface != 0
            fields = (
                user,
                _make(Address, (family, destination)),
                protocol,
                _make(Address, (family, source)),
                reqid,
                mode,
                spi,
                spi != 0 and has_keys(payload),
                _if_id_of(payload) if _IF_ID in payload else 0,
                narrow or _MARK in payload,
            )
            yield _make(BriefState, fields), payload


def _if_id_of(payload: bytes) -> int:
    for number, start, _ in iter_attributes(payload, USERSA_INFO.size):
        if number & NLA_TYPE_MASK == XFRMA_IF_ID:
            if_id: int = U32.unpack_from(payload, start)[0]
            return if_id
    return 0
