"""Every scenario that a test of this folder reads is held against the JSON Schema as well."""

from collections.abc import Iterator
from typing import Any

import pytest

from kamexfrm.rig.scenario.plan import Case
from kamexfrm.rig.scenario.reading import document
from tests.rig.scenario_schema import complaints


@pytest.fixture(autouse=True)
def scenarios_are_valid(monkeypatch: pytest.MonkeyPatch) -> None:
    """Complain about what the reader accepts and the schema does not."""
    cases_of = document._cases

    def checked(table: Any, data: dict[str, object], lines: Any) -> Iterator[Case]:
        yield from list(cases_of(table, data, lines))
        assert not complaints(data)

    monkeypatch.setattr(document, "_cases", checked)
