"""The JSON documents of the operator's commands, and the schemas that describe them.

A document is an object whose first member is ``"schema": "kamexfrm/COMMAND/1"``. Each kind has a
JSON Schema in ``schemas/COMMAND.json`` of this package, and is described in kamexfrm-json(7).
"""

import json
import os.path
from collections.abc import Iterator
from itertools import islice
from typing import Any

#: Where the JSON Schema files are, one for each command that reports.
SCHEMAS = os.path.join(os.path.dirname(__file__), "schemas")


def document(command: str, **members: Any) -> dict[str, Any]:
    """Return a command's document: its schema's name, then the members as given."""
    return {"schema": f"kamexfrm/{command}/1", **members}


def to_text(value: dict[str, Any], *, one_line: bool = False) -> str:
    """Return a document as text that ends a line; indented, or on one line for a stream of them."""
    return json.dumps(value, indent=None if one_line else 2) + "\n"


def iter_text(value: dict[str, Any], *, one_line: bool = False) -> Iterator[str]:
    """Yield a document as text bit by bit; iterators are lists, with one element on each line."""
    if one_line:
        lists = {n: list(m) if isinstance(m, Iterator) else m for n, m in value.items()}
        yield to_text(lists, one_line=True)
        return
    between = "{"
    for name, member in value.items():
        yield f"{between}\n  {json.dumps(name)}: "
        between = ","
        if isinstance(member, Iterator):
            yield from _lines(map(json.dumps, member))
        else:
            yield json.dumps(member, indent=2).replace("\n", "\n  ")
    yield "\n}\n"


def _lines(elements: Iterator[str]) -> Iterator[str]:
    end = "[]"
    between = "[\n    "
    while piece := ",\n    ".join(islice(elements, 256)):
        yield between + piece
        between, end = ",\n    ", "\n  ]"
    yield end


def schema(command: str) -> dict[str, Any]:
    """Return the JSON Schema of a command's document; raises FileNotFoundError."""
    with open(os.path.join(SCHEMAS, f"{command}.json"), encoding="utf-8") as file:
        value: dict[str, Any] = json.load(file)
    return value
