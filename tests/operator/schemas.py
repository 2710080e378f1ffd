"""A document is what its schema says: each test of a document asks."""

from typing import Any

import jsonschema

from kamexfrm.operator.document import schema


def valid(document: dict[str, Any]) -> dict[str, Any]:
    """Return the document; raises jsonschema.ValidationError."""
    name, command, version = document["schema"].split("/")
    assert (name, version) == ("kamexfrm", "1")
    jsonschema.Draft202012Validator(schema(command)).validate(document)
    return document
