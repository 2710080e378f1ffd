"""The fast path to the kernel's bytes for many SAs that differ in addresses, SPI and keys only."""

from kamexfrm.model.association import SecurityAssociation
from kamexfrm.model.association_run import AssociationRun
from kamexfrm.model.policy import Mode
from kamexfrm.net import ADDRESS_BYTES
from kamexfrm.translate.xfrm.sa_to_kernel import sa_to_kernel
from kamexfrm.xfrm import (
    NLA_TYPE_MASK,
    XFRMA_ALG_AEAD,
    XFRMA_ALG_AUTH,
    XFRMA_ALG_AUTH_TRUNC,
    XFRMA_ALG_CRYPT,
    Column,
    Operation,
    RequestGroup,
    XfrmMsg,
    encode_state,
    iter_attributes,
)
from kamexfrm.xfrm.structs import ALGO, ALGO_WITH_ICV, USERSA_INFO

_DESTINATION = USERSA_INFO.offset("destination")
_SOURCE = USERSA_INFO.offset("source")
_SPI = USERSA_INFO.offset("spi")

#: Where an attribute has its key.
_KEYS = {
    XFRMA_ALG_CRYPT: ALGO.size,
    XFRMA_ALG_AUTH: ALGO.size,
    XFRMA_ALG_AEAD: ALGO_WITH_ICV.size,
    XFRMA_ALG_AUTH_TRUNC: ALGO_WITH_ICV.size,
}
_CIPHERS = frozenset((XFRMA_ALG_CRYPT, XFRMA_ALG_AEAD))


def encode_run(run: AssociationRun, first: SecurityAssociation, mode: Mode) -> RequestGroup:
    """Return what adds SAs; ``first`` is the first of them with what the knobs decide.

    ``mode`` is the one to install where ANY was asked. Raises KamexfrmError for what the kernel
    lacks.
    """
    payload = encode_state(sa_to_kernel(first, mode))
    size = ADDRESS_BYTES[first.destination.family]
    columns = [
        Column(0, _DESTINATION, size, run.destinations),
        Column(0, _SOURCE, size, run.sources),
        Column(0, _SPI, 4, run.spis),
    ]
    for number, start, end in iter_attributes(payload, USERSA_INFO.size):
        kind = number & NLA_TYPE_MASK
        if kind in _KEYS:
            at = start + _KEYS[kind]
            keys = run.ciphers if kind in _CIPHERS else run.authenticators
            columns.append(Column(0, at, end - at, keys))
    return RequestGroup(range(run.total), (Operation(XfrmMsg.NEWSA, payload),), columns)
