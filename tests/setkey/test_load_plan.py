"""Which parts of a script are loads."""

import pytest

from kamexfrm.engine.load import LoadPlan
from kamexfrm.model.policy import Direction, Selector
from kamexfrm.net import Address
from kamexfrm.setkey.load_plan import plans_of
from kamexfrm.setkey.parser import parse

ADD = "add 10.0.0.1 10.0.0.2 esp 0x100 -E null;"
SPDADD = "spdadd 10.0.0.1 10.0.0.2 any -P out none;"
LOW = "spdadd 10.0.0.1 10.0.0.3 any -P out prio low none;"
DELETE = "delete 10.0.0.1 10.0.0.2 esp 0x100;"
SPDDELETE = "spddelete 10.0.0.1 10.0.0.2 any -P out;"
NAME = (
    (Selector(Address.parse("10.0.0.1"), 32, Address.parse("10.0.0.2"), 32), None),
    Direction.OUT,
)


@pytest.mark.parametrize(
    ("text", "plans"),
    [
        ("", [None]),
        (ADD + SPDADD, [None]),
        (SPDADD + LOW, [None]),
        (LOW + SPDADD, [LoadPlan(2, is_sorted=False, only_adds=True)]),
        ("flush; spdflush;", [None]),
        (SPDADD + "spdflush;", [LoadPlan(1, flushed=1)]),
        (SPDADD + SPDDELETE, [LoadPlan(1, again={NAME: 1})]),
        (SPDDELETE + SPDADD + LOW + SPDDELETE, [LoadPlan(2, again={NAME: 2})]),
        ("spdflush;" + ADD, [None]),
        ("flush;" + SPDADD, [None]),
        ("spdflush;" + SPDADD, [LoadPlan(1)]),
        ("spdflush;" + SPDADD + LOW, [LoadPlan(2)]),
        ("spdflush;" + LOW + SPDADD, [LoadPlan(2, is_sorted=False)]),
        (LOW + SPDADD + "spdflush;" + SPDADD, [LoadPlan(3, flushed=2)]),
        (SPDDELETE + SPDADD, [LoadPlan(1)]),
        ("flush;" + ADD, [LoadPlan(0)]),
        (DELETE + ADD, [LoadPlan(0)]),
        ("deleteall 10.0.0.1 10.0.0.2 esp;" + ADD, [LoadPlan(0)]),
        ("spdflush; spddump;" + SPDADD, [None, None]),
        ("spdflush;" + SPDADD + "spddump; spdflush;" + SPDADD, [LoadPlan(1), LoadPlan(1)]),
        ("spdflush; exit; " + SPDADD, [None]),
    ],
)
def test_a_part_is_a_load_where_something_deleted_may_come_again(
    text: str, plans: list[LoadPlan | None]
) -> None:
    assert plans_of(parse(text)) == plans
