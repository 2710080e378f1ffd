"""States of a dump that differ in addresses, SPI, keys, counters and times alone. Pure.

Of one form, what one state says all say; so fifty thousand are compared at 2 us each, without an
object of their own.
"""

import struct
import sys
from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import NamedTuple

from kamexfrm.net import ADDRESS_BYTES
from kamexfrm.xfrm import (
    NLA_TYPE_MASK,
    XFRMA_ALG_AEAD,
    XFRMA_ALG_AUTH,
    XFRMA_ALG_AUTH_TRUNC,
    XFRMA_ALG_CRYPT,
    XFRMA_COADDR,
    XFRMA_LASTUSED,
    XFRMA_REPLAY_ESN_VAL,
    XFRMA_REPLAY_VAL,
    iter_attributes,
)
from kamexfrm.xfrm.structs import ALGO, ALGO_WITH_ICV, USERSA_INFO

_at = USERSA_INFO.offset
_FAMILY = slice(_at("family"), _at("family") + 2)
_PROTOCOL = _at("protocol")
#: Counters and times, counts of errors and the number of an ACQUIRE.
_COUNTED = slice(_at("current.bytes"), _at("reqid"))

#: Attributes with a key: the size of what precedes it.
_CIPHERS = {XFRMA_ALG_CRYPT: ALGO.size, XFRMA_ALG_AEAD: ALGO_WITH_ICV.size}
_AUTHENTICATORS = {XFRMA_ALG_AUTH: ALGO.size, XFRMA_ALG_AUTH_TRUNC: ALGO_WITH_ICV.size}

#: Attributes that change by themselves, and where they do. ESN's keep the size of the window.
_CHANGING = {
    XFRMA_LASTUSED: [slice(0, None)],
    XFRMA_REPLAY_VAL: [slice(0, None)],
    XFRMA_REPLAY_ESN_VAL: [slice(4, 20), slice(24, None)],
}

#: Forms of states of one length; of those that have none of these, each is looked at by itself.
_MOST = 64


class OwnParts(NamedTuple):
    """What is a state's own: packed addresses, the SPI in network order, keys or nothing."""

    destination: bytes
    spi: bytes
    source: bytes
    cipher: bytes
    authenticator: bytes


class SaForm:
    """A form of states; they share ``protocol`` and ``family``."""

    def __init__(self, sample: bytes, own: Sequence[slice], changing: Sequence[slice]) -> None:
        self.protocol = sample[_PROTOCOL]
        self.family = int.from_bytes(sample[_FAMILY], sys.byteorder)
        self._own = tuple(own)
        self._read_shared = _reader_besides(len(sample), (*own, *changing))
        self._shared = self._read_shared(sample)

    def has(self, payload: bytes) -> bool:
        """Whether a state, of the same length, is of this form."""
        return self._read_shared(payload) == self._shared

    def own(self, payload: bytes) -> OwnParts:
        """Return what is a state's own, of those that are of this form."""
        destination, spi, source, cipher, authenticator = self._own
        return OwnParts(
            payload[destination],
            payload[spi],
            payload[source],
            payload[cipher],
            payload[authenticator],
        )


class SaForms:
    """Finds the form of a state."""

    def __init__(self) -> None:
        self._found: defaultdict[int, list[SaForm]] = defaultdict(list)

    def find(self, payload: bytes) -> SaForm | None:
        """Return the form of a state; None for one that has none. Raises WireError."""
        known = self._found[len(payload)]
        for form in known:
            if form.has(payload):
                return form
        if len(known) == _MOST:
            return None
        made = _form(payload)
        if made is not None:
            known.append(made)
        return made


def _form(payload: bytes) -> SaForm | None:
    """Return the form of a state; None for one that was recreated, or has two ciphers."""
    size = ADDRESS_BYTES.get(int.from_bytes(payload[_FAMILY], sys.byteorder))
    if size is None or len(payload) < USERSA_INFO.size:
        return None
    nothing = slice(len(payload), None)
    cipher = authenticator = nothing
    changing = [_COUNTED]
    for number, start, end in iter_attributes(payload, USERSA_INFO.size):
        kind = number & NLA_TYPE_MASK
        if kind == XFRMA_COADDR:
            return None
        if kind in _CIPHERS:
            if cipher is not nothing:
                return None
            cipher = slice(start + _CIPHERS[kind], end)
        elif kind in _AUTHENTICATORS:
            key = slice(start + _AUTHENTICATORS[kind], end)
            changing.append(key)  # which the kernel sends twice, once with the length of the ICV
            if kind == XFRMA_ALG_AUTH_TRUNC or authenticator is nothing:
                authenticator = key
        for part in _CHANGING.get(kind, ()):
            first, last, _ = part.indices(end - start)
            changing.append(slice(start + first, start + last))
    own = [slice(_at(f), _at(f) + n) for f, n in (("destination", size), ("spi", 4))]
    own += [slice(_at("source"), _at("source") + size), cipher, authenticator]
    return SaForm(payload, own, changing)


def _reader_besides(length: int, parts: Sequence[slice]) -> Callable[[bytes], tuple[bytes, ...]]:
    """Return what reads a payload of a length besides some parts."""
    form, at = "=", 0
    for start, end, _ in sorted(part.indices(length) for part in parts):
        if end > at:
            form += f"{max(0, start - at)}s{end - max(start, at)}x"
            at = end
    return struct.Struct(f"{form}{length - at}s").unpack_from
