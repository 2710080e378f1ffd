"""Messages recorded from Linux's own AF_KEY, decoded: see tests/pfkey/test_pfkey_recorded.py."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from kamexfrm import pfkey
from kamexfrm.errors import WireError

LINUX = pfkey.LINUX.with_byte_order("little")
_FILE = Path(__file__).parents[1] / "pfkey" / "pfkey-linux.jsonl"


class Vector(NamedTuple):
    """``request`` is None where the kernel spoke first or the request is malformed."""

    name: str
    request: pfkey.SadbMsg | None
    heard: tuple[pfkey.SadbMsg, ...]


def _decode(text: str) -> pfkey.SadbMsg | None:
    try:
        return pfkey.decode(bytes.fromhex(text), LINUX)
    except WireError:
        return None


def _read() -> Iterator[Vector]:
    for line in _FILE.read_text().splitlines():
        row = json.loads(line)
        request = _decode(row["request"]) if row.get("request") else None
        heard = tuple(pfkey.decode(bytes.fromhex(wire), LINUX) for wire in row.get("heard", ()))
        yield Vector(row["name"], request, heard)


VECTORS = {vector.name: vector for vector in _read()}


def request(name: str) -> pfkey.SadbMsg:
    """Return a recorded request that is well-formed."""
    message = VECTORS[name].request
    assert message is not None, name
    return message


def requests(*types: pfkey.SadbType) -> list[tuple[str, pfkey.SadbMsg]]:
    """Return (name, request) for all recorded requests of some types."""
    return [
        (vector.name, vector.request)
        for vector in VECTORS.values()
        if vector.request is not None and vector.request.type in types
    ]


def replies(*types: pfkey.SadbType) -> list[tuple[str, pfkey.SadbMsg]]:
    """Return (name, message) for all recorded messages of some types that are not errors."""
    return [
        (vector.name, message)
        for vector in VECTORS.values()
        for message in vector.heard
        if message.type in types and not message.errno and message.extensions
    ]


def same_extensions(first: pfkey.SadbMsg, second: pfkey.SadbMsg) -> bool:
    """Whether two messages have the same extensions, in whatever order."""
    return {type(e): e for e in first.extensions} == {type(e): e for e in second.extensions}
