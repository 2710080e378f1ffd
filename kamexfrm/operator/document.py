"""The JSON documents of the operator's commands, and the schemas that describe them.

A document is an object whose first member is ``"schema": "kamexfrm/COMMAND/1"``. Each kind has a
JSON Schema in ``schemas/COMMAND.json`` of this package, and is described in kamexfrm-json(7).
"""

import json
from pathlib import Path
from typing import Any

#: Where the JSON Schema files are, one for each command that reports.
SCHEMAS = Path(__file__).parent / "schemas"


def document(command: str, **members: Any) -> dict[str, Any]:
    """Return a command's document: its schema's name, then the members as given."""
    return {"schema": f"kamexfrm/{command}/1", **members}


def to_text(value: dict[str, Any], *, one_line: bool = False) -> str:
    """Return a document as text that ends a line; indented, or on one line for a stream of them."""
    return json.dumps(value, indent=None if one_line else 2) + "\n"


def schema(command: str) -> dict[str, Any]:
    """Return the JSON Schema of a command's document; raises FileNotFoundError."""
    value: dict[str, Any] = json.loads((SCHEMAS / f"{command}.json").read_text(encoding="utf-8"))
    return value
