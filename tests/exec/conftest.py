"""Fixtures of the tests of ``kamexfrm exec``."""

from collections.abc import Callable

import pytest

from kamexfrm.rig import until
from tests.exec.exec_programs import keepers, supervisors


@pytest.fixture
def no_supervisor_stays() -> "Callable[[], None]":
    """Give a check that all supervisors that were started since have ended, with their keepers."""
    before = supervisors() | keepers()

    def check() -> None:
        until(lambda: not (supervisors() | keepers()) - before, 10, "the supervisor has ended")

    return check
