"""The JSON Schema of scenarios as another program reads it."""

import functools
from typing import Any

from kamexfrm.rig.scenario.reading import schema


@functools.cache
def validator() -> Any:
    """Return a validator of whole documents; the schema is itself checked."""
    from jsonschema import Draft7Validator  # takes a while, and few tests need it

    Draft7Validator.check_schema(schema.SCHEMA)
    return Draft7Validator(schema.SCHEMA)


def complaints(document: object) -> list[str]:
    """Return what the schema finds wrong with a document as tomllib gives it."""
    return [f"{error.json_path}: {error.message}" for error in validator().iter_errors(document)]
