"""PF_KEY messages as JSON documents, for ``setkey -x --json``: kamexfrm-json(7).

Each extension is an object of its fields, under the names that ``kamexfrm.pfkey`` gives them.
"""

import dataclasses
import json
from enum import Enum, Flag
from typing import Any

from kamexfrm import pfkey
from kamexfrm.net import Address

SCHEMA = "kamexfrm/setkey-x/1"

#: The beginnings of the names of bytes that carry nothing.
_ROOM = ("reserved", "padding", "zero")


def message_document(message: pfkey.SadbMsg, time: float) -> str:
    """Return a message that came at a time, in seconds since the Epoch, as one line without keys.

    An X_PROMISC message is what is inside it, if it has something inside.
    """
    if message.inner is not None:
        return message_document(message.inner, time)
    members = {
        "schema": SCHEMA,
        "time": time,
        "type": message.type.name,
        "satype": message.satype.name,
        "errno": message.errno,
        "sequence": message.seq,
        "pid": message.pid,
        "extensions": [_extension(each) for each in message.extensions],
    }
    return json.dumps(members) + "\n"


def _extension(extension: pfkey.Extension) -> dict[str, Any]:
    return {"extension": type(extension).__name__, **_fields(extension)}


def _fields(value: Any) -> dict[str, Any]:
    names = [field.name for field in dataclasses.fields(value)]
    return {name: _value(getattr(value, name)) for name in names if not name.startswith(_ROOM)}


def _value(value: Any) -> Any:
    match value:
        case Enum() if not isinstance(value, Flag):
            return value.name
        case pfkey.Key():
            return {"bits": value.bits}
        case Address():
            return str(value)
        case bytes():
            return value.hex()
        case tuple():
            return [_value(each) for each in value]
        case _ if dataclasses.is_dataclass(value):
            return _fields(value)
    return value
