"""The schema files are JSON Schema, and each document's name is in its own."""

from pathlib import Path

import jsonschema
import pytest

from kamexfrm.operator.document import SCHEMAS, schema

FILES = sorted(Path(SCHEMAS).glob("*.json"))


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_a_schema_is_one(file: Path) -> None:
    value = schema(file.stem)
    jsonschema.Draft202012Validator.check_schema(value)
    assert value["properties"]["schema"] == {"const": f"kamexfrm/{file.stem}/1"}
    assert "schema" in value["required"]
    assert value["additionalProperties"] is False
