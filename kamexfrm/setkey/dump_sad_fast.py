"""``setkey -D`` from the kernel's messages: an SA is the text of an earlier one with other values.

SAs that differ in addresses, numbers, times, counters and keys alone share a form: the text of one
of them, with random numbers put in the place of these, is cut where the random numbers appear.
What has more to it is decoded: a security context, an SA that was recreated, a larval one.
"""

import os
import struct
from _socket import inet_ntop
from collections.abc import Callable, Iterable, Iterator

from kamexfrm.model.association import Key, SadEntry, SaState
from kamexfrm.model.policy import IPSEC_PROTOCOLS
from kamexfrm.net import ADDRESS_BYTES, AF_INET6, Address
from kamexfrm.records import NamedTuple
from kamexfrm.setkey.dates import format_date
from kamexfrm.setkey.dump_sa import key_rows
from kamexfrm.translate.xfrm.sa_from_kernel import is_dying, sad_entry_from_kernel
from kamexfrm.xfrm import LifetimeConfig, LifetimeCurrent, Run, decode_state
from kamexfrm.xfrm import constants as c
from kamexfrm.xfrm.attributes import HEADER
from kamexfrm.xfrm.structs import ALGO, ALGO_WITH_ICV, USERSA_INFO

_at = USERSA_INFO.offset
_SIZE = USERSA_INFO.size
_PROTOCOL = _at("protocol")
#: user, destination, SPI, protocol, source, limits, counters and times, reqid, family, and what
#: follows it.
_parts = struct.Struct(
    f"={_at('selector.user')}xI16s4sB3x16s64sQQQQ{_at('sequence') - _at('replay_window_errors')}x"
    f"4xIH{_SIZE - _at('family') - 2}s"
).unpack_from
_header = HEADER.unpack_from
_limits = struct.Struct("=8Q").unpack
_number = struct.Struct("=Q").unpack_from

#: Attributes with a key: the size of what precedes it.
_KEYED = {
    c.XFRMA_ALG_AUTH: ALGO.size,
    c.XFRMA_ALG_CRYPT: ALGO.size,
    c.XFRMA_ALG_AUTH_TRUNC: ALGO_WITH_ICV.size,
    c.XFRMA_ALG_AEAD: ALGO_WITH_ICV.size,
}
_KEY_BITS = struct.Struct("=64xI").unpack_from
#: The counters of a window, which are not printed: from where to where.
_COUNTERS = {c.XFRMA_REPLAY_VAL: (0, 12), c.XFRMA_REPLAY_ESN_VAL: (4, 20)}
#: What an SA with one of these prints depends on more than on the SA's own bytes.
_DECODED = frozenset((c.XFRMA_COADDR, c.XFRMA_SEC_CTX))
_ROOM = 1024


class _Attributes(NamedTuple):
    """What of the attributes all SAs of a form share, and what they do not."""

    shared: tuple[object, ...]
    last_used: int
    encryption: bytes
    authentication: bytes


class SaText(NamedTuple):
    """How an SA is printed: ``form`` returns its text, ``sequence`` is its place in the dump.

    ``wrap`` is that of format_sa(), ``dates`` whether times are dates.
    """

    form: Callable[[SadEntry, int], str]
    wrap: bool
    dates: bool


def _read_attributes(payload: bytes) -> _Attributes | None:
    """Read the attributes of a state; None where it is to be decoded."""
    shared: list[object] = []
    keys = {}
    last_used, at, total = 0, _SIZE, len(payload)
    seen = set()
    while at < total:
        if total - at < HEADER.size:
            return None
        length, type_ = _header(payload, at)
        start, end = at + HEADER.size, at + length
        kind = type_ & c.NLA_TYPE_MASK
        if length < HEADER.size or end > total or kind in seen or kind in _DECODED:
            return None
        seen.add(kind)
        if kind in _KEYED:
            head = start + _KEYED[kind]
            if head > end or _KEY_BITS(payload, start)[0] + 7 >> 3 != end - head:
                return None
            keys[kind] = payload[head:end]
            shared.append((type_, length, payload[start:head]))
        elif kind == c.XFRMA_LASTUSED:
            if end - start < 8:
                return None
            last_used = _number(payload, start)[0]
            shared.append((type_, length))
        elif kind in _COUNTERS:
            first, last = (start + offset for offset in _COUNTERS[kind])
            if last > end:
                return None
            # The bits of the window are not printed, but how many there are is checked.
            rest = b"" if kind == c.XFRMA_REPLAY_VAL else payload[last : last + 4]
            shared.append((type_, length, payload[start:first], rest))
        else:
            shared.append((type_, payload[start:end]))
        at = end + 3 & ~3
    if c.XFRMA_ALG_AEAD in keys and c.XFRMA_ALG_CRYPT in keys:
        return None
    encryption = keys.get(c.XFRMA_ALG_AEAD, keys.get(c.XFRMA_ALG_CRYPT, b""))
    authentication = keys.get(c.XFRMA_ALG_AUTH_TRUNC, keys.get(c.XFRMA_ALG_AUTH, b""))
    return _Attributes(tuple(shared), last_used, encryption, authentication)


class SadTexts:
    """The texts of SAs; ``now`` is the time of the dump, in seconds since the epoch."""

    def __init__(self, how: SaText, now: float) -> None:
        self._how = how
        self._now = now
        self._forms: dict[tuple[object, ...], tuple[str, tuple[int, ...]] | None] = {}
        self._limits: dict[bytes, LifetimeConfig] = {}

    def iter_texts(self, runs: Iterable[Run]) -> Iterator[str]:
        """Yield the text of each SA; raises WireError.

        They are numbered as in the kernel's PF_KEY dumps: 1, 2, 3 and so on, the last is 0.
        """
        number = 0
        former = b""
        for run in runs:
            for payload in run.payloads():
                if len(payload) < _SIZE or payload[_PROTOCOL] not in IPSEC_PROTOCOLS:
                    decode_state(payload)  # says what is wrong
                    continue
                if number:
                    yield self._text(former, number)
                former, number = payload, number + 1
        if number:
            yield self._text(former, 0)

    def _text(self, payload: bytes, number: int) -> str:
        attributes = _read_attributes(payload)
        if attributes is None:
            return self._decoded(payload, number)
        (
            user, destination, spi, protocol, source, limits, bytes_, packets, added, used,
            reqid, family, rest,
        ) = _parts(payload)  # fmt: skip
        if not added or not any(spi) or family not in ADDRESS_BYTES:
            return self._decoded(payload, number)
        bounds = self._limits.get(limits)
        if bounds is None:
            bounds = self._limits[limits] = LifetimeConfig(*_limits(limits))
        dying = is_dying(bounds, LifetimeCurrent(bytes_, packets, added, used), self._now)
        last_used = attributes.last_used or used
        key = (
            user, protocol, limits, family, rest, dying, attributes.shared,
            len(attributes.encryption), len(attributes.authentication),
        )  # fmt: skip
        if key not in self._forms:
            if len(self._forms) > _ROOM:
                self._forms.clear()
            self._forms[key] = self._make_form(payload)
        form = self._forms[key]
        if form is None:
            return self._decoded(payload, number)
        text, slots = form
        size = ADDRESS_BYTES[family]
        wrap, dates, now = self._how.wrap, self._how.dates, int(self._now)
        index = int.from_bytes(spi, "big")
        values = (
            inet_ntop(family, source[:size]),
            inet_ntop(family, destination[:size]),
            index, f"{index:08x}", reqid, f"{reqid:08x}",
            number,
            format_date(added) if dates else added,
            now - added,
            format_date(last_used) if dates else last_used or "null",
            bytes_, packets,
            key_rows(attributes.encryption, wrap), key_rows(attributes.authentication, wrap),
        )  # fmt: skip
        return text % tuple([values[slot] for slot in slots])

    def _decoded(self, payload: bytes, number: int) -> str:
        return self._how.form(sad_entry_from_kernel(decode_state(payload), self._now), number)

    def _make_form(self, payload: bytes) -> tuple[str, tuple[int, ...]] | None:
        """Return the text of an SA as a format, and which value goes where; raises WireError."""
        entry = sad_entry_from_kernel(decode_state(payload), self._now)
        if entry.state not in (SaState.MATURE, SaState.DYING):
            return None
        entry, number, marks = self._with_marks(entry)
        text = self._how.form(entry, number).replace("%", "%%")
        places = []
        for slot, mark in enumerate(marks):
            if text.count(mark) > 1:
                return None
            if mark and mark in text:
                places.append((text.index(mark), slot, mark))
        for _, _, mark in places:
            text = text.replace(mark, "%s")
        return text, tuple(slot for _, slot, _ in sorted(places))

    def _with_marks(self, entry: SadEntry) -> tuple[SadEntry, int, list[str]]:
        """Return an entry with random values, a random number, and what is printed of all."""
        spi, reqid, number, created, used, bytes_, packets = (
            int.from_bytes(os.urandom(11), "big") | 1 << 87 for _ in range(7)
        )
        source, destination = (Address(AF_INET6, b"\xfd" + os.urandom(15)) for _ in range(2))
        sa = entry.association
        encryption, authentication = _random(sa.encryption), _random(sa.authentication)
        marked = entry._replace(
            association=sa._replace(
                source=source,
                destination=destination,
                spi=spi,
                reqid=reqid,
                encryption=encryption,
                authentication=authentication,
            ),
            created=created,
            last_used=used,
            bytes=bytes_,
            packets=packets,
        )
        wrap = self._how.wrap
        marks = [
            str(source), str(destination), str(spi), f"{spi:08x}", str(reqid), f"{reqid:08x}",
            str(number), str(created),
            str(int(self._now) - created), str(used), str(bytes_), str(packets),
            key_rows(encryption.material, wrap) if encryption else "",
            key_rows(authentication.material, wrap) if authentication else "",
        ]  # fmt: skip
        return marked, number, marks


def _random(key: Key | None) -> Key | None:
    return key and key._replace(material=os.urandom(len(key.material)))
