"""The keys and words of a scenario, from ``rig.schema.json``, which editors check files with too.

The schema (JSON Schema draft 7) is the one list of them. The reader takes keys and words from
here and checks what a schema cannot: that hosts, addresses and names are there.
"""

import json
from pathlib import Path
from typing import Any

PATH = Path(__file__).with_name("rig.schema.json")
SCHEMA: dict[str, Any] = json.loads(PATH.read_text(encoding="utf-8"))

_TOP = SCHEMA["properties"]
_DEFINITIONS = SCHEMA["definitions"]
_HOST = _DEFINITIONS["host"]["properties"]
_STEP = _DEFINITIONS["step"]["properties"]


def _words(schema: dict[str, Any]) -> tuple[Any, ...]:
    """Return the values that a key's schema lists."""
    return tuple(schema["anyOf"][0]["enum"])


def _maximum(schema: dict[str, Any]) -> int:
    return int(schema["anyOf"][0]["maximum"])


def _keys_of_kinds() -> dict[str, tuple[str, ...]]:
    return {
        kind["required"][0]: tuple(kind["propertyNames"]["anyOf"][0]["enum"][1:])
        for kind in _DEFINITIONS["step"]["oneOf"]
    }


#: The keys of a whole file, and of a host's table.
TOP = tuple(_TOP)
HOST = tuple(_HOST)

#: The keys of a link that is a table; those of one with a kind, and the kinds.
LINK = tuple(_DEFINITIONS["link"]["properties"])
TUNNEL = tuple(_DEFINITIONS["tunnel"]["properties"])
KINDS_OF_LINKS: tuple[str, ...] = tuple(_DEFINITIONS["tunnel"]["properties"]["kind"]["enum"])

#: The key that makes a step what it is, and its further keys; then those of what is expected.
KINDS = _keys_of_kinds()
EXPECTATION: tuple[str, ...] = tuple(_DEFINITIONS["expectation"]["enum"])

FAMILIES: tuple[int, ...] = _words(_TOP["family"])
KERNELS: tuple[str, ...] = _words(_TOP["kernel"])
UPPER_PROTOCOLS: tuple[str, ...] = _words(_STEP["upper"])
OUTCOMES: tuple[str, ...] = _words(_STEP["expect"])
DONE_OUTCOMES: tuple[str, ...] = _words(_DEFINITIONS["done"])

#: Words for packets on a link: the usual ones, and the pattern of all but ``nothing``.
NOTHING: str = _STEP["wire"]["anyOf"][0]["enum"][0]
PACKETS: tuple[str, ...] = (*_words(_DEFINITIONS["packets"]), NOTHING)
PACKETS_PATTERN: str = _DEFINITIONS["packets"]["anyOf"][1]["pattern"]

#: Bytes of data in the largest datagram over IPv4, and the last port.
LARGEST_SIZE = _maximum(_STEP["size"])
LAST_PORT = _maximum(_STEP["source-port"])
