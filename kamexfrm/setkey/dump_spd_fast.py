"""``setkey -DP`` from the kernel's messages: 0.8 us a policy, where decoding takes 5.

What an entry prints is looked up by the bytes that say it; only addresses, the id and the number in
the dump are formatted for each. Where the bytes are new, ports and dates are put into the words of
policies that differ in nothing else. What such a table cannot say is decoded: policies of sockets,
those with a sidecar, those of an XFRM interface, and what has the mark of def_policy's catch-alls.
"""

import struct
import sys
from _socket import inet_ntop
from collections.abc import Iterable, Iterator
from functools import lru_cache

from kamexfrm.model.policy import Owner, Selector, SpdEntry
from kamexfrm.net import ADDRESS_BITS, ADDRESS_BYTES
from kamexfrm.records import NamedTuple
from kamexfrm.setkey.dump_sp import date_words, format_sp, policy_words, selector_words
from kamexfrm.translate.xfrm import tag as tags
from kamexfrm.translate.xfrm.policy_from_kernel import (
    SidecarOf,
    is_ordinary,
    spd_entry_from_kernel,
)
from kamexfrm.xfrm import XFRM_POLICY_FWD, Run, decode_policy
from kamexfrm.xfrm.netlink import HEADER
from kamexfrm.xfrm.structs import PORTS, USERPOLICY_INFO

_HEAD = HEADER.size
_LEAST = _HEAD + USERPOLICY_INFO.size
_at = USERPOLICY_INFO.offset
_FAMILY = _HEAD + _at("selector.family")
#: The second word of a tag: its upper six bytes are the order, which is not printed.
_ORDER = _at("lifetime.hard_bytes") + (2 if sys.byteorder == "little" else 0)
_length_and_family = struct.Struct(f"=I{_FAMILY - 4}xH").unpack_from
_length = struct.Struct("=I").unpack_from
#: ``ports``, the rest of the selector, the tag's words, limits, counters and times, ``priority``.
_parts = struct.Struct(
    f"={_at('selector.ports')}x8s{_at('lifetime.soft_bytes') - _at('selector.family')}sQQQ"
    f"{_at('current.bytes') - _at('lifetime.hard_packets')}s16xQQI"
).unpack_from
_END = _at("direction")

#: Entries in a table, before it is made anew.
_ROOM = 4096


class _Words(NamedTuple):
    """What surrounds the addresses, up to the id.

    Those of an entry that is not ours depend on ``priority``, too. Without ``family`` the entry is
    to be decoded.
    """

    family: int
    between: str = ""
    behind: str = ""
    by_priority: bool = False


class _Shape(NamedTuple):
    """What policies share that differ in addresses, ports and times alone."""

    selector: Selector
    is_ours: bool
    before: str
    after: str


_DECODE = _Words(0)
_Key = tuple[bytes, ...]
_Row = tuple[bytes, bytes, bytes, bytes, int, int, bytes]


@lru_cache(maxsize=64)
def _columns(length: int, family: int) -> struct.Struct:
    """Return what reads a message of a length: a :data:`_Row`.

    That is destination, source, from the ports to the order, from there to the kernel's priority,
    the priority, the id, and the rest.
    """
    size = ADDRESS_BYTES.get(family, 16)
    address = f"{size}s{16 - size}x"
    return struct.Struct(
        f"={_HEAD}x{address}{address}{_ORDER - _at('selector.ports')}s6x"
        f"{_at('priority') - _ORDER - 6}sII{length - _HEAD - _END}s"
    )


def _rows(run: Run) -> Iterator[_Row]:
    data, length = run.data, run.length
    if length >= _LEAST:
        family = data[_FAMILY : _FAMILY + 2]
        if all(data[_FAMILY + i :: length] == family[i : i + 1] * run.count for i in (0, 1)):
            return _columns(*_length_and_family(data)).iter_unpack(data)
    return _mixed_rows(data)


def _mixed_rows(data: bytes) -> Iterator[_Row]:
    at, end = 0, len(data)
    while at < end:
        length = _length(data, at)[0]
        if length < _LEAST:
            decode_policy(data[at + _HEAD : at + length])  # says what is missing
        length, family = _length_and_family(data, at)
        yield _columns(length, family).unpack_from(data, at)
        at += length + 3 & ~3


class SpdTexts:
    """The text of policies. ``forged`` are the ids of those with a catch-all's mark.

    ``hidden`` counts the policies of sockets that were left out because of ``hides``.
    """

    def __init__(self, sidecar_of: SidecarOf, *, pid: int, ports: bool, hides: bool) -> None:
        self.forged: list[int] = []
        self.hidden = 0
        self._sidecar_of = sidecar_of
        self._ports = ports
        self._hides = hides
        self._pid = pid
        self._tail = f" pid={pid}\n\trefcnt=1\n"
        self._number = 0
        self._words: dict[_Key, _Words] = {}
        self._shapes: dict[tuple[object, ...], _Shape | None] = {}

    def pieces(self, runs: Iterable[Run]) -> Iterator[str]:
        """Yield the text in large pieces; raises WireError.

        Messages are numbered as in the kernel's PF_KEY dumps: 1, 2, 3 and so on, the last is 0.
        """
        held = ""
        for run in runs:
            texts = self._texts(run)
            if texts:
                last = texts.pop()
                yield held + "".join(texts)
                held = last
        if held:
            end = len(f" seq={self._number}{self._tail}")
            yield f"{held[:-end]} seq=0{self._tail}"

    def _texts(self, run: Run) -> list[str]:
        """Return the text of each entry; that of a hidden one is empty. Raises WireError."""
        number, tail = self._number, self._tail
        known = self._words
        texts: list[str] = []
        family, between, behind, by_priority = _DECODE
        former: object = None
        past: object = None
        rest: object = None
        for at, row in enumerate(_rows(run)):
            destination, source, front, middle, priority, index, end = row
            if front != former or middle != past or end != rest or by_priority:
                former, past, rest = front, middle, end
                words = known.get((front, middle, end))
                if words is None or words.by_priority:
                    words = self._find(run, at, priority, (front, middle, end))
                family, between, behind, by_priority = words
            if family:
                number += 1
                texts.append(
                    f"{inet_ntop(family, source)}{between}{inet_ntop(family, destination)}{behind}"
                    f"{index} seq={number}{tail}"
                )
            else:
                text = self._decoded(run.payload(at), number + 1)
                if text is not None:
                    number += 1
                    texts.append(text)
        self._number = number
        return texts

    def _decoded(self, payload: bytes, number: int) -> str | None:
        """Return the text of a policy, None for what is no entry; raises WireError."""
        policy = decode_policy(payload)
        if policy.policy_type or not is_ordinary(policy):
            return None
        entry = spd_entry_from_kernel(policy, self._sidecar_of)
        if entry.owner is Owner.FORGED:
            self.forged.append(entry.id)
        if entry.socket and self._hides:
            self.hidden += 1
            return ""
        return format_sp(entry, ports=self._ports, sequence=number, pid=self._pid)

    def _find(self, run: Run, at: int, priority: int, key: _Key) -> _Words:
        """Return the words of a policy that differs from the one before; raises WireError."""
        if len(self._words) > _ROOM:
            self._words.clear()
        whole = (*key, priority.to_bytes(4, "big"))
        words = self._words.get(whole)
        if words is None:
            words = self._make(run.payload(at))
            self._words[key] = words
            if words.by_priority:
                self._words[whole] = words
        return words

    def _make(self, payload: bytes) -> _Words:
        """Return the words of a policy; raises WireError."""
        ports, rest, first, second, third, limits, added, used, priority = _parts(payload)
        marked = tags.is_marked(first)
        shape = self._shape(
            payload,
            marked,
            (rest, first, second & 0xFFFF, third & 0xFFFFFF, limits, payload[_END:])
            + (() if marked else (priority,)),
        )
        if shape is None:
            return _DECODE
        selector, is_ours, before, after = shape
        dport, dmask, sport, smask = PORTS.unpack(ports)
        between, behind = selector_words(
            selector._replace(
                source_port=sport if smask else None, destination_port=dport if dmask else None
            )
        )
        dates = date_words(third >> 24 if is_ours else added, used)
        behind = f"{behind}\n{before}{dates}{after}"
        return _Words(selector.family, between, behind, not is_ours)

    def _shape(self, payload: bytes, marked: bool, key: tuple[object, ...]) -> _Shape | None:
        if len(self._shapes) > _ROOM:
            self._shapes.clear()
        if key not in self._shapes:
            entry = typical_entry(payload, marked)
            if entry is None:
                self._shapes[key] = None
            else:
                words = policy_words(entry.policy[1:], False, self._ports)
                self._shapes[key] = _Shape(entry.policy.selector, marked, *words)
        return self._shapes[key]


def typical_entry(payload: bytes, marked: bool) -> SpdEntry | None:
    """Return an entry of which the bytes besides addresses tell all, else None.

    Raises WireError. ``marked`` is whether the first word is a tag's: it must be an entry of ours
    then.
    """
    policy = decode_policy(payload)
    selector = policy.selector
    if (
        policy.direction > XFRM_POLICY_FWD
        or policy.policy_type
        or policy.if_id
        or selector.user == tags.CATCH_ALL_USER
        or selector.family not in ADDRESS_BITS
        or not is_ordinary(policy)
        or policy.lifetime.hard_bytes & tags.HAS_SIDECAR
    ):
        return None
    entry = spd_entry_from_kernel(policy)
    return entry if (entry.owner is Owner.OURS) == marked else None
