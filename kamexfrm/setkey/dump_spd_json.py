"""``setkey -DP --json`` from the kernel's messages: 3 us a policy, where decoding takes 60.

A policy that differs from an earlier one in addresses, ports, times and numbers alone is that one's
text with others of these. What cannot be said so is decoded; see ``dump_spd_fast``.
"""

import json
import struct
from collections.abc import Iterable, Iterator

from kamexfrm.model.policy import Owner, SpdEntry
from kamexfrm.net import AF_INET, IPPROTO_GRE, Address
from kamexfrm.setkey.dump_sp import sp_to_dict
from kamexfrm.setkey.dump_spd_fast import typical_entry
from kamexfrm.translate.xfrm import tag as tags
from kamexfrm.translate.xfrm.policy_from_kernel import (
    SidecarOf,
    is_ordinary,
    spd_entry_from_kernel,
)
from kamexfrm.xfrm import Run, decode_policy
from kamexfrm.xfrm.structs import PORTS, USERPOLICY_INFO

_at = USERPOLICY_INFO.offset
#: Destination, source, ports, family, the rest of the selector, three words of the tag, the other
#: limits, the times of creation and of last use, the kernel's priority, the id.
_parts = struct.Struct(
    f"=16s16s8sH{_at('lifetime.soft_bytes') - _at('selector.destination_prefix')}sQQQ"
    f"{_at('current.bytes') - _at('lifetime.hard_packets')}s16xQQII"
).unpack_from
_END = _at("direction")
_PROTOCOL = _at("selector.protocol") - _at("selector.destination_prefix")
_ROOM = 4096

#: Stands in a text where a number or an address goes, and can hardly stand there by itself.
_SLOT = int("987654321" * 5)
_NULL = "null"

_Key = tuple[object, ...]


def iter_json(runs: Iterable[Run], sidecar_of: SidecarOf, forged: list[int]) -> Iterator[str]:
    """Yield each entry as JSON, and add the ids of those with a catch-all's mark to ``forged``.

    Raises WireError.
    """
    forms: dict[_Key, str] = {}
    for run in runs:
        for payload in run.payloads():
            if len(payload) < USERPOLICY_INFO.size:
                decode_policy(payload)  # says what is missing
            (
                destination, source, ports, family, rest, first, second, third, limits,
                added, used, priority, index,
            ) = _parts(payload)  # fmt: skip
            dport, dmask, sport, smask = PORTS.unpack(ports)
            marked = tags.is_marked(first)
            gre = rest[_PROTOCOL] == IPPROTO_GRE
            key = (
                family, rest, first, second & 0xFFFF, third & 0xFFFFFF, limits, payload[_END:],
                ports if gre else (smask != 0, dmask != 0), 0 if marked else priority,
            )  # fmt: skip
            form = forms.get(key)
            if form is None:
                if len(forms) > _ROOM:
                    forms.clear()
                form = forms[key] = _form(payload, marked)
            if not form:
                yield from _decoded(payload, sidecar_of, forged)
                continue
            if family == AF_INET:
                source, destination = source[:4], destination[:4]
            numbers = [sport] * (smask != 0) + [dport] * (dmask != 0)
            yield form % (
                Address(family, source),
                Address(family, destination),
                *(() if gre else numbers),
                index,
                second >> 16 if marked else 0,
                priority,
                (third >> 24 if marked else added) or _NULL,
                used or _NULL,
            )


def _decoded(payload: bytes, sidecar_of: SidecarOf, forged: list[int]) -> Iterator[str]:
    """Yield a policy as JSON, or nothing for what is no entry; raises WireError."""
    policy = decode_policy(payload)
    if policy.policy_type or not is_ordinary(policy):
        return
    entry = spd_entry_from_kernel(policy, sidecar_of)
    if entry.owner is Owner.FORGED:
        forged.append(entry.id)
    yield _text(sp_to_dict(entry))


def _text(row: dict[str, object]) -> str:
    return json.dumps(row, indent=2).replace("\n", "\n  ")


def _form(payload: bytes, marked: bool) -> str:
    """Return the text of a policy as a format, empty where it cannot be one; raises WireError."""
    entry = typical_entry(payload, marked)
    if entry is None:
        return ""
    row, slots = _with_slots(entry)
    pieces = [piece.replace("%", "%%") for piece in _text(row).split(str(_SLOT))]
    return "%s".join(pieces) if len(pieces) == slots + 1 else ""


def _with_slots(entry: SpdEntry) -> tuple[dict[str, object], int]:
    """Return an entry as data with numbers of no meaning, and how many there are."""
    selector = entry.policy.selector
    row = sp_to_dict(entry)
    row["source"] = f"{_SLOT}/{selector.source_prefix}"
    row["destination"] = f"{_SLOT}/{selector.destination_prefix}"
    numbers = ["id", "order", "kernel_priority", "created", "last_used"]
    for first, second in (("source_port", "destination_port"), ("type", "code")):
        if first in row:
            pair = (first, selector.source_port), (second, selector.destination_port)
            numbers += [name for name, value in pair if value is not None]
    row |= dict.fromkeys(numbers, _SLOT)
    return row, len(numbers) + 2
