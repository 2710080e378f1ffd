"""Policies with an LSM label: known by it, in a kernel that keeps labels."""

import pytest
from setkey_process import setkey

pytestmark = [pytest.mark.dataplane, pytest.mark.usefixtures("namespace")]

SELECTOR = "10.0.0.1 10.0.0.2 any"
LABEL = '-ctx 1 1 "system_u:object_r:spd_t"'
REQUIRE = "-P in ipsec esp/transport//require;"


def test_a_labelled_policy_lives_beside_the_plain_one_and_is_deleted_by_its_label() -> None:
    script = f"spdadd {SELECTOR} {LABEL} {REQUIRE} spdadd {SELECTOR} {REQUIRE}"
    assert setkey("-e", script) == (0, "", "")
    assert setkey("-DP").out.count("security context: system_u:object_r:spd_t") == 2
    assert setkey("-e", f"spdget {SELECTOR} {LABEL} -P in;").out.count("security context:") == 1
    assert setkey("-e", f"spddelete {SELECTOR} {LABEL} -P in;") == (0, "", "")
    dump = setkey("-DP").out
    assert "security context" not in dump
    assert dump.count("10.0.0.1[any]") == 2


def test_updating_a_labelled_policy_leaves_the_plain_one() -> None:
    setkey("-e", f"spdadd {SELECTOR} {LABEL} {REQUIRE} spdadd {SELECTOR} {REQUIRE}")
    assert setkey("-e", f"spdupdate {SELECTOR} {LABEL} -P in none;") == (0, "", "")
    dump = setkey("-DP").out
    assert dump.count("none") == 2
    assert dump.count("esp/transport//require") == 2
