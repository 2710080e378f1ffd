"""Tests for the text of what narrows a policy or an SA on Linux."""

import pytest

from kamexfrm.model.scope_text import device_name


@pytest.mark.parametrize("index", [-1, -(2**31), 2**31 - 1, 2**32, 2**63, 2**70])
def test_an_index_that_no_device_has_is_printed_as_a_number(index: int) -> None:
    assert device_name(index) == str(index)


def test_a_device_is_printed_by_its_name() -> None:
    assert device_name(1) == "lo"
