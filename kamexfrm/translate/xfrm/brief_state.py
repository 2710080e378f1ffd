"""What choosing among SAs needs to know of dumped states, read without decoding them: 2 us each."""

from collections.abc import Iterable, Iterator

from kamexfrm.net import AF_INET, Address
from kamexfrm.records import NamedTuple
from kamexfrm.xfrm import (
    NLA_TYPE_MASK,
    XFRMA_IF_ID,
    Run,
    encode_attribute,
    has_keys,
    iter_attributes,
)
from kamexfrm.xfrm.structs import U32, USERSA_INFO, short

_FIELDS = USERSA_INFO.only(
    "selector.user", "destination", "spi", "protocol", "source", "reqid", "family", "mode"
)
_unpack = _FIELDS.unpack_from
_NO_SPI = bytes(4)

#: How an attribute with an interface id begins.
_IF_ID = encode_attribute(XFRMA_IF_ID, bytes(4))[:4]

#: Makes a NamedTuple from its fields in half the time of the class's own constructor.
_make = tuple.__new__


class BriefState(NamedTuple):
    """A state: ``user`` is that of its selector, which says if it was declared with mode any.

    ``is_usable`` is whether it has an SPI and keys: a larval one only holds an SPI, or stands for
    an ACQUIRE.
    """

    user: int
    destination: Address
    protocol: int
    source: Address
    reqid: int
    mode: int
    has_spi: bool
    is_usable: bool
    if_id: int


def brief_states(runs: Iterable[Run]) -> Iterator[tuple[BriefState, bytes]]:
    """Yield the states of a dump with their payloads; raises WireError."""
    for run in runs:
        for payload in run.payloads():
            if len(payload) < USERSA_INFO.size:
                short("state", len(payload), USERSA_INFO.size, 0)
            user, destination, spi, protocol, source, reqid, family, mode = _unpack(payload)
            if family == AF_INET:
                destination, source = destination[:4], source[:4]
            has_spi = spi != _NO_SPI
            fields = (
                user,
                _make(Address, (family, destination)),
                protocol,
                _make(Address, (family, source)),
                reqid,
                mode,
                has_spi,
                has_spi and has_keys(payload),
                _if_id_of(payload) if _IF_ID in payload else 0,
            )
            yield _make(BriefState, fields), payload


def _if_id_of(payload: bytes) -> int:
    for number, start, _ in iter_attributes(payload, USERSA_INFO.size):
        if number & NLA_TYPE_MASK == XFRMA_IF_ID:
            if_id: int = U32.unpack_from(payload, start)[0]
            return if_id
    return 0
